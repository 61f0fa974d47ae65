"""Networks by name: `create_model`, with pretrained weights where asked.

Not here: our own names (`names`), other libraries' networks (`providers`), files (`storage`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.errors import InputError
from limbeck.models.cifar import cifar_network, find_cifar
from limbeck.models.families import MODELS, WIDTH_RULES
from limbeck.models.heads.load import create_dense
from limbeck.models.heads.names import find_dense
from limbeck.models.names import family_table, find_known, unknown_model
from limbeck.models.network import Network, TableNetwork, build
from limbeck.models.pretrained import fill_from_path, fill_table, find_weights
from limbeck.models.providers import outside_network, timm_name, timm_network, torchvision_network
from limbeck.models.signal import SIGNAL_TABLES, find_signal, signal_network
from limbeck.models.spellings import Known, library_names, published_weights, weighted_widths
from limbeck.parts import is_outside

__all__ = ["create_model"]


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    pretrained: bool | str | Path | nn.Module = False,
    width_multiplier: float = 1.0,
    input_size: int | tuple[int, int] | None = None,
    small_images: bool | None = None,
    in_channels: int | None = None,
    dropout: float | None = None,
    **options: Any,
) -> Network:
    """Build a network by name.

    Args:
        name: one of `list_models()` (`mobilenet_v2`, `mobilenet_v2_140`, timm's `mobilenetv2_140`, `cifar_resnet20`; for
            segmentation `lraspp_` or `raspp_`, for detection `ssdlite_` before a family's name), `timm:NAME`,
            `torchvision:NAME`, or `package.module:name`. `clst_t`, `kd_mobilenet` and the like take signals.
        num_classes: K, a detector's without the background; pretrained weights of another K keep everything but the
            classifier.
        pretrained: True (published weights for this name), `timm:NAME`, `torchvision:NAME`, a path that `save_network`
            wrote or a file of weights, or (for our own families) a library's module to copy from. Our families take
            over the weights' batch-norm eps, padding, skips and normalisation; `network.filled` says what was filled.
        width_multiplier: of our own families.
        input_size: side, or (height, width); None = the pretrained weights' own, else the family's, mostly 224 (32 with
            small_images, and for `cifar_...`); of signals a frame's samples, or (1, samples), mostly 128.
        small_images: our families only: True drops the first two strides (stem and first row of stride 2), so that 32
            pixels end at 4; False keeps them; None drops two up to 48 pixels, one up to 64.
        in_channels: of the pictures; None = 3, of signals 2.
        dropout: before the classifier; None = the family's or library's own.
        options: our families: fields of `Table` such as `bn_momentum`, `padding`, and `width_rule`: what a width does to
            MobileNetV3, as `paper`, `timm` or `torchvision` has it (none = that of the name's spelling, else `paper`);
            dense networks: also `pretrained_backbone` and what `heads.segmenter` and `heads.detector` take; others: what
            their builder takes.

    Raises:
        InputError: an unknown name or option, or weights that cannot be had or do not fit.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size) if input_size else None
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InputError(f"model '{name}': input_size must be a side or (height, width) in pixels, got {input_size!r}")
    if type(num_classes) is not int or num_classes < 1:
        raise InputError(f"model '{name}': num_classes must be a whole number of at least 1, got {num_classes!r}")
    provider, colon, rest = name.partition(":")
    if find_signal(name):
        size = (1, input_size) if isinstance(input_size, int) else size
        shape = {
            "num_classes": num_classes,
            "input_size": size,
            "in_channels": 2 if in_channels is None else in_channels,
        }
        options |= {} if dropout is None else {"dropout": dropout}
        return create_signal(name, pretrained, width_multiplier, small_images, **shape, options=options)
    in_channels = 3 if in_channels is None else in_channels
    if find_dense(name):
        shape = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "small_images": small_images,
            "dropout": dropout,
        }
        return create_dense(name, size, pretrained, width_multiplier, classifier=create_own, **shape, **options)
    if find_cifar(name):
        shape = {"num_classes": num_classes, "input_size": size, "in_channels": in_channels}
        options |= {} if dropout is None else {"dropout": dropout}
        return create_cifar(name, pretrained, width_multiplier, small_images, **shape, options=options)
    if not colon:
        settings = {
            "num_classes": num_classes,
            "small_images": small_images,
            "in_channels": in_channels,
            "dropout": dropout,
        }
        return create_own(name, size, pretrained, width_multiplier, **settings, **options)
    if width_multiplier != 1 or small_images:
        raise InputError(
            f"model '{name}': width_multiplier and small_images are for our own families ({', '.join(MODELS)})"
        )
    makers: dict[str, Callable[..., Network]] = {"timm": timm_network, "torchvision": torchvision_network}
    if provider not in makers and not is_outside(name):
        raise unknown_model(name)
    if dropout is not None:
        options["drop_rate" if provider == "timm" else "dropout"] = dropout
    maker, target = (makers[provider], rest) if provider in makers else (outside_network, name)
    if isinstance(pretrained, str) and pretrained.startswith(f"{provider}:") and provider in makers:
        theirs = pretrained.partition(":")[2]
        if timm_name(theirs).partition(".")[0] != timm_name(rest).partition(".")[0]:
            raise InputError(f"model '{name}': cannot be filled from '{pretrained}', which is another network")
        target, pretrained = (theirs, True) if provider == "timm" else (rest, True)
    shape = {"num_classes": num_classes, "input_size": size, "in_channels": in_channels}
    if isinstance(pretrained, bool):
        return maker(target, **shape, pretrained=pretrained, options=options)
    if isinstance(pretrained, nn.Module) or (":" in str(pretrained) and not Path(pretrained).exists()):
        raise InputError(
            f"model '{name}': pretrained takes true, '{provider}:NAME' of the same network, or a path here"
        )
    return fill_from_path(maker(target, **shape, options=options), Path(pretrained))


