"""The stage in a run: seed, adaptation, last training; also with workers, from given weights, and from scratch."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from narrow_networks import tiny_table
from small_run import FAKE, run_to_report, small_recipe, small_tree

from limbeck.adapt import directions, run_netadapt, split_rows
from limbeck.errors import InputError
from limbeck.measure import open_device
from limbeck.measure.kernels import kernel_features, kernels_of
from limbeck.measure.latency_table import LatencyTable, distinct_kernels
from limbeck.models import build, load_network, save_network
from limbeck.pipeline import adapt, budget, latency
from limbeck.pipeline.budget import search_ceilings, time_networks
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import lessons_of
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.plan import plan_run
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.search import objective_of
from limbeck.recipe import parse_recipe

torch.set_num_threads(1)
LIBRARY = {"adapt": {}, "student__model": "timm:mobilenetv3_small_050", "student__width_multiplier": 1.0}


@pytest.fixture(scope="module")
def seed_folder(tmp_path_factory):
    """A small network with few widths, as a run would leave it."""
    torch.manual_seed(0)
    return save_network(build(replace(tiny_table(), num_classes=10)), tmp_path_factory.mktemp("seed"))


def adapt_recipe(seed_folder, **changes):
    known = {
        "search": None,
        "teacher": None,
        "distill": None,
        "budget__max_latency_ms": 0.12,
        "adapt": {"delta": 0.05, "tune": {"limit": 32}, "seed_weights": str(seed_folder)},
        "baselines__plain": False,
    }
    return small_recipe(**(known | changes))


@pytest.fixture
def quick(monkeypatch):
    """Latencies counted instead of taken from exported files: exports take most of a small adaptation's time."""

    def by_macs(context, networks, folder, *, reference=None):
        ms = [0.1 + 0.2 * one.macs() / 1e6 for one in networks]
        against = None if reference is None else 0.1 + 0.2 * reference.macs() / 1e6
        return [
            {
                "latency_ms": one,
                "size_bytes": 1,
                "peak_memory_bytes": None,
                "ratio": None if against is None else one / against,
            }
            for one in ms
        ]

    monkeypatch.setattr(latency, "time_networks", by_macs)
    monkeypatch.setattr(budget, "time_networks", by_macs)


def test_a_run_adapts_its_seed_and_learns_from_it(seed_folder, tmp_path):
    recipe = adapt_recipe(seed_folder)
    assert recipe.distill is not None  # filled in: the seed teaches
    report = run_to_report(recipe, tmp_path / "run")
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages)[:3] == ["train/seed", "adapt", "distill/student"]
    assert " steps, 0.131 to 0.1" in stages["adapt"]["note"]
    models = {model["name"]: model for model in report["models"]}
    assert models["seed"]["role"] == "the network that was made narrower"
    assert models["student"]["params"] < models["seed"]["params"]
    folder = tmp_path / "run" / "stages" / "adapt"
    iterates = RunFolder(tmp_path / "run").need("adapt").result["adaptation"]["iterates"]
    assert iterates[-1]["latency_ms"] <= 0.12 < iterates[-2]["latency_ms"]
    for one in iterates:  # every step is a deliverable
        assert load_network(folder / one["folder"]).params() == one["params"]
    student = load_network(tmp_path / "run" / "stages" / "distill" / "student")
    assert student.table == load_network(folder).table
    told = report["adapt"]
    assert [(one["latency_ms"], one["accuracy"]) for one in told["iterates"]] == [
        (one["latency_ms"], one["accuracy"]) for one in iterates
    ]
    assert load_network(tmp_path / "run" / told["iterates"][-1]["folder"]).table == student.table
    for one in told["iterates"][1:]:
        assert one["what"] in [proposal["what"] for proposal in one["proposals"]]
    assert (told["ended"], told["target_ms"], told["metric"]) == ("target", 0.12, "top1")
    assert any(one["after"] < one["before"] for one in told["widths"])
    assert len(told["first"]["layers"]) == len(told["last"]["layers"])
    assert "Adaptation reached its target" in (tmp_path / "run" / "report.html").read_text()
    assert not (folder / "probes").exists()
    assert not (folder / "tuning").exists()


