"""Which stages of two networks belong together, where methods learn from features. What is learned there: `features`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from limbeck.distill.sources import numbered_stages, stage_list
from limbeck.errors import InputError, unknown_name

__all__ = ["pair_pools", "pair_stages"]


def pair_stages(
    student: nn.Module,
    teacher: nn.Module,
    *,
    student_stages: Sequence[str] | None = None,
    teacher_stages: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """Stages of the student with the teacher's that they learn from, from input to output.

    Of `stage1`, `stage2` ... , each stage of the network that has fewer of them is paired with the first of the other at
    the same relative depth or beyond: the last with the last, and four with the third, sixth, ninth and twelfth of
    twelve. Sizes do not count. Where the stages of one side are named, those of the other are found in the same way, or
    by the same name (`pool` with `pool`).

    Args:
        student: the network that learns.
        teacher: the network that it learns from.
        student_stages: instead of the automatic ones.
        teacher_stages: instead of the automatic ones; as many as `student_stages`, if both are named.

    Raises:
        InputError: a network has no such stages, a name that finds no partner, or two lists of different lengths.
    """
    student_stages, teacher_stages = _as_list(student_stages), _as_list(teacher_stages)
    if student_stages is not None and teacher_stages is not None:
        if len(student_stages) != len(teacher_stages) or not student_stages:
            raise InputError(
                f"stages: student_stages names {len(student_stages)} and teacher_stages {len(teacher_stages)}; "
                "they are paired in order"
            )
        return list(zip(student_stages, teacher_stages, strict=True))
    if student_stages is not None:
        return [(name, _partner(name, student, teacher, other="teacher_stages")) for name in student_stages]
    if teacher_stages is not None:
        return [(_partner(name, teacher, student, other="student_stages"), name) for name in teacher_stages]
    ours, theirs = _numbered(student, named="student_stages"), _numbered(teacher, named="teacher_stages")
    if len(ours) <= len(theirs):
        return [(name, _at_depth(place, ours, theirs)) for place, name in enumerate(ours, 1)]
    return [(_at_depth(place, theirs, ours), name) for place, name in enumerate(theirs, 1)]


def pair_pools(
    student: nn.Module,
    teacher: nn.Module,
    *,
    student_stages: Sequence[str] | None = None,
    teacher_stages: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """As `pair_stages`, but of automatic ones what the classifiers read, `pool`; the last pair where one has none.

    Raises:
        InputError: as `pair_stages`.
    """
    if student_stages is None and teacher_stages is None:
        if all("pool" in stage_list(network) for network in (student, teacher)):
            return [("pool", "pool")]
        return pair_stages(student, teacher)[-1:]
    return pair_stages(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)


def _as_list(stages: Sequence[str] | None) -> Sequence[str] | None:
    return [stages] if isinstance(stages, str) else stages


def _numbered(network: nn.Module, *, named: str) -> list[str]:
    found = numbered_stages(network)
    if not found:
        raise InputError(f"stages: {type(network).__name__} has no stage1, stage2 ...; name its {named}")
    return found


def _at_depth(place: int, of: Sequence[str], among: Sequence[str]) -> str:
    """The first of `among` that is at least as deep, relative to its number, as the `place`-th of `of`."""
    return among[-(-place * len(among) // len(of)) - 1]


def _partner(name: str, one: nn.Module, another: nn.Module, *, other: str) -> str:
    if name not in stage_list(one):
        raise unknown_name("stage", name, stage_list(one))
    if name in (numbered := numbered_stages(one)):
        return _at_depth(numbered.index(name) + 1, numbered, _numbered(another, named=other))
    if name not in stage_list(another):
        raise InputError(f"stages: no partner of '{name}' in {type(another).__name__}; name the {other} too")
    return name
