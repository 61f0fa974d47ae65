"""Kernels, the table and the predictor, on devices whose laws are known."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.export import export_part
from limbeck.measure.kernels import kernel_features, kernel_module, kernels_of
from limbeck.measure.latency_predictor import LatencyPredictor
from limbeck.measure.latency_table import LatencyTable, distinct_kernels, measure_latency_table
from limbeck.models import Row, build, family_table
from limbeck.models.costs import block_cost
from limbeck.search.mnasnet import mnasnet_space
from limbeck.types import DeviceInfo

DEVICE = DeviceInfo("fake", "a board", "runtime", "1.0", 1)
SPACE = mnasnet_space(
    family_table("mobilenet_v2_050", num_classes=10, input_size=(32, 32)),
    ops=("sepconv", "mbconv3", "mbconv6"),
    skips=("identity", "none"),
)


def sampled(count, seed=0):
    draw = random.Random(seed)
    points = [{name: draw.choice(list(ids)) for name, ids in SPACE.choices.items()} for _ in range(count)]
    return [SPACE.build(point) for point in points]


TABLES = sampled(60)


def kernel_ms(kernel, noise=None):
    """A law that no linear model knows: work at a speed that falls with the width, and maps that are moved."""
    one = {name: math.expm1(value) for name, value in kernel_features(kernel).items()}
    speed = 1 + 0.5 * math.tanh(one["inside"] / 64)
    ms = 0.002 + (one["dense"] / 4e6 + one["depthwise"] / 1e6) / speed + one["maps"] / 4e6
    return ms * (1.0 if noise is None else math.exp(0.01 * noise.standard_normal()))


def reordering_ms(kernel):
    """What a kernel pays at its ends when it runs on its own, and a network does not."""
    one = {name: math.expm1(value) for name, value in kernel_features(kernel).items()}
    return (one["entering"] * one["pixels_in"] + one["leaving"] * one["pixels_out"]) / 2e5


def network_ms(table):
    return 0.03 + sum(kernel_ms(kernel) for kernel in kernels_of(table))


def measured(path, kernels_from=30, networks=60, noise=None):
    return measure_latency_table(
        path,
        device=DEVICE,
        kernels=distinct_kernels(TABLES[:kernels_from]),
        networks=TABLES[:networks],
        time_kernels=lambda several: [kernel_ms(one, noise) + reordering_ms(one) for one in several],
        time_networks=lambda tables: [network_ms(table) for table in tables],
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("table") / "table.json", noise=np.random.default_rng(0))


@pytest.fixture(scope="module")
def predictor(table):
    return LatencyPredictor(table)


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_large", "mnasnet_a1", "mobilenet_v1", "efficientnet_lite0", "mobilenet_v4_conv_small"]
)
def test_the_pieces_run_one_after_the_other_as_the_network_does(name):
    torch.manual_seed(0)
    table = replace(family_table(name, num_classes=3, input_size=(32, 32)), bn_eps=1e-5)  # no part of a piece's cost
    network = build(table).eval()
    kernels = kernels_of(network.table)
    modules = [kernel_module(kernel).eval() for kernel in kernels]
    parts = [network.stem, *(block for row in network.rows for block in row)]
    x = network.prepare(torch.rand(1, 3, 32, 32))
    expected = network.run(x, ())[0]
    for kernel, module, part in zip(kernels[:-1], modules[:-1], parts, strict=True):
        module.load_state_dict(part.state_dict())
        assert tuple(x.shape[1:]) == (kernel.entering, kernel.height, kernel.width)
        x = module(x)
    modules[-1].head.load_state_dict(network.head.state_dict())
    modules[-1].classifier.load_state_dict(network.classifier.state_dict())
    assert torch.equal(modules[-1](x), expected)


def test_counts_of_the_pieces_add_up_to_the_network():
    table = family_table("mobilenet_v3_large")
    features = [kernel_features(kernel) for kernel in kernels_of(table)]
    macs = sum(math.expm1(one["dense"]) + math.expm1(one["depthwise"]) for one in features)
    assert macs == pytest.approx(table.macs(), rel=1e-9)
    assert sum(math.expm1(one["weights"]) for one in features) == pytest.approx(table.params(), rel=1e-9)
    plan = table.blocks()[2][0]  # 16 -> 64 -> 24, 3x3 at stride 2
    (one,) = [kernel for kernel in kernels_of(table) if kernel.plan == plan]
    assert math.expm1(kernel_features(one)["depthwise"]) == pytest.approx(9 * 64 * 56 * 56)
    assert block_cost(plan, 112, 112).macs == 16 * 64 * 112 * 112 + 9 * 64 * 56 * 56 + 64 * 24 * 56 * 56


def test_equal_pieces_have_one_key_whatever_does_not_concern_them():
    same = replace(TABLES[0], padding="same", bn_eps=1e-3, name="other", se_gate="sigmoid")
    pairs = list(zip(kernels_of(TABLES[0]), kernels_of(same), strict=True))
    for one, other in pairs:
        strides = one.plan is not None and one.plan.stride > 1
        gated = one.plan is not None and one.plan.squeeze_channels > 0 and TABLES[0].se_gate != "sigmoid"
        assert (one.key == other.key) == (not strides and not gated)
    assert any(one.key != other.key for one, other in pairs)


def test_a_piece_is_exported_as_a_map_in_and_a_map_out(tmp_path):
    import onnxruntime

    kernel = kernels_of(TABLES[0])[3]
    module = kernel_module(kernel)
    shape = (kernel.entering, kernel.height, kernel.width)
    artifact = export_part(module, tmp_path / "part.onnx", shape=shape)
    assert (artifact.input_shape, artifact.input_dtype) == (shape, "float32")
    assert module.training
    session = onnxruntime.InferenceSession(artifact.path)
    x = torch.rand(1, *shape)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), module.eval()(x).detach(), rtol=1e-4, atol=1e-5)
    assert [node.op_type for node in __import__("onnx").load(artifact.path).graph.node].count("Softmax") == 0


def test_a_table_is_read_as_it_was_written(table, tmp_path):
    table.save(tmp_path / "again.json")
    again = LatencyTable.load(tmp_path / "again.json")
    assert again == table
    kernel = distinct_kernels(TABLES[:1])[4]
    assert again.look_up(kernel) == table.kernels[kernel.key][1]


def test_a_kill_loses_one_batch_and_what_fails_is_not_tried_again(tmp_path):
    path, asked = tmp_path / "table.json", []
    kernels = distinct_kernels(TABLES[:3])

    def breaks(several):
        if asked:
            raise KeyboardInterrupt
        asked.extend(several)
        return [RuntimeError("odd") if i == 2 else 1.0 for i, _ in enumerate(several)]

    settings = {"device": DEVICE, "kernels": kernels, "networks": TABLES[:2], "time_networks": lambda t: [1.0] * len(t)}
    with pytest.raises(KeyboardInterrupt):
        measure_latency_table(path, time_kernels=breaks, **settings)
    again = []

    def counts(several):
        again.extend(several)
        return [2.0] * len(several)

    table = measure_latency_table(path, time_kernels=counts, **settings)
    assert {one.key for one in again} == {one.key for one in kernels} - {one.key for one in asked}
    assert len(table.kernels) == len(kernels) - 1
    assert list(table.failed.values()) == [f"{kernels[2].describe()}: odd"]
    measure_latency_table(path, time_kernels=lambda several: pytest.fail("nothing is missing"), **settings)


def test_progress_begins_at_none_of_what_is_missing_and_a_repeated_network_is_timed_once(tmp_path):
    told = []
    settings = {
        "device": DEVICE,
        "kernels": distinct_kernels(TABLES[:1]),
        "time_kernels": lambda several: [1.0] * len(several),
        "time_networks": lambda several: [2.0] * len(several),
        "on_progress": lambda done, of: told.append((done, of)),
    }
    count = len(settings["kernels"])
    table = measure_latency_table(tmp_path / "table.json", networks=[*TABLES[:2], TABLES[0]], **settings)
    assert len(table.networks) == 2
    assert (told[0], told[-1]) == ((0, count + 2), (count + 2, count + 2))
    del told[:]
    measure_latency_table(tmp_path / "table.json", networks=TABLES[:3], **settings)
    assert told == [(0, 1), (1, 1)]


def test_several_input_sizes_are_told_with_the_resize_in_the_graph():
    """Pictures of 48x48 resized to each network's own size, at a price per pixel that comes out."""
    draw, sides = random.Random(0), (32, 40, 48)

    def resized(count):
        return [replace(one, input_size=(side := draw.choice(sides), side)) for one in sampled(count, seed=count)]

    def law(one):
        side = one.input_size[0]
        return network_ms(one) + (0.0 if side == 48 else 4e-5 * side * side)

    several = resized(90)
    known = {kernel.key: (kernel, kernel_ms(kernel)) for kernel in distinct_kernels(several[:40])}
    table = LatencyTable(DEVICE, "median", known, [(one, law(one)) for one in several], sample_size=(48, 48))
    predictor = LatencyPredictor(table)
    assert predictor.error.within_10 >= 0.95
    unseen = resized(40)
    pairs = [(ms, law(one)) for ms, one in zip(predictor.latencies(unseen), unseen, strict=True)]
    off = [abs(ms / real - 1) for ms, real in pairs if isinstance(ms, float)]
    assert len(off) >= 25
    assert np.mean([one <= 0.10 for one in off]) >= 0.95


