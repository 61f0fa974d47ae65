"""Networks of a search space whose points are plain modules: wrapped as `Network`, and built again from space and point.

Not here: what a space is (`limbeck.search`), and networks from tables, which are data themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from limbeck.errors import InputError
from limbeck.models.library import ModuleNetwork
from limbeck.models.network import Network
from limbeck.models.providers import adopt_module, first_line
from limbeck.models.table import Table
from limbeck.parts import find_part

__all__ = ["SpaceBuilder", "SpaceNetwork", "space_network"]


class SpaceNetwork(ModuleNetwork):
    """A module that a space built; `architecture()` keeps the space's name and arguments, and the point."""

    def __init__(self, name: str, module: nn.Module, options: dict[str, Any], point: Mapping[str, Any], **owns: Any):
        super().__init__("space", name, module, options, **owns)
        self.point = dict(point)

    def architecture(self) -> dict[str, Any]:
        """The space, what it was made with, and the point beside what every network has."""
        return {**super().architecture(), "point": self.point}


@dataclass(frozen=True)
class SpaceBuilder:
    """Where a space came from and what data it is for: all that its modules are wrapped and built again by.

    Attributes:
        name: `package.module:name` of the space, or of the function that makes it.
        arguments: JSON of what that function was called with, a reference table as its own JSON; empty for a space.
        num_classes: K.
        input_size: (height, width) of modules that do not say their own.
        in_channels: of the pictures.
    """

    name: str
    arguments: Mapping[str, Any]
    num_classes: int
    input_size: tuple[int, int]
    in_channels: int = 3

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any], **data: Any) -> SpaceBuilder:
        """With a table among the arguments turned into JSON."""
        told = {key: one.to_json() if isinstance(one, Table) else one for key, one in arguments.items()}
        return cls(name, told, **data)

    def wrap(self, module: nn.Module, point: Mapping[str, Any], *, where: str = "") -> Network:
        """The module as a network; one of ours stays as it is.

        A module turns normalised pictures into logits. It may have `mean` and `std` (ImageNet's otherwise) and
        `input_size`, a side or (height, width), of its own.

        Raises:
            InputError: it fails on a picture, or does not give [N, num_classes] logits.
        """
        where = f"{where}: space '{self.name}'" if where else f"space '{self.name}'"
        if isinstance(module, Network):
            if module.num_classes != self.num_classes:
                raise InputError(f"{where}: built {module.num_classes} classes, expected {self.num_classes}")
            return module
        own = getattr(module, "input_size", self.input_size)
        height, width = (own, own) if isinstance(own, int) else own

        def wrapped(**owns: Any) -> ModuleNetwork:
            return SpaceNetwork(self.name, module, dict(self.arguments), point, **owns)

        shape = {"num_classes": self.num_classes, "input_size": (height, width), "in_channels": self.in_channels}
        return adopt_module(module, wrapped, where=where, source=self.name, **shape)


def space_network(
    name: str,
    *,
    num_classes: int,
    input_size: tuple[int, int],
    in_channels: int,
    options: Mapping[str, Any],
    point: Mapping[str, Any],
    where: str,
) -> Network:
    """Build the network of a `SpaceNetwork`'s architecture again, with fresh weights.

    Args:
        name: `package.module:name` of the space or its function; looked for also in the working directory.
        num_classes: K.
        input_size: that the network had.
        in_channels: of the pictures.
        options: arguments of the function.
        point: of the space.
        where: the file that says so.

    Raises:
        InputError: the module is missing, makes no space now, or one without this point.
    """
    space, told = find_part("space", name, {}, where=where), f"{where}: space '{name}'"
    if callable(space):
        try:
            space = space(**_arguments(options, where))
        except TypeError as error:
            raise InputError(
                f"{told}: is not made with {', '.join(options) or 'nothing'} ({first_line(error)})"
            ) from error
    if not all(callable(getattr(space, method, None)) for method in ("check", "build")):
        raise InputError(f"{told}: is a {type(space).__name__}, not a limbeck.search.Space")
    module = space.build(space.check(point, where=str(where)))
    if not isinstance(module, nn.Module):
        raise InputError(f"{told}: built a {type(module).__name__}, where it was a torch module")
    return SpaceBuilder(name, options, num_classes, input_size, in_channels).wrap(module, point, where=where)


def _arguments(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """As the function was called at first: a table is a table, a size a tuple."""
    arguments = dict(options)
    if isinstance(arguments.get("reference"), Mapping):
        arguments["reference"] = Table.from_json(arguments["reference"], where=where)
    if isinstance(arguments.get("picture_size"), list):
        arguments["picture_size"] = tuple(arguments["picture_size"])
    return arguments