def test_workers_change_nothing_and_a_stopped_run_goes_on(seed_folder, tmp_path, monkeypatch, quick):
    tree = {"delta": 0.05, "steps": 2, "divisor": 16, "tune": {"limit": 32}, "seed_weights": str(seed_folder)}
    recipe = adapt_recipe(seed_folder, adapt=tree)
    run_recipe(recipe, tmp_path / "one", until="adapt")
    expected = RunFolder(tmp_path / "one").need("adapt").result["adaptation"]
    beside = recipe.model_copy(update={"adapt": recipe.adapt.model_copy(update={"workers": 2})})

    def stops_after_a_step(*args, **options):
        run_netadapt(*args, **(options | {"steps": 1}))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(adapt, "run_netadapt", stops_after_a_step)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(beside, tmp_path / "two", until="adapt")
    run_recipe(beside, tmp_path / "two", until="adapt")
    assert RunFolder(tmp_path / "two").need("adapt").result["adaptation"] == expected


def test_from_scratch_the_last_training_starts_anew_without_the_seed(seed_folder, tmp_path, quick):
    tree = {"delta": 0.05, "tune": {"limit": 32}, "seed_weights": str(seed_folder), "final": "scratch"}
    recipe = adapt_recipe(seed_folder, adapt=tree)
    assert recipe.distill is None
    report = run_to_report(recipe, tmp_path / "run")
    assert [stage["name"] for stage in report["stages"]][:3] == ["train/seed", "adapt", "train/student"]


def test_without_given_weights_the_student_is_trained_first(tmp_path, quick):
    recipe = small_recipe(
        search=None,
        teacher=None,
        distill=None,
        budget__max_latency_ms=2.0,
        adapt={"steps": 1, "max_latency_ms": 0.11, "delta": 0.02, "tune": {"limit": 32}},
    )
    with pytest.raises(InputError, match=r"0\.11 ms cannot be reached: the network with every width at its least"):
        run_recipe(recipe, tmp_path / "low", until="adapt")
    assert RunFolder(tmp_path / "low").record("train/seed").result["origin"] == "trained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budget__max_latency_ms": None},
            "adapt: needs a latency to reach; give budget.max_latency_ms, adapt.max_latency_ms or adapt.share",
        ),
        ({"search": {"trials": 2}}, "adapt.seed_weights: with .search. the seed is what the search found"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_as_it_is_read(seed_folder, changes, message):
    with pytest.raises(InputError, match=message):
        adapt_recipe(seed_folder, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__validation": 0.0}, "adapt: needs a validation split to score proposals on"),
        ({"adapt": {"seed_weights": "nowhere"}}, "adapt.seed_weights: nowhere: no such file or folder"),
        (
            LIBRARY,
            "adapt: only networks that are built from tables",
        ),
        ({"distill": {"method": "dml"}}, "trains a second network along, and the seed is trained already"),
    ],
)
def test_what_would_stop_the_run_later_is_told_before_any_work(seed_folder, tmp_path, changes, message):
    recipe = adapt_recipe(seed_folder, **changes)
    with pytest.raises(InputError, match=message):
        resolve(Context(recipe, RunFolder(tmp_path)))


def test_a_teacher_of_the_recipe_comes_before_the_seed():
    recipe = small_recipe(search=None, adapt={})
    assert lessons_of(recipe)[-1].teachers == {"teacher": "train/teacher"}
    tree = small_tree(search=None, adapt={}, teacher=None, distill={"method": "kd"})
    assert lessons_of(parse_recipe(tree, where="test"))[-1].teachers == {"seed": "train/seed"}


def macs_law(kernel):
    """The same law as the device's, kernel by kernel."""
    one = kernel_features(kernel)
    return 0.2 * (math.expm1(one["dense"]) + math.expm1(one["depthwise"])) / 1e6


def narrowed(seed_folder, count):
    """The seed and random narrower forms of it."""
    draw, seed = random.Random(0), split_rows(load_network(seed_folder).table)
    tables = [seed]
    for _ in range(count):
        table = seed
        for _ in range(3):
            one = draw.choice(directions(table))
            table = one.table(table, draw.choice(one.widths))
        tables.append(table)
    return tables


