"""Methods that learn from the features of a ready, frozen teacher. No formulas: those are in `losses`; which stages are
paired: `pairing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.pairing import pair_pools, pair_stages
from limbeck.distill.sources import Frozen, Learner, stage_list
from limbeck.distill.term import TASK, Term
from limbeck.errors import InputError

__all__ = ["at", "crd", "cwd", "fitnet", "mgd", "pkd", "reviewkd", "rkd", "sp"]

Stages = Sequence[str] | None


def fitnet(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    fitnet: float | None = None,
    rectify: bool = True,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Hints from a ready teacher: the student's middle stage regresses the teacher's (preset cifar100)."""
    values = preset_values("fitnet", preset, ce=ce, fitnet=fitnet)
    pairs = pair_stages(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)
    if student_stages is None and teacher_stages is None:
        pairs = [pairs[(len(pairs) - 1) // 2]]
    return _graph(student, teacher, "fitnet", values, pairs, {"rectify": rectify})


def at(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    at: float | None = None,
    power: float = 2.0,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Attention transfer from a ready teacher, at every stage (presets cifar100, imagenet)."""
    values = preset_values("at", preset, ce=ce, at=at)
    pairs = pair_stages(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)
    return _graph(student, teacher, "at", values, pairs, {"power": power})


def sp(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    sp: float | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Similarities within the batch from a ready teacher, at the last stage (preset cifar100)."""
    values = preset_values("sp", preset, ce=ce, sp=sp)
    return _graph(student, teacher, "sp", values, _last(student, teacher, student_stages, teacher_stages))


def rkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    rkd: float | None = None,
    distance: float | None = None,
    angle: float | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Relations within the batch from a ready teacher: distances and angles of pooled features (preset cifar100)."""
    values = preset_values("rkd", preset, ce=ce, rkd=rkd)
    options = preset_values("rkd", preset, distance=distance, angle=angle)
    pairs = pair_pools(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)
    return _graph(student, teacher, "rkd", values, pairs, options)


def crd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    crd: float | None = None,
    kd: float | None = None,
    kd_temperature: float | None = None,
    negatives: int = 16384,
    temperature: float = 0.07,
    momentum: float = 0.5,
    width: int = 128,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Contrast of pooled features with a ready teacher's, over two memory banks of all samples; with `kd`, CRD+KD."""
    values = preset_values("crd", preset, ce=ce, crd=crd, kd=kd, kd_temperature=kd_temperature)
    options = {"negatives": negatives, "temperature": temperature, "momentum": momentum, "width": width}
    pairs = pair_pools(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)
    graph = _graph(student, teacher, "crd", values, pairs, options)
    if not values["kd"]:
        return graph
    beside = Term("kd", weight=values["kd"], options={"temperature": values["kd_temperature"]})
    return Graph(graph.sources, [*graph.terms, beside])


def reviewkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    reviewkd: float | None = None,
    warmup: float | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Review of all stages and the pooled features of a ready teacher, its stages before their activation if it shows it.

    The weight rises from 0 over the share `warmup` of the training.

    **Differs:** it rises with every step; the authors' once an epoch, to be whole in the last of the `warmup`.
    """
    values = preset_values("reviewkd", preset, ce=ce, reviewkd=reviewkd, warmup=warmup)
    pairs = pair_stages(student, teacher, student_stages=student_stages, teacher_stages=teacher_stages)
    offered = stage_list(teacher)
    if teacher_stages is None:
        pairs = [(ours, early if (early := f"{theirs}.preact") in offered else theirs) for ours, theirs in pairs]
    if student_stages is None and teacher_stages is None and "pool" in offered and "pool" in stage_list(student):
        pairs = [*pairs, ("pool", "pool")]
    term = Term(
        "reviewkd",
        tuple(f"student/{ours}" for ours, _ in pairs),
        tuple(f"teacher/{theirs}" for _, theirs in pairs),
        weight=values["reviewkd"],
        warmup=values["warmup"],
    )
    return Graph(_sources(student, teacher), [Term(TASK, weight=values["ce"]), term])


def cwd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cityscapes",
    ce: float | None = None,
    cwd: float | None = None,
    temperature: float | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Each channel's distribution over positions from a ready teacher, at the last stage; published for dense tasks.

    With the preset cityscapes_logits, and no stages named, at the maps of logits of two segmentation networks.
    """
    values = preset_values("cwd", preset, ce=ce, cwd=cwd)
    options = preset_values("cwd", preset, temperature=temperature)
    have_logits = all("logits" in stage_list(network) for network in (student, teacher))
    if preset == "cityscapes_logits" and have_logits and student_stages is None and teacher_stages is None:
        pairs = [("logits", "logits")]
    else:
        pairs = _last(student, teacher, student_stages, teacher_stages)
    return _graph(student, teacher, "cwd", values, pairs, options)


def mgd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "imagenet",
    ce: float | None = None,
    mgd: float | None = None,
    masked: float | None = None,
    by: str | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """A ready teacher's last stage, generated from the student's with parts masked (presets imagenet, cityscapes, coco).

    Masked are whole channels, or with the presets cityscapes and coco, for dense tasks, whole positions, unless `by` says
    it. With coco all maps that two detectors' predictors read are learned.
    """
    values = preset_values("mgd", preset, ce=ce, mgd=mgd)
    by = by or ("channels" if preset == "imagenet" else "positions")
    options = {**preset_values("mgd", preset, masked=masked), "by": by}
    pairs = _maps(student, teacher) if preset == "coco" and student_stages is None and teacher_stages is None else None
    pairs = pairs or _last(student, teacher, student_stages, teacher_stages)
    return _graph(student, teacher, "mgd", values, pairs, options)


def pkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "coco",
    ce: float | None = None,
    pkd: float | None = None,
    student_stages: Stages = None,
    teacher_stages: Stages = None,
) -> Graph:
    """Correlation of channels with a ready teacher's; published for detectors (preset coco).

    Learned are those maps that two detectors' predictors read and that have equal channels; of other networks the last
    stage.
    """
    values = preset_values("pkd", preset, ce=ce, pkd=pkd)
    pairs = _maps(student, teacher, equal=True) if student_stages is None and teacher_stages is None else None
    pairs = pairs or _last(student, teacher, student_stages, teacher_stages)
    return _graph(student, teacher, "pkd", values, pairs)


def _graph(
    student: nn.Module,
    teacher: nn.Module,
    loss: str,
    values: Mapping[str, float],
    pairs: Sequence[tuple[str, str]],
    options: Mapping[str, Any] | None = None,
) -> Graph:
    """The supervised loss, and the named one at each pair; their sum where there are several."""
    terms = [
        Term(
            loss,
            f"student/{ours}",
            f"teacher/{theirs}",
            weight=values[loss],
            name=loss if len(pairs) == 1 else f"{loss}_{ours}",
            options=options or {},
        )
        for ours, theirs in pairs
    ]
    return Graph(_sources(student, teacher), [Term(TASK, weight=values["ce"]), *terms])


def _sources(student: nn.Module, teacher: nn.Module) -> dict[str, nn.Module]:
    return {"student": Learner(student), "teacher": Frozen(teacher)}


def _maps(student: nn.Module, teacher: nn.Module, *, equal: bool = False) -> list[tuple[str, str]]:
    """The maps that the predictors of two detectors read, each with the other's of its name; with equal channels only.

    Raises:
        InputError: two detectors have no maps of equal channels, where they must.
    """
    ours, theirs = (getattr(network, "map_channels", {}) for network in (student, teacher))
    both = [name for name in ours if name in theirs]
    found = [name for name in both if not equal or ours[name] == theirs[name]]
    if both and not found:
        raise InputError("stages: no maps of equal channels; name stages, or use mgd, which brings channels together")
    return [(name, name) for name in found]


def _last(student: nn.Module, teacher: nn.Module, ours: Stages, theirs: Stages) -> list[tuple[str, str]]:
    """The pairs of the named stages; without any the last one."""
    pairs = pair_stages(student, teacher, student_stages=ours, teacher_stages=theirs)
    return pairs[-1:] if ours is None and theirs is None else pairs
