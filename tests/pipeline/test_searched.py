"""What a report says of a search and an adaptation, from what their stages left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from limbeck.adapt import split_rows
from limbeck.adapt.widths import with_widths
from limbeck.models import Row, Table, family_table
from limbeck.models.rows import Head
from limbeck.pipeline.searched import fronts_of, layers_of, rank_correlation, reasons_of, rules_of, shrunk
from limbeck.search import Objective


def trial(number, accuracy=None, latency_ms=None, *, state="complete", slot=-1, reason="", reused=False):
    objective = Objective("reward", 1.0)
    reward = None if accuracy is None else objective.score(accuracy, latency_ms)
    figures = {"accuracy": accuracy, "latency_ms": latency_ms, "reward": reward}
    slot = number if slot == -1 else slot
    return {"number": number, "slot": slot, "state": state, "reason": reason, "reused": reused, **figures}


TRIALS = [
    trial(0, 0.80, 1.0),
    trial(1, state="pruned", slot=None, reason="params 1,500 > max_params 1,000"),
    trial(2, 0.70, 0.5),
    trial(3, state="pruned", latency_ms=3.1, reason="latency_ms 3.1 > max_latency_ms 2"),
    trial(4, 0.85, 1.5),
    trial(5, 0.75, 0.9),
    trial(6, state="pruned", latency_ms=2.75, reason="latency_ms 2.75 > max_latency_ms 2"),
    trial(7, state="failed", reason="loss became NaN"),
    trial(8, 0.90, 0.9, reused=True),  # cannot be: a repeated point has its first one's figures; it must not count
]


def test_fronts_stand_as_they_stood_and_count_what_filled_a_slot():
    found = fronts_of(TRIALS, higher_is_better=True)
    assert found == [
        {"after": 2, "front": [2, 0]},
        {"after": 4, "front": [2, 0, 4]},
        {"after": 8, "front": [2, 5, 0, 4]},
    ]
    assert fronts_of(TRIALS[:1], higher_is_better=True) == [{"after": 1, "front": [0]}]
    assert fronts_of(TRIALS[:3], higher_is_better=False)[-1]["front"] == [2]


def test_reasons_that_differ_in_figures_alone_are_one():
    assert reasons_of(TRIALS) == [
        {"state": "pruned", "count": 2, "example": "latency_ms 3.1 > max_latency_ms 2"},
        {"state": "rejected", "count": 1, "example": "params 1,500 > max_params 1,000"},
        {"state": "failed", "count": 1, "example": "loss became NaN"},
    ]


def test_the_soft_rule_may_go_beyond_the_target_and_the_hard_one_may_not():
    # 0.85 * 1.5^-0.07 = 0.8262 beats 0.80 at the target
    assert rules_of(TRIALS, Objective("reward", 1.0)) == {"target_ms": 1.0, "soft": 4, "hard": 0}
    assert rules_of(TRIALS, Objective("reward", 0.4)) == {"target_ms": 0.4, "soft": 4, "hard": None}
    assert rules_of(TRIALS, Objective()) is None


def test_rank_correlation_needs_three_that_differ():
    assert rank_correlation([(1, 1), (2, 2)]) is None
    assert rank_correlation([(1, 1), (2, 1), (3, 1)]) is None
    assert rank_correlation([(0.5, 0.9), (0.6, 0.7), (0.7, 0.95), (0.8, 0.8)]) == pytest.approx(0.0)
    assert rank_correlation([(0.5, 0.7), (0.6, 0.8), (0.9, 0.95)]) == pytest.approx(1.0)


def test_layers_are_the_blocks_of_the_paper():
    """Columns of table 2 of MobileNetV3 (arXiv 1905.02244), written out here."""
    layers = layers_of(family_table("mobilenet_v3_small"))
    blocks = layers[1:12]
    assert [one["kernel_size"] for one in blocks] == [3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5]
    assert [one["hidden_channels"] for one in blocks] == [None, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576]
    assert [one["out_channels"] for one in blocks] == [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96]
    assert [bool(one["squeeze_channels"]) for one in blocks] == [True, False, False, *[True] * 8]
    assert [one["height"] for one in layers[:12]] == [112, 56, 28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    assert [one["skip"] for one in blocks[:3]] == ["none", "none", "identity"]
    assert [(one["block"], one["out_channels"]) for one in layers[12:]] == [
        ("conv", 576),
        ("linear", 1024),
        ("linear", 1000),
    ]


def test_shrunk_widths_are_told_once_each_with_the_blocks_that_share_them():
    rows = (
        Row("inverted", 16, expansion=3),
        Row("inverted", 16, repeats=2, expansion=4),
        Row("inverted", 24, stride=2, expansion=4),
    )
    seed = Table("seed", Row("conv", 16, stride=2), rows, Head(), num_classes=10, input_size=(32, 32))
    last = with_widths(split_rows(seed), outputs={"stem": 8, "row0": 8, "row1": 8, "row2": 8}, expansions={3: 40})
    assert shrunk(seed, last) == [
        {"kind": "width", "blocks": [0, 1, 2, 3], "before": 16, "after": 8},
        {"kind": "expansion", "blocks": [4], "before": 64, "after": 40},
    ]
    assert shrunk(seed, replace(seed, name="same")) == []


def test_a_runs_report_carries_the_searchs_figures(finished_run: Path):
    report = json.loads((finished_run / "report.json").read_text())
    study = json.loads((finished_run / "stages" / "search" / "report.json").read_text())["result"]["study"]
    found = report["search"]
    assert report["adapt"] is None
    assert (found["space"], found["size"], found["seed"]) == (study["space"], study["size"], 0)
    assert found["objective"] == {"form": "accuracy"}
    assert found["rules"] is None
    assert found["fronts"][-1]["front"] == found["front"]
    complete = sum(trial["state"] == "complete" for trial in study["trials"])
    assert sum(one["count"] for one in found["reasons"]) == len(study["trials"]) - complete
    shown = {one["number"]: one["layers"] for one in found["networks"]}
    assert found["best"] in shown
    built = Table.from_json(
        json.loads((finished_run / "stages/search/report.json").read_text())["result"]["architecture"]
    )
    assert shown[found["best"]] == layers_of(built)
    page = (finished_run / "report.html").read_text()
    assert f"Candidate {found['best']}, block by block" in page
