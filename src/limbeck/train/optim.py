"""Optimizers, their parameter groups, and clipping per learner. When the rate changes is `schedule`'s to say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.train.settings import TrainSettings

__all__ = ["clip_gradients", "create_optimizer", "learner_parameters", "parameter_groups", "set_rate"]

OUTSIDE = "objective"  # the group of what the objective trains beside its learners: projectors, exits, learned weights


def learner_parameters(objective: Any) -> dict[str, dict[str, nn.Parameter]]:
    """The trainable parameters by learner and name; those outside every learner stand under `objective`.

    A parameter that two learners share belongs to the first.

    Raises:
        InputError: there is nothing to train.
    """
    seen: set[int] = set()

    def fresh(module: nn.Module) -> dict[str, nn.Parameter]:
        named = {name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in seen}
        seen.update(id(p) for p in named.values())
        return named

    found = {name: fresh(module) for name, module in objective.learners().items()}
    found[OUTSIDE] = {**found.get(OUTSIDE, {}), **fresh(objective)}
    found = {name: named for name, named in found.items() if named}
    if not found:
        raise InputError("nothing to train: every parameter of the objective is frozen")
    return found


def parameter_groups(objective: Any, settings: TrainSettings) -> list[dict[str, Any]]:
    """Optimizer groups: per learner, split by weight decay and by layer group.

    Each group carries `learner` and `scale`, its factor on the rate.

    Raises:
        InputError: nothing to train, or a rate of its own for a learner that is not there.
    """
    modules: dict[str, Any] = objective.learners()
    for name in settings.learner_rates:
        if name not in modules:
            raise unknown_name("learner", name, modules, where="learner_rates")
    groups: dict[tuple[str, float, float], dict[str, Any]] = {}
    for learner, named in learner_parameters(objective).items():
        module = modules.get(learner)
        scales = _layer_scales(module, named, settings.layer_decay)
        own = settings.learner_rates.get(learner, settings.learning_rate) / settings.learning_rate
        exempt = set(getattr(module, "no_weight_decay", set)())  # what a library's network asks for
        for name, parameter in named.items():
            plain = (parameter.ndim <= 1 or name in exempt) and not settings.decay_norm_and_bias
            decay, scale = 0.0 if plain else settings.weight_decay, own * scales.get(name, 1.0)
            fresh = {"params": [], "learner": learner, "scale": scale, "weight_decay": decay}
            groups.setdefault((learner, decay, scale), fresh)["params"].append(parameter)
    return list(groups.values())


def _layer_scales(module: Any, names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor on the rate per parameter: 1 in the last layer group (the head), times `decay` per group below it."""
    if decay == 1.0 or not hasattr(module, "layer_groups"):
        return {}
    groups = module.layer_groups()
    scales = {}
    for name in names:
        # A group lists parameters or the modules that hold them; what it does not name is trained at the full rate.
        depth = next((i for i, group in enumerate(groups) if any(f"{name}.".startswith(f"{g}.") for g in group)), None)
        scales[name] = 1.0 if depth is None else decay ** (len(groups) - 1 - depth)
    return scales


def create_optimizer(objective: Any, settings: TrainSettings) -> torch.optim.Optimizer:
    """One optimizer over all learners.

    **Source:** RMSprop in TensorFlow's form, decay 0.9 (epsilon 1e-3 from the authors' code): Tan et al., "MnasNet",
    2019, arXiv:1807.11626, section 4. In torch's form with the same decay: torchvision's training of MobileNetV3.
    """
    groups = parameter_groups(objective, settings)
    rate, momentum = settings.learning_rate, settings.momentum
    device = groups[0]["params"][0].device.type
    # Fused kernels are 4 times faster than the plain loop on a CPU; MPS lacks some of them.
    fused = {"fused": True} if device in ("cpu", "cuda") else {}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=settings.nesterov, **fused)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(momentum, 0.999), eps=settings.epsilon or 1e-8, **fused)
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=0.9, eps=settings.epsilon or 1e-8, momentum=momentum)
    from timm.optim import RMSpropTF  # timm is slow to import, and only this optimizer needs it

    return RMSpropTF(groups, lr=rate, alpha=0.9, eps=settings.epsilon or 1e-3, momentum=momentum)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to `rate` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def clip_gradients(optimizer: torch.optim.Optimizer, norm: float) -> dict[str, Tensor]:
    """Scale each learner's gradient down to `norm` where it is longer; return the norms before, by learner."""
    by_learner: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        by_learner.setdefault(group["learner"], []).extend(group["params"])
    return {name: nn.utils.clip_grad_norm_(parameters, norm) for name, parameters in by_learner.items()}
