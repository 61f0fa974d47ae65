"""The sections on what the network may cost and how it is made to: budget, search, adaptation."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from limbeck.recipe.section import Section

__all__ = ["Adapt", "Budget", "OnRay", "Proxy", "Search", "Tune"]

Latency = Literal["device", "table", "predictor"]
Engine = Literal["local", "ray"]

ENGINE = "where workers run: on this machine, or on the Ray cluster that the environment's RAY_ADDRESS names"


class Budget(Section):
    """`[budget]`: what the result may cost, on which device."""

    target: str = Field("onnxruntime,threads=1", description="where the result must run: see `limbeck show targets`")
    max_latency_ms: float | None = Field(None, gt=0)
    statistic: Literal["median", "p90"] = "median"
    max_params: int | None = Field(None, gt=0)
    max_macs: int | None = Field(None, gt=0)
    max_size_bytes: int | None = Field(None, gt=0)
    max_peak_memory_bytes: int | None = Field(
        None, gt=0, description="resident memory that loading and running the file adds on the target"
    )


class Proxy(Section):
    """`[search.proxy]`: the short training that ranks candidates."""

    epochs: int = Field(3, ge=1)
    limit: int | None = Field(None, ge=1, description="training pictures used; None = all")
    learning_rate: float | None = Field(None, gt=0, description="None = the student's")
    halving: int | None = Field(
        None, ge=2, description="train for one in so many of the epochs first, and only one in so many to the end"
    )
    rungs: int = Field(1, ge=1, le=4, description="with halving: how many such shorter trainings, each as much longer")
    distill: bool = Field(False, description="learn from the teacher as [distill] says, and not from the labels alone")

    @property
    def mean_epochs(self) -> float:
        """Of a candidate, where halving lets exactly one in so many go on: each rung costs as much as the last one."""
        return self.epochs if self.halving is None else self.epochs * (self.rungs + 1) / self.halving**self.rungs

    @model_validator(mode="after")
    def _every_rung_has_an_epoch(self) -> Proxy:
        if self.halving is None and self.rungs != 1:
            raise ValueError("rungs: nothing reads them; set halving too")
        if self.halving is not None and self.epochs < (least := self.halving**self.rungs):
            raise ValueError(f"halving: epochs = {self.epochs} leaves the first rung none; give {least} or more")
        return self


class OnRay(Section):
    """`[search.ray]`, `[adapt.ray]`: what each worker takes of a Ray cluster."""

    cpus: int = Field(1, ge=1, description="processors, and threads of a training where train.threads names none")
    gpus: float | None = Field(
        None,
        ge=0,
        description="0.5 = two workers share one; None = 1 where the cluster has any, unless train.device = 'cpu'",
    )

    @model_validator(mode="after")
    def _gpus_are_whole_or_shared(self) -> OnRay:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus = {self.gpus}: give a part of one, or a whole number")
        return self


class Search(Section):
    """`[search]`: choose the student's architecture under the budget."""

    space: str = Field("mobilenet_blocks", description="or package.module:name")
    options: dict[str, Any] = Field(default_factory=dict, description="of the space, such as input_sizes or widths")
    sampler: str = Field("tpe", description="tpe, controller, nsga2, random, or package.module:function of a seed")
    sampler_options: dict[str, Any] = Field(
        default_factory=dict, description="of the sampler, such as preset = 'nasnet' for the controller"
    )
    objective: Literal["accuracy", "reward", "absolute"] = Field(
        "accuracy", description="what is maximised: reward = accuracy * (latency / target)^w, absolute = TuNAS's"
    )
    target_latency_ms: float | None = Field(
        None,
        gt=0,
        description="of both rewards; None = budget.max_latency_ms, which stays a hard ceiling beside it (with [adapt]: "
        "headroom times what is to be reached there)",
    )
    alpha: float = Field(-0.07, le=0, description="w of objective = reward within the target")
    beta: float = Field(
        -0.07, le=0, description="w of objective = reward beyond the target; of absolute, what missing the target costs"
    )
    trials: int = Field(16, ge=1, description="candidates that are scored or rejected after timing")
    batch: int = Field(4, ge=1, description="candidates timed together, before they are trained")
    workers: int = Field(1, ge=1, description="training processes under the one driver")
    engine: Engine = Field("local", description=ENGINE)
    ray: OnRay = Field(OnRay(), description="what each worker takes there")
    inherit: bool = Field(True, description="crop a trained or pretrained seed's weights where one exists")
    seed_weights: str | None = Field(None, description="run folder or weights of a trained seed network")
    seed: int = Field(0, ge=0, description="of the sampler and the proxy trainings")
    latency: Latency = Field(
        "device", description="where candidates' latencies come from: the device itself, or latency_table"
    )
    latency_table: str | None = Field(
        None, description="file that `limbeck latencies` measured on budget.target; exact (table) or fitted (predictor)"
    )
    storage: str | None = Field(
        None,
        description="Optuna storage URL; ${NAME} in it comes from the environment; None = a file in the run folder",
    )
    retrain_top: int = Field(
        0,
        ge=0,
        description="so many of the best candidates are trained as long as the student, and the best of them taken",
    )
    proxy: Proxy = Proxy()

    @model_validator(mode="after")
    def _a_target_is_read(self) -> Search:
        if self.storage is not None and _holds_a_password(self.storage):
            raise ValueError(
                "storage: holds a password, which recipe.json would keep; write ${NAME} and set it in the environment"
            )
        if self.target_latency_ms is not None and self.objective == "accuracy":
            raise ValueError("target_latency_ms: nothing aims at it; set objective = 'reward' or 'absolute'")
        return self

    @model_validator(mode="after")
    def _a_table_is_read(self) -> Search:
        _check_table(self.latency, self.latency_table)
        _check_engine(self.engine, self.ray)
        return self


