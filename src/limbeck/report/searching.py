"""What `report.json` holds of a search and of an adaptation, as records. No wording, no drawing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limbeck.report.records import Count, Record

__all__ = ["Adaptation", "Drawn", "Iterate", "Latencies", "Layer", "Reference", "Study", "Trial"]


class Trial(Record):
    """One candidate of the search."""

    number: int
    slot: int | str | None = Field(default=None, description="null where parameters or MACs rejected it")
    state: str
    point: dict[str, Any] | None = None
    accuracy: float | None = None
    reward: float | None = Field(default=None, description="what was maximised, where that is not the accuracy itself")
    latency_ms: float | None = None
    params: Count | None = None
    macs: Count | None = None
    size_bytes: Count | None = None
    reason: str | None = None
    seconds: float | None = None
    reused: bool | None = None
    rows: str | list[Any] | None = Field(default=None, description="the architecture in words")
    metrics: dict[str, Any] | None = None

    @property
    def score(self) -> float | None:
        """The figure by which candidates are ranked."""
        return self.accuracy if self.reward is None else self.reward

    @property
    def policy_entropy(self) -> float | None:
        """Of the controller when it drew this candidate, as a share of the largest; None where another sampler drew."""
        found = (self.metrics or {}).get("policy_entropy")
        return found if isinstance(found, (int, float)) else None


class Reference(Record):
    """The network that the search had to beat, scored as the candidates are."""

    number: int | None = Field(default=None, description="of its trial, where it was one of the candidates")
    accuracy: float | None = None
    latency_ms: float | None = None


class Goal(Record):
    """What the search maximised."""

    form: str = Field(description="accuracy, reward or absolute")
    target_ms: float | None = None
    alpha: float | None = None
    beta: float | None = None


class Front(Record):
    """The Pareto front of accuracy against latency as it stood after so many candidates."""

    after: Count
    front: list[int] = Field(description="numbers of trials, from the fastest on")


class Reason(Record):
    """Why candidates were not scored: reasons that differ in their figures alone are counted together."""

    state: str
    count: Count
    example: str


class Rules(Record):
    """What a soft and a hard reading of the target would choose, both by the short training."""

    target_ms: float
    soft: int | None = Field(default=None, description="the trial of the highest reward")
    hard: int | None = Field(default=None, description="the most accurate trial within the target; null without one")


class Retrained(Record):
    """A candidate that was also trained in full."""

    number: int
    proxy: float | None = Field(default=None, description="validation accuracy after the short training")
    accuracy: float | None = Field(default=None, description="the same after the whole training")


class Layer(Record):
    """One block of a network, as it is drawn."""

    block: str = Field(description="conv, separable, inverted, fused or linear")
    out_channels: Count
    hidden_channels: Count | None = Field(default=None, description="inside, after the expansion; null without one")
    kernel_size: Count | None = None
    start_kernel_size: Count | None = None
    stride: Count | None = None
    squeeze_channels: Count | None = Field(default=None, description="of squeeze-excite; 0 = none")
    skip: str | None = Field(default=None, description="what is added to the output: identity, pool or none")
    activation: str | None = None
    height: Count | None = Field(default=None, description="of the map that leaves it, in pixels")
    width: Count | None = None


class Drawn(Record):
    """A network, block by block."""

    number: int | None = Field(default=None, description="of its trial, in a search")
    layers: list[Layer]


class Beside(Record):
    """A latency that was told, and what the device then took."""

    number: int = Field(description="of the trial or step")
    told_ms: float | None = None
    measured_ms: float | None = None


class Latencies(Record):
    """Where latencies came from."""

    source: str = Field(description="device, table or predictor")
    table: str | None = Field(default=None, description="the file of kernels")
    error: dict[str, float | None] | None = Field(
        default=None, description="of networks that nothing was fitted to: networks, within_5, within_10, ..."
    )
    beside: list[Beside] | None = None


class Study(Record):
    """The search."""

    trials: list[Trial] = []
    front: list[int] | None = None
    best: int | None = None
    sampler: str | None = None
    sampler_options: dict[str, Any] | None = None
    objective: Goal | None = None
    space: str | None = None
    size: Count | None = Field(default=None, description="networks in the space")
    seed: int | None = None
    ceiling_ms: float | None = None
    statistic: str | None = None
    asked: Count | None = None
    seconds: dict[str, Any] | float | None = None
    reference: Reference | None = None
    latencies: Latencies | None = None
    fronts: list[Front] | None = Field(default=None, description="after a quarter, a half and all of the candidates")
    reasons: list[Reason] | None = Field(default=None, description="the most frequent first")
    rules: Rules | None = Field(default=None, description="where a reward was maximised")
    retrained: list[Retrained] | None = None
    rank_correlation: float | None = Field(
        default=None, ge=-1 - 1e-6, le=1 + 1e-6, description="Spearman's, of `retrained`; null for fewer than three"
    )
    networks: list[Drawn] | None = Field(default=None, description="chosen, reference and some of the front")

    def trial(self, number: int | None) -> Trial | None:
        """The candidate of that number."""
        return next((trial for trial in self.trials if trial.number == number), None)


class Proposal(Record):
    """One way to make a network faster, tuned for a short while."""

    what: str
    latency_ms: float | None = None
    accuracy: float | None = None


class Iterate(Record):
    """One network on the way; step 0 is the seed."""

    step: Count
    what: str
    latency_ms: float | None = None
    accuracy: float | None = None
    params: Count | None = None
    macs: Count | None = None
    folder: str | None = Field(default=None, description="within the run, with architecture.json and model.safetensors")
    proposals: list[Proposal] | None = Field(default=None, description="what this one was chosen from")


class Shrunk(Record):
    """A width that the adaptation changed."""

    kind: str = Field(description="expansion (inside one block) or width (of all blocks that share it)")
    blocks: list[Count] = Field(description="their places; the stem is block 0")
    before: Count
    after: Count


class Adaptation(Record):
    """The seed of an adaptation made narrower, step by step."""

    iterates: list[Iterate] = []
    ended: Literal["target", "steps", "exhausted"] | None = None
    target_ms: float | None = None
    statistic: str | None = None
    rule: str | None = None
    metric: str | None = Field(default=None, description="what `accuracy` is")
    higher_is_better: bool | None = None
    latencies: Latencies | None = None
    seconds: dict[str, float | None] | None = None
    widths: list[Shrunk] | None = None
    first: Drawn | None = None
    last: Drawn | None = None
