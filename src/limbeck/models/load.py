"""Networks by name: `create_model`, with pretrained weights where asked. `MODELS` is the table of our own families.

Not here: the families themselves (`families`), other libraries' networks (`providers`), files (`storage`).
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.families import MODELS
from limbeck.models.network import Network, TableNetwork, build
from limbeck.models.pretrained import fill_from_path, fill_table, find_weights
from limbeck.models.providers import outside_network, timm_network, torchvision_network
from limbeck.models.table import Table
from limbeck.parts import is_outside

__all__ = ["MODELS", "create_model", "family_table", "list_models"]


@dataclass(frozen=True)
class Known:
    """What a name of ours stands for.

    Attributes:
        family: key of `MODELS`.
        width: multiplier.
        weights: where `pretrained = true` takes its weights from; None = nobody published any.
        conventions: fields of the table that this spelling changes.
        scale_stem: False where the stem keeps its width.
    """

    family: str
    width: float = 1.0
    weights: str | None = None
    conventions: dict[str, Any] = field(default_factory=dict)
    scale_stem: bool = True


# timm's spellings build timm's networks: its batch-norm eps, its padding, its stem below a width of 0.75.
LIBRARY_SPELLINGS: dict[str, Known] = {
    "mobilenetv1_100": Known("mobilenet_v1", 1.0, "timm:mobilenetv1_100"),
    "mobilenetv1_125": Known("mobilenet_v1", 1.25, "timm:mobilenetv1_125"),
    "mobilenetv2_035": Known("mobilenet_v2", 0.35),
    "mobilenetv2_050": Known("mobilenet_v2", 0.5, "timm:mobilenetv2_050"),
    "mobilenetv2_075": Known("mobilenet_v2", 0.75),
    "mobilenetv2_100": Known("mobilenet_v2", 1.0, "timm:mobilenetv2_100"),
    "mobilenetv2_140": Known("mobilenet_v2", 1.4, "timm:mobilenetv2_140"),
    "mobilenetv3_large_075": Known("mobilenet_v3_large", 0.75, None, {"bn_eps": 1e-5}),
    "mobilenetv3_large_100": Known("mobilenet_v3_large", 1.0, "timm:mobilenetv3_large_100", {"bn_eps": 1e-5}),
    "mobilenetv3_small_050": Known(
        "mobilenet_v3_small", 0.5, "timm:mobilenetv3_small_050", {"bn_eps": 1e-5}, scale_stem=False
    ),
    "mobilenetv3_small_075": Known("mobilenet_v3_small", 0.75, "timm:mobilenetv3_small_075", {"bn_eps": 1e-5}),
    "mobilenetv3_small_100": Known("mobilenet_v3_small", 1.0, "timm:mobilenetv3_small_100", {"bn_eps": 1e-5}),
    "tf_mobilenetv3_large_075": Known("mobilenet_v3_large", 0.75, "timm:tf_mobilenetv3_large_075", {"padding": "same"}),
    "tf_mobilenetv3_large_100": Known("mobilenet_v3_large", 1.0, "timm:tf_mobilenetv3_large_100", {"padding": "same"}),
    "tf_mobilenetv3_small_075": Known("mobilenet_v3_small", 0.75, "timm:tf_mobilenetv3_small_075", {"padding": "same"}),
    "tf_mobilenetv3_small_100": Known("mobilenet_v3_small", 1.0, "timm:tf_mobilenetv3_small_100", {"padding": "same"}),
}
# The widths that the papers or libraries publish; `family_NNN` takes any other percentage too.
PUBLISHED_WIDTHS: dict[str, tuple[float, ...]] = {
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.25),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.4),
    "mobilenet_v3_large": (0.35, 0.5, 0.75, 1.25),
    "mobilenet_v3_small": (0.35, 0.5, 0.75, 1.25),
}
CONVENTIONS = sorted(
    {field.name for field in fields(Table)}
    - {"name", "stem", "rows", "head", "num_classes", "in_channels", "input_size", "dropout"}
)


def published_weights(family: str, width: float) -> str | None:
    """The library's weights that fit a family at a width best; plain ones before those converted from TensorFlow."""
    found = [
        known.weights
        for known in LIBRARY_SPELLINGS.values()
        if known.family == family and known.width == width and known.weights
    ]
    return found[0] if found else None


