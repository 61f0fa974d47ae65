"""Limbeck: from a data set and a latency budget on a device to a compact network proven on that device's runtime."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("limbeck")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"

if TYPE_CHECKING:
    from limbeck.deployed import DeployedModel, load

__all__ = ["DeployedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("DeployedModel", "load"):  # late: importing limbeck must cost nothing
        from limbeck import deployed

        return getattr(deployed, name)
    raise AttributeError(f"module 'limbeck' has no attribute '{name}'")
