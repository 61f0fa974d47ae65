"""The names of our own networks: families, widths, libraries' spellings, and the table behind each.

Not here: building them and their weights (`load`), the families' rows (`families`), the spellings (`spellings`).
"""

from __future__ import annotations

import fnmatch
from dataclasses import fields, replace
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.cifar import CIFAR, CIFAR_SPELLINGS, find_cifar
from limbeck.models.families import MODELS, at_width
from limbeck.models.providers import timm_name
from limbeck.models.signal import SIGNAL_TABLES, SIGNALS
from limbeck.models.signal.names import check_shape
from limbeck.models.spellings import PUBLISHED_WIDTHS, TIMM, TORCHVISION, Known, published_weights
from limbeck.models.table import Table

__all__ = ["family_table", "find_known", "list_models", "list_torchvision", "unknown_model"]

CONVENTIONS = sorted(
    {field.name for field in fields(Table)}
    - {"name", "stem", "rows", "head", "num_classes", "in_channels", "input_size", "dropout", "dims"}
)


def find_known(name: str) -> Known | None:
    """What `name` stands for: a family, `family_NNN` (width in percent), or a library's spelling of one, tag and all."""
    spelling, dot, _ = name.partition(".")
    if dot and spelling in TIMM:
        return replace(TIMM[spelling], weights=f"timm:{name}")
    if name in MODELS:
        return Known(name, 1.0, published_weights(name, 1.0))
    if name in TIMM or name in TORCHVISION:
        return TIMM.get(name) or TORCHVISION[name]
    family, _, percent = name.rpartition("_")
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
    from limbeck.models.heads.names import list_dense  # which are named after the families here

    ours = {*MODELS, *widths, *TIMM, *TORCHVISION, *CIFAR, *CIFAR_SPELLINGS, *SIGNALS, *SIGNAL_TABLES, *list_dense()}
    return sorted(fnmatch.filter(ours, pattern))


def unknown_model(name: str) -> InputError:
    """The error for a name that is none of ours, no library's and no outside part's."""
    import timm

    if timm.is_model(timm_name(name).partition(".")[0]):
        return InputError(f"model '{name}': is a network of timm; write 'timm:{name}'")
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
    input_size: tuple[int, int] | None = None,
    small_images: bool | None = None,
    in_channels: int | None = None,
    dropout: float | None = None,
    width_rule: str | None = None,
    **conventions: Any,
) -> Table:
    """The table behind one of our own names, ready to build; arguments as in `create_model`.

    Raises:
        InputError: an unknown name or convention, or a value out of range.
    """
    if find_cifar(name) or name in SIGNALS:
        tables = SIGNAL_TABLES if name in SIGNALS else MODELS
        raise InputError(f"model '{name}': is not built from a table of a family ({', '.join(tables)})")
    known = find_known(name)
    if known is None and name not in SIGNAL_TABLES:
        raise unknown_model(name)
    for key in conventions:
        if key not in CONVENTIONS:
            raise unknown_name("option", key, [*CONVENTIONS, "width_rule"], where=f"model '{name}'")
    if known is None:
        if small_images or width_rule:
            raise InputError(f"model '{name}': is for signals; drop small_images, width_rule")
        table = replace(SIGNAL_TABLES[name][0](), **conventions).scaled(width_multiplier)
        return replace(
            table,
            num_classes=num_classes,
            input_size=check_shape(
                name, input_size or table.input_size, table.in_channels if in_channels is None else in_channels
            ),
            dropout=table.dropout if dropout is None else dropout,
        )
    if known.width != 1 and width_multiplier != 1:
        raise InputError(f"model '{name}': the name says its width already; drop width_multiplier = {width_multiplier}")
    table = replace(MODELS[known.family](), **{**known.conventions, **conventions})
    table = at_width(table, known.width * width_multiplier, width_rule or known.rule)
    size = input_size or ((32, 32) if small_images else table.input_size)
    return replace(
        table.for_small_images(small_image_strides(size, small_images)),
        name=name,
        num_classes=num_classes,
        in_channels=3 if in_channels is None else in_channels,
        input_size=size,
        dropout=table.dropout if dropout is None else dropout,
    )
