"""The adaptation itself: step by step a narrower network, until it is fast enough. Nothing here trains or times.

Not here: what is proposed (`proposals`), how a proposal is made (`judge`).
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck.adapt.judge import OUTCOME, FinetuneAndJudge, JudgeProposal, open_split, save_joined
from limbeck.adapt.proposals import Latencies, narrowest, propose
from limbeck.adapt.widths import join_rows, split_rows
from limbeck.errors import InputError, unknown_name
from limbeck.files import read_json, write_json
from limbeck.models import Network, Table, TableNetwork
from limbeck.types import Evaluation

__all__ = ["RULES", "AdaptResult", "Iterate", "run_netadapt"]

# (accuracy gained, milliseconds saved) -> what is maximised; gains are losses, that is negative, as a rule
RULES: dict[str, Callable[[float, float], float]] = {
    "ratio": lambda gained, saved: gained / saved,  # MobileNetV3
    "accuracy": lambda gained, saved: gained,  # NetAdapt
}

EvaluateAll = Callable[[Sequence[dict[str, Any]], int], Iterable[tuple[int, Evaluation]]]


@dataclass(frozen=True)
class Iterate:
    """One network on the way, a deliverable of its own: `architecture.json` and `model.safetensors` in its folder.

    Attributes:
        step: 0 = the seed.
        what: the change from the one before, in words.
        latency_ms: measured once more after it was chosen.
        accuracy: on validation; of the seed as it came, of the others after their short tuning.
        params: trainable parameters.
        macs: multiply-accumulates of one picture.
        folder: its name beside the others'.
    """

    step: int
    what: str
    latency_ms: float
    accuracy: float
    params: int
    macs: int
    folder: str


@dataclass(frozen=True)
class AdaptResult:
    """What an adaptation left.

    Attributes:
        iterates: the seed and every step, each faster than the one before.
        ended: `target` (fast enough), `steps` (as many as asked), `exhausted` (nothing is enough faster any more).
        target_ms: what was aimed at.
    """

    iterates: tuple[Iterate, ...]
    ended: str
    target_ms: float

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"iterates": [asdict(one) for one in self.iterates]}


def run_netadapt(
    source: Network,
    *,
    folder: str | Path,
    target_ms: float,
    latencies: Latencies,
    judge: Callable[[TableNetwork], float],
    finetune_and_judge: FinetuneAndJudge,
    rule: str = "ratio",
    delta: float = 0.01,
    steps: int = 100,
    grid: int = 8,
    min_width: int = 8,
    seed: int = 0,
    higher_is_better: bool = True,
    evaluate: EvaluateAll | None = None,
    identity: Mapping[str, Any] | None = None,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
) -> AdaptResult:
    """Make a trained network narrower, one width at a time, until it takes `target_ms`.

    In every step each expansion and each shared bottleneck width makes a proposal that is at least `delta` faster as
    measured; each is truncated from the network before, tuned for a short while and judged; the best by `rule` goes on.
    What is done is on disk: the same call after a kill goes on from there and gives what an unbroken one gives. At most
    the proposals under way, or one step's timings, are done again. More steps or a lower target go on, too.

    Args:
        source: the trained seed, built from a table.
        folder: where everything is kept: `step-000` (the seed), `step-001` ...
        target_ms: latency to reach.
        latencies: tables -> milliseconds each, or what went wrong with that one.
        judge: network -> accuracy on validation, for the seed.
        finetune_and_judge: (network, number of the proposal, seed) -> accuracy on validation; tunes in place.
        rule: a name of `RULES`: `ratio` (least accuracy lost per millisecond) or `accuracy` (highest).
        delta: least gain of a proposal, as a share of the seed's latency.
        steps: at most so many.
        grid: widths are multiples of this.
        min_width: no width below this.
        seed: handed to every tuning, the same one: a fair comparison.
        higher_is_better: direction of the accuracy.
        evaluate: (points, seed) -> (place, `Evaluation`) of each as it ends, for workers; it must call
            `JudgeProposal(finetune_and_judge)`. None = one after the other, here, where an error ends the adaptation.
        identity: JSON that must be the same when the adaptation goes on (such as fingerprints of data and training).
        on_event: told of `seed`, `proposed`, `judged` and `chosen`, with a JSON-able record.

    **Source:** Yang et al. 2018, arXiv 1804.03230, Algorithm 1; proposals, delta and the ratio of MobileNetV3 (arXiv
    1905.02244, section 4.2).
    **Differs:** accuracy is judged on validation, never on training pictures. Where tuning gains accuracy, the ratio
    prefers the smaller saving, as its formula says.

    Raises:
        InputError: a wrong argument, a target below what the narrowest network takes, a folder of another adaptation,
            a network that cannot be timed, or a step none of whose proposals could be tuned.
    """
    _check(source, target_ms, rule, delta, steps, grid, min_width)
    assert isinstance(source, TableNetwork)
    folder = Path(folder)
    bound_to = {
        "source": _weights_hash(source),
        "rule": rule,
        "delta": delta,
        "grid": grid,
        "min_width": min_width,
        "seed": seed,
        "higher_is_better": higher_is_better,
        **(identity or {}),
    }
    _bind(folder, bound_to)
    work = _Adaptation(folder, latencies, on_event or (lambda name, record: None))
    work.target_ms, work.rule, work.grid, work.min_width = target_ms, rule, grid, min_width
    work.seed, work.sign = seed, 1 if higher_is_better else -1
    work.evaluate = evaluate or _in_turn(JudgeProposal(finetune_and_judge))
    iterates = [work.begin(source, judge)]
    work.delta_ms = delta * iterates[0].latency_ms
    while True:
        if iterates[-1].latency_ms <= target_ms:
            ended = "target"
        elif len(iterates) > steps:
            ended = "steps"
        elif (following := work.step(iterates[-1])) is None:
            ended = "exhausted"
        else:
            iterates.append(following)
            continue
        return AdaptResult(tuple(iterates), ended, target_ms)


class _Adaptation:
    """What the steps share; everything that lasts is in files."""

    target_ms: float
    delta_ms: float
    rule: str
    grid: int
    min_width: int
    seed: int
    sign: int
    evaluate: EvaluateAll

    def __init__(self, folder: Path, latencies: Latencies, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._folder, self._latencies, self._tell = folder, latencies, tell

    def begin(self, source: TableNetwork, judge: Callable[[TableNetwork], float]) -> Iterate:
        """The seed as step 0; what even the narrowest network cannot reach is refused here."""
        folder = self._folder / "step-000"
        kept = _read_iterate(folder)
        if kept is None:
            table = split_rows(source.table)
            least = narrowest(table, grid=self.grid, min_width=self.min_width)
            latency, least_ms = self._latencies([table, least])
            if isinstance(latency, Exception):
                raise latency
            # a predictor may know nothing of so narrow a network: then the steps tell how far it goes
            if not isinstance(least_ms, Exception) and least_ms > self.target_ms:
                raise InputError(
                    f"adapt: {self.target_ms:.4g} ms cannot be reached: the network with every width at its least takes "
                    f"{least_ms:.4g} ms, the seed {latency:.4g} ms; raise the budget, or take a smaller seed or input_size"
                )
            save_joined(source, folder)
            kept = self._keep(0, "the seed", float(latency), float(judge(source)), source.table, {})
        self._tell("seed", asdict(kept))
        return kept

    def step(self, current: Iterate) -> Iterate | None:
        """The best proposal from `current`, tuned; None where there is none. Finished parts are taken from disk."""
        number = current.step + 1
        folder = self._folder / f"step-{number:03}"
        kept = _read_iterate(folder)
        if kept is None:
            current_ms, proposals, seconds = self._proposals(current, folder)
            if not proposals:
                return None
            outcomes = self._outcomes(current, folder, proposals)
            best = self._choose(current, current_ms, proposals, outcomes)
            network = open_split(_proposal_folder(folder, best))
            (latency,) = self._time([network.table])
            save_joined(network, folder)
            told = [
                {"what": one["what"], "latency_ms": one["latency_ms"], **outcomes[i]} for i, one in enumerate(proposals)
            ]
            seconds |= {"tuning": round(sum(one["seconds"] for one in outcomes), 3)}
            further = {"chosen": best, "beside_ms": current_ms, "proposals": told, "seconds": seconds}
            what, accuracy = proposals[best]["what"], outcomes[best]["accuracy"]
            kept = self._keep(number, what, latency, accuracy, network.table, further)
        for left in folder.glob("proposal-*"):
            shutil.rmtree(left)
        self._tell("chosen", asdict(kept))
        return kept

    def _proposals(self, current: Iterate, folder: Path) -> tuple[float, list[dict[str, Any]], dict[str, float]]:
        path = folder / "proposals.json"
        if not path.exists():
            started = time.perf_counter()
            table = open_split(self._folder / current.folder).table
            current_ms, found = propose(
                table,
                self._latencies,
                current_ms=current.latency_ms,
                delta_ms=self.delta_ms,
                grid=self.grid,
                min_width=self.min_width,
            )
            tree = {
                "current_ms": current_ms,
                "proposals": [
                    {"what": one.what, "latency_ms": one.latency_ms, "table": one.table.to_json()} for one in found
                ],
                "seconds": {"timing": round(time.perf_counter() - started, 3)},
            }
            write_json(path, tree)
        tree = read_json(path)
        self._tell("proposed", {"step": current.step + 1, "proposals": len(tree["proposals"])})
        return tree["current_ms"], tree["proposals"], tree["seconds"]

    def _outcomes(self, current: Iterate, folder: Path, proposals: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """How each proposal fared; only those without an outcome on disk are evaluated."""
        points = [
            {
                "source": str(self._folder / current.folder),
                "table": one["table"],
                "index": index,
                "folder": str(_proposal_folder(folder, index)),
            }
            for index, one in enumerate(proposals)
            if not (_proposal_folder(folder, index) / OUTCOME).exists()
        ]
        for place, evaluation in self.evaluate(points, self.seed) if points else ():
            point = points[place]
            if evaluation.state != "complete":
                outcome = {"state": "failed", "accuracy": None, "seconds": round(evaluation.seconds, 3)}
                write_json(Path(point["folder"]) / OUTCOME, outcome | {"reason": evaluation.reason})
            self._tell("judged", {"step": current.step + 1, **asdict(evaluation), **proposals[point["index"]]})
        return [read_json(_proposal_folder(folder, index) / OUTCOME) for index in range(len(proposals))]

    def _choose(
        self, current: Iterate, current_ms: float, proposals: list[dict[str, Any]], outcomes: list[dict[str, Any]]
    ) -> int:
        scores = {}
        for index, (proposal, outcome) in enumerate(zip(proposals, outcomes, strict=True)):
            if outcome["state"] == "complete":
                gained = self.sign * (outcome["accuracy"] - current.accuracy)
                saved = current_ms - proposal["latency_ms"]
                scores[index] = (RULES[self.rule](gained, saved), saved, -index)
        if not scores:
            reason = outcomes[0]["reason"]
            raise InputError(f"adapt: none of the {len(outcomes)} proposals of step {current.step + 1}: {reason}")
        return max(scores, key=lambda index: scores[index])

    def _keep(
        self, step: int, what: str, latency_ms: float, accuracy: float, table: Table, further: dict[str, Any]
    ) -> Iterate:
        table = join_rows(table)
        iterate = Iterate(step, what, latency_ms, accuracy, table.params(), table.macs(), f"step-{step:03}")
        write_json(self._folder / iterate.folder / "iterate.json", asdict(iterate) | further)
        return iterate

    def _time(self, tables: list[Table]) -> list[float]:
        answers = self._latencies(tables)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [float(answer) for answer in answers if not isinstance(answer, Exception)]


def _proposal_folder(folder: Path, index: int) -> Path:
    return folder / f"proposal-{index:02}"


def _in_turn(judge: JudgeProposal) -> EvaluateAll:
    return lambda points, seed: ((place, judge(point, seed)) for place, point in enumerate(points))


def _read_iterate(folder: Path) -> Iterate | None:
    path = folder / "iterate.json"
    if not path.exists():
        return None
    tree = read_json(path)
    try:
        return Iterate(**{name: tree[name] for name in Iterate.__dataclass_fields__})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: is no record of a step ({error}); delete {folder.name} to redo it") from error


def _weights_hash(network: TableNetwork) -> str:
    """Of structure and weights, whatever the rows are called."""
    digest = hashlib.sha256(join_rows(network.table).fingerprint().encode())
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _bind(folder: Path, identity: dict[str, Any]) -> None:
    """Refuse to go on in the folder of another adaptation."""
    path = folder / "adapt.json"
    if not path.exists():
        write_json(path, identity)
        return
    known = read_json(path)
    for name in sorted({*known, *identity}):
        if known.get(name) != identity.get(name):
            raise InputError(
                f"{folder}: holds another adaptation ({name} was {known.get(name)}, now {identity.get(name)}); "
                "delete the folder to start over"
            )


def _check(source: Network, target_ms: float, rule: str, delta: float, steps: int, grid: int, min_width: int) -> None:
    if not isinstance(source, TableNetwork):
        raise InputError("adapt: the seed must be a network that is built from a table")
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES, where="adapt.rule")
    if not target_ms > 0:
        raise InputError(f"adapt: target_ms = {target_ms}: expected a positive number of milliseconds")
    if not 0 < delta < 1:
        raise InputError(f"adapt.delta = {delta}: expected a share above 0 and below 1")
    for name, number in (("steps", steps), ("grid", grid), ("min_width", min_width)):
        if number < 1:
            raise InputError(f"adapt.{name} = {number}: expected 1 or more")
