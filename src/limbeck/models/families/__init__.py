"""The published families as tables, by name. Not here: building, weights, other spellings of the names (`spellings`)."""

from __future__ import annotations

from collections.abc import Callable

from limbeck.models.families.efficientnet import efficientnet_b0, efficientnet_lite0
from limbeck.models.families.mnasnet import mnasnet_a1, mnasnet_b1, mnasnet_d1, mnasnet_d1_320, mnasnet_small
from limbeck.models.families.mobilenet_v1 import mobilenet_v1
from limbeck.models.families.mobilenet_v2 import mobilenet_v2
from limbeck.models.families.mobilenet_v3 import (
    mobilenet_v3_large,
    mobilenet_v3_large_minimal,
    mobilenet_v3_rw,
    mobilenet_v3_small,
    mobilenet_v3_small_minimal,
)
from limbeck.models.families.mobilenet_v4 import mobilenet_v4_conv_medium, mobilenet_v4_conv_small
from limbeck.models.families.searched import fbnet_c, single_path_nas
from limbeck.models.families.widths import WIDTH_RULES, at_width
from limbeck.models.table import Table

__all__ = ["MODELS", "WIDTH_RULES", "at_width"]

MODELS: dict[str, Callable[[], Table]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large_minimal": mobilenet_v3_large_minimal,
    "mobilenet_v3_small_minimal": mobilenet_v3_small_minimal,
    "mobilenet_v3_rw": mobilenet_v3_rw,
    "mobilenet_v4_conv_small": mobilenet_v4_conv_small,
    "mobilenet_v4_conv_medium": mobilenet_v4_conv_medium,
    "mnasnet_a1": mnasnet_a1,
    "mnasnet_b1": mnasnet_b1,
    "mnasnet_small": mnasnet_small,
    "mnasnet_d1": mnasnet_d1,
    "mnasnet_d1_320": mnasnet_d1_320,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_lite0": efficientnet_lite0,
    "fbnet_c": fbnet_c,
    "single_path_nas": single_path_nas,
}