def test_the_error_is_stated_and_holds_on_networks_that_were_never_seen(predictor):
    assert predictor.error.networks == 30
    assert predictor.error.within_10 >= 0.95
    assert predictor.error.rank_correlation > 0.95
    unseen = sampled(60, seed=1)
    told = predictor.latencies(unseen)
    found = [(ms, network_ms(table)) for ms, table in zip(told, unseen, strict=True) if not isinstance(ms, Exception)]
    assert len(found) >= 40  # the others have a count beyond what was measured
    off = np.array([abs(a / b - 1) for a, b in found])
    assert (off <= 0.10).mean() >= 0.95
    assert (off <= 0.05).mean() >= predictor.error.within_5 - 0.1
    assert "within 5 %" in str(predictor.error)
    json.dumps(predictor.error.as_json(), allow_nan=False)


def test_a_plain_sum_would_be_wrong_and_the_joining_mends_it(table, predictor):
    known = [one for one, _ in table.networks if all(kernel.key in table.kernels for kernel in kernels_of(one))]
    assert len(known) >= 20
    for one in known:
        plain = sum(table.look_up(kernel) for kernel in kernels_of(one))
        assert plain / network_ms(one) > 1.05
        assert predictor.latency(one) == pytest.approx(network_ms(one), rel=0.05)


