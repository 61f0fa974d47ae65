from dataclasses import replace

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.measure import OnnxRuntimeDevice, measure_artifacts, open_device
from limbeck.testing import FakeDevice, check_device, count_onnx_macs, make_artifact


def test_macs_of_a_file_are_those_of_its_layers(tmp_path):
    artifact = make_artifact(tmp_path / "a.onnx", channels=8, layers=2, image_size=16, num_classes=4)
    assert count_onnx_macs(artifact.path) == 16 * 16 * (8 * 3 * 9 + 8 * 8 * 9) + 8 * 4
    of_bytes = make_artifact(
        tmp_path / "b.onnx", channels=8, layers=2, image_size=16, num_classes=4, input_dtype="uint8"
    )
    assert count_onnx_macs(of_bytes.path) == count_onnx_macs(artifact.path)


def test_macs_agree_with_the_networks_own_count(tmp_path):
    torch = pytest.importorskip("torch")
    from limbeck.export import export_probe
    from limbeck.models.network import build
    from limbeck.models.table import Head, Row, Table

    torch.set_num_threads(1)
    rows = (
        Row("inverted", 16, stride=2, expansion=2, se_ratio=0.25),
        Row("separable", 24, stride=2),
        Row("inverted", 24, expansion=3),
    )
    network = build(
        Table("small", Row("conv", 8), rows, Head(conv_channels=32), num_classes=5, input_size=(24, 24))
    ).eval()
    artifact = export_probe(network, tmp_path / "probe.onnx", sample_size=(24, 24))
    assert count_onnx_macs(artifact.path) == network.macs()


def test_fake_device_conforms(tmp_path):
    check_device(FakeDevice(), make_artifact(tmp_path / "a.onnx"))
    check_device(FakeDevice(noise=0.1), make_artifact(tmp_path / "b.onnx", input_dtype="uint8"))


def test_latency_is_a_function_of_the_file(tmp_path):
    small = make_artifact(tmp_path / "small.onnx", channels=8)
    copy = make_artifact(tmp_path / "copy.onnx", channels=8, seed=1)
    wide = make_artifact(tmp_path / "wide.onnx", channels=16)
    sharp = make_artifact(tmp_path / "sharp.onnx", channels=8, image_size=32)
    device = FakeDevice(base_ms=0.5, ms_per_million_macs=2.0)
    times = [taken[0] for taken in device.time([small, copy, wide, sharp], warmup=0, runs=3)]
    assert times[0] == times[1] == 0.5 + 2e-6 * count_onnx_macs(small.path)
    assert times[0] < times[2] < times[3]
    assert device.calls == [("small.onnx", "copy.onnx", "wide.onnx", "sharp.onnx")]


def test_given_latencies_come_first(tmp_path):
    first, second = make_artifact(tmp_path / "first.onnx"), make_artifact(tmp_path / "second.onnx")
    device = FakeDevice(latency_ms=2.0, latencies={"first.onnx": 5.0})
    assert device.time([first, second], warmup=0, runs=2) == [[5.0, 5.0], [2.0, 2.0]]
    measured = measure_artifacts(device, [first], runs=20, reference=second)[0]
    assert measured.ratio_to_reference == 2.5
    assert measured.ratio_interval == (2.5, 2.5)
    assert measured.latency_ms.iqr == 0
    assert measured.steady


def test_noise_is_seeded_and_centred(tmp_path):
    artifact = make_artifact(tmp_path / "a.onnx")
    quiet, same, other = (FakeDevice(latency_ms=3.0, noise=0.1, seed=seed) for seed in (0, 0, 1))
    samples = quiet.time([artifact], warmup=0, runs=400)
    assert samples == same.time([artifact], warmup=0, runs=400)
    assert samples != other.time([artifact], warmup=0, runs=400)
    assert np.median(samples) == pytest.approx(3.0, rel=0.03)
    assert np.std(np.log(samples)) == pytest.approx(0.1, rel=0.2)


def test_outputs_are_the_runtimes(tmp_path):
    artifact = make_artifact(tmp_path / "a.onnx")
    inputs = np.random.default_rng(0).random((2, *artifact.input_shape)).astype(np.float32)
    np.testing.assert_array_equal(
        FakeDevice().run(artifact, inputs), OnnxRuntimeDevice(threads=1).run(artifact, inputs)
    )
    with pytest.raises(InputError, match=r"none\.onnx"):
        FakeDevice().run(replace(artifact, path=str(tmp_path / "none.onnx")), inputs)


def test_description_opens_the_same_device():
    device = FakeDevice(latency_ms=1.5, noise=0.2, seed=4)
    again = open_device(device.describe().target)
    assert (again.latency_ms, again.noise, again.seed) == (1.5, 0.2, 4)
