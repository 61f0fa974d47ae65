"""The sections on search and adaptation: their figures, their pictures, and what is not there where nothing is known."""

from __future__ import annotations

import copy
import re
from xml.etree import ElementTree

import pytest
from read_page import Page

from limbeck.report import check_report, judge, render, render_many
from limbeck.report.candidates import adapt_chart, entropy_chart, fronts_chart, progress_chart, retrained_chart
from limbeck.report.charts import Bar, times_chart
from limbeck.report.networks import network_picture, widest_of
from limbeck.report.schema import parse_report
from limbeck.report.searched import adapt_text, time_bars
from limbeck.report.searching import Adaptation, Drawn

EVIL = '<script>alert("x")</script><b>&'


def layers(inside: int, out: int = 16) -> list[dict]:
    return [
        {"block": "conv", "out_channels": 16, "kernel_size": 3, "stride": 2, "height": 16, "width": 16},
        {
            "block": "inverted",
            "hidden_channels": inside,
            "out_channels": out,
            "kernel_size": 5,
            "stride": 1,
            "squeeze_channels": 8,
            "skip": "identity",
            "height": 16,
            "width": 16,
        },
        {"block": "linear", "out_channels": 1024, "height": 1, "width": 1},
    ]


@pytest.fixture
def searched(report):
    """The full run, rewarded, by the controller, with an adaptation."""
    study = report["search"]
    slowest = max((t for t in study["trials"] if t["accuracy"] is not None), key=lambda t: t["latency_ms"])
    slowest["accuracy"] = 0.99  # worth its time to the soft rule, and beyond the hard one's bound
    study["front"] = [*(number for number in study["front"] if number != slowest["number"]), slowest["number"]]
    for trial in study["trials"]:
        if trial["accuracy"] is not None:
            trial["reward"] = trial["accuracy"] * (trial["latency_ms"] / 1.0) ** -0.07
        trial["metrics"] = {"policy_entropy": 1.0 - 0.02 * trial["number"]}
    scored = [trial for trial in study["trials"] if trial["accuracy"] is not None]
    best = max(scored, key=lambda trial: trial["reward"])["number"]
    hard = max((t for t in scored if t["latency_ms"] <= 1.0), key=lambda t: t["accuracy"])["number"]
    study |= {
        "best": best,
        "sampler": "controller",
        "sampler_options": {"preset": "short"},
        "seed": 3,
        "space": "mnasnet",
        "size": 839_808,
        "objective": {"form": "reward", "target_ms": 1.0, "alpha": -0.07, "beta": -0.07},
        "seconds": {"timing": 12.3, "training": 80.0, "other": 0.7},
        "fronts": [{"after": 6, "front": study["front"][:1]}, {"after": 24, "front": study["front"]}],
        "reasons": [{"state": "pruned", "count": 2, "example": "latency_ms 2.1 > max_latency_ms 2"}],
        "rules": {"target_ms": 1.0, "soft": best, "hard": hard},
        "retrained": [
            {"number": number, "proxy": 0.9 + 0.01 * number, "accuracy": 0.95 + 0.002 * place}
            for place, number in enumerate((0, 2, 4))
        ],
        "rank_correlation": 0.5,
        "networks": [{"number": best, "layers": layers(64)}, {"number": 0, "layers": layers(96)}],
    }
    report["adapt"] = {
        "iterates": [
            {"step": 0, "what": "the seed", "latency_ms": 1.41, "accuracy": 0.97, "params": 412_000, "macs": 11_300_000,
             "folder": "stages/adapt/step-000", "proposals": []},
            {"step": 1, "what": "expansion of block 1: 96 -> 64", "latency_ms": 1.30, "accuracy": 0.968,
             "params": 390_000, "macs": 10_100_000, "folder": "stages/adapt/step-001",
             "proposals": [
                 {"what": "expansion of block 1: 96 -> 64", "latency_ms": 1.31, "accuracy": 0.968},
                 {"what": "width of blocks 0-1: 16 -> 8", "latency_ms": 1.2, "accuracy": 0.93},
                 {"what": "width of block 2: 24 -> 16", "latency_ms": 1.2, "accuracy": None},
             ]},
        ],
        "ended": "target",
        "target_ms": 1.3,
        "statistic": "median",
        "rule": "ratio",
        "metric": "top1",
        "latencies": {
            "source": "predictor",
            "table": "k.json",
            "error": {"networks": 40, "within_10": 0.975},
            "beside": [{"number": 1, "told_ms": 1.3, "measured_ms": 1.25}],
        },
        "seconds": {"timing": 6.0, "tuning": 14.0},
        "widths": [{"kind": "expansion", "blocks": [1], "before": 96, "after": 64}],
        "first": {"layers": layers(96)},
        "last": {"layers": layers(64)},
    }  # fmt: skip
    report["stages"].append({"name": "adapt", "seconds": 22.0, "note": "1 step"})
    return report