def test_the_table_alone_tells_what_was_measured_and_no_more(table):
    looked_up = LatencyPredictor(table, source="table")
    assert looked_up.error.within_5 >= 0.9
    assert looked_up.latency(TABLES[3]) == pytest.approx(network_ms(TABLES[3]), rel=0.05)
    answers = looked_up.latencies([TABLES[0], *sampled(5, seed=2)])
    assert isinstance(answers[0], float)
    assert all(isinstance(one, InputError) and "was not measured; measure it too" in str(one) for one in answers[1:])


def test_what_lies_beyond_the_measured_is_refused_in_a_line(predictor):
    wide = replace(TABLES[0], rows=tuple(replace(row, out_channels=row.out_channels * 4) for row in TABLES[0].rows))
    with pytest.raises(InputError, match=r"is beyond what was measured \([\d,]+ to [\d,]+\); measure more kernels"):
        predictor.latency(wide)
    sevens = replace(TABLES[0], rows=tuple(replace(row, kernel_size=7) for row in TABLES[0].rows))
    with pytest.raises(InputError, match=r"kernel_size = 7 was not measured \(only 3, 5\)"):
        predictor.latency(sevens)
    swish = replace(TABLES[0], rows=tuple(replace(row, activation="hard_swish") for row in TABLES[0].rows))
    with pytest.raises(InputError, match="does_"):
        predictor.latency(swish)
    with pytest.raises(InputError, match="no kernel of its kind was measured"):
        predictor.latency(replace(TABLES[0], rows=(Row("separable", 16, activation="relu6"), *TABLES[0].rows)))
    assert all(isinstance(one, InputError) for one in predictor.latencies([wide, sevens]))


def test_too_little_or_anothers_is_told(table, tmp_path):
    path = tmp_path / "table.json"
    few = LatencyTable(DEVICE, "median", dict(list(table.kernels.items())[:5]), table.networks)
    with pytest.raises(InputError, match="5 kernels; at least 20 are needed"):
        LatencyPredictor(few)
    with pytest.raises(InputError, match="0 networks; at least 10"):
        LatencyPredictor(replace(table, networks=[]))
    table.save(path)
    settings = {"kernels": [], "networks": [], "time_kernels": list, "time_networks": list}
    with pytest.raises(InputError, match=r"latencies of another device \(a board fake, now a phone fake\)"):
        measure_latency_table(path, device=replace(DEVICE, device="a phone"), **settings)
    with pytest.raises(InputError, match=r"another runtime \(runtime 1.0, now runtime 2.0\)"):
        measure_latency_table(path, device=replace(DEVICE, runtime_version="2.0"), **settings)
    with pytest.raises(InputError, match=r"another statistic \(median, now p90\)"):
        measure_latency_table(path, device=DEVICE, statistic="p90", **settings)
    sized = replace(table, sample_size=(64, 48), anchor=(TABLES[0], 1.5))
    sized.save(path)
    assert LatencyTable.load(path) == sized
    with pytest.raises(InputError, match=r"another size of pictures \(64x48, now each network's own\)"):
        measure_latency_table(path, device=DEVICE, **settings)
    path.write_text('{"schema": 1}')
    with pytest.raises(InputError, match="not a whole latency table"):
        LatencyTable.load(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="is not a latency table"):
        LatencyTable.load(path)
