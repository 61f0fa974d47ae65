"""The table of named methods, and the objectives made of them or of terms written by hand. The methods themselves are
in `offline`, `self_taught` and `online`, the papers' values in `presets`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from limbeck.distill.branched import byot, one
from limbeck.distill.features import at, crd, cwd, fitnet, mgd, pkd, reviewkd, rkd, sp
from limbeck.distill.graph import Graph, teacher_names, with_teachers
from limbeck.distill.landmarks import two_teacher
from limbeck.distill.objective import Distillation
from limbeck.distill.offline import ctkd, dist, dkd, kd, lskd, nkd, odkd, skd, tf_kd_self, wsld, wttm
from limbeck.distill.online import bdkd, dml, kdcl, switokd
from limbeck.distill.presets import PRESETS
from limbeck.distill.self_taught import cs_kd, label_smoothing, nkd_ema, nkd_memory, ps_kd, tf_kd, uskd, zipf_ls
from limbeck.distill.sources import Frozen, Learner
from limbeck.distill.term import TASK, Term, check_term
from limbeck.errors import InputError, unknown_name
from limbeck.losses import check_options
from limbeck.option_types import check_option_types
from limbeck.parts import find_part
from limbeck.types import Batch

__all__ = [
    "METHODS",
    "PRESETS",
    "Graph",
    "check_method",
    "check_terms",
    "distillation",
    "distillation_from_terms",
    "method_options",
    "teacher_role",
    "tells_teachers_apart",
]

ROLES = ("student", "teacher", "ready_teachers", "peer", "peers", "criterion", "example", "num_samples", "epochs")
"""What a method is handed where its signature names it: `teacher` is ready and frozen, `ready_teachers` two or more
that are, `peer` trains from scratch along, and `peers` are one or several that do.
"""


METHODS: dict[str, Callable[..., Graph | Distillation]] = {
    "at": at,
    "bdkd": bdkd,
    "byot": byot,
    "cs_kd": cs_kd,
    "crd": crd,
    "ctkd": ctkd,
    "cwd": cwd,
    "dist": dist,
    "dkd": dkd,
    "dml": dml,
    "fitnet": fitnet,
    "kd": kd,
    "kdcl": kdcl,
    "label_smoothing": label_smoothing,
    "lskd": lskd,
    "mgd": mgd,
    "nkd": nkd,
    "nkd_ema": nkd_ema,
    "nkd_memory": nkd_memory,
    "odkd": odkd,
    "one": one,
    "pkd": pkd,
    "ps_kd": ps_kd,
    "reviewkd": reviewkd,
    "rkd": rkd,
    "skd": skd,
    "sp": sp,
    "switokd": switokd,
    "tf_kd": tf_kd,
    "tf_kd_self": tf_kd_self,
    "two_teacher": two_teacher,
    "uskd": uskd,
    "wsld": wsld,
    "wttm": wttm,
    "zipf_ls": zipf_ls,
}
"""Name -> method; its keyword-only parameters are the option schema (`method_options`)."""


def distillation(
    method: str,
    *,
    student: nn.Module,
    teacher: nn.Module | Sequence[nn.Module] | None = None,
    teacher_shares: Sequence[float] | None = None,
    criterion: Callable[[Any, Tensor], Tensor] | None = None,
    example: Batch | None = None,
    num_samples: int | None = None,
    epochs: int | None = None,
    **options: Any,
) -> Distillation:
    """Make the objective of a named method, or of anyone's `package.module:name` that returns a `Graph` or a
    `Distillation`.

    Args:
        method: of `METHODS`, or `package.module:name`.
        student: the network to train and hand over.
        teacher: the second network, for methods that take one: a ready teacher, or the peer of an online method.
            Several ready teachers teach by the mean of their logits; several peers each train along.
        teacher_shares: of several teachers in that mean, one number each; None = equal.
        criterion: (output, target) -> scalar, the task's; None = cross-entropy over the labelled samples.
        example: a batch to check the graph with; None = noise of the student's input size.
        num_samples: size of the data set, for methods that keep something per sample.
        epochs: of the whole training, for methods that change once an epoch; None = they change with every step.
        options: the method's own (`method_options`).

    Raises:
        InputError: as `check_method` and `Distillation`.
    """
    teachers = _as_teachers(teacher, teacher_shares)
    check_method(method, options, has_teacher=bool(teachers))
    known = {
        "student": student,
        "teacher": teachers[0] if teachers else None,
        "ready_teachers": teachers,
        "peer": teachers[0] if teachers else None,
        "peers": teachers,
        "criterion": criterion,
        "example": example,
        "num_samples": num_samples,
        "epochs": epochs,
    }
    function = _find(method)
    asked = {name: value for name, value in known.items() if name in inspect.signature(function).parameters}
    if "num_samples" in asked and num_samples is None:
        raise InputError(
            f"method '{method}': needs the size of the data set; give num_samples, and data that is not streamed"
        )
    made = function(**asked, **options)
    if isinstance(made, Distillation) and len(teachers) < 2:
        return made
    if not isinstance(made, Graph):
        what = "a Graph or a Distillation" if len(teachers) < 2 else "a Graph, to learn from several teachers"
        raise InputError(f"method '{method}': must return {what}, not {type(made).__name__}")
    sources: Mapping[str, nn.Module] = made.sources
    if not {"peers", "ready_teachers"} & asked.keys():
        sources = with_teachers(sources, teachers, teacher_shares, where=f"method '{method}'")
    elif teacher_shares is not None:
        raise InputError(f"method '{method}': teacher_shares are of ready teachers in a mean, and here there is none")
    return Distillation(
        sources,
        made.terms,
        criterion=criterion,
        example=example,
        deploy=made.deploy,
        num_samples=num_samples,
        pause=made.pause,
    )


def distillation_from_terms(
    terms: Sequence[Term | Mapping[str, Any]],
    *,
    student: nn.Module,
    teacher: nn.Module | Sequence[nn.Module] | None = None,
    teacher_shares: Sequence[float] | None = None,
    criterion: Callable[[Any, Tensor], Tensor] | None = None,
    example: Batch | None = None,
    num_samples: int | None = None,
) -> Distillation:
    """Make the objective of terms written by hand, over the sources `student` and `teacher`.

    The teacher is frozen, unless a term trains it; several are `teacher1`, `teacher2` ..., and `teacher` is the mean of
    their logits by `teacher_shares`. A learner without a `task` term gets one of weight 1; write one
    with weight 0 against that.

    Raises:
        InputError: as `check_terms` and `Distillation`.
    """
    teachers = _as_teachers(teacher, teacher_shares)
    edges = check_terms(terms, teachers=len(teachers))
    sources: dict[str, nn.Module] = {"student": Learner(student)}
    if teachers:
        sources["teacher"] = Learner(teachers[0]) if teacher_role(terms=edges) == "trained" else Frozen(teachers[0])
    for name, source in sources.items():
        if isinstance(source, Learner) and not any(t.loss == TASK and t.student == name for t in edges):
            edges.append(Term(TASK, student=name))
    sources = with_teachers(sources, teachers, teacher_shares, where="distillation")
    return Distillation(sources, edges, criterion=criterion, example=example, num_samples=num_samples)


def teacher_role(
    method: str | None = None, terms: Sequence[Term | Mapping[str, Any]] = ()
) -> Literal["none", "frozen", "trained"]:
    """What becomes of a second network: not used, used ready and frozen, or trained from scratch along with the
    student.
    """
    if method is not None:
        parameters = inspect.signature(_find(method)).parameters
        if {"teacher", "ready_teachers"} & parameters.keys():
            return "frozen"
        return "trained" if {"peer", "peers"} & parameters.keys() else "none"
    edges = [_as_term(term) for term in terms]
    if any(_names_teacher(term.learner) for term in edges):
        return "trained"
    return "frozen" if any(_names_teacher(address) for term in edges for address in term.teachers) else "none"


def tells_teachers_apart(method: str | None) -> bool:
    """Whether a method learns something else from each of its ready teachers, and not from the mean of them."""
    return method is not None and "ready_teachers" in inspect.signature(_find(method)).parameters


def method_options(method: str) -> dict[str, Any]:
    """A method's options and their defaults; None = the preset's value."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(_find(method)).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in ROLES
    }