def find_known(name: str) -> Known | None:
    """What `name` stands for among our own: a family, `family_NNN` with the width in percent, or timm's spelling of one."""
    spelling, dot, tag = name.partition(".")
    if spelling in LIBRARY_SPELLINGS:
        known = LIBRARY_SPELLINGS[spelling]
        return replace(known, weights=f"timm:{spelling}.{tag}") if dot else known
    family, _, percent = name.rpartition("_")
    if name in MODELS:
        return Known(name, 1.0, published_weights(name, 1.0))
    if family in MODELS and percent.isdigit() and len(percent) == 3 and int(percent) > 0:
        return Known(family, int(percent) / 100, published_weights(family, int(percent) / 100))
    return None


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes: our own, or those of a library for a pattern such as `timm:resnet*` or `torchvision:*`."""
    library, colon, rest = pattern.partition(":")
    if colon and library == "timm":
        import timm

        return [f"timm:{name}" for name in timm.list_models(rest)]
    if colon and library == "torchvision":
        return [f"torchvision:{name}" for name in fnmatch.filter(list_torchvision(), rest)]
    widths = [
        f"{family}_{round(100 * width):03d}" for family, published in PUBLISHED_WIDTHS.items() for width in published
    ]
    return sorted(fnmatch.filter([*MODELS, *widths, *LIBRARY_SPELLINGS], pattern))


def list_torchvision() -> list[str]:
    """Torchvision's classifiers."""
    from torchvision import models

    return models.list_models(module=models)


def small_image_strides(input_size: tuple[int, int], small_images: bool | None) -> int:
    """How many of the first strides are dropped: told to, or so many that about 4 pixels a side remain at the end."""
    if small_images is not None:
        return 2 if small_images else 0
    side = max(input_size)
    return 0 if side > 64 else 1 if side > 48 else 2


