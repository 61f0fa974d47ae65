"""Orders of points by name: which change places in a mirror, and between which an error is measured.

What does not live here: moving points (`data`), the figures (`tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from limbeck.errors import InputError, unknown_name

__all__ = ["SCHEMES", "PointScheme", "as_ends", "choose_scheme", "find_scheme", "mirror_order", "scheme_of"]

Ends = tuple[tuple[int, ...], tuple[int, ...]]
"""Two sets of points; the distance is that between their centres."""


@dataclass(frozen=True)
class PointScheme:
    """An order of points.

    Attributes:
        name: by which recipes call it.
        points: L.
        mirrored: pairs that change places in a mirror, every other point stays; None = nobody said.
        normalizers: what errors are divided by, by name: the distance between two points or centres of points.
    """

    name: str
    points: int
    mirrored: tuple[tuple[int, int], ...] | None
    normalizers: Mapping[str, Ends]

    def mirror(self) -> tuple[int, ...] | None:
        """[L] which point of the picture stands in each place of its mirror image; None where nobody said."""
        return None if self.mirrored is None else mirror_order(self.points, self.mirrored)


def mirror_order(points: int, pairs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """[L] which point stands in each place after a mirror.

    Args:
        points: L.
        pairs: points that change places.

    Raises:
        InputError: a pair of another form, a point that there is not, or one in two pairs.

    Example:
        >>> mirror_order(4, [(0, 2)])
        (2, 1, 0, 3)
    """
    order, seen = list(range(points)), set[int]()
    if not isinstance(pairs, (list, tuple)):
        raise InputError(f"mirrored = {pairs!r}: expected pairs of the points 0 .. {points - 1}")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not _are_points(pair, points):
            raise InputError(f"mirrored = {_shown(pair)}: expected two of the points 0 .. {points - 1}")
        if seen & set(pair) or pair[0] == pair[1]:
            raise InputError(f"mirrored = {list(pair)}: a point can change places with one other only")
        seen |= set(pair)
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
    return tuple(order)


def find_scheme(name: str) -> PointScheme:
    """A scheme by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SCHEMES:
        raise unknown_name("point scheme", name, SCHEMES)
    return SCHEMES[name]


def scheme_of(points: int) -> PointScheme | None:
    """The scheme that has so many points; None where there is none."""
    return next((scheme for scheme in SCHEMES.values() if scheme.points == points), None)


def choose_scheme(
    points: int,
    *,
    name: str | None = None,
    mirrored: Sequence[Sequence[int]] | None = None,
    normalizers: Mapping[str, Sequence[int | Sequence[int]]] | None = None,
) -> PointScheme:
    """The scheme of a set: by name, else by its number of points, with what is said otherwise.

    Args:
        points: L.
        name: of `SCHEMES`; None = the one of so many points, where there is one.
        mirrored: pairs that change places in a mirror; None = those of the scheme.
        normalizers: name -> two points, or two lists of points whose centres are meant; added to those of the scheme.

    Raises:
        InputError: an unknown name, one of another number of points, wrong pairs, wrong points, or a normalizer called
            `box`.
    """
    known = find_scheme(name) if name else scheme_of(points)
    if known is not None and known.points != points:
        raise InputError(f"point scheme '{known.name}' has {known.points} points; the set has {points}")
    made = known or PointScheme(f"points{points}", points, None, {})
    if mirrored is not None:
        mirror_order(points, mirrored)
        made = replace(made, mirrored=tuple((int(pair[0]), int(pair[1])) for pair in mirrored))
    if not isinstance(normalizers or {}, Mapping):
        raise InputError(f"normalizers = {normalizers!r}: expected names, each with two points or two lists of them")
    if "box" in (normalizers or {}):
        raise InputError("normalizers.box: the name of the points' own box, which is there already; take another name")
    added = {key: as_ends(ends, points, where=f"normalizers.{key}") for key, ends in (normalizers or {}).items()}
    return replace(made, normalizers={**made.normalizers, **added}) if added else made


def as_ends(ends: Sequence[int | Sequence[int]], points: int, *, where: str) -> Ends:
    """Two points, or two lists of points, as two sets.

    Raises:
        InputError: another form, a point that there is not, or twice the same.
    """
    given = tuple(ends) if isinstance(ends, (list, tuple)) else ()
    sets = tuple(tuple(one) if isinstance(one, (list, tuple)) else (one,) for one in given)
    if len(sets) != 2 or not all(one and _are_points(one, points) for one in sets):
        raise InputError(
            f"{where} = {_shown(ends)}: expected two of the points 0 .. {points - 1}, or two lists of them"
        )
    if set(sets[0]) == set(sets[1]):
        raise InputError(f"{where} = {_shown(ends)}: both ends are the same; the distance between them is 0")
    return sets[0], sets[1]


def _are_points(given: Sequence[object], points: int) -> bool:
    return all(type(one) is int and 0 <= one < points for one in given)


def _shown(given: object) -> str:
    return repr(list(given) if isinstance(given, tuple) else given)


def _across(first: range, total: int) -> tuple[tuple[int, int], ...]:
    """Pairs i <-> total - i."""
    return tuple((i, total - i) for i in first)


_FACE68 = PointScheme(
    "face68",
    68,
    (
        *_across(range(8), 16),
        *((17, 26), (18, 25), (19, 24), (20, 23), (21, 22), (31, 35), (32, 34)),
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
        *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
    ),
    {"inter_ocular": ((36,), (45,)), "inter_pupil": (tuple(range(36, 42)), tuple(range(42, 48)))},
)  # fmt: skip

_FACE29 = PointScheme(
    "face29",
    29,
    ((0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)),
    {"inter_ocular": ((8,), (9,)), "inter_pupil": ((16,), (17,))},
)  # fmt: skip

_FACE98 = PointScheme(
    "face98",
    98,
    (
        *_across(range(16), 32),
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
        *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73), (55, 59), (56, 58)),
        *((76, 82), (77, 81), (78, 80), (83, 87), (84, 86), (88, 92), (89, 91), (93, 95), (96, 97)),
    ),
    {"inter_ocular": ((60,), (72,)), "inter_pupil": ((96,), (97,))},
)  # fmt: skip

SCHEMES: dict[str, PointScheme] = {one.name: one for one in (_FACE68, _FACE29, _FACE98)}
"""`face68`: iBUG's, of 300W; `face29`: COFW's; `face98`: WFLW's. Pairs as their users' code has them."""