class Tune(Section):
    """`[adapt.tune]`: the short training of each proposal."""

    epochs: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1, description="training pictures used; None = all")
    learning_rate: float | None = Field(None, gt=0, description="None = a tenth of the student's")


class Adapt(Section):
    """`[adapt]`: make the trained student narrower, width by width, until it is fast enough on the device (NetAdapt)."""

    max_latency_ms: float | None = Field(
        None, gt=0, description="to reach; None = budget.max_latency_ms, or what share says"
    )
    share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="to reach, of the seed's latency: as much is asked of a fast device as of a slow one",
    )
    steps: int = Field(100, ge=1, description="at most; each makes one width narrower")
    delta: float = Field(0.01, gt=0, lt=1, description="least gain of a step, as a share of the seed's latency")
    rule: Literal["ratio", "accuracy"] = Field(
        "ratio", description="what is kept: ratio = least accuracy lost per millisecond; accuracy = the highest"
    )
    divisor: int = Field(8, ge=1, description="widths are multiples of this")
    min_width: int = Field(8, ge=1, description="no width below this")
    latency: Latency = Field(
        "device", description="where proposals' latencies come from: the device itself, or latency_table"
    )
    latency_table: str | None = Field(
        None, description="file that `limbeck latencies` measured on budget.target; exact (table) or fitted (predictor)"
    )
    workers: int = Field(1, ge=1, description="training processes, each with a proposal")
    engine: Engine = Field("local", description=ENGINE)
    ray: OnRay = Field(OnRay(), description="what each worker takes there")
    seed_weights: str | None = Field(
        None, description="run folder or weights of the trained seed; None = the student is trained first"
    )
    seed: int = Field(0, ge=0, description="of the seed's training and of the short ones")
    headroom: float = Field(
        1.25,
        ge=1,
        description="with [search]: its ceiling on latency, in multiples of what is to be reached here (not with share)",
    )
    final: Literal["finetune", "scratch"] = Field(
        "finetune", description="whether the student then trains on from the adapted weights, or from fresh ones"
    )
    distill: bool = Field(
        True, description="with final = finetune and neither [distill] nor [teacher]: fill in [distill], from the seed"
    )
    tune: Tune = Tune()

    @model_validator(mode="after")
    def _one_aim(self) -> Adapt:
        if self.share is not None and self.max_latency_ms is not None:
            raise ValueError("share: max_latency_ms says what is to be reached; give one of them")
        return self

    @model_validator(mode="after")
    def _a_table_is_read(self) -> Adapt:
        _check_table(self.latency, self.latency_table)
        _check_engine(self.engine, self.ray)
        return self


def _check_table(latency: Latency, table: str | None) -> None:
    if (latency == "device") != (table is None):
        raise ValueError("latency_table: goes with latency = 'table' or 'predictor'; give both or neither")


def _check_engine(engine: Engine, ray: OnRay) -> None:
    if engine == "local" and ray != OnRay():
        raise ValueError("ray: nothing reads it; set engine = 'ray'")


def _holds_a_password(url: str) -> bool:
    """Whether it is written out in the URL, and not as the name of what holds it."""
    try:
        parts = urlsplit(url)
        given = [
            parts.password or "",
            *(value for name, value in parse_qsl(parts.query) if "pass" in name or name == "pwd"),
        ]
    except ValueError:  # no URL, which is said where it is opened
        return False
    return any(one and not re.fullmatch(r"\$\{\w+\}", one) for one in given)
