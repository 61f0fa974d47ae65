"""The published families as tables, by name. Not here: building, weights, other spellings of the names (`load`)."""

from __future__ import annotations

from collections.abc import Callable

from limbeck.models.families.mobilenet_v1 import mobilenet_v1
from limbeck.models.families.mobilenet_v2 import mobilenet_v2
from limbeck.models.families.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from limbeck.models.table import Table

__all__ = ["MODELS"]

MODELS: dict[str, Callable[[], Table]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
}