def nodes(markup, kind):
    return [node for node in ElementTree.fromstring(str(markup)).iter() if kind in node.get("class", "").split()]


def pairs_in(node):
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", node.get("d", ""))]


def test_the_page_says_what_the_json_holds(searched):
    assert check_report(searched) == searched
    page = Page(render(searched))
    study, best = searched["search"], searched["search"]["best"]
    assert [name for name in page.ids if name in ("search", "adapt")] == ["search", "adapt"]
    chosen = next(trial for trial in study["trials"] if trial["number"] == best)
    for part in (
        "24 candidates: 21 scored, 2 pruned, 1 failed (1 of them met before",
        "controller, preset = short; seed 3",
        "accuracy · (latency / 1.00 ms) w , w = -0.07",
        "mnasnet, 839,808 networks",
        "timing 12.3 s, training 1 min 20 s, other 0.7 s",
        "Spearman's rank correlation 0.50",
        "latency_ms 2.1 > max_latency_ms 2",
        f"Candidate {best}",
        f"reward {chosen['reward']:.3f}",
        "after 6",
        "1 step from 1.41 ms to 1.30 ms; the target of 1.30 ms is reached.",
        "inside block 1: 96 → 64",
        "stages/adapt/step-001",
        "timing 6.0 s, tuning 14.0 s",
        "told by a predictor (k.json), within 10 % for 98 % of 40 networks that it was not fitted to. On the device: "
        "step 1 told 1.30 ms, takes 1.25 ms",
    ):
        assert part in page.text.replace("\u00a0", " "), part


def test_a_network_without_blocks_is_told_by_its_point(searched):
    best = searched["search"]["best"]
    for trial in searched["search"]["trials"]:
        trial["rows"] = None
    searched["search"]["networks"] = [{"number": best, "layers": []}]
    searched["search"]["latencies"] = {"source": "device"}
    text = Page(render(searched)).text
    shown = text[text.index("Architectures") :]
    assert f"Candidate {best}" in shown
    assert "input_size = 32" in shown[: shown.index("All candidates")]
    assert "A column is a block" not in shown[: shown.index("All candidates")]


def test_soft_and_hard_stand_side_by_side_only_where_they_differ(searched):
    rules = searched["search"]["rules"]
    assert rules["soft"] != rules["hard"]
    hard = next(trial for trial in searched["search"]["trials"] if trial["number"] == rules["hard"])
    row = f"{rules['hard']} {100 * hard['accuracy']:.2f} %"
    text = Page(render(searched)).text
    assert f"Hard the most accurate within the target {row}" in text
    rules["hard"] = rules["soft"]
    same = Page(render(searched)).text
    assert "a hard bound would have chosen the same" in same
    assert "the most accurate within the target" not in same
    rules["hard"] = None
    assert "none is within the target" in Page(render(searched)).text


def test_the_line_of_the_best_only_rises_and_ends_at_the_best(searched):
    study = parse_report(searched).search
    assert study is not None
    chart = progress_chart(study)
    heights = [up for _, up in pairs_in(nodes(chart, "front")[0])]
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] == pytest.approx(float(nodes(chart, "best")[0].get("cy", 0)), abs=0.11)
    assert len(nodes(chart, "trial")) + 1 == sum(trial.accuracy is not None for trial in study.trials)
    assert len(nodes(chart, "lost")) == sum(trial.accuracy is None for trial in study.trials)
    falling = [up for _, up in pairs_in(nodes(progress_chart(study, higher_is_better=False), "front")[0])]
    assert falling == sorted(falling)