def create_cifar(
    name: str,
    pretrained: bool | str | Path | nn.Module,
    width: float,
    small_images: bool | None,
    **settings: Any,
) -> Network:
    """`create_model` for the CIFAR networks; weights come from a file, since nobody serves them one by one."""
    if width != 1 or small_images is False:
        raise InputError(f"model '{name}': is of one width and for small pictures; drop width_multiplier, small_images")
    network = cifar_network(name, **settings)
    if pretrained is False:
        return network
    if isinstance(pretrained, bool | nn.Module) or (":" in str(pretrained) and not Path(pretrained).exists()):
        raise InputError(
            f"model '{name}': pretrained takes the path of a checkpoint (CRD's, RepDistiller's) or of a saved network"
        )
    return fill_from_path(network, Path(pretrained))


def create_signal(
    name: str,
    pretrained: bool | str | Path | nn.Module,
    width: float,
    small_images: bool | None,
    **settings: Any,
) -> Network:
    """`create_model` for signals; weights come from a file, since nobody serves any."""
    if name in SIGNAL_TABLES:
        options = settings.pop("options")
        table = family_table(name, width_multiplier=width, small_images=small_images, **settings, **options)
        network: Network = build(table)
    elif width != 1 or small_images is not None:
        raise InputError(f"model '{name}': is of one width and for signals; drop width_multiplier, small_images")
    else:
        network = signal_network(name, **settings)
    if pretrained is False:
        return network
    if isinstance(pretrained, bool | nn.Module) or (":" in str(pretrained) and not Path(pretrained).exists()):
        raise InputError(f"model '{name}': pretrained takes the path of a saved network or a file of weights")
    return fill_from_path(network, Path(pretrained))


def create_own(
    name: str, size: tuple[int, int] | None, pretrained: bool | str | Path | nn.Module, width: float, **settings: Any
) -> TableNetwork:
    """`create_model` for our own families."""
    # Before any download, so that a wrong option is told at once.
    table = family_table(name, input_size=size, width_multiplier=width, **settings)
    if pretrained is False:
        return build(table)
    known = find_known(name)
    if known is None:
        raise unknown_model(name)
    known = replace(known, width=known.width * width)
    if pretrained is True:
        pretrained = known.weights if width == 1 else published_weights(known.family, known.width)
        if pretrained is None:
            raise InputError(
                f"model '{name}': nobody published weights for a width of {known.width:g}; there are some for "
                f"{weighted_widths(known.family) or 'none'}"
            )

    def template(library: str, num_classes: int) -> nn.Module | None:
        return library_template(name, known, library, num_classes=num_classes, in_channels=table.in_channels)

    weights = find_weights(pretrained, template=template, in_channels=table.in_channels)
    if size is None and weights.input_size is not None and not settings["small_images"]:
        size = weights.input_size
    rules = [settings.pop("width_rule", None)]
    rules = rules if rules[0] or known.width == 1 else [known.rule, *WIDTH_RULES]  # weights know how they were scaled
    tables = [
        family_table(name, input_size=size, width_multiplier=width, width_rule=rule, **settings) for rule in rules
    ]
    return fill_table(list(dict.fromkeys(tables)), weights)


def library_template(name: str, known: Known, library: str, **shape: int) -> nn.Module | None:
    """A fresh network of `library` that has the architecture of our `known`; None where the library has none."""
    like = [each.partition(":")[2] for each in library_names(known.family, known.width) if each.startswith(library)]
    if not like:
        return None
    maker = timm_network if library == "timm" else torchvision_network
    return maker(name if name in like else like[0], **shape).get_submodule("module")
