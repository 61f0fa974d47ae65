"""The map of the system: the few seams where parts meet. Read this first; anything of these shapes can be plugged in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from limbeck.types import Artifact, Batch, DeviceInfo, Outputs

__all__ = ["Batches", "Device", "Exporter", "Metric", "Network", "Objective", "Source", "Task"]


class Network(Protocol):
    """A network as the rest of Limbeck sees it: pictures in [0, 1] in, logits and named stages out (an `nn.Module`)."""

    num_classes: int
    input_size: tuple[int, int]
    stage_names: tuple[str, ...]

    def __call__(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1], of any H, W (the network resizes to its own `input_size`) -> [N, K] logits."""

    def observe(self, inputs: Tensor, stages: Sequence[str] = ()) -> Outputs:
        """The same forward pass, returning the asked stages too."""

    def architecture(self) -> dict[str, Any]:
        """JSON from which `limbeck.models.load_network` builds the same network again."""


class Batches(Protocol):
    """A training set as the loop sees it.

    It may have `offers`, the names of what its batches carry in `Batch.further`.
    """

    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on; a pure function of (seed, epoch)."""


class Objective(Protocol):
    """What the training loop minimises (an `nn.Module`). The loop knows nothing else of losses, teachers or students.

    An objective may also have `after_backward()`, called before gradients are clipped (a graph rests a learner there), and
    `needs()`, the names of what its batches must carry in `Batch.further`. Its `state_dict` must have its final keys before
    training starts; a frozen teacher may leave itself out.
    """

    def __call__(self, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        """`progress` is a 0-d tensor, the share of training done in [0, 1). Returns `loss` and every term by name."""

    def after_step(self) -> None:
        """Called once after each optimizer step: the only place where memories and moving averages are written."""

    def deployable(self) -> nn.Module:
        """The network that training was for: no teacher, no projector, no auxiliary exit."""

    def learners(self) -> dict[str, nn.Module]:
        """The trained networks by name: one optimizer parameter group and one gradient clip each."""


class Source(Protocol):
    """Where outputs come from in a distillation graph (an `nn.Module`): a learner, a frozen teacher, a memory, a mixture."""

    def __call__(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """Outputs for this batch; `seen` holds those of the sources listed before this one."""

    def after_step(self) -> None:
        """Called once after each optimizer step."""


class Metric(Protocol):
    """Accumulates over batches, computes once (the shape of torchmetrics)."""

    def update(self, out: Any, target: Tensor) -> None:
        """Add one batch of task outputs and targets."""

    def compute(self) -> dict[str, float]:
        """Figures by name over everything added."""


class Task(Protocol):
    """What the pipeline must know of a kind of problem.

    `target_kind` says what it learns from: `class`, `mask`, `boxes` or `points` (`limbeck.data.raw.Kind`); a task without
    one learns from one class per picture.
    """

    name: str
    primary: str
    higher_is_better: bool
    target_kind: str

    def criterion(self, out: Any, target: Tensor) -> Tensor:
        """The supervised loss: scalar."""

    def metric(self) -> Metric:
        """A fresh accumulator of this task's figures; `primary` is among them."""

    def figures(self, out: Any, target: Any) -> dict[str, float]:
        """The metric of a whole data set at once."""


@runtime_checkable
class Device(Protocol):
    """A place where artifacts run. Opened from a target string; statistics are never computed here."""

    def describe(self) -> DeviceInfo:
        """The device and runtime in words and versions."""

    def time(
        self, artifacts: Sequence[Artifact], *, warmup: int, runs: int, interleave: bool = True
    ) -> list[list[float]]:
        """Raw samples in milliseconds per artifact at batch 1, taken in turn (A B C A B C ...) when interleaved."""

    def run(self, artifact: Artifact, inputs: np.ndarray) -> np.ndarray:
        """The artifact's output for a batch of inputs, so that parity is proven on the device itself."""

    def peak_memory(self, artifact: Artifact) -> int | None:
        """Bytes of resident memory that loading and running the artifact adds at its peak; None where unknown."""


class Exporter(Protocol):
    """Turns a network into a file that a runtime takes."""

    def __call__(self, network: nn.Module, path: Path, **options: Any) -> Artifact:
        """Write `path` and describe it."""
