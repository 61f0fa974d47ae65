"""One edge of a distillation graph: the record `Term`, and what becomes of it once names are looked up. No sources."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.distill.anchors import ANCHOR_LOSSES
from limbeck.distill.pixels import PER_PIXEL, as_pixel_rows, is_map
from limbeck.distill.sources import read
from limbeck.errors import InputError, unknown_name
from limbeck.losses import LOSSES, check_options, loss_options
from limbeck.losses.checks import HANDED_OVER, positional_names
from limbeck.models.heads import AnchorOutputs
from limbeck.option_types import check_option_types
from limbeck.parts import find_part
from limbeck.types import Batch, Outputs

__all__ = ["SCHEDULES", "TASK", "Edge", "Term", "find_loss", "open_edge"]

TASK = "task"
"""The name that stands for the supervised criterion of the task in a term's `loss`."""

SCHEDULES: dict[str, Callable[[Tensor], Tensor | float]] = {
    "constant": lambda progress: 1.0,
    "linear_up": lambda progress: progress,
    "linear_down": lambda progress: 1 - progress,
    "cosine_up": lambda progress: (1 - torch.cos(torch.pi * progress)) / 2,
    "cosine_down": lambda progress: (1 + torch.cos(torch.pi * progress)) / 2,
}
"""Factor on a term's weight by the share of training done."""

CONTEXT = ("student_shape", "student_shapes", "teacher_shape", "teacher_shapes", "num_samples")
"""What the constructor of a loss with parameters is handed where it names it."""

Address = str | tuple[str, ...]


@dataclass(frozen=True)
class Term:
    """One edge of a graph: what a learner takes from something else.

    Attributes:
        loss: a name of `LOSSES`, `package.module:name`, `task` (the supervised criterion), or the callable itself. A
            class is built once, from the shapes of its inputs (`student_shape`, `teacher_shape` without the batch
            axis; a tuple of such with several teachers) and `num_samples`, each where its constructor names it, and
            trained along. A loss on several levels at once calls its tensors `students` and `teachers`, each handed
            over as one tuple, and their shapes `student_shapes` and `teacher_shapes`.
        student: the address that learns: `source`, `source/stage` or `source/exit`; several of one source for a loss on
            several levels.
        teacher: the address or addresses that it learns from; a loss that takes one tensor only is given none.
        weight: factor in the sum.
        schedule: how the weight runs over training.
        warmup: share of training over which the weight rises from 0 in a line, beside the schedule.
        name: in logs; None = the loss's name, led by the source's where that is not the student.
        options: the loss's hyper-parameters.
    """

    loss: str | Callable[..., Any]
    student: Address = "student"
    teacher: Address | None = "teacher"
    weight: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.0
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES, where=f"term '{self.title}'")
        for name in ("weight", "warmup"):
            if not isinstance(number := getattr(self, name), Real) or isinstance(number, bool):
                raise InputError(f"term '{self.title}': {name} = {number!r}: expected a number")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"term '{self.title}': warmup must lie in [0, 1], not {self.warmup}")
        for side in ("student", "teacher"):
            if isinstance(given := getattr(self, side), list):  # as JSON and TOML give it
                object.__setattr__(self, side, tuple(given))
        if not self.students:
            raise InputError(f"term '{self.name or self.loss}': names no student's address")
        if len(sources := {address.partition("/")[0] for address in self.students}) > 1:
            raise InputError(f"{self.arrow}: one source learns by a term, not {' and '.join(sorted(sources))}")

    @property
    def title(self) -> str:
        """The name in logs and errors."""
        if self.name:
            return self.name
        own = self.loss if isinstance(self.loss, str) else getattr(self.loss, "__name__", type(self.loss).__name__)
        own = own.rpartition(":")[2]
        return own if self.learner == "student" else f"{self.learner}_{own}"

    @property
    def students(self) -> tuple[str, ...]:
        """The addresses that learn."""
        return (self.student,) if isinstance(self.student, str) else self.student

    @property
    def learner(self) -> str:
        """The source that learns."""
        return self.students[0].partition("/")[0]

    @property
    def teachers(self) -> tuple[str, ...]:
        """The addresses of the teacher side that the loss takes."""
        if self.loss == TASK or self.teacher is None:
            return ()
        given = (self.teacher,) if isinstance(self.teacher, str) else self.teacher
        # "teacher" is the record's default: a loss of one tensor simply has no use for it
        return () if given == ("teacher",) and len(_tensor_names(find_loss(self))) == 1 else given

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them, the student's first."""
        return (*self.students, *self.teachers)

    @property
    def arrow(self) -> str:
        """The edge in words, for errors."""
        sides = [", ".join(side) for side in (self.students, self.teachers) if side]
        return f"term '{self.title}' ({' <- '.join(sides)})"


