"""Plain records that the rooms of Limbeck hand to each other; units are in the names. No behaviour beyond conversion."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # torch is imported late: `limbeck --help` and `limbeck.load` must not pay for it
    import torch
    from torch import Tensor

__all__ = ["Artifact", "Batch", "DeviceInfo", "Evaluation", "Latency", "Measurement", "Outputs", "per_second"]


@dataclass(frozen=True)
class Batch:
    """One batch of samples, un-normalised: every network owns its resize and normalisation.

    Attributes:
        index: [N] int64, position of each sample in its data set; what memories, caches and augmentation are keyed by.
        inputs: [N, C, H, W] float32 in [0, 1] for pictures ([N, C, T] for signals).
        target: [N] int64 class indices, -1 where unlabelled; or [N, K] float rows that sum to 1 after mixup or cutmix
            (rows of zeros where unlabelled). Of segmentation [N, H, W] int64 class of each pixel, -1 = void. Of detection
            [N, M, 5] float32 rows of class, x1, y1, x2, y2 (shares of the picture), class -1 = no further object. Of
            landmarks [N, L, 2] float32 x and y (shares of the picture), NaN = unknown.
        view: which augmentation of the data set this is (the epoch, or the epoch modulo K with a teacher cache).
        labelled: False when some targets may be -1; lets losses skip the masking otherwise.
        further: what an objective needs of each sample beside that, by name, in the form of `inputs`: `view2`, `view3`
            ... = the same samples augmented anew, mixed as the first view; `same_class` = another one of its class. Of
            signals also `snr`, [N] in dB, where it is known.
    """

    index: Tensor
    inputs: Tensor
    target: Tensor
    view: int = 0
    labelled: bool = True
    further: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """Copy to a device, pictures in the asked memory format."""
        import torch

        def moved(inputs: Tensor) -> Tensor:
            inputs = inputs.to(device, non_blocking=True)
            if channels_last and inputs.dim() == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            return inputs

        return replace(
            self,
            index=self.index.to(device, non_blocking=True),
            inputs=moved(self.inputs),
            target=self.target.to(device, non_blocking=True),
            further={name: moved(inputs) for name, inputs in self.further.items()},
        )


@dataclass
class Outputs:
    """What a network says of one batch.

    Attributes:
        out: the task's output: [N, K] logits for classification.
        stages: feature maps by stage name, [N, C, H, W] (tokens of transformers are reshaped to that form).
        exits: [N, K] logits of auxiliary exits by name; used in training only.
    """

    out: Any
    stages: dict[str, Tensor] = field(default_factory=dict)
    exits: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """Statistics of one timing: milliseconds per call at batch 1."""

    median: float
    p90: float
    iqr: float
    n: int

    def statistic(self, name: Literal["median", "p90"]) -> float:
        """The figure that a budget bounds, in milliseconds."""
        return self.median if name == "median" else self.p90


def per_second(latency_ms: float) -> float:
    """Samples per second, one after the other, of which each takes so many milliseconds."""
    return 1000 / latency_ms


@dataclass(frozen=True)
class DeviceInfo:
    """Where a figure was measured.

    Attributes:
        target: the string that opens it again, such as `onnxruntime,threads=1`.
        device: the processor or board, in words.
        runtime: the runtime's name.
        runtime_version: its version.
        threads: threads used for one call.
        os: the operating system, in words.
    """

    target: str
    device: str
    runtime: str
    runtime_version: str
    threads: int
    os: str = ""


@dataclass(frozen=True)
class Artifact:
    """An exported model file.

    Attributes:
        path: where it lies.
        format: `onnx`, ...
        precision: `fp32` or `int8`.
        input_shape: one sample's shape without the batch axis, as the file wants it.
        input_dtype: `uint8` (pre-processing is in the graph) or `float32`.
        size_bytes: file size, outside weights included.
    """

    path: str
    format: str
    precision: Literal["fp32", "int8"]
    input_shape: tuple[int, ...]
    input_dtype: Literal["uint8", "float32"]
    size_bytes: int


@dataclass(frozen=True)
class Measurement:
    """One artifact timed on one device.

    Attributes:
        artifact: path of the file that was timed.
        precision: of that file.
        info: the device.
        latency_ms: statistics of the timing.
        peak_memory_bytes: highest resident memory that loading and running it added; None where it cannot be known.
        size_bytes: file size.
        drift: median of the last third of the samples over that of the first third; far from 1 = the device was not steady.
        steady: whether the drift check passed.
        ratio_to_reference: median of this artifact over the median of the interleaved reference; None without one.
        ratio_interval: 95 % confidence interval of that ratio; None without a reference.
        placement: where the graph ran if not wholly on the asked backend (provider -> number of nodes).
    """

    artifact: str
    precision: str
    info: DeviceInfo
    latency_ms: Latency
    peak_memory_bytes: int | None
    size_bytes: int
    drift: float
    steady: bool
    ratio_to_reference: float | None = None
    ratio_interval: tuple[float, float] | None = None
    placement: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Flatten to the form of `report.json`'s `measurements` entries; `per_second` is of samples at the median."""
        record = asdict(self)
        info = record.pop("info")
        return {**info, **record, "per_second": per_second(self.latency_ms.median)}


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation of a search candidate returned.

    Attributes:
        state: `complete`; `pruned` (over a ceiling, or hopeless); `failed` (an error).
        accuracy: the task's primary metric on validation; None unless complete.
        latency_ms: the budgeted statistic, measured on the exported candidate; None when rejected before timing.
        params: parameter count.
        macs: multiply-accumulates of one forward pass.
        size_bytes: size of the exported file; None when rejected before export.
        peak_memory_bytes: that loading and running it adds; None where it was not looked for.
        reason: why it was pruned or failed; empty when complete.
        seconds: wall time of the evaluation.
        metrics: further figures by name.
    """

    state: Literal["complete", "pruned", "failed"]
    accuracy: float | None = None
    latency_ms: float | None = None
    params: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    reason: str = ""
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