def family_table(
    name: str,
    *,
    num_classes: int = 1000,
    width_multiplier: float = 1.0,
    input_size: tuple[int, int] = (224, 224),
    small_images: bool | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    **conventions: Any,
) -> Table:
    """The table behind one of our own names, ready to build; arguments as in `create_model`.

    Raises:
        InputError: an unknown name or convention, or a value out of range.
    """
    known = find_known(name)
    if known is None:
        raise unknown_name("model", name, [*list_models(), "timm:NAME", "torchvision:NAME", "package.module:name"])
    for key in conventions:
        if key not in CONVENTIONS:
            raise unknown_name("option", key, CONVENTIONS, where=f"model '{name}'")
    if known.width != 1 and width_multiplier != 1:
        raise InputError(f"model '{name}': the name says its width already; drop width_multiplier = {width_multiplier}")
    table = replace(MODELS[known.family](), **{**known.conventions, **conventions})
    table = table.scaled(known.width * width_multiplier, scale_stem=known.scale_stem)
    return replace(
        table.for_small_images(small_image_strides(input_size, small_images)),
        name=name,
        num_classes=num_classes,
        in_channels=in_channels,
        input_size=input_size,
        dropout=table.dropout if dropout is None else dropout,
    )


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    pretrained: bool | str | Path | nn.Module = False,
    width_multiplier: float = 1.0,
    input_size: int | tuple[int, int] | None = None,
    small_images: bool | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    **options: Any,
) -> Network:
    """Build a network by name.

    Args:
        name: one of `list_models()` (`mobilenet_v2`, `mobilenet_v2_140`, timm's `mobilenetv2_140`), `timm:NAME`,
            `torchvision:NAME`, or `package.module:name`.
        num_classes: K; pretrained weights of another K keep everything but the classifier.
        pretrained: True (published weights for this name), `timm:NAME`, `torchvision:NAME`, a path that `save_network` wrote or
            a file of weights, or (for our own families) a library's module to copy from. Our families take over the weights'
            batch-norm eps, padding, skips and normalisation; `network.filled` says what was filled.
        width_multiplier: of our own families.
        input_size: side, or (height, width); None = the pretrained weights' own, else 224 (32 with small_images).
        small_images: our families only: True drops the first two strides (stem and first row of stride 2), so that 32 pixels
            end at 4; False keeps them; None drops two up to 48 pixels, one up to 64.
        in_channels: of the pictures.
        dropout: before the classifier; None = the family's or library's own.
        options: our families: fields of `Table` such as `bn_momentum`, `padding`; others: what their builder takes.

    Raises:
        InputError: an unknown name or option, or weights that cannot be had or do not fit.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size) if input_size else None
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InputError(f"model '{name}': input_size must be a side or (height, width) in pixels, got {input_size!r}")
    if type(num_classes) is not int or num_classes < 1:
        raise InputError(f"model '{name}': num_classes must be a whole number of at least 1, got {num_classes!r}")
    provider, colon, rest = name.partition(":")
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
    makers = {"timm": timm_network, "torchvision": torchvision_network}
    if provider not in makers and not is_outside(name):
        raise unknown_name("model", name, [*list_models(), "timm:NAME", "torchvision:NAME", "package.module:name"])
    if dropout is not None:
        options["drop_rate" if provider == "timm" else "dropout"] = dropout
    maker, target = (makers[provider], rest) if provider in makers else (outside_network, name)
    if isinstance(pretrained, str) and pretrained.startswith(f"{provider}:") and provider in makers:
        theirs = pretrained.partition(":")[2]
        if theirs.partition(".")[0] != rest.partition(".")[0]:
            raise InputError(f"model '{name}': cannot be filled from '{pretrained}', which is another network")
        target, pretrained = (theirs, True) if provider == "timm" else (rest, True)
    if isinstance(pretrained, bool):
        return maker(
            target,
            num_classes=num_classes,
            input_size=size,
            in_channels=in_channels,
            pretrained=pretrained,
            options=options,
        )
    if isinstance(pretrained, nn.Module) or (":" in str(pretrained) and not Path(pretrained).exists()):
        raise InputError(
            f"model '{name}': pretrained takes true, '{provider}:NAME' of the same network, or a path here"
        )
    network = maker(
        target, num_classes=num_classes, input_size=size, in_channels=in_channels, pretrained=False, options=options
    )
    return fill_from_path(network, Path(pretrained))


def create_own(
    name: str, size: tuple[int, int] | None, pretrained: bool | str | Path | nn.Module, width: float, **settings: Any
) -> TableNetwork:
    """`create_model` for our own families."""
    default = (32, 32) if settings["small_images"] else (224, 224)
    if pretrained is False:
        return build(family_table(name, input_size=size or default, width_multiplier=width, **settings))
    table = family_table(
        name, input_size=size or default, width_multiplier=width, **settings
    )  # a wrong option fails before a download
    known = find_known(name)
    assert known is not None  # family_table has found it
    full_width = known.width * width
    if pretrained is True:
        pretrained = published_weights(known.family, full_width) if width != 1 else known.weights
        if pretrained is None:
            have = sorted(
                {other.width for other in LIBRARY_SPELLINGS.values() if other.family == known.family and other.weights}
            )
            raise InputError(
                f"model '{name}': nobody published weights for a width of {full_width:g}; there are some for {have}"
            )

    def template(library: str, num_classes: int) -> nn.Module | None:
        like = [
            spelling
            for spelling, other in LIBRARY_SPELLINGS.items()
            if (other.family, other.width) == (known.family, full_width)
        ]
        if library == "timm" and like:
            spelling = name if name in like else like[0]
            return timm_network(
                spelling,
                num_classes=num_classes,
                input_size=None,
                in_channels=table.in_channels,
                pretrained=False,
                options={},
            ).module
        if library == "torchvision" and full_width == 1 and known.family in list_torchvision():
            return torchvision_network(
                known.family,
                num_classes=num_classes,
                input_size=None,
                in_channels=table.in_channels,
                pretrained=False,
                options={},
            ).module
        return None

    weights = find_weights(pretrained, template=template, in_channels=table.in_channels)
    if size is None and weights.input_size is not None and not settings["small_images"]:
        table = family_table(name, input_size=weights.input_size, width_multiplier=width, **settings)
    return fill_table(table, weights)
