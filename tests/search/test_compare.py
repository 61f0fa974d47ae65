import itertools
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limbeck.errors import InputError
from limbeck.search import Objective, Space, compare_samplers, hypervolume, read_tabular

IDS = {"op": ("conv", "mb3", "mb6"), "width": (0.5, 1.0, 1.5), "se": (False, True), "depth": (1, 2, 3, 4)}


def rows():
    for op, width, se, depth in itertools.product(*IDS.values()):
        accuracy = 0.5 + 0.1 * IDS["op"].index(op) + 0.05 * width + 0.02 * se + 0.03 * depth
        latency = 1.0 + 0.5 * IDS["op"].index(op) + width + 0.1 * se + 0.4 * depth
        yield {"op": op, "width": width, "se": se, "depth": depth, "accuracy": accuracy, "latency_ms": latency}


def columns(found=None):
    found = list(rows()) if found is None else found
    return {name: [row[name] for row in found] for name in found[0]}


def write(path, table):
    if path.suffix == ".npz":
        np.savez(path, **{name: np.array(values) for name, values in table.items()})
    else:
        pq.write_table(pa.table(table), path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_table_becomes_a_space_and_its_evaluation(tmp_path, suffix):
    space, evaluate = read_tabular(write(tmp_path / f"small{suffix}", columns()))
    assert (space.name, space.size) == ("small", 72)
    assert dict(space.choices) == IDS
    assert dict(space.reference) == {"op": "conv", "width": 0.5, "se": False, "depth": 1}
    for row in rows():
        point = {name: row[name] for name in IDS}
        assert evaluate(space.check(json.loads(json.dumps(point)))) == {
            "accuracy": row["accuracy"],
            "latency_ms": row["latency_ms"],
        }
    assert len(evaluate.all()) == 72


def test_both_forms_are_told_apart_by_their_content_only(tmp_path):
    other = [{**row, "accuracy": row["accuracy"] / 2} for row in rows()]
    names = ("a", "b")
    prints = [
        read_tabular(write(tmp_path / name / "t.npz", columns(table)))[0].fingerprint
        for name, table in zip(names, (list(rows()), other), strict=True)
        if not (tmp_path / name).mkdir()
    ]
    assert prints[0] != prints[1]


def test_numbers_stand_in_order_and_further_columns_can_be_left_out(tmp_path):
    shuffled = list(rows())
    random.Random(0).shuffle(shuffled)
    table = {**columns(shuffled), "params": list(range(72))}
    space, _ = read_tabular(write(tmp_path / "t.parquet", table), ignore=("params",))
    assert space.choices["depth"] == (1, 2, 3, 4)
    assert space.choices["width"] == (0.5, 1.0, 1.5)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda table: table.pop("latency_ms"), "unknown column 'latency_ms'"),
        (lambda table: table["accuracy"].__setitem__(3, float("nan")), "row 3: accuracy = nan is not a finite number"),
        (
            lambda table: table["latency_ms"].__setitem__(5, 0.0),
            "row 5: latency_ms = 0.0 is not a finite number above 0",
        ),
        (lambda table: table["depth"].__setitem__(1, 1), r"row 1: the point \{'op': 'conv'.*came before"),
        (lambda table: [values.pop() for values in table.values()], "has 71 of the 72 points"),
        (lambda table: [values.clear() for values in table.values()], "expected at least one row"),
        (lambda table: table["op"].__setitem__(0, None), "row 0: op = None is not a word"),
    ],
)
def test_tables_that_cannot_be_are_told_in_one_line(tmp_path, spoil, told):
    table = columns()
    spoil(table)
    with pytest.raises(InputError, match=told) as caught:
        read_tabular(write(tmp_path / "t.parquet", table))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["t.parquet", "t.npz"])
