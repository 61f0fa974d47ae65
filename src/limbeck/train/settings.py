"""How one training runs, as a record of plain values. Neither recipes nor the batches themselves are known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from limbeck.errors import InputError, unknown_name

__all__ = ["TrainSettings"]

CHOICES = {
    "optimizer": ("sgd", "adamw", "rmsprop", "rmsprop_tf"),
    "schedule": ("cosine", "poly", "step", "exponential", "constant"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}
POSITIVE = ("epochs", "learning_rate", "gamma", "layer_decay", "decay_epochs", "accumulate", "checkpoint_seconds")
NOT_NEGATIVE = ("momentum", "weight_decay", "warmup_epochs", "final_rate", "label_smoothing", "ema")
BELOW_ONE = ("momentum", "label_smoothing", "ema")
# What may change between a kill and the next start without making it another training.
INCIDENTAL = ("threads", "checkpoint_seconds", "device")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training; the fields and defaults of a recipe's `[train]`, and `learner_rates`.

    Attributes:
        epochs: passes over the training set.
        batch_size: samples per batch, or `auto`; the batches given to `fit` already have it, messages name it.
        optimizer: `sgd`, `adamw`, `rmsprop` (torch's form) or `rmsprop_tf` (TensorFlow's, of the MobileNet papers); both
            RMSprops average squares with 0.9.
        learning_rate: its peak, at the batch size given.
        momentum: of SGD and RMSprop; AdamW's first beta.
        nesterov: Nesterov's form of SGD's momentum.
        epsilon: what keeps a division from 0, of every optimizer but SGD; None = 1e-8, of `rmsprop_tf` 1e-3. TensorFlow's
            stands inside the root: 1e-3 there weighs as 0.0316 does in torch's form.
        weight_decay: decoupled for AdamW, L2 for the others.
        decay_norm_and_bias: whether weight decay reaches parameters of one axis (norm layers, biases, scales).
        layer_decay: factor on the rate per layer group, from the head down.
        schedule: shape of the rate after warm-up.
        milestones: epochs after which `step` multiplies by `gamma`.
        gamma: factor of `step` and `exponential`.
        decay_epochs: `exponential` multiplies by `gamma` every so many epochs.
        warmup_epochs: linear rise of the rate, at most half of the training.
        final_rate: share of the peak that the cosine or poly ends at.
        label_smoothing: of the criterion; the loop does not read it.
        ema: decay of the weight average that is evaluated and kept; 0 = off.
        clip_norm: largest norm of each learner's gradient; None = off.
        accumulate: batches per optimizer step.
        precision: of the forward pass; `auto` = bf16 or fp16 on CUDA, fp32 elsewhere.
        compile: whether `torch.compile` goes around the objective.
        channels_last: memory format of pictures and filters.
        device: `auto`, `cpu`, `cuda` (or `cuda:1`), `mps`.
        threads: CPU threads of the training; None = as they are, and as they were on resume.
        checkpoint_seconds: time between two checkpoints.
        learner_rates: peak rates of learners that have one of their own, by name; the schedule is that of all.

    Raises:
        InputError: a value is out of its range or not one of the choices.
    """

    epochs: int = 30
    batch_size: int | Literal["auto"] = 64
    optimizer: Literal["sgd", "adamw", "rmsprop", "rmsprop_tf"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    epsilon: float | None = None
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = False
    layer_decay: float = 1.0
    schedule: Literal["cosine", "poly", "step", "exponential", "constant"] = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    decay_epochs: float = 2.4
    warmup_epochs: float = 1.0
    final_rate: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    channels_last: bool = True
    device: str = "auto"
    threads: int | None = None
    checkpoint_seconds: float = 60
    learner_rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known, where=f"train.{name}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"train.{name} = {getattr(self, name)}: must be above 0")
        for name in NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise InputError(f"train.{name} = {getattr(self, name)}: must be 0 or above")
        for name in BELOW_ONE:
            if not getattr(self, name) < 1:
                raise InputError(f"train.{name} = {getattr(self, name)}: must be below 1")
        for name in ("clip_norm", "threads", "epsilon"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise InputError(f"train.{name} = {getattr(self, name)}: must be above 0, or left out")
        for name, rate in self.learner_rates.items():
            if not rate > 0:
                raise InputError(f"train.learner_rates.{name} = {rate}: must be above 0")
        if self.epsilon is not None and self.optimizer == "sgd":
            raise InputError("train.epsilon: sgd has none; leave it out")
        if self.nesterov and not self.momentum > 0:
            raise InputError("train.nesterov = true: needs train.momentum above 0")

    def identity(self) -> dict[str, Any]:
        """The fields that decide what is trained: two runs that differ here are two trainings."""
        return {name: value for name, value in asdict(self).items() if name not in INCIDENTAL}
