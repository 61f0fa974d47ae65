"""Feature maps of any module by the names of its parts. Not here: which parts make good stages (`library`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from limbeck.errors import unknown_name

__all__ = ["first_tensor", "tap"]


def first_tensor(value: Any) -> Tensor | None:
    """The tensor in a module's output: itself, or the first one of a tuple, list or dict; None if there is none."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((found for item in value if (found := first_tensor(item)) is not None), None)
    return None


@contextmanager
def tap(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named parts while the block runs; no hook stays behind, whatever happens inside.

    Args:
        module: any module.
        names: of its parts, as in `named_modules()`; `NAME.input` is what the part is given instead of what it gives.

    Yields:
        A dict that the module's next calls fill, the latest output by name.

    Raises:
        InputError: a name that the module does not have.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with tap(net, ["0"]) as seen:
        ...     _ = net(torch.zeros(4, 2))
        >>> tuple(seen["0"].shape)
        (4, 3)
    """
    parts = dict(module.named_modules())
    seen: dict[str, Tensor] = {}

    def keep_output(name: str, _part: nn.Module, _inputs: Any, output: Any) -> None:
        if (tensor := first_tensor(output)) is not None:
            seen[name] = tensor

    def keep_input(name: str, _part: nn.Module, inputs: Any) -> None:
        if (tensor := first_tensor(inputs)) is not None:
            seen[name] = tensor

    handles = []
    try:
        for name in names:
            if name in parts:
                handles.append(parts[name].register_forward_hook(partial(keep_output, name)))
            elif name.removesuffix(".input") in parts:
                handles.append(parts[name.removesuffix(".input")].register_forward_pre_hook(partial(keep_input, name)))
            else:
                raise unknown_name("part", name, [part for part in parts if part])
        yield seen
    finally:
        for handle in handles:
            handle.remove()
