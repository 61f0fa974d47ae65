"""Methods that learn from the logits of a ready, frozen teacher. No formulas: those are in `losses`."""

from __future__ import annotations

from torch import nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.pairing import pair_pools
from limbeck.distill.sources import Frozen, Learner
from limbeck.distill.term import TASK, Term
from limbeck.errors import InputError

__all__ = ["ctkd", "dist", "dkd", "kd", "lskd", "nkd", "odkd", "skd", "tf_kd_self", "wsld", "wttm"]


def kd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    kd: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Hinton's distillation from a ready teacher: labels and softened outputs (presets cifar100, imagenet, cityscapes)."""
    values = preset_values("kd", preset, ce=ce, kd=kd, temperature=temperature)
    terms = [
        Term(TASK, weight=values["ce"]),
        Term("kd", weight=values["kd"], options={"temperature": values["temperature"]}),
    ]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def nkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "imagenet",
    ce: float | None = None,
    nkd: float | None = None,
    temperature: float | None = None,
    gamma: float | None = None,
) -> Graph:
    """Normalised distillation from a ready teacher (presets imagenet, imagenet_vit, cifar100)."""
    values = preset_values("nkd", preset, ce=ce, nkd=nkd, temperature=temperature, gamma=gamma)
    options = {name: values[name] for name in ("temperature", "gamma")}
    terms = [Term(TASK, weight=values["ce"]), Term("nkd", weight=values["nkd"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def lskd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    lskd: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Distillation of standardised logits from a ready teacher."""
    values = preset_values("lskd", preset, ce=ce, lskd=lskd, temperature=temperature)
    terms = [
        Term(TASK, weight=values["ce"]),
        Term("lskd", weight=values["lskd"], options={"temperature": values["temperature"]}),
    ]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def dkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    temperature: float | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    warmup: float | None = None,
    standardise: bool | None = None,
) -> Graph:
    """Decoupled distillation from a ready teacher, whose weight rises from 0 over the share `warmup` of the training.

    **Differs:** it rises with every step; the authors' once an epoch, to be whole in the last of the `warmup`.
    """
    of_loss = {"temperature": temperature, "alpha": alpha, "beta": beta, "standardise": standardise}
    values, options = preset_values("dkd", preset, ce=ce, warmup=warmup), preset_values("dkd", preset, **of_loss)
    terms = [Term(TASK, weight=values["ce"]), Term("dkd", warmup=values["warmup"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def skd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "radio",
    share: float | None = None,
    temperature: float | None = None,
    features: float | None = None,
    lowest_snr: float | None = None,
) -> Graph:
    """Signal distillation from a ready teacher: `share` of it, the rest labels; `features` weighs its pooled features.

    With `lowest_snr`, in dB, samples below it learn from their labels alone; without, all learn from both.
    """
    values = preset_values("skd", preset, share=share, temperature=temperature, features=features)
    share, softened = values["share"], {"temperature": values["temperature"]}
    if not 0 <= share <= 1:
        raise InputError(f"method 'skd': share must lie in [0, 1], not {share}")
    if lowest_snr is None:
        terms = [Term(TASK, weight=1 - share), Term("kd", weight=share, options=softened)]
    else:
        terms = [Term("skd", options={**softened, "share": share, "lowest_snr": lowest_snr})]
    if values["features"]:
        ((ours, theirs),) = pair_pools(student, teacher)
        terms.append(Term("skd_features", f"student/{ours}", f"teacher/{theirs}", weight=values["features"]))
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def odkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "coco",
    ce: float | None = None,
    odkd: float | None = None,
    regression: float | None = None,
    background_weight: float | None = None,
    margin: float = 0.0,
) -> Graph:
    """Chen's distillation of detectors from a ready one with the same anchors: its classes, its boxes as a bound."""
    values = preset_values("odkd", preset, ce=ce, odkd=odkd)
    options = preset_values("odkd", preset, regression=regression, background_weight=background_weight)
    terms = [
        Term(TASK, weight=values["ce"]),
        Term("odkd", weight=values["odkd"], options={**options, "margin": margin}),
    ]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def dist(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    dist: float | None = None,
    temperature: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
) -> Graph:
    """Distillation from a ready, stronger teacher: correlations within samples and within classes."""
    values = preset_values("dist", preset, ce=ce, dist=dist, temperature=temperature, beta=beta, gamma=gamma)
    options = {name: values[name] for name in ("temperature", "beta", "gamma")}
    terms = [Term(TASK, weight=values["ce"]), Term("dist", weight=values["dist"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def wsld(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    wsld: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Distillation from a ready teacher that counts more where the teacher errs less than the student."""
    values = preset_values("wsld", preset, ce=ce, wsld=wsld, temperature=temperature)
    options = {"temperature": values["temperature"]}
    terms = [Term(TASK, weight=values["ce"]), Term("wsld", weight=values["wsld"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def wttm(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    wttm: float | None = None,
    gamma: float | None = None,
    weighted: bool | None = None,
) -> Graph:
    """Distillation from a ready teacher with a temperature on its side only, more where it is less sure."""
    values = preset_values("wttm", preset, ce=ce, wttm=wttm)
    options = preset_values("wttm", preset, gamma=gamma, weighted=weighted)
    terms = [Term(TASK, weight=values["ce"]), Term("wttm", weight=values["wttm"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def ctkd(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    ctkd: float | None = None,
    lowest: float | None = None,
    span: float | None = None,
    ramp: float | None = None,
) -> Graph:
    """Hinton's distillation from a ready teacher at a temperature that is trained to make it harder."""
    values = preset_values("ctkd", preset, ce=ce, ctkd=ctkd)
    options = preset_values("ctkd", preset, lowest=lowest, span=span, ramp=ramp)
    terms = [Term(TASK, weight=values["ce"]), Term("ctkd", weight=values["ctkd"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)


def tf_kd_self(
    student: nn.Module,
    teacher: nn.Module,
    *,
    preset: str = "cifar100_resnet18",
    ce: float | None = None,
    kd: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Self-training: `kd` from a ready teacher that is the same network as the student, trained before."""
    values = preset_values("tf_kd_self", preset, ce=ce, kd=kd, temperature=temperature)
    options = {"temperature": values["temperature"]}
    terms = [Term(TASK, weight=values["ce"]), Term("kd", weight=values["kd"], options=options)]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)
