"""The CIFAR networks by name, with the parameters that the literature counts. Not here: their layers, their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.cifar.mobilenet import CifarMobileNetV2, cifar_mobilenet_v1
from limbeck.models.cifar.resnet import CifarResNet
from limbeck.models.cifar.shufflenet import CifarShuffleNetV1, CifarShuffleNetV2
from limbeck.models.cifar.vgg import CifarVGG
from limbeck.models.cifar.wide_resnet import CifarWideResNet
from limbeck.models.network import Network

__all__ = ["CIFAR", "CIFAR_SPELLINGS", "Design", "cifar_network", "find_cifar"]


@dataclass(frozen=True)
class Design:
    """One network of the literature.

    Attributes:
        build: name, and `num_classes`, `input_size`, `in_channels`, `dropout` by keyword -> the network.
        describe: what it is, for people.
        params: its parameters at 100 classes and 3 channels.
        spelling: what the literature calls it, where no other network has that name; None = `cifar_...` only.
    """

    build: Callable[..., Network]
    describe: str
    params: int
    spelling: str | None = None


def resnet(depth: int, params: int, *, times: int = 1) -> Design:
    """Three stages of `(depth - 2) / 6` basic blocks; four times the width goes with twice the stem."""
    widths = (16 * times, 32 * times, 64 * times)
    build = partial(CifarResNet, stem=16 if times == 1 else 32, widths=widths, depths=((depth - 2) // 6,) * 3)
    name = f"resnet{depth}" + (f"x{times}" if times > 1 else "")
    return Design(build, f"ResNet-{depth} for CIFAR, of widths {', '.join(map(str, widths))}", params, name)


def deep_resnet(depth: int, params: int, depths: tuple[int, ...], *, bottleneck: bool = False) -> Design:
    """ImageNet's four stages; their bare names stay ImageNet's."""
    build = partial(CifarResNet, stem=64, widths=(64, 128, 256, 512), depths=depths, bottleneck=bottleneck)
    return Design(build, f"ResNet-{depth} for CIFAR: a 3x3 stem without stride or pooling", params)


def wide_resnet(depth: int, widen: int, params: int) -> Design:
    """Three stages of pre-activation blocks."""
    build = partial(CifarWideResNet, depth=depth, widen=widen)
    return Design(build, f"Wide ResNet for CIFAR, {depth} deep, {widen} wide", params, f"wrn_{depth}_{widen}")


def vgg(depth: int, params: int, depths: tuple[int, ...]) -> Design:
    """Five groups of convolutions; the bare names above 8 layers stay ImageNet's."""
    text = f"VGG-{depth} for CIFAR, with batch norm and one dense layer"
    return Design(partial(CifarVGG, depths=depths), text, params, "vgg8" if depth == 8 else None)


CIFAR: dict[str, Design] = {
    "cifar_resnet8": resnet(8, 83_892),
    "cifar_resnet14": resnet(14, 181_108),
    "cifar_resnet20": resnet(20, 278_324),
    "cifar_resnet32": resnet(32, 472_756),
    "cifar_resnet44": resnet(44, 667_188),
    "cifar_resnet56": resnet(56, 861_620),
    "cifar_resnet110": resnet(110, 1_736_564),
    "cifar_resnet8x4": resnet(8, 1_233_540, times=4),
    "cifar_resnet32x4": resnet(32, 7_433_860, times=4),
    "cifar_resnet18": deep_resnet(18, 11_220_132, (2, 2, 2, 2)),
    "cifar_resnet34": deep_resnet(34, 21_328_292, (3, 4, 6, 3)),
    "cifar_resnet50": deep_resnet(50, 23_705_252, (3, 4, 6, 3), bottleneck=True),
    "cifar_wrn_16_1": wide_resnet(16, 1, 180_916),
    "cifar_wrn_16_2": wide_resnet(16, 2, 703_284),
    "cifar_wrn_16_8": wide_resnet(16, 8, 11_007_540),
    "cifar_wrn_16_10": wide_resnet(16, 10, 17_174_324),
    "cifar_wrn_40_1": wide_resnet(40, 1, 569_780),
    "cifar_wrn_40_2": wide_resnet(40, 2, 2_255_156),
    "cifar_vgg8": vgg(8, 3_965_028, (1, 1, 1, 1, 1)),
    "cifar_vgg11": vgg(11, 9_277_284, (1, 1, 2, 2, 2)),
    "cifar_vgg13": vgg(13, 9_462_180, (2, 2, 2, 2, 2)),
    "cifar_vgg16": vgg(16, 14_774_436, (2, 2, 3, 3, 3)),
    "cifar_vgg19": vgg(19, 20_086_692, (2, 2, 4, 4, 4)),
    "cifar_mobilenet_v1": Design(cifar_mobilenet_v1, "MobileNetV1 for CIFAR: a stem without stride", 3_309_476),
    "cifar_mobilenet_v2_half": Design(
        CifarMobileNetV2, "MobileNetV2 for CIFAR, of half the width", 812_836, "mobile_half"
    ),
    "cifar_shufflenet_v1": Design(CifarShuffleNetV1, "ShuffleNetV1 for CIFAR, of three groups", 949_258, "ShuffleV1"),
    "cifar_shufflenet_v2": Design(CifarShuffleNetV2, "ShuffleNetV2 for CIFAR, of width 1", 1_355_528, "ShuffleV2"),
}
CIFAR_SPELLINGS: dict[str, str] = {design.spelling: name for name, design in CIFAR.items() if design.spelling}


def find_cifar(name: str) -> str | None:
    """The key of `CIFAR` behind a name or the literature's spelling of one; None for any other name."""
    key = CIFAR_SPELLINGS.get(name, name)
    return key if key in CIFAR else None


def cifar_network(
    name: str,
    *,
    num_classes: int = 100,
    input_size: tuple[int, int] | None = None,
    in_channels: int = 3,
    options: dict[str, Any] | None = None,
) -> Network:
    """A CIFAR network with fresh weights; `input_size` of None is 32 x 32.

    Args:
        name: of `CIFAR` or `CIFAR_SPELLINGS`.
        num_classes: K.
        input_size: (height, width).
        in_channels: of the pictures.
        options: `dropout` before the classifier.

    Raises:
        InputError: an unknown name or option, or a dropout outside [0, 1).
    """
    key, options = find_cifar(name), options or {}
    if key is None:
        raise unknown_name("CIFAR network", name, [*CIFAR, *CIFAR_SPELLINGS])
    for option in options:
        if option != "dropout":
            raise unknown_name("option", option, ["dropout"], where=f"model '{name}'")
    dropout = options.get("dropout", 0.0)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise InputError(f"model '{name}': dropout must be a number of at least 0 and below 1, got {dropout!r}")
    return CIFAR[key].build(
        key, num_classes=num_classes, input_size=input_size or (32, 32), in_channels=in_channels, dropout=float(dropout)
    )
