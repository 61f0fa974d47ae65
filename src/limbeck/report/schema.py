"""What `report.json` holds, as records, and the check before anything is written. No wording, no drawing.

Those of a search and an adaptation are in `searching`.
Every section may be absent or null: other tasks, a search switched off, a figure that could not be measured. Keys that
are not named here are kept as they are. NaN and infinities are not JSON and become null.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.report.points import Jitter, PointFindings, Shapes
from limbeck.report.records import Count, Record, Share
from limbeck.report.searching import Adaptation, Study
from limbeck.report.snr import Level, LevelParity, SignalFindings

__all__ = ["Report", "as_json", "check_report", "parse_report", "read_report", "report_schema"]


class Timing(Record):
    """Milliseconds per call at batch 1."""

    median: float | None = None
    p90: float | None = None
    iqr: float | None = None
    n: Count | None = None

    def statistic(self, name: str | None) -> float | None:
        """The figure that a budget bounds: `p90`, else the median."""
        return self.p90 if name == "p90" else self.median


class Primary(Record):
    """The figure by which models of this task are compared."""

    name: str
    value: float | None = None
    higher_is_better: bool = True


class Bin(Record):
    """One bin of a reliability diagram; confidence and accuracy are null where it is empty."""

    low: Share
    high: Share
    count: Count
    confidence: Share | None = None
    accuracy: Share | None = None


class Diagram(Record):
    """A reliability diagram."""

    bins: list[Bin] = []
    ece: Share | None = None
    mce: Share | None = None


class Reliability(Record):
    """Confidence calibration of one model, before and after the temperature."""

    before: Diagram | None = None
    after: Diagram | None = None
    temperature: float | None = None
    reason: str | None = Field(default=None, description="why there is no temperature")
    counted: str | None = Field(
        default=None, description="what the bins count where it is not the report's samples: pixels sampled from them"
    )


class PerClass(Record):
    """One figure of a model, class by class."""

    name: str
    values: dict[str, Share | None] = Field(description="by class; null where there is nothing to judge it by")


class Timed(Record):
    """One artifact timed on one device: `limbeck.types.Measurement.as_json()`."""

    target: str | None = None
    device: str | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    threads: int | None = None
    os: str | None = None
    artifact: str | None = None
    precision: str | None = None
    latency_ms: Timing | None = None
    per_second: float | None = Field(default=None, description="samples, one after the other, at the median latency")
    peak_memory_bytes: int | None = None
    size_bytes: Count | None = None
    drift: float | None = None
    steady: bool | None = None
    ratio_to_reference: float | None = None
    placement: dict[str, int] | None = None


class Fit(Record):
    """How a model was trained."""

    epochs: Count | None = None
    best_epoch: int | None = None
    selected: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    history: list[dict[str, Any]] | None = None


class Model(Record):
    """One model of the comparison."""

    name: str
    role: str | None = None
    peer: bool | None = Field(default=None, description="whether it trained along with the student, from scratch")
    mean_of: list[str] | None = Field(default=None, description="the models whose mean output it is: no network itself")
    metrics: dict[str, Any] | None = None
    primary: Primary | None = None
    top1: Share | None = None
    ece: Share | None = None
    nll: float | None = None
    params: Count | None = None
    macs: Count | None = None
    size_bytes: Count | None = None
    latency_ms: Timing | None = None
    measurements: list[Timed] | None = None
    seeds: dict[str, Any] | None = None
    artifact: str | None = None
    reliability: Reliability | None = None
    per_class: PerClass | None = None
    per_snr: list[Level] | None = Field(default=None, description="of signals, from the lowest SNR to the highest")
    points: PointFindings | None = Field(default=None, description="of landmarks")
    shape_model: Shapes | None = Field(default=None, description="that smoothed what it learned")
    withheld: str | None = Field(default=None, description="why the file is not handed over")
    fit: Fit | None = None


class Gate(Record):
    """One parity gate."""

    model: str | None = None
    artifact: str | None = None
    device: str | None = None
    kind: str | None = None
    passed: bool
    by_snr: list[LevelParity] | None = None
    text: str | None = None


class Limits(Record):
    """What the result may cost, where."""

    target: str | None = None
    max_latency_ms: float | None = None
    statistic: str | None = None
    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_peak_memory_bytes: int | None = None


class LeftOut(Record):
    """A picture that was left out."""

    source: str
    reason: str | None = None


class Pictures(Record):
    """The data set."""

    name: str | None = None
    classes: Count | list[Any] | None = Field(default=None, description="how many, or their names")
    class_names: list[str] | None = Field(default=None, description="by index")
    counts: dict[str, Count | None] | None = None
    left_out: list[LeftOut] | Count | None = None
    left_out_count: Count | None = Field(
        default=None, description="how many were left out where `left_out` lists only some"
    )
    leakage: Count | dict[str, Any] | None = Field(
        default=None,
        description="test pictures that are also in train; or by pair of splits, such as train/test: {count, ...}",
    )
    warnings: list[str] | None = None

    def shared_pictures(self) -> dict[str, int] | None:
        """How many pictures each pair of splits shares, pairs that share some only; None where nobody looked."""
        if self.leakage is None:
            return None
        if isinstance(self.leakage, int):
            return {"train/test": self.leakage} if self.leakage else {}
        counts = {
            pair: found.get("count") if isinstance(found, dict) else found for pair, found in self.leakage.items()
        }
        return {pair: int(count) for pair, count in counts.items() if isinstance(count, (int, float)) and count}


class Verdict(Record):
    """One plain sentence on the run."""

    kind: Literal["good", "bad", "neutral"]
    text: str


class Confusion(Record):
    """Test pictures of one class that were taken for another."""

    true: str | int
    predicted: str | int
    count: Count


class Example(Record):
    """A test picture that the page shows with what is true of it and what the student says."""

    picture: str
    text: str


class Stage(Record):
    """Wall time of one stage."""

    name: str
    seconds: float | None = None
    note: str | None = None


class Paired(Record):
    """A paired comparison of two models on the same test samples: first minus second, with a 95 % interval."""

    difference: float | None = None
    p_value: Share | None = None
    low: float | None = None
    high: float | None = None
    n: Count | None = None


class Provenance(Record):
    """Where the figures come from."""

    recipe: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    seed: int | None = None
    commit: str | None = None
    host: str | dict[str, Any] | None = None
    command: str | list[str] | None = None
    started: str | float | None = None
    finished: str | float | None = None


class Report(Record):
    """The whole of `report.json`."""

    schema_version: Literal[1] = Field(alias="schema")
    run: str
    task: str
    samples: str = Field(default="pictures", description="what samples are called, in the plural: of signals, frames")
    models: list[Model]
    search: Study | None = None
    adapt: Adaptation | None = None
    parity: list[Gate] | None = None
    budget: Limits | None = None
    data: Pictures | None = None
    warnings: list[str] | None = None
    verdicts: list[Verdict] | None = None
    confusions: list[Confusion] | None = None
    examples: list[Example] | None = None
    signals: SignalFindings | None = None
    jitter: list[Jitter] | None = Field(default=None, description="of landmarks: the student where boxes are not exact")
    stages: list[Stage] | None = None
    paired: dict[str, Paired] | None = Field(default=None, description="by `first_vs_second`, names of models")
    provenance: Provenance | None = None

    @property
    def sample(self) -> str:
        """What one sample is called."""
        return self.samples.removesuffix("s")

    def model_named(self, name: str) -> Model | None:
        """The model of that name, if it is in the comparison."""
        return next((model for model in self.models if model.name == name), None)


def report_schema() -> dict[str, Any]:
    """JSON schema of `report.json`."""
    return Report.model_json_schema()


def as_json(value: Any, *, where: str = "report") -> Any:
    """Copy `value` as plain JSON data: NumPy values become Python's, NaN and infinities null, paths text.

    Raises:
        InputError: something in it has no JSON form; the message names its place.

    Example:
        >>> as_json({"ece": float("nan"), "size": (2, 3)})
        {'ece': None, 'size': [2, 3]}
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): as_json(item, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item, where=f"{where}.{i}") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, 0-d tensors
        return as_json(value.tolist(), where=where)
    raise InputError(
        f"{where}: a value of type {type(value).__name__} has no JSON form; give numbers, text, lists or dicts"
    )