@dataclass
class Edge:
    """A term ready to run.

    Attributes:
        name: its key in what the objective returns.
        term: where it came from.
        call: the loss, the criterion or a built module.
        addresses: what it is given by position: an address for each tensor, a tuple of them for a tuple of tensors.
        keywords: those of `target`, `index`, `progress`, `snr` that the loss takes.
        options: hyper-parameters of the call (a built module has its own already).
        by_pixel: whether maps of logits are handed over as rows, one for each pixel (`pixels`).
    """

    name: str
    term: Term
    call: Callable[..., Tensor]
    addresses: tuple[Address, ...]
    keywords: tuple[str, ...]
    options: Mapping[str, Any]
    by_pixel: bool = False

    def value(self, seen: Mapping[str, Outputs], batch: Batch, progress: Tensor, labelled: Tensor | None) -> Tensor:
        """The unweighted value; `labelled` selects the rows for a loss that needs labels, None = all of them."""
        inputs = [_each(partial(read, seen), address) for address in self.addresses]
        known = {"target": batch.target, "index": batch.index, "snr": batch.further.get("snr")}
        handed = {name: value for name, value in known.items() if name in self.keywords and value is not None}
        if labelled is not None and "target" in handed:
            if not bool(labelled.any()):
                return self._nothing(inputs[0])
            inputs = [_each(lambda tensor: tensor[labelled], given) for given in inputs]
            handed = {name: value[labelled] for name, value in handed.items()}
        if self.by_pixel:
            rows, target = as_pixel_rows(inputs, handed.get("target"))
            if not len(rows[0]):
                return self._nothing(inputs[0])
            inputs, handed = rows, handed if target is None else {**handed, "target": target}
        if "progress" in self.keywords:
            handed["progress"] = progress
        return self.call(*inputs, **handed, **self.options)

    def _nothing(self, student: Any) -> Tensor:
        """A zero that is still connected: every process must reach the same parameters, those of the loss included."""
        tensors = [student] if isinstance(student, Tensor) else list(student)
        if isinstance(self.call, nn.Module):
            tensors += [parameter for parameter in self.call.parameters() if parameter.requires_grad]
        return sum(tensor.sum() * 0.0 for tensor in tensors)

    def weight(self, progress: Tensor) -> Tensor | float:
        """The weight at this share of training."""
        factor = SCHEDULES[self.term.schedule](progress)
        if self.term.warmup:
            factor = factor * (progress / self.term.warmup).clamp(max=1.0)
        return self.term.weight * factor


def find_loss(term: Term) -> Any:
    """The function or class behind a term's loss.

    Raises:
        InputError: no such loss.
    """
    if isinstance(term.loss, str):
        return find_part("loss", term.loss, {**LOSSES, **ANCHOR_LOSSES, TASK: None}, where=f"term '{term.title}'")
    return term.loss