def check_method(method: str, options: Mapping[str, Any] | None = None, *, has_teacher: bool) -> None:
    """Check a method's name and options before there are any networks.

    Raises:
        InputError: no such method, option or preset; a teacher that is missing, or one that the method has no use for.
    """
    where = f"method '{method}'"
    known = method_options(method)
    check_options(known, options or {}, where=where)
    check_option_types(_find(method), options or {}, where=f"{where}: option ")
    preset = (options or {}).get("preset")
    if preset is not None and method in PRESETS and preset not in PRESETS[method]:
        raise unknown_name("preset", str(preset), PRESETS[method], where=where)
    role = teacher_role(method)
    if role != "none" and not has_teacher:
        second = "a teacher" if role == "frozen" else "a second network, the student's peer"
        raise InputError(f"{where}: needs {second}; methods without one: {', '.join(_without_teacher())}")
    if role == "none" and has_teacher:
        raise InputError(f"{where}: has no use for a teacher; leave it out")


def check_terms(terms: Sequence[Term | Mapping[str, Any]], *, teachers: int) -> list[Term]:
    """Check terms written by hand before there are any networks, and return them as records.

    Args:
        terms: the edges.
        teachers: how many there are.

    Raises:
        InputError: a wrong field, loss, option or source; a teacher that is missing, or several that are to be trained.
    """
    edges = [_as_term(term) for term in terms]
    if not edges:
        raise InputError("distillation: no terms, so that there is nothing to learn from")
    sources = ["student", *teacher_names(teachers)]
    for term in edges:
        check_term(term)
        for address in term.addresses:
            source = address.partition("/")[0]
            if source == "teacher" and not teachers:
                raise InputError(f"{term.arrow}: there is no teacher; give one, or set the term's teacher")
            if source not in sources:
                raise unknown_name("source", source, sources, where=term.arrow)
        if teachers > 1 and _names_teacher(term.learner):
            raise InputError(f"{term.arrow}: several teachers are ready ones; only a single one can train along")
    return edges


