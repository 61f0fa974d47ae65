from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from narrow_networks import judge, mega_macs, tiny_table, trained_like, tune

import limbeck.files
from limbeck.adapt import JudgeProposal, directions, regroup, run_netadapt, split_rows, truncate
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.models import load_network
from limbeck.search.evaluators import open_evaluator

torch.set_num_threads(1)
SEED = trained_like(tiny_table())
START = mega_macs([SEED.table])[0]
PICTURES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def adapt(folder, **changes):
    known = {
        "folder": folder,
        "target_ms": 0.5 * START,
        "latencies": mega_macs,
        "judge": judge,
        "finetune_and_judge": tune,
        "delta": 0.05,
        "seed": 3,
    }
    return run_netadapt(changes.pop("source", SEED), **(known | changes))


def content(folder: Path) -> dict[str, object]:
    """Every file but the seconds in it, and the rests of writes that were cut off."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key != "seconds"}
        return [plain(one) for one in value] if isinstance(value, list) else value

    return {
        str(path.relative_to(folder)): plain(read_json(path)) if path.suffix == ".json" else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".tmp")
    }


def test_every_step_is_the_best_proposal_by_the_slow_reference(tmp_path):
    result = adapt(tmp_path)
    network, now = SEED, START
    assert result.iterates[0].accuracy == judge(SEED)
    assert result.iterates[0].latency_ms == START
    assert len(result.iterates) > 2
    for before, after in zip(result.iterates, result.iterates[1:], strict=False):
        source = split_rows(network.table)
        network = regroup(network, source)
        scores = []
        index = 0
        for one in directions(source):
            for width in one.widths:  # every width in turn, the widest that is enough faster
                table = one.table(source, width)
                latency = mega_macs([table])[0]
                if latency <= now - 0.05 * START:
                    candidate = truncate(network, table)
                    accuracy = tune(candidate, index, 3)
                    ratio = (accuracy - before.accuracy) / (now - latency)
                    scores.append((ratio, one.describe(width), latency, accuracy, candidate))
                    index += 1
                    break
        best = max(scores, key=lambda score: score[0])
        assert (after.what, after.latency_ms, after.accuracy) == best[1:4]
        network, now = best[4], best[2]
        kept = load_network(tmp_path / after.folder).eval()
        assert torch.equal(kept(PICTURES), network.eval()(PICTURES))
        assert (after.params, after.macs) == (kept.params(), kept.macs())
    assert result.ended == "target"
    assert result.iterates[-1].latency_ms <= 0.5 * START < result.iterates[-2].latency_ms


def test_the_seed_is_kept_as_it_came(tmp_path):
    adapt(tmp_path, steps=1)
    kept = load_network(tmp_path / "step-000").eval()
    assert torch.equal(kept(PICTURES), SEED(PICTURES))
    assert kept.origin == SEED.origin


def test_the_highest_accuracy_is_another_rule(tmp_path):
    adapt(tmp_path, rule="accuracy", steps=1)
    told = read_json(tmp_path / "step-001" / "iterate.json")
    accuracies = [one["accuracy"] for one in told["proposals"]]
    assert told["chosen"] == accuracies.index(max(accuracies))
    assert len(set(accuracies)) > 2


def test_where_lower_is_better_the_lowest_wins(tmp_path):
    adapt(tmp_path, rule="accuracy", steps=1, higher_is_better=False)
    told = read_json(tmp_path / "step-001" / "iterate.json")
    accuracies = [one["accuracy"] for one in told["proposals"]]
    assert told["chosen"] == accuracies.index(min(accuracies))


def test_it_ends_by_steps_goes_on_with_more_and_ends_where_nothing_is_left(tmp_path):
    first = adapt(tmp_path, steps=1)
    assert (first.ended, len(first.iterates)) == ("steps", 2)
    more = adapt(tmp_path, steps=2)
    assert more.iterates[:2] == first.iterates
    assert len(more.iterates) == 3
    whole = adapt(tmp_path / "whole")
    assert whole.iterates[:3] == more.iterates
    last = adapt(tmp_path / "last", delta=0.9, target_ms=0.3 * START)
    assert (last.ended, len(last.iterates)) == ("exhausted", 1)
    done = adapt(tmp_path / "done", target_ms=START)
    assert (done.ended, len(done.iterates)) == ("target", 1)


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


def count_writes(monkeypatch, stop_at=None, *, after=False):
    """Count the moments at which a file comes to be; crash just before or just after one of them."""
    seen = {"writes": 0}
    replace = limbeck.files.os.replace

    def counted(here, there):
        if seen["writes"] == stop_at and not after:
            seen["writes"] += 1
            raise Crash
        replace(here, there)
        seen["writes"] += 1
        if seen["writes"] - 1 == stop_at and after:
            raise Crash

    monkeypatch.setattr(limbeck.files.os, "replace", counted)
    return seen


def test_a_crash_between_any_two_writes_changes_nothing(tmp_path, monkeypatch):
    settings = {"steps": 2, "target_ms": 0.4 * START}
    with monkeypatch.context() as patch:
        seen = count_writes(patch)
        unbroken = adapt(tmp_path / "unbroken", **settings)
    expected = content(tmp_path / "unbroken")
    assert seen["writes"] > 30
    for place in range(seen["writes"]):
        broken = tmp_path / "broken"
        with monkeypatch.context() as patch:
            count_writes(patch, place, after=bool(place % 2))
            with pytest.raises(Crash):
                adapt(broken, **settings)
        tuned = []

        def counting(network, index, seed, tuned=tuned):
            tuned.append(index)
            return tune(network, index, seed)

        redone = 0  # of an unfinished step, those without an outcome
        for number in (1, 2):
            step = broken / f"step-{number:03}"
            if not (step / "iterate.json").exists():
                redone += len(unbroken_proposals(tmp_path, number)) - len(list(step.glob("*/outcome.json")))
        assert adapt(broken, finetune_and_judge=counting, **settings) == unbroken
        assert content(broken) == expected
        assert len(tuned) == redone
        shutil.rmtree(broken)


def unbroken_proposals(folder, step):
    return read_json(folder / "unbroken" / f"step-{step:03}" / "proposals.json")["proposals"]


def slow_tune(network, index, seed):
    time.sleep(0.15)
    return tune(network, index, seed)


@pytest.mark.parametrize("seconds", [0.2, 0.7])
def test_a_killed_process_goes_on(tmp_path, seconds):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "import test_netadapt as toy; print('ready', flush=True)\n"
        f"toy.adapt({str(tmp_path / 'killed')!r}, steps=2, finetune_and_judge=toy.slow_tune)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    expected = adapt(tmp_path / "whole", steps=2)
    assert adapt(tmp_path / "killed", steps=2) == expected
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_workers_give_what_one_process_gives(tmp_path):
    expected = adapt(tmp_path / "alone", steps=2)
    evaluator = open_evaluator(JudgeProposal(tune), workers=2)
    try:
        assert adapt(tmp_path / "beside", steps=2, evaluate=evaluator.evaluate) == expected
    finally:
        evaluator.close()
    assert content(tmp_path / "beside") == content(tmp_path / "alone")


def test_a_proposal_that_fails_is_never_chosen(tmp_path):
    def fails_at_times(network, index, seed):
        if index in (0, 2):
            raise RuntimeError("out of luck")
        return float("nan") if index == 1 else tune(network, index, seed)

    evaluator = open_evaluator(JudgeProposal(fails_at_times), workers=1)
    adapt(tmp_path, steps=1, evaluate=evaluator.evaluate)
    told = read_json(tmp_path / "step-001" / "iterate.json")
    assert [one["state"] for one in told["proposals"][:4]] == ["failed", "failed", "failed", "complete"]
    assert "out of luck" in told["proposals"][0]["reason"]
    assert "not a finite number" in told["proposals"][1]["reason"]
    assert told["chosen"] > 2

    def fails(network, index, seed):
        raise RuntimeError("always")

    evaluator = open_evaluator(JudgeProposal(fails), workers=1)
    with pytest.raises(InputError, match=r"none of the \d+ proposals of step 1: RuntimeError: always"):
        adapt(tmp_path / "none", steps=1, evaluate=evaluator.evaluate)


def test_without_workers_an_error_ends_it_and_nothing_is_lost(tmp_path):
    def fails(network, index, seed):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        adapt(tmp_path, steps=1, finetune_and_judge=fails)
    assert adapt(tmp_path, steps=1) == adapt(tmp_path / "other", steps=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "ratios"}, "adapt.rule: unknown rule 'ratios'; did you mean 'ratio'"),
        ({"target_ms": 0.0}, "target_ms = 0.0: expected a positive number"),
        ({"delta": 1.5}, "adapt.delta = 1.5: expected a share"),
        ({"steps": 0}, "adapt.steps = 0: expected 1 or more"),
        ({"grid": 0}, "adapt.grid = 0: expected 1 or more"),
        ({"target_ms": 0.01 * START}, r"cannot be reached: the network with every width at its least takes [\d.]+ ms"),
        ({"source": torch.nn.Linear(1, 1)}, "built from a table"),
    ],
)
def test_bad_input_is_told_before_any_work(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        adapt(tmp_path, **changes)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_folder_of_another_adaptation_is_refused(tmp_path):
    adapt(tmp_path, steps=1)
    with pytest.raises(InputError, match=r"holds another adaptation .delta was 0.05, now 0.06."):
        adapt(tmp_path, steps=1, delta=0.06)
    with pytest.raises(InputError, match=r"holds another adaptation .source was"):
        adapt(tmp_path, steps=1, source=trained_like(tiny_table(), seed=1))
    with pytest.raises(InputError, match=r"holds another adaptation .data was None, now here."):
        adapt(tmp_path, steps=1, identity={"data": "here"})
    (tmp_path / "step-001" / "iterate.json").write_text("{}")
    with pytest.raises(InputError, match="no record of a step"):
        adapt(tmp_path, steps=1)


def test_events_tell_what_happens(tmp_path):
    told = []
    adapt(tmp_path, steps=1, on_event=lambda name, record: told.append((name, record)))
    names = [name for name, _ in told]
    count = next(record["proposals"] for name, record in told if name == "proposed")
    assert names == ["seed", "proposed", *["judged"] * count, "chosen"]
    assert all(record["latency_ms"] > 0 and record["accuracy"] is not None for name, record in told if name == "judged")
