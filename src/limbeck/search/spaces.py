"""The spaces by name. Not here: what a space is (`space`) and how each is laid out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.models.space_network import SpaceBuilder
from limbeck.models.table import Table
from limbeck.parts import find_part
from limbeck.search.blocks import mobilenet_blocks
from limbeck.search.mnasnet import flat_space, mnasnet_space
from limbeck.search.space import Space

__all__ = ["SPACES", "open_space"]

SPACES: dict[str, Callable[..., Space]] = {
    "mobilenet_blocks": mobilenet_blocks,
    "mnasnet": mnasnet_space,
    "mnasnet_flat": flat_space,
}


def open_space(
    name: str,
    *,
    reference: str | Table,
    num_classes: int,
    picture_size: int | tuple[int, int],
    small_images: bool | None = None,
    **options: Any,
) -> Space:
    """Make a space of `SPACES`, or take one from outside.

    `package.module:name` is a `Space`, or a function that returns one: it is handed those of `reference`,
    `num_classes`, `picture_size` and `small_images` that it takes, and all of `options`.

    Raises:
        InputError: no such space, an option that it does not take, or something that is no space.
    """
    where = f"space '{name}'"
    part = find_part("space", name, SPACES, where="search.space")
    size = (picture_size, picture_size) if isinstance(picture_size, int) else picture_size
    if isinstance(part, Space):
        if options:
            raise InputError(f"{where}: takes no options, got '{next(iter(options))}'")
        return replace(part, builder=SpaceBuilder(name, {}, num_classes, size))
    given = {
        "reference": reference,
        "num_classes": num_classes,
        "picture_size": picture_size,
        "small_images": small_images,
    }
    if not callable(part):
        raise InputError(f"{where}: is a {type(part).__name__}, not a Space or a function that returns one")
    parameters = inspect.signature(part).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    for option in options:
        if option not in names and not takes_all:
            known = [name for name in names if name not in given]
            raise unknown_name("option", option, known, where=f"search.options of {where}")
    arguments = {key: value for key, value in given.items() if key in names or takes_all} | options
    space = part(**arguments)
    if not isinstance(space, Space):
        raise InputError(f"{where}: returned a {type(space).__name__}, not a Space")
    if name in SPACES:  # tables all of them
        return space
    return replace(space, builder=SpaceBuilder.of(name, arguments, num_classes=num_classes, input_size=size))