def _names_teacher(address: str) -> bool:
    return re.fullmatch(r"teacher\d*", address.partition("/")[0]) is not None


def _as_teachers(teacher: nn.Module | Sequence[nn.Module] | None, shares: Sequence[float] | None) -> list[nn.Module]:
    teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher or ())
    if wrong := [one for one in teachers if not isinstance(one, nn.Module)]:
        raise InputError(f"teacher: expected a network or several, got {wrong[0]!r}")
    if shares is not None and (len(shares) != len(teachers) or min(shares, default=0) <= 0):
        raise InputError(
            f"teacher_shares: needs a number above 0 for each of {len(teachers)} teachers, not {list(shares)}"
        )
    return teachers


def _as_term(term: Term | Mapping[str, Any]) -> Term:
    if isinstance(term, Term):
        return term
    fields = list(inspect.signature(Term).parameters)
    for key in term:
        if key not in fields:
            raise unknown_name("field", key, fields, where="term")
    if "loss" not in term:
        raise InputError("term: 'loss' is missing")
    return Term(**term)


def _find(method: str) -> Callable[..., Graph | Distillation]:
    found = find_part("method", method, METHODS)
    if not callable(found):
        raise InputError(f"method '{method}': is a {type(found).__name__}, not a function that returns a Graph")
    return found


def _without_teacher() -> list[str]:
    return [name for name in METHODS if teacher_role(name) == "none"]
