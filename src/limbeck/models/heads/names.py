"""Dense networks by name: `lraspp_`, `raspp_` or `ssdlite_` before the name of one of our families.

Not here: the networks (`segmentation`, `ssdlite`), the weights they may start from (`load`).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.costs import make_divisible
from limbeck.models.heads.backbone import DenseNetwork, expansion_tap
from limbeck.models.heads.segmentation import SegmentationDesign, SegmentationNetwork, low_tap
from limbeck.models.heads.ssdlite import DetectionDesign, DetectionNetwork
from limbeck.models.heads.tails import dilate_tail, halve_tail, tail_start, without_classifier
from limbeck.models.names import find_known
from limbeck.models.rows import from_mapping
from limbeck.models.table import Table
from limbeck.option_types import check_option_types

__all__ = [
    "DENSE",
    "DENSE_SIZES",
    "OPTIONS",
    "dense_network",
    "detector",
    "find_dense",
    "list_dense",
    "rebuild_dense",
    "segmenter",
]

DENSE: dict[str, str] = {
    "lraspp": "segmentation by LR-ASPP: a gated 1x1 convolution of the last map, and scores of one map of stride 8",
    "raspp": "segmentation by R-ASPP: DeepLabv3's head without atrous branches",
    "ssdlite": "detection by SSDLite: separable predictors on six maps",
}
"""Head -> what it is."""
DENSE_SIZES: dict[str, tuple[int, int]] = {"lraspp": (512, 1024), "raspp": (512, 1024), "ssdlite": (320, 320)}
"""Head -> (height, width) where none is asked: half of Cityscapes' pictures, and COCO's usual size for SSDLite."""
DESIGNS = ("paper", "torchvision")
FAMILIES = ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "mnasnet_a1", "mnasnet_b1")  # those listed
SPELLINGS = {"ssdlite320_mobilenet_v3_large": ("ssdlite", "mobilenet_v3_large", "torchvision")}
OPTIONS = {
    "ssdlite": ("design", "reduce_tail"),
    "lraspp": ("design", "reduce_tail", "output_stride", "filters", "keep_first_inside"),
    "raspp": ("design", "reduce_tail", "output_stride", "filters", "keep_first_inside", "dropout"),
}
"""Head -> what its builder takes."""
FILTERS = {"lraspp": 128, "raspp": 256}
STRIDES = (8, 16, 32)
EXTRA_CHANNELS = (512, 256, 256, 128)


def find_dense(name: str) -> tuple[str, str, str] | None:
    """Head, family's name and design behind the name of a dense network; None for any other name.

    Example:
        >>> find_dense("lraspp_mobilenet_v2_050")
        ('lraspp', 'mobilenet_v2_050', 'paper')
    """
    if name in SPELLINGS:
        return SPELLINGS[name]
    head, _, family = name.partition("_")
    return (head, family, "paper") if head in DENSE and find_known(family) else None


def list_dense(pattern: str = "*") -> list[str]:
    """Names of dense networks; every other family and width goes by the same rule."""
    names = [f"{head}_{family}" for head in DENSE for family in FAMILIES]
    return sorted(fnmatch.filter([*names, *SPELLINGS], pattern))


def segmenter(
    table: Table,
    head: str = "lraspp",
    *,
    design: str = "paper",
    reduce_tail: bool | None = None,
    output_stride: int = 16,
    filters: int | None = None,
    keep_first_inside: bool | None = None,
    dropout: float | None = None,
    **owns: Any,
) -> SegmentationNetwork:
    """The segmentation network on any table, published or searched.

    Args:
        table: of a classifier; its input size and classes are the network's.
        head: `lraspp` or `raspp`.
        design: `paper`; or `torchvision`, whose LR-ASPP keeps all channels, dilates the converted block too, reads the
            first map of stride 8 as its block gives it, and gates by the whole map's mean and a sigmoid.
        reduce_tail: whether the last rows have half their channels; None = as the design has it.
        output_stride: of the picture to the last map, 8, 16 or 32.
        filters: of the head; None = 128 (`lraspp`), 256 (`raspp`).
        keep_first_inside: whether the first halved block keeps its inner width; None = as counted in the paper: kept but
            for MobileNetV3, whose code halves it.
        dropout: before the classifier of `raspp`; None = 0.1.
        owns: as `Network` takes them.

    Raises:
        InputError: an unknown head or design, or a table or output stride that does not allow it.
    """
    if head not in FILTERS:
        raise unknown_name("head", head, FILTERS)
    if design not in DESIGNS or (design == "torchvision" and head != "lraspp"):
        raise unknown_name("design", design, DESIGNS if head == "lraspp" else DESIGNS[:1], where=head)
    theirs = design == "torchvision"
    # MobileNetV2 and MnasNet expand to 1280 channels for their classifier only, not before a segmentation head.
    body = without_classifier(table, keep_conv=table.head.feature_channels is not None)
    if (not theirs) if reduce_tail is None else reduce_tail:
        keep = table.head.feature_channels is None if keep_first_inside is None else keep_first_inside
        body = halve_tail(body, keep_first_inside=keep)
    if output_stride not in STRIDES:
        raise InputError(f"{head}: output_stride = {output_stride!r}: expected {', '.join(map(str, STRIDES))}")
    finer = low_tap(body, last=not theirs) if head == "lraspp" else ""  # dilation lets later rows have that size too
    body = dilate_tail(body, output_stride, from_converted=theirs)
    filters = FILTERS[head] if filters is None else filters
    if head == "raspp":
        made = SegmentationDesign("raspp", filters, dropout=0.1 if dropout is None else dropout)
    elif dropout is not None:
        raise InputError(f"{head}: has no dropout; drop dropout = {dropout!r}")
    elif theirs:
        made = SegmentationDesign(
            "lraspp",
            filters,
            finer,
            pool_window=None,
            gate="sigmoid",
            gate_bias=False,
            align_corners=False,
        )
    else:
        # of crops of 769 pixels the windows are the whole map; the strides are those of the paper and of its weights
        window, strides = (49, (16, 20)) if output_stride < 32 else (25, (4, 5))
        made = SegmentationDesign("lraspp", filters, finer, (window, window), strides)
    return SegmentationNetwork(body, made, **owns)


def detector(
    table: Table,
    *,
    design: str = "paper",
    reduce_tail: bool | None = None,
    width: float = 1.0,
    **owns: Any,
) -> DetectionNetwork:
    """The SSDLite detector on any table, published or searched.

    Args:
        table: of a classifier; its input size and classes (without the background) are the network's.
        design: `paper`; or `torchvision`, with six anchors on every map and softmax scores.
        reduce_tail: whether the last rows have half their channels, but for the inner width that the head reads; None =
            for MobileNetV3.
        width: of the further maps, which get no fewer than 16 channels.
        owns: as `Network` takes them.

    Raises:
        InputError: an unknown design, or a table that does not allow it.
    """
    if design not in DESIGNS:
        raise unknown_name("design", design, DESIGNS, where="ssdlite")
    body = without_classifier(table)
    if table.head.feature_channels is not None if reduce_tail is None else reduce_tail:
        body = halve_tail(body, keep_first_inside=True)
    made = DetectionDesign(
        expansion_tap(body, tail_start(body)),
        tuple(max(16, int(channels * width)) for channels in EXTRA_CHANNELS),
        anchors=design,
        scores="softmax" if design == "torchvision" else "sigmoid",
    )
    if design == "torchvision" and "mean" not in owns:
        owns |= {"mean": [0.5] * table.in_channels, "std": [0.5] * table.in_channels}
    return DetectionNetwork(body, made, **owns)


def dense_network(name: str, table: Table, *, width: float = 1.0, **options: Any) -> DenseNetwork:
    """The network of a name that `find_dense` knows on its family's table, with fresh weights.

    Args:
        name: of a dense network.
        table: of the family, at its width.
        width: that width.
        options: of `segmenter` or `detector` (`OPTIONS`), and what `Network` takes.

    Raises:
        InputError: an unknown name.
    """
    found = find_dense(name)
    if found is None:
        raise unknown_name("dense network", name, list_dense())
    head, _, design = found
    options = {"design": design, **options}
    check_option_types(detector if head == "ssdlite" else segmenter, options, where=f"model '{name}': ")
    table = replace(table, name=name)
    if head != "ssdlite":
        return segmenter(table, head, **options)
    if table.head.conv_scaling != "scaled" and table.head.conv_channels and width < 1:
        # A detector's width goes for its last convolution too (Table 6 of MobileNetV3), unlike a classifier's.
        conv = make_divisible(table.head.conv_channels * width, table.divisor)
        table = replace(table, head=replace(table.head, conv_channels=conv))
    return detector(table, width=min(width, 1.0), **options)


def rebuild_dense(kind: str, value: Mapping[str, Any], where: str) -> DenseNetwork:
    """The network that `architecture()` described, with fresh weights.

    Raises:
        InputError: a key is missing or wrong.
    """
    table = Table.from_json(value["table"], where=where)
    if kind == "segmentation":
        return SegmentationNetwork(table, from_mapping(SegmentationDesign, value["design"], f"{where}: design"))
    if kind == "detection":
        return DetectionNetwork(table, from_mapping(DetectionDesign, value["design"], f"{where}: design"))
    raise InputError(f"{where}: unknown kind '{kind}'")