def test_files_that_cannot_be_read_are_told_in_one_line(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read"):
        read_tabular(tmp_path / name)
    (tmp_path / name).write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_tabular(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"expected a \.parquet or \.npz"):
        read_tabular(tmp_path / "t.csv")


def test_arrays_of_other_shapes_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", accuracy=np.zeros((2, 2)), latency_ms=np.ones(2), a=np.arange(2))
    with pytest.raises(InputError, match="accuracy has 2 dimensions"):
        read_tabular(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", accuracy=np.zeros(3), latency_ms=np.ones(2), a=np.arange(2))
    with pytest.raises(InputError, match="not of one length"):
        read_tabular(tmp_path / "b.npz")


def test_the_hypervolume_is_the_area_that_points_beat():
    """Against a count of a fine grid."""
    chance = random.Random(1)
    for _ in range(10):
        points = [(chance.random(), chance.random() * 4) for _ in range(12)]
        side = 200
        beaten = 0
        for i in range(side):
            for j in range(side):
                accuracy, cost = 0.2 + 0.8 * (i + 0.5) / side, 3.0 * (j + 0.5) / side
                beaten += any(a >= accuracy and c <= cost for a, c in points)
        assert hypervolume(points, (0.2, 3.0)) == pytest.approx(beaten * 0.8 * 3.0 / side**2, abs=0.03)
    assert hypervolume([(0.5, 1.0)], (0.6, 4.0)) == hypervolume([], (0.0, 1.0)) == 0.0


def test_figures_by_hand(tmp_path):
    """A sampler that is told what to propose: its regret, its area, and the mean of its last fifty."""
    space, evaluate = read_tabular(write(tmp_path / "t.npz", columns()))
    objective = Objective("reward", target_ms=3.0)
    found = compare_samplers(space, evaluate, ["random"], [0, 1], 60, objective=objective)
    assert found.is_optimum_known
    assert found.optimum == max(objective.score(row["accuracy"], row["latency_ms"]) for row in rows())
    for run in found.runs:
        assert len(run["best"]) == 60
        assert run["best"] == sorted(run["best"])
        assert run["regret"] == pytest.approx(found.optimum - run["best"][-1])
        assert 0 < run["hypervolume"] <= 1
        assert run["distinct"] <= 60
    assert found.runs[0]["best"] != found.runs[1]["best"]
    pairs = [run["regret"] for run in found.runs]
    assert found.summary()["random"]["regret"] == pytest.approx({"mean": np.mean(pairs), "std": np.std(pairs)})
    assert json.loads(json.dumps(found.as_json(), allow_nan=False)) == found.as_json()
    assert str(found).splitlines()[1].startswith("random ")


def test_a_search_of_everything_has_no_regret_and_the_whole_area():
    space = Space("two", {"a": (0, 1)}, dict, {"a": 0})
    figures = {0: (0.5, 1.0), 1: (0.9, 2.0)}

    def evaluate(point):
        return dict(zip(("accuracy", "latency_ms"), figures[point["a"]], strict=True))

    found = compare_samplers(space, evaluate, ["random"], [0], 120)
    (run,) = found.runs
    assert not found.is_optimum_known
    assert (run["regret"], run["distinct"]) == (0.0, 2)
    # The front is (0.5 at 1 ms, 0.9 at 2 ms), the worst is (0.5, 2): nothing lies within.
    assert run["hypervolume"] == 0.0
    assert 0.55 < run["last_reward"] < 0.85


def test_the_controller_beats_random_where_there_is_much_to_learn(tmp_path):
    space, evaluate = read_tabular(write(tmp_path / "t.npz", columns()))
    found = compare_samplers(
        space,
        evaluate,
        {"policy": {"sampler": "controller", "batch_size": 5}, "chance": {"sampler": "random"}},
        [0, 1],
        120,
    ).summary()
    assert list(found) == ["policy", "chance"]
    assert found["policy"]["last_reward"]["mean"] > found["chance"]["last_reward"]["mean"] + 0.05


def test_every_sampler_takes_part_and_gives_the_same_again(tmp_path):
    space, evaluate = read_tabular(write(tmp_path / "t.npz", columns()))
    told = []
    names = ["controller", "tpe", "nsga2", "random"]
    first = compare_samplers(space, evaluate, names, [3], 40, on_run=told.append)
    assert first.runs == compare_samplers(space, evaluate, names, [3], 40).runs
    assert [one["sampler"] for one in told] == names


@pytest.mark.parametrize(
    ("samplers", "told"),
    [
        (["controler"], "did you mean 'controller'"),
        ([], "needs at least one sampler"),
        ({"a": {"preset": "short"}}, r"samplers\['a'\] needs the key 'sampler'"),
        ({"a": {"sampler": "nsga2", "size": 4}}, "unknown option 'size'"),
    ],
)
def test_wrong_samplers_are_told_before_any_evaluation(samplers, told):
    space = Space("two", {"a": (0, 1)}, dict, {"a": 0})

    def evaluate(point):
        raise AssertionError("must not be called")

    with pytest.raises(InputError, match=told):
        compare_samplers(space, evaluate, samplers, [0], 10)