def check_term(term: Term) -> None:
    """Check what needs no networks: the loss's name, its options, the number of teachers.

    Raises:
        InputError: any of them is wrong.
    """
    if term.loss == TASK:
        check_options({}, term.options, where=term.arrow)
        _inputs(term, None)
        return
    loss = find_loss(term)
    schema = loss_options(loss.forward if isinstance(loss, nn.Module) else loss)
    known = {name: value for name, value in schema.items() if name not in CONTEXT}
    check_options(known, term.options, where=term.arrow)
    check_option_types(
        loss.forward if isinstance(loss, nn.Module) else loss, term.options, where=f"{term.arrow}: option "
    )
    takes, given = len(_tensor_names(loss)), len(_inputs(term, loss))
    if given != takes and not _takes_any(loss):
        raise InputError(f"{term.arrow}: the loss takes {takes} tensor(s), but {given} address(es) are given")


def open_edge(
    term: Term, name: str, seen: Mapping[str, Outputs], *, criterion: Callable[..., Tensor], num_samples: int | None
) -> Edge:
    """Make a term ready to run; a loss with parameters is built from the shapes found in `seen`.

    Raises:
        InputError: as `check_term`, or a loss needs `num_samples` and it is not known.
    """
    check_term(term)
    loss, options = find_loss(term), dict(term.options)
    addresses = _inputs(term, loss)
    if term.loss == TASK:
        return Edge(name, term, lambda out, target: criterion(out, target), addresses, ("target",), {})
    if term.loss in LOSSES and any(isinstance(read(seen, a), AnchorOutputs) for a in term.addresses):
        known = ", ".join(ANCHOR_LOSSES)
        raise InputError(f"{term.arrow}: takes logits or maps, and a detector gives boxes; name stages, or use {known}")
    if inspect.isclass(loss):
        ours, theirs = (
            tuple(tuple(read(seen, address).shape[1:]) for address in side) for side in (term.students, term.teachers)
        )
        known = {"student_shape": ours[0], "student_shapes": ours, "num_samples": num_samples}
        if theirs:
            known |= {"teacher_shape": theirs[0] if len(theirs) == 1 else theirs, "teacher_shapes": theirs}
        asked = {key: value for key, value in known.items() if key in inspect.signature(loss).parameters}
        if "num_samples" in asked and num_samples is None:
            raise InputError(
                f"{term.arrow}: needs the size of the data set; give num_samples, and data that is not streamed"
            )
        loss, options = loss(**asked, **options), {}
        like = read(seen, term.students[0])
        loss = loss.to(like.device)
    parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    says_logits = all(address.partition("/")[2] in ("", "logits") for address in term.addresses)
    by_pixel = says_logits and term.loss in PER_PIXEL and all(is_map(read(seen, a)) for a in term.addresses)
    return Edge(name, term, loss, addresses, tuple(key for key in HANDED_OVER if key in parameters), options, by_pixel)


def _inputs(term: Term, loss: Any) -> tuple[Address, ...]:
    """What the loss is given by position, as addresses; tuples where its names for them are plurals."""
    names = _tensor_names(loss)
    if names[:1] == ("students",):
        first: Address = term.students
    elif len(term.students) == 1:
        first = term.students[0]
    else:
        raise InputError(f"{term.arrow}: the loss takes one student's address, not {len(term.students)}")
    return (first, term.teachers) if names[1:2] == ("teachers",) and term.teachers else (first, *term.teachers)


def _each(make: Callable[[Any], Any], given: Any) -> Any:
    """`make` of a value, or of each in a tuple."""
    return tuple(make(one) for one in given) if isinstance(given, tuple) else make(given)


def _tensor_names(loss: Any) -> tuple[str, ...]:
    if loss is None:
        return ("student",)
    names = positional_names(_call_of(loss))
    return names[1:] if inspect.isclass(loss) else names  # a class's own `self`


def _takes_any(loss: Any) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(_call_of(loss)).parameters.values())


def _call_of(loss: Any) -> Any:
    return loss.forward if inspect.isclass(loss) or isinstance(loss, nn.Module) else loss
