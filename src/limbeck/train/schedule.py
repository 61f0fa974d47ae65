"""Learning-rate schedules: pure functions of the step that return a factor on the peak rate. No optimizer here."""

from __future__ import annotations

import math

from limbeck.train.settings import TrainSettings

__all__ = ["cosine_factor", "exponential_factor", "polynomial_factor", "rate_factor", "step_factor", "warmup_steps"]

# An epoch that should fall exactly on a boundary may come out a rounding error below it (7.2 / 2.4 < 3).
TOLERANCE = 1e-9


def cosine_factor(progress: float, *, final: float = 0.0) -> float:
    """Half a cosine from 1 at `progress` 0 to `final` at 1.

    **Source:** Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983, equation 5, without restarts.

    Example:
        >>> [round(cosine_factor(p, final=0.2), 3) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.6, 0.2]
    """
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def polynomial_factor(progress: float, *, final: float = 0.0) -> float:
    """From 1 at `progress` 0 to `final` at 1, nearly a line: (1 - progress)^0.9.

    **Source:** Chen et al., "DeepLab", 2018, arXiv:1606.00915, section 4.1, with its power.

    Example:
        >>> [round(polynomial_factor(p), 3) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.536, 0.0]
    """
    return final + (1 - final) * (1 - min(max(progress, 0.0), 1.0)) ** 0.9


def step_factor(epoch: float, *, milestones: tuple[float, ...], gamma: float) -> float:
    """`gamma` to the power of the number of milestones that `epoch` has reached.

    Example:
        >>> [round(step_factor(e, milestones=(10, 20), gamma=0.1), 3) for e in (9.99, 10, 25)]
        [1.0, 0.1, 0.01]
    """
    return gamma ** sum(epoch + TOLERANCE >= milestone for milestone in milestones)


def exponential_factor(epoch: float, *, gamma: float, decay_epochs: float) -> float:
    """`gamma` once more every `decay_epochs`, as a staircase.

    **Source:** the training of Tan et al., "MnasNet", 2019, arXiv:1807.11626, section 4 (0.97 every 2.4 epochs).

    Example:
        >>> [round(exponential_factor(e, gamma=0.97, decay_epochs=2.4), 4) for e in (2.3, 2.4, 4.8)]
        [1.0, 0.97, 0.9409]
    """
    return gamma ** math.floor(epoch / decay_epochs + TOLERANCE)


def warmup_steps(settings: TrainSettings, steps_per_epoch: int) -> int:
    """Optimizer steps over which the rate rises: at most half of the training, so that one epoch reaches its peak."""
    total = settings.epochs * steps_per_epoch
    return min(round(settings.warmup_epochs * steps_per_epoch), total // 2)


def rate_factor(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The factor on the peak rate for optimizer step `step` (from 0); `steps_per_epoch` counts optimizer steps too.

    The rate rises linearly to its peak at the last warm-up step. The cosine and the polynomial span the steps after
    warm-up; milestones and staircases count from the start of training.
    """
    warmup = warmup_steps(settings, steps_per_epoch)
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    epoch = step / steps_per_epoch
    if settings.schedule == "step":
        return rise * step_factor(epoch, milestones=settings.milestones, gamma=settings.gamma)
    if settings.schedule == "exponential":
        return rise * exponential_factor(epoch, gamma=settings.gamma, decay_epochs=settings.decay_epochs)
    if settings.schedule == "constant" or step < warmup:
        return rise
    total = settings.epochs * steps_per_epoch
    falling = polynomial_factor if settings.schedule == "poly" else cosine_factor
    return falling((step - warmup) / (total - warmup), final=settings.final_rate)
