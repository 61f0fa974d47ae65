"""The readers by name, and how one is called.

What does not live here: how any one kind of set is read.
"""

from __future__ import annotations

import inspect as introspection
from collections.abc import Callable, Mapping
from typing import Any

from limbeck.data.box_layouts import read_coco, read_voc_detection
from limbeck.data.box_sets import read_boxes, read_yolo
from limbeck.data.digits import read_digits
from limbeck.data.folder import read_folder
from limbeck.data.hub import read_hub
from limbeck.data.mask_layouts import read_cityscapes, read_voc_segmentation
from limbeck.data.mask_sets import read_masks
from limbeck.data.point_layouts import read_300w, read_cofw, read_wflw
from limbeck.data.point_sets import read_point_table, read_pts
from limbeck.data.radio.record import Signals
from limbeck.data.raw import RawData
from limbeck.data.signal_readers import (
    read_made_radio,
    read_radioml2016,
    read_radioml2018,
    read_sigmf_set,
    read_signal_set,
)
from limbeck.data.standard import read_cifar10, read_cifar100, read_imagenet, read_tiny_imagenet
from limbeck.data.table import read_table
from limbeck.errors import InputError, unknown_name
from limbeck.option_types import check_option_types
from limbeck.parts import find_part

__all__ = ["DATA", "read_any", "read_raw"]

DATA: dict[str, Callable[..., RawData | Signals]] = {
    "digits": read_digits,
    "folder": read_folder,
    "table": read_table,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "tiny_imagenet": read_tiny_imagenet,
    "imagenet": read_imagenet,
    "hub": read_hub,
    "masks": read_masks,
    "cityscapes": read_cityscapes,
    "voc_segmentation": read_voc_segmentation,
    "boxes": read_boxes,
    "coco": read_coco,
    "voc_detection": read_voc_detection,
    "yolo": read_yolo,
    "pts": read_pts,
    "points": read_point_table,
    "300w": read_300w,
    "wflw": read_wflw,
    "cofw": read_cofw,
    "radio": read_made_radio,
    "radioml2016": read_radioml2016,
    "radioml2018": read_radioml2018,
    "signals": read_signal_set,
    "sigmf": read_sigmf_set,
}
"""Readers by name. An outside one is any callable that returns a `RawData`, or a
`limbeck.data.radio.Signals`; it is handed the fields that its
signature names.
"""


def read_raw(
    name: str,
    fields: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> RawData:
    """`read_any`, of pictures.

    Raises:
        InputError: as `read_any`, or the reader's are signals.
    """
    found = read_any(name, fields, settings=settings, options=options)
    if isinstance(found, Signals):
        raise InputError(f"data '{name}': reads signals, and pictures are wanted here")
    return found


def read_any(
    name: str,
    fields: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> RawData | Signals:
    """Call a reader by name.

    Args:
        name: one of `DATA`, or `package.module:name`.
        fields: of a recipe's `[data]`; one that is set and that the reader does not take is an error.
        settings: handed over where the reader's signature names them.
        options: the reader's own further arguments.

    Raises:
        InputError: an unknown reader, field or option, an option of another type than its annotation says, neither a
            `RawData` nor `Signals` returned, or an option that it needs and nobody gave.
    """
    settings, options = settings or {}, options or {}
    reader = find_part("data set", name, DATA, where="data.name")
    parameters = introspection.signature(reader).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    defaults = {"image_column": "image", "label_column": "label"}
    for field, value in fields.items():
        if field not in parameters and not takes_any and value != defaults.get(field):
            raise InputError(f"data.{field} = {value!r}: '{name}' does not use it; leave it out")
    for option in options:
        if option in fields or option in settings:
            raise InputError(f"data.options.{option}: write it as data.{option}")
        if option not in parameters and not takes_any:
            raise unknown_name(
                "option", option, set(parameters) - set(fields) - set(settings), where=f"data.options of '{name}'"
            )
    handed = {field: value for field, value in {**fields, **settings}.items() if takes_any or field in parameters}
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in handed
        and key not in options
    ]
    if missing:
        raise InputError(f"data.options.{missing[0]}: '{name}' needs it")
    check_option_types(reader, options, where="data.options.")
    raw = reader(**handed, **options)
    if isinstance(raw, Signals):
        return raw
    if not isinstance(raw, RawData):
        raise InputError(f"data '{name}': returned {type(raw).__name__}, expected limbeck.data.RawData or Signals")
    if "train" not in raw.splits and raw.stream is None:
        raise InputError(f"data '{name}': no train split (found: {', '.join(raw.splits) or 'none'})")
    return raw
