import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import toy_search as toy

from limbeck.errors import InputError, Stopped
from limbeck.search import Ceilings, Halving
from limbeck.search.halving import count_better
from limbeck.types import Evaluation

OPEN = Ceilings()


@dataclass(frozen=True)
class Rungs:
    """An evaluation whose short trainings are worse, by the same for all; keeps a record, and can be stopped."""

    log: str
    stop_after: int | None = None

    def __call__(self, point, seed, share=None):
        done = Path(self.log).read_text().count("\n") if Path(self.log).exists() else 0
        if self.stop_after is not None and done >= self.stop_after:
            raise KeyboardInterrupt
        with open(self.log, "a") as handle:
            handle.write(json.dumps({"point": point, "share": share}) + "\n")
        return Evaluation("complete", accuracy=toy.accuracy(point) * (share or 1.0), seconds=share or 1.0)


def run(folder, *, stop_after=None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    given = {"ceilings": OPEN, "trials": 24, "halving": Halving(factor=3), "sampler": "random", **more}
    return toy.search(folder, evaluate=Rungs(str(folder / "log"), stop_after), **given)


def log(folder):
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_a_candidate_is_pruned_when_too_many_were_better_at_its_rung(tmp_path):
    """Replayed by the rule: a generation is judged together, among all that came to the rung until then."""
    result = run(tmp_path)
    trials = [trial for trial in result.trials if trial["reused"] is None]
    assert all(trial["metrics"]["rung1"] == toy.accuracy(trial["point"]) * (1 / 3) for trial in trials)
    for trial in trials:
        generation_end = (trial["slot"] // 4 + 1) * 4
        came = [one["metrics"]["rung1"] for one in trials if one["slot"] < generation_end]
        better = sum(other > trial["metrics"]["rung1"] for other in came)
        goes_on = trial["slot"] == 0 or better < len(came) / 3
        assert trial["state"] == ("complete" if goes_on else "pruned")
        if not goes_on:
            told = f"hopeless after 33% of its training: {better} of {len(came)} were better there"
            assert trial["reason"] == told
            assert trial["accuracy"] is None
    assert 6 < sum(trial["state"] == "pruned" for trial in trials) < 20
    assert result.best["accuracy"] == max(toy.accuracy(trial["point"]) for trial in trials)


def test_only_those_that_go_on_are_trained_to_the_end(tmp_path):
    result = run(tmp_path)
    whole = [one["point"] for one in log(tmp_path) if one["share"] == 1.0]
    complete = [trial["point"] for trial in result.trials if trial["state"] == "complete" and trial["reused"] is None]
    assert whole == complete
    assert len([one for one in log(tmp_path) if one["share"] == 1 / 3]) == len(
        {json.dumps(trial["point"]) for trial in result.trials}
    )
    seconds = {trial["state"]: trial["seconds"] for trial in result.trials if trial["reused"] is None}
    assert seconds == {"complete": pytest.approx(4 / 3, abs=1e-3), "pruned": pytest.approx(1 / 3, abs=1e-3)}


def test_without_a_halving_an_evaluation_is_not_handed_a_share(tmp_path):
    run(tmp_path, halving=None, trials=4)
    assert {one["share"] for one in log(tmp_path)} == {None}


def test_several_rungs_grow_by_the_factor(tmp_path):
    assert Halving(factor=4, rungs=3).shares() == (1 / 64, 1 / 16, 1 / 4)
    result = run(tmp_path, halving=Halving(factor=2, rungs=2))
    shares = [one["share"] for one in log(tmp_path)]
    assert shares.count(0.25) > shares.count(0.5) > shares.count(1.0) > 0
    assert all("rung2" in trial["metrics"] for trial in result.trials if trial["state"] == "complete")


def test_of_two_objectives_what_few_others_beat_in_both_goes_on(tmp_path):
    result = run(tmp_path, sampler="nsga2", sampler_options={"population_size": 4})
    trials = [trial for trial in result.trials if trial["reused"] is None]
    assert {trial["state"] for trial in trials} == {"complete", "pruned"}
    for trial in trials[1:]:
        came = [one for one in trials if one["slot"] < (trial["slot"] // 4 + 1) * 4]
        pairs = [(one["metrics"]["rung1"], -one["latency_ms"]) for one in came]
        beaten = {one["number"]: sum(_beats(o, mine) for o in pairs) for one, mine in zip(came, pairs, strict=True)}
        nearer = sum(count < beaten[trial["number"]] for count in beaten.values())
        assert (trial["state"] == "complete") == (nearer < len(came) / 3)
    front = [result.trials[index] for index in result.front]
    assert min(trials, key=lambda trial: (trial["latency_ms"], -trial["metrics"]["rung1"])) in front


def _beats(one, other):
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def test_counting_what_is_better_by_its_definition():
    chance = random.Random(0)
    for _ in range(30):
        figures = [(chance.randint(0, 4), chance.randint(0, 4)) for _ in range(12)]
        beaten = [sum(_beats(other, one) for other in figures) for one in figures]
        assert count_better(figures) == [sum(other < mine for other in beaten) for mine in beaten]
        single = [(one[0],) for one in figures]
        assert count_better(single) == [sum(other > one for other in single) for one in single]


@pytest.mark.parametrize("stop_after", [1, 3, 5, 6, 9, 14])
def test_a_search_stopped_between_rungs_goes_on_as_if_it_had_not_been(tmp_path, stop_after):
    given = {"halving": Halving(factor=2, rungs=2), "trials": 12, "sampler": "tpe"}
    with pytest.raises(Stopped):
        run(tmp_path / "a", stop_after=stop_after, **given)
    resumed, unbroken = (run(tmp_path / name, **given) for name in "ab")
    assert toy.trajectory(resumed) == toy.trajectory(unbroken)
    assert log(tmp_path / "a") == log(tmp_path / "b")  # no rung was trained twice


def test_two_workers_prune_what_one_prunes(tmp_path):
    assert toy.trajectory(run(tmp_path / "two", workers=2, trials=8)) == toy.trajectory(run(tmp_path / "one", trials=8))


def test_a_candidate_that_fails_at_a_rung_fails(tmp_path):
    def evaluate(point, seed, share):
        if point["a"] == 2:
            raise RuntimeError("the loss is not finite")
        return Evaluation("complete", accuracy=toy.accuracy(point) * share)

    result = toy.search(tmp_path, evaluate=evaluate, ceilings=OPEN, halving=Halving(), sampler="random")
    failed = [trial for trial in result.trials if trial["state"] == "failed"]
    assert failed
    assert all(trial["point"]["a"] == 2 and "not finite" in trial["reason"] for trial in failed)


def test_a_search_with_another_halving_is_refused(tmp_path):
    run(tmp_path, trials=4)
    with pytest.raises(InputError, match="was written by another search"):
        run(tmp_path, trials=4, halving=Halving(factor=2))
    with pytest.raises(InputError, match="was written by another search"):
        run(tmp_path, trials=4, halving=None)


@pytest.mark.parametrize(("given", "told"), [({"factor": 1}, "factor must be"), ({"rungs": 0}, "rungs must be")])
def test_numbers_out_of_range_are_told(given, told):
    with pytest.raises(InputError, match=told):
        Halving(**given)
