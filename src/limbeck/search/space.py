"""What a search space is: named choices and one builder. No particular space lives here, and nothing is sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limbeck.errors import InputError, LimbeckError, unknown_name
from limbeck.files import fingerprint

if TYPE_CHECKING:  # a study over anything else runs without torch
    from limbeck.models import Network, Table
    from limbeck.models.space_network import SpaceBuilder

__all__ = ["Point", "Scalar", "Space"]

Scalar = str | int | float | bool
Point = dict[str, Scalar]  # one id per choice


@dataclass(frozen=True)
class Space:
    """Named choices with scalar ids, and what builds a network from one id of each.

    Attributes:
        name: what reports call it.
        choices: the ids of each choice; their order is the order of the decisions.
        build: point -> `Table`, or any `nn.Module` (`candidate`); must accept every point of the space.
        reference: the point that stands for the unchanged reference network; a search tries it first.
        origin: JSON that tells this space from another with the same choices (builder, reference, options).
        builder: how `open_space` came by it; None where it was made in Python, or is one of ours.

    Raises:
        InputError: a choice is empty, repeats an id or has one that is not a scalar, or the reference is not a point.
    """

    name: str
    choices: Mapping[str, tuple[Scalar, ...]]
    build: Callable[[Point], Any]
    reference: Mapping[str, Scalar]
    origin: Mapping[str, Any] = field(default_factory=dict)
    builder: SpaceBuilder | None = None

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError(f"space '{self.name}': has no choices")
        for choice, ids in self.choices.items():
            if not ids:
                raise InputError(f"space '{self.name}': choice '{choice}' has no ids")
            if wrong := [one for one in ids if not isinstance(one, str | int | float | bool)]:
                raise InputError(f"space '{self.name}': choice '{choice}' has {wrong[0]!r}, which is not a scalar")
            if len(set(ids)) != len(ids):
                raise InputError(f"space '{self.name}': choice '{choice}' repeats an id ({', '.join(map(repr, ids))})")
        object.__setattr__(self, "choices", {choice: tuple(ids) for choice, ids in self.choices.items()})
        object.__setattr__(self, "reference", self.check(self.reference, where="its reference"))

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(len(ids) for ids in self.choices.values())

    @property
    def fingerprint(self) -> str:
        """Tells two spaces apart; a study is bound to it."""
        choices = [[choice, list(ids)] for choice, ids in self.choices.items()]
        return fingerprint([self.name, choices, dict(self.reference), dict(self.origin)])

    def check(self, point: Mapping[str, Any], *, where: str = "point") -> Point:
        """Return `point` with its keys in the order of the choices and its ids as the space writes them.

        A point that came back from JSON is equal to the one that went in.

        Raises:
            InputError: an unknown or missing choice, or an id that the choice does not have.
        """
        prefix = f"space '{self.name}', {where}"
        if unknown := [name for name in point if name not in self.choices]:
            raise unknown_name("choice", str(unknown[0]), self.choices, where=prefix)
        if missing := [name for name in self.choices if name not in point]:
            raise InputError(f"{prefix}: choice '{missing[0]}' is missing")
        checked: Point = {}
        for name, ids in self.choices.items():
            given = point[name]
            found = [one for one in ids if one == given and isinstance(one, bool) == isinstance(given, bool)]
            if not found:
                raise InputError(f"{prefix}: {name} = {given!r} is none of {', '.join(map(repr, ids))}")
            checked[name] = found[0]
        return checked

    def candidate(self, point: Mapping[str, Any]) -> Table | Network:
        """What a point builds, as everything that counts, times or trains it takes it: both have `params` and `macs`.

        A plain module is wrapped as a network that can be saved: it keeps the space's name and the point.

        Raises:
            InputError: `build` failed, or gave something else, a module that gives no logits for the data's classes, or a module
                where nothing is known of which it could be built again.
        """
        from torch import nn

        from limbeck.models import Network, Table

        try:
            built = self.build(dict(point))
        except LimbeckError:
            raise
        except Exception as error:  # anyone's builder
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError(f"space '{self.name}': {dict(point)} cannot be built ({what})") from error
        if isinstance(built, Table):
            return built
        if not isinstance(built, nn.Module):
            raise InputError(
                f"space '{self.name}': build gave a {type(built).__name__}, expected a Table or a torch module"
            )
        if self.builder is not None:
            return self.builder.wrap(built, self.check(point))
        if isinstance(built, Network):
            return built
        raise InputError(
            f"space '{self.name}': builds modules, which are built again by the space's name; "
            "open it with open_space('package.module:name', ...)"
        )

    def network(self, point: Mapping[str, Any]) -> Network:
        """The network of a point with fresh weights (torch's random state).

        Raises:
            InputError: as `candidate`.
        """
        from limbeck.models import Table, build

        built = self.candidate(point)
        return build(built) if isinstance(built, Table) else built