def test_fronts_are_drawn_one_over_the_other_and_points_by_their_time(searched):
    study = parse_report(searched).search
    assert study is not None
    chart = fronts_chart(study)
    assert [node.get("class") for node in nodes(chart, "growth")] == ["growth age1", "growth age2"]
    early = [t for t in study.trials[:6] if t.accuracy is not None and t.latency_ms and not t.reused]
    assert len([node for node in nodes(chart, "age1") if node.tag.endswith("circle")]) == len(early)


def test_entropy_is_drawn_for_the_controller_alone(searched):
    study = parse_report(searched).search
    assert study is not None
    points = pairs_in(nodes(entropy_chart(study), "curve")[0])
    assert len(points) == 24
    assert [up for _, up in points] == sorted(up for _, up in points)  # falls: pixels grow downwards
    for trial in searched["search"]["trials"]:
        trial["metrics"] = {}
    study = parse_report(searched).search
    assert study is not None
    assert entropy_chart(study) is None
    assert "Entropy" not in Page(render(searched)).text


def test_retrained_candidates_need_three_for_a_picture(searched):
    study = parse_report(searched).search
    assert study is not None
    assert len(nodes(retrained_chart(study), "onfront")) + len(nodes(retrained_chart(study), "best")) == 3
    searched["search"]["retrained"].pop()
    study = parse_report(searched).search
    assert study is not None
    assert retrained_chart(study) is None


def test_columns_are_as_tall_as_the_root_of_their_channels():
    network = Drawn.model_validate({"layers": layers(64)})
    assert widest_of([network]) == 64
    picture = network_picture(network, title="t", widest=64)
    solid = [float(node.get("height", 0)) for node in nodes(picture, "model") if "inside" not in node.get("class", "")]
    inside = [float(node.get("height", 0)) for node in nodes(picture, "inside")]
    assert inside == [64.0]
    assert solid[:2] == [pytest.approx(32.0), pytest.approx(32.0)]  # 16 of 64 channels: half as tall
    assert solid[2] < 16  # fully connected: not to scale
    root = ElementTree.fromstring(str(picture))
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    assert "block 1: inverted residual, 64 channels inside, 16 out, kernel 5" in (root[1].text or "")
    assert [node.text for node in nodes(picture, "fact")][:2] == ["conv", "3↓"]
    assert not [node for node in root.iter() if node.get("tabindex")]


def test_the_map_of_a_single_column_is_written_short():
    blocks = [dict(layers(64)[0], height=side, width=side) for side in (112, 56, 56)]
    blocks.append(dict(blocks[0], height=1, width=128))
    picture = network_picture(Drawn.model_validate({"layers": blocks}), title="t", widest=64)
    assert [node.text for node in nodes(picture, "tick")][-4:] == ["map", "112²", "56×56", "128"]


def test_what_an_adaptation_took_away_is_outlined():
    first, last = (Drawn.model_validate({"layers": layers(*widths)}) for widths in ((96, 16), (64, 8)))
    outlines = nodes(network_picture(last, title="t", widest=96, before=first), "was")
    assert [float(node.get("height", 0)) for node in outlines] == [64.0, pytest.approx(64 * (16 / 96) ** 0.5, abs=0.1)]
    assert nodes(network_picture(first, title="t", widest=96, before=first), "was") == []


def test_the_adaptations_way_and_its_proposals(searched):
    adaptation = parse_report(searched).adapt
    assert adaptation is not None
    chart = adapt_chart(adaptation)
    assert len(pairs_in(nodes(chart, "front")[0])) == 2
    assert len(nodes(chart, "aside")) == 1  # the chosen one is on the way, the failed one has no figure
    assert [node.text for node in nodes(chart, "label")] == ["seed", "adapted"]


@pytest.mark.parametrize(
    ("ended", "steps", "told"),
    [
        ("target", 0, "nothing was changed"),
        ("target", 2, "2 steps from 2.00 ms to 1.00 ms; the target of 1.00 ms is reached"),
        ("steps", 1, "the target of 1.00 ms is not reached: the steps that the recipe allows are used up"),
        ("exhausted", 1, "no width is left whose change makes it enough faster"),
    ],
)
def test_why_an_adaptation_ended_is_told(ended, steps, told):
    iterates = [{"step": step, "what": "w", "latency_ms": 2.0 - step / max(steps, 1)} for step in range(steps + 1)]
    tree = {"iterates": iterates, "ended": ended, "target_ms": 1.0}
    assert told in adapt_text(Adaptation.model_validate(tree))