def check_report(report: dict[str, Any]) -> dict[str, Any]:
    """Return `report` as plain JSON data, after checking the keys and types that the schema knows.

    Raises:
        InputError: a required key is missing or a value is of the wrong type or range; the message names the key.
    """
    plain = as_json(report)
    parse_report(plain)
    return plain


def parse_report(report: dict[str, Any]) -> Report:
    """Read a report's JSON data into records; see `check_report` for what is refused.

    Raises:
        InputError: as `check_report`.
    """
    plain = as_json(report)
    if not isinstance(plain, dict):
        raise InputError(
            f"report: expected a dict with 'schema', 'run', 'task' and 'models', got {type(report).__name__}"
        )
    try:
        return Report.model_validate(plain)
    except ValidationError as error:
        problems = error.errors()
        problem = problems[0]
        place = ".".join(["report", *(str(part) for part in problem["loc"])])
        if problem["type"] == "missing":
            text = f"{place}: missing"
        else:
            shown = repr(problem["input"])
            shown = shown if len(shown) <= 60 else shown[:57] + "..."
            text = f"{place} = {shown}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(text + more) from None


def read_report(path: str | Path) -> dict[str, Any]:
    """Read and check the `report.json` of a run folder (or the file itself).

    Raises:
        InputError: there is none, it is not JSON, or it does not hold what a report must; the message names the file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "report.json"
        if not path.is_file():
            raise InputError(f"{path.parent}: holds no report.json; give the folder of a finished run")
    try:
        return check_report(read_json(path))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