def test_latencies_of_a_table_stand_in_for_the_device(seed_folder, tmp_path, monkeypatch):
    tables = narrowed(seed_folder, 40)
    kernels = {kernel.key: (kernel, macs_law(kernel)) for kernel in distinct_kernels(tables)}
    networks = [(one, 0.1 + sum(macs_law(kernel) for kernel in kernels_of(one))) for one in tables]
    path = tmp_path / "latencies.json"
    LatencyTable(open_device(FAKE).describe(), "median", kernels, networks, sample_size=(16, 16)).save(path)
    tree = {"delta": 0.05, "tune": {"limit": 32}, "seed_weights": str(seed_folder), "steps": 2}
    tree |= {"latency": "predictor", "latency_table": str(path)}
    asked = []

    def counted(context, networks, folder, **options):
        asked.append(len(networks))
        return time_networks(context, networks, folder, **options)

    monkeypatch.setattr(latency, "time_networks", counted)
    run_recipe(adapt_recipe(seed_folder, adapt=tree), tmp_path / "run", until="adapt")
    assert asked == [1]  # the last network alone, to set what was told beside what is so
    result = RunFolder(tmp_path / "run").need("adapt").result["adaptation"]
    iterates, (beside,) = result["iterates"], result["latencies"]["beside"]
    assert (beside["number"], beside["told_ms"]) == (iterates[-1]["step"], pytest.approx(iterates[-1]["latency_ms"]))
    assert beside["measured_ms"] == pytest.approx(beside["told_ms"], rel=0.1)
    assert result["latencies"]["error"]["within_10"] > 0.9
    assert len(iterates) > 1
    for one in iterates:
        assert one["latency_ms"] == pytest.approx(0.1 + 0.2 * one["macs"] / 1e6, rel=0.03)
    other = adapt_recipe(seed_folder, adapt=tree, budget__target=FAKE + ",noise=0.1")
    with pytest.raises(InputError, match="latencies of another device"):
        run_recipe(other, tmp_path / "other", until="adapt")
    with pytest.raises(InputError, match="latency_table: goes with latency = 'table' or 'predictor'"):
        adapt_recipe(seed_folder, adapt=tree | {"latency": "device"})


def test_the_search_before_an_adaptation_has_headroom(tmp_path):
    recipe = small_recipe(adapt={"headroom": 1.5}, budget__max_latency_ms=2.0)
    assert search_ceilings(Context(recipe, RunFolder(tmp_path))).max_latency_ms == 3.0
    assert search_ceilings(Context(small_recipe(), RunFolder(tmp_path))).max_latency_ms == 2.0
    rewarded = {"trials": 2, "objective": "reward"}
    aims = small_recipe(adapt={"headroom": 1.5}, budget__max_latency_ms=2.0, search=rewarded)
    assert objective_of(Context(aims, RunFolder(tmp_path))).target_ms == 3.0
    own = small_recipe(adapt={"max_latency_ms": 1.0}, budget__max_latency_ms=None, search=rewarded)
    assert objective_of(Context(own, RunFolder(tmp_path))).target_ms == 1.25
    given = small_recipe(adapt={}, search=rewarded | {"target_latency_ms": 0.7})
    assert objective_of(Context(given, RunFolder(tmp_path))).target_ms == 0.7


def test_a_share_of_the_seeds_latency_is_reached_on_any_device(seed_folder, tmp_path, quick):
    tree = {"share": 0.9, "delta": 0.05, "tune": {"limit": 32}, "seed_weights": str(seed_folder)}
    recipe = adapt_recipe(seed_folder, adapt=tree, budget__max_latency_ms=None)
    run_recipe(recipe, tmp_path / "run", until="adapt")
    adaptation = RunFolder(tmp_path / "run").need("adapt").result["adaptation"]
    first, last = adaptation["iterates"][0], adaptation["iterates"][-1]
    assert adaptation["target_ms"] == pytest.approx(0.9 * first["latency_ms"], rel=1e-6)
    assert adaptation["ended"] == "target"
    assert last["latency_ms"] <= adaptation["target_ms"] < first["latency_ms"]


def test_a_share_bounds_the_search_by_what_it_brings_below_the_budget(tmp_path):
    recipe = small_recipe(adapt={"share": 0.8}, budget__max_latency_ms=2.0)
    assert search_ceilings(Context(recipe, RunFolder(tmp_path))).max_latency_ms == 2.5
    free = small_recipe(adapt={"share": 0.8}, budget__max_latency_ms=None)
    assert search_ceilings(Context(free, RunFolder(tmp_path))).max_latency_ms is None
    with pytest.raises(InputError, match="share: max_latency_ms says what is to be reached"):
        small_recipe(adapt={"share": 0.8, "max_latency_ms": 1.0})


def test_the_plan_counts_the_seed_and_the_proposals(seed_folder):
    recipe = adapt_recipe(seed_folder, adapt={"delta": 0.1}, budget__max_latency_ms=0.15)
    rows = {row["stage"]: row for row in plan_run(recipe)["stages"]}
    assert rows["train/seed"]["steps"] == rows["distill/student"]["steps"]
    assert rows["adapt"]["candidates"] > 0
