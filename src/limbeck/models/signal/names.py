"""The networks for signals by name. Not here: their layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.signal.baselines import AmrResNet, Mcldnn, PetCgdnn, VtCnn2
from limbeck.models.signal.clst import Clst, PatchTransformer
from limbeck.models.signal.compact import KdCnn, kd_mobilenet
from limbeck.models.signal.network import SignalNetwork
from limbeck.models.table import Table

__all__ = ["SIGNALS", "SIGNAL_TABLES", "SignalDesign", "find_signal", "signal_network"]


@dataclass(frozen=True)
class SignalDesign:
    """One network for signals.

    Attributes:
        build: name, and `num_classes`, `input_size`, `in_channels` and its own options by keyword -> the network.
        describe: what it is, for people.
        params: its parameters at 11 classes and 128 samples.
    """

    build: Callable[..., SignalNetwork]
    describe: str
    params: int


SIZES: dict[str, dict[str, Any]] = {
    "s": {"widths": (32, 64, 96), "heads": (1, 2, 3), "depths": (1, 1, 2), "ratio": 2},
    "t": {"widths": (48, 96, 192), "heads": (1, 2, 4), "depths": (1, 2, 3), "ratio": 2},
    "b": {"widths": (64, 192, 384), "heads": (1, 3, 6), "depths": (1, 2, 10), "ratio": 4},
}

SIGNALS: dict[str, SignalDesign] = {
    "clst_s": SignalDesign(partial(Clst, **SIZES["s"]), "ClST (our reconstruction), small", 226_605),
    "clst_t": SignalDesign(partial(Clst, **SIZES["t"]), "ClST (our reconstruction), the teacher", 1_157_663),
    "clst_b": SignalDesign(partial(Clst, **SIZES["b"]), "ClST (our reconstruction), of CvT-13's size", 19_062_405),
    "kd_cnn": SignalDesign(KdCnn, "KD-CNN (our reconstruction): four convolutions", 45_099),
    "cvt_1d": SignalDesign(
        partial(Clst, psca=False, **SIZES["t"]), "CvT for signals: clst_t without spatial-channel attention", 1_145_147
    ),
    "vit_1d": SignalDesign(
        partial(PatchTransformer, width=96, heads=3, depth=4), "ViT for signals: patches of 8 samples", 303_563
    ),
    "vt_cnn2": SignalDesign(VtCnn2, "VT-CNN2 with the widths of AMR-Benchmark's CNN1", 1_592_383),
    "resnet_amr": SignalDesign(AmrResNet, "AMR-Benchmark's ResNet", 3_098_283),
    "mcldnn": SignalDesign(Mcldnn, "MCLDNN: convolutions and LSTMs", 406_199),
    "pet_cgdnn": SignalDesign(PetCgdnn, "PET-CGDNN: the phase estimated, convolutions, a GRU", 71_871),
}

SIGNAL_TABLES: dict[str, tuple[Callable[[], Table], str]] = {
    "kd_mobilenet": (kd_mobilenet, "KD-MobileNet (our reconstruction): inverted residuals over time"),
}
"""Those that are tables, and what they are: the search and the adaptation work on tables."""


def find_signal(name: str) -> bool:
    """Whether `name` is one of ours for signals, table or not."""
    return name in SIGNALS or name in SIGNAL_TABLES


def own_options(build: Callable[..., SignalNetwork]) -> tuple[str, ...]:
    """The options that a design takes beside the shape of its frames, those that its name fixes left out."""
    fixed = build.keywords if isinstance(build, partial) else {}
    kind = build.func if isinstance(build, partial) else build
    parameters = inspect.signature(kind).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed)


def signal_network(
    name: str,
    *,
    num_classes: int = 11,
    input_size: tuple[int, int] | None = None,
    in_channels: int = 2,
    options: Mapping[str, Any] | None = None,
) -> SignalNetwork:
    """A network of `SIGNALS` with fresh weights.

    Args:
        name: of `SIGNALS`.
        num_classes: K.
        input_size: (1, samples of a frame); None = 128 samples.
        in_channels: 2, in phase and quadrature.
        options: `dropout` and what else the network takes.

    Raises:
        InputError: an unknown name or option, or a value out of range.
    """
    if name not in SIGNALS:
        raise unknown_name("network for signals", name, SIGNALS)
    design, options = SIGNALS[name], dict(options or {})
    known = own_options(design.build)
    for option in options:
        if option not in known:
            if not known:
                raise InputError(f"model '{name}': takes no option '{option}'; it has none")
            raise unknown_name("option", option, known, where=f"model '{name}'")
    dropout = options.get("dropout", 0.0)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise InputError(f"model '{name}': dropout must be a number of at least 0 and below 1, got {dropout!r}")
    shape = check_shape(name, input_size or (1, 128), in_channels)
    network = design.build(name, num_classes=num_classes, in_channels=in_channels, input_size=shape, **options)
    network.options = {option: value for option, value in network.options.items() if option in known}
    return network


def check_shape(name: str, input_size: tuple[int, int], in_channels: int) -> tuple[int, int]:
    """(1, samples).

    Raises:
        InputError: not two channels, or not one row of at least 16 samples.
    """
    if in_channels != 2:
        raise InputError(f"model '{name}': takes the 2 channels of signals, in phase and quadrature, not {in_channels}")
    if input_size[0] != 1 or input_size[1] < 16:
        raise InputError(
            f"model '{name}': input_size must be (1, samples of a frame), at least 16 of them, got {input_size}"
        )
    return (1, input_size[1])