def test_a_verdict_says_whether_the_target_was_reached(searched):
    told = {v["topic"]: v for v in judge(searched)}["adaptation"]
    assert told["kind"] == "good"
    assert "target of 1.30 ms: 1 step took the seed from 1.41 ms to 1.30 ms" in told["text"]
    assert "top1 on validation from 97.00 % to 96.80 %" in told["text"]
    searched["adapt"]["target_ms"] = 1.2
    assert {v["topic"]: v["kind"] for v in judge(searched)}["adaptation"] == "bad"


def test_one_broken_proposal_does_not_flatten_the_way(searched):
    searched["adapt"]["iterates"][1]["proposals"][1]["accuracy"] = 0.1
    adaptation = parse_report(searched).adapt
    assert adaptation is not None
    chart = adapt_chart(adaptation)
    (start, end) = pairs_in(nodes(chart, "front")[0])
    assert abs(start[1] - end[1]) > 40
    assert len(nodes(chart, "beyond")) == 1


def test_time_is_split_by_phase_and_what_is_left_is_other(searched):
    bars = {bar.label: bar.phases for bar in time_bars(parse_report(searched))}
    assert bars["search"] == {"timing": 12.3, "training": 80.0, "other": pytest.approx(0.7 + 113.3 - 93.0)}
    assert bars["adapt"] == {"timing": 6.0, "tuning": 14.0, "other": pytest.approx(2.0)}
    assert bars["train"] == {"": 61.2}
    chart = times_chart([Bar("a", {"": 10.0}), Bar("b", {"timing": 2.0, "training": 3.0})])
    widths = [float(node.get("width", 0)) for node in nodes(chart, "model")]
    assert widths[0] == pytest.approx(2 * (widths[1] + widths[2]), abs=0.3)
    assert times_chart([Bar("a", {"": 0.0})]) is None


def hostile(value, keep=("schema", "form", "state", "ended", "rule", "latency", "statistic", "task", "block", "skip")):
    if isinstance(value, dict):
        return {k: v if k in keep else hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return EVIL if isinstance(value, str) else value


def test_hostile_names_are_text(searched):
    bad = copy.deepcopy(searched)
    for key in ("search", "adapt"):
        bad[key] = hostile(bad[key])
    for network in (*bad["search"]["networks"], bad["adapt"]["first"], bad["adapt"]["last"]):
        network["layers"][0]["block"] = network["layers"][1]["skip"] = EVIL
    bad["search"]["sampler_options"] = {EVIL: EVIL}
    bad["stages"][1]["name"] = EVIL
    page = Page(render(bad))
    assert page.tags.count("script") == 1
    assert "b" not in page.tags
    assert EVIL in " ".join(page.words)


@pytest.mark.parametrize("section", ["search", "adapt"])
def test_whatever_is_not_known_is_not_shown(searched, section):
    """Each key of a section absent or null leaves a whole page."""
    for key in searched[section]:
        for instead in ("absent", None):
            part = copy.deepcopy(searched)
            if instead == "absent":
                del part[section][key]
            else:
                part[section][key] = None
            if instead is None and key in ("trials", "iterates"):
                continue  # a list that may be empty, but not null
            page = Page(render(part))
            assert not re.search(r"\bNone\b|\bnan\b|Undefined", page.text), (key, instead)


def test_searches_of_several_runs_stand_side_by_side(searched):
    other = copy.deepcopy(searched)
    other["run"], other["search"]["sampler"] = "second", "nsga2"
    best = next(t for t in searched["search"]["trials"] if t["number"] == searched["search"]["best"])
    page = Page(render_many([searched, other]))
    figures = f"24 {100 * best['accuracy']:.2f} % {best['latency_ms']:.2f} ms {best['reward']:.3f}"
    assert f"handwriting mnasnet controller reward {figures}" in page.text
    assert f"second mnasnet nsga2 reward {figures}" in page.text
    other["search"] = None
    assert "searches" not in Page(render_many([searched, other])).ids


def test_a_run_without_search_and_adaptation_has_neither(searched):
    searched["search"] = searched["adapt"] = None
    page = Page(render(searched))
    assert not {"search", "adapt"} & set(page.ids)
