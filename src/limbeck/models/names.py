"""The names of our own networks: families, widths, timm's spellings, and the table behind each.

Not here: building them and their weights (`load`), the families' rows (`families`).
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, fields, replace
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.families import MODELS
from limbeck.models.table import Table

__all__ = [
    "LIBRARY_SPELLINGS",
    "Known",
    "family_table",
    "find_known",
    "list_models",
    "list_torchvision",
    "published_weights",
    "unknown_model",
]


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
    "mobilenetv3_large_075": Known("mobilenet_v3_large", 0.75, "timm:tf_mobilenetv3_large_075", {"bn_eps": 1e-5}),
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
    """What `name` stands for among our own: a family, `family_NNN` (width in percent), or timm's spelling of one."""
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
    """Names that `create_model` takes: our own, or a library's for a pattern like `timm:resnet*`, `torchvision:*`."""
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


def unknown_model(name: str) -> InputError:
    """The error for a name that is none of ours, no library's and no outside part's."""
    return unknown_name("model", name, [*list_models(), "timm:NAME", "torchvision:NAME", "package.module:name"])


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
        raise unknown_model(name)
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
