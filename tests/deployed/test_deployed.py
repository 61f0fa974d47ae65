from __future__ import annotations

import io
import json
import subprocess
import sys
import types

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

import limbeck
from limbeck.deployed import METADATA_KEY, find_model, load, open_runtime, read_artifact
from limbeck.errors import InputError
from limbeck.export import export_onnx, export_probe, quantize_onnx
from limbeck.pictures import fit_picture
from limbeck.testing import make_artifact

NAMES = ("left", "right", "middle")
SIZE = (12, 16)


class Small(nn.Module):
    num_classes = 3
    input_size = SIZE

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 20 * self.head(self.body(inputs - 0.5).mean((2, 3)))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run as it lies on disk: the deliverable, its int8 form and a baseline that sorts before it."""
    folder = tmp_path_factory.mktemp("run")
    options = {"sample_size": SIZE, "class_names": NAMES, "fit": "crop"}
    artifact = export_onnx(Small(), folder / "export" / "model.onnx", **options)
    pictures = np.random.default_rng(0).integers(0, 256, size=(16, *SIZE, 3), dtype=np.uint8)
    quantize_onnx(artifact, folder / "export" / "model_int8.onnx", [pictures])
    export_probe(Small(), folder / "export" / "a_baseline.onnx", sample_size=SIZE)
    return folder


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Three pictures of three sizes; one needs no fitting."""
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, size=(*size, 3), dtype=np.uint8) for size in ((40, 30), SIZE, (9, 50))]


def test_a_prediction_is_that_of_the_network_on_fitted_pictures(run_folder, pictures):
    prediction = limbeck.load(run_folder).predict(pictures)
    fitted = np.stack([fit_picture(picture, SIZE, "crop") for picture in pictures])
    with torch.no_grad():
        logits = Small()(torch.from_numpy(fitted).permute(0, 3, 1, 2).float() / 255)
    expected = torch.softmax(logits, 1).numpy()
    assert np.abs(prediction.probabilities - expected).max() < 1e-5
    assert (prediction.classes == expected.argmax(1)).all()
    assert prediction.labels == [NAMES[index] for index in prediction.classes]
    assert (prediction.confidence == prediction.probabilities.max(1)).all()
    assert len(prediction) == 3
    assert prediction.probabilities.dtype == np.float32
    assert np.ptp(expected, axis=0).max() > 0.01  # the pictures do differ


def test_files_bytes_images_and_arrays_give_the_same(run_folder, pictures, tmp_path):
    model = load(run_folder, threads=1)
    expected = model.predict(pictures).probabilities
    paths, contents, images = [], [], []
    for number, picture in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        paths.append(path)
        contents.append(path.read_bytes())
        images.append(Image.open(path))
    for same in (
        paths,
        [str(path) for path in paths],
        contents,
        images,
        (p for p in paths),
        [paths[0], images[1], pictures[2]],
    ):
        assert (model.predict(same).probabilities == expected).all()
    for alone in (paths[0], str(paths[0]), contents[0], images[0], pictures[0]):
        assert (model.predict(alone).probabilities == expected[:1]).all()
    array = np.stack([pictures[1]] * 5)
    assert model.predict(array).probabilities.shape == (5, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "F"])
def test_an_opened_image_of_any_mode_gives_what_its_file_gives(run_folder, mode, tmp_path):
    generator = np.random.default_rng(3)
    values = generator.integers(0, 256, size=(20, 20), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(values.astype(np.float32))
    else:
        image = Image.fromarray(generator.integers(0, 256, size=(20, 20, 4), dtype=np.uint8)).convert(mode)
    path = tmp_path / "picture.tiff"
    if mode in ("LA", "P"):
        path = path.with_suffix(".png")
    image.save(path)
    model = load(run_folder)
    assert (model.predict(image).probabilities == model.predict(path).probabilities).all()


def test_orientation_of_an_opened_image_is_applied(run_folder, pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    buffer = io.BytesIO()
    Image.fromarray(pictures[0]).save(buffer, "PNG", exif=exif)
    model = load(run_folder)
    lying = model.predict(pictures[0]).probabilities
    upright = model.predict(buffer.getvalue()).probabilities
    assert (model.predict(Image.open(buffer)).probabilities == upright).all()
    assert (upright == model.predict(np.rot90(pictures[0], -1).copy()).probabilities).all()
    assert (upright != lying).any()


def test_batches_do_not_change_the_result(run_folder, pictures):
    model = load(run_folder, threads=1)
    many = pictures * 3
    whole = model.predict(many).probabilities
    assert np.abs(model.predict(many, batch_size=2).probabilities - whole).max() < 1e-6
    nothing = model.predict([])
    assert (nothing.probabilities.shape, nothing.labels, len(nothing)) == ((0, 3), [], 0)


def test_the_facts_of_the_file_are_there(run_folder):
    model = load(run_folder / "export" / "model.onnx")
    assert model.class_names == NAMES
    assert model.input_size == SIZE
    assert model.fit == "crop"
    assert model.metadata["num_classes"] == 3
    assert model.path == run_folder / "export" / "model.onnx"
    assert model.artifact == read_artifact(model.path)


def test_a_folder_stands_for_its_deliverable(run_folder, tmp_path):
    export = run_folder / "export"
    assert find_model(run_folder) == find_model(export) == export / "model.onnx"
    assert find_model(run_folder, precision="int8") == export / "model_int8.onnx"
    assert load(run_folder, precision="int8").artifact.precision == "int8"
    other = tmp_path / "other"
    other.mkdir()
    (other / "zebra.onnx").write_bytes((export / "a_baseline.onnx").read_bytes())
    assert find_model(other) == other / "zebra.onnx"
    with pytest.raises(InputError, match=r"no int8 ONNX file in it \(only zebra.onnx\)"):
        find_model(other, precision="int8")
    with pytest.raises(InputError, match="no fp32 ONNX file"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        load(tmp_path / "nowhere")


def test_torch_is_never_imported(run_folder, pictures, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "picture.png")
    code = (
        "import sys, limbeck\n"
        f"print(limbeck.load({str(run_folder)!r}).predict({str(tmp_path / 'picture.png')!r}).labels[0])\n"
        "heavy = {'torch', 'torchvision', 'timm', 'onnx', 'scipy', 'sklearn', 'pydantic', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in NAMES


def foreign(path, *, inputs=("N", 3, 8, 10), kind=TensorProto.FLOAT, softmax=False, classes: int | str = 4):
    """A classifier that somebody else exported: the mean colour times a matrix."""
    weight = np.random.default_rng(0).normal(size=(inputs[1], 4)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
    ]
    last = "scores"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["shares"]))
        last = "shares"
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", kind, inputs)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path, weight


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("classes", [4, "K"])
def test_a_file_of_others_works_by_the_stated_assumption(tmp_path, softmax, classes):
    path, weight = foreign(tmp_path / "foreign.onnx", softmax=softmax, classes=classes)
    picture = np.random.default_rng(1).integers(0, 256, size=(8, 10, 3), dtype=np.uint8)
    model = load(path)
    scores = (picture / 255).mean((0, 1)) @ weight
    expected = np.exp(scores) / np.exp(scores).sum()
    prediction = model.predict(picture)
    assert prediction.probabilities[0] == pytest.approx(expected, abs=1e-5)
    assert model.class_names == ("0", "1", "2", "3")
    assert model.metadata == {}
    assert prediction.labels == [str(expected.argmax())]
    assert model.finish(np.log(expected)[None] if not softmax else expected[None])[0] == pytest.approx(
        expected, abs=1e-6
    )


def test_what_is_missing_in_a_file_of_others_can_be_said(tmp_path):
    path, weight = foreign(tmp_path / "foreign.onnx", inputs=("N", 3, "H", "W"))
    picture = np.random.default_rng(1).integers(0, 256, size=(8, 10, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="input_size"):
        load(path)
    with pytest.raises(InputError, match="input_size"):
        read_artifact(path)
    assert read_artifact(path, input_size=(8, 10)).input_shape == (3, 8, 10)
    facts = {
        "input_size": [8, 10],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.1, 0.2, 0.3],
        "class_names": ["a", "b", "c", "d"],
    }
    prediction = load(path, metadata=facts).predict(picture)
    scores = (((picture / 255) - facts["mean"]) / facts["std"]).mean((0, 1)) @ weight
    assert prediction.probabilities[0] == pytest.approx(np.exp(scores) / np.exp(scores).sum(), abs=1e-4)
    assert prediction.labels[0] == "abcd"[int(scores.argmax())]
    with pytest.raises(InputError, match="gives 4 classes, but has 2 class names"):
        load(path, metadata={**facts, "class_names": ["a", "b"]}).predict(picture)


def test_any_file_is_described(tmp_path):
    artifact = make_artifact(tmp_path / "some.onnx", image_size=16)
    assert read_artifact(artifact.path) == artifact
    as_bytes = make_artifact(tmp_path / "bytes.onnx", image_size=16, input_dtype="uint8")
    assert read_artifact(as_bytes.path) == as_bytes


def test_weights_beside_the_file_count(tmp_path):
    artifact = make_artifact(tmp_path / "some.onnx")
    (tmp_path / "bystander.bin").write_bytes(b"x" * 999)
    model = onnx.load(artifact.path)
    onnx.save(model, str(tmp_path / "split.onnx"), save_as_external_data=True, location="split.bin", size_threshold=0)
    expected = (tmp_path / "split.onnx").stat().st_size + (tmp_path / "split.bin").stat().st_size
    (tmp_path / "x").write_bytes(b"no weights, and a name that stands in any file")
    (tmp_path / "split.bin.txt").write_text("no weights")
    assert read_artifact(tmp_path / "split.onnx").size_bytes == expected
    (tmp_path / "weights").mkdir()
    model = onnx.load(artifact.path)
    onnx.helper.set_model_props(model, {"location": "no file, but a place " * 50})
    folder = "weights/" + "long" * 40 + ".bin"
    onnx.save(model, str(tmp_path / "far.onnx"), save_as_external_data=True, location=folder, size_threshold=0)
    expected = (tmp_path / "far.onnx").stat().st_size + (tmp_path / folder).stat().st_size
    assert read_artifact(tmp_path / "far.onnx").size_bytes == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a usable ONNX"),
        (b"\x08\x07garbage" * 40, "not a usable ONNX"),
        (b"PK\x03\x04 a pickle", "not a usable"),
    ],
)
def test_a_corrupt_file_is_told_in_one_line(tmp_path, content, words):
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(content)
    for read in (read_artifact, load):
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_truncated_file_and_damaged_facts_are_told(run_folder, tmp_path):
    whole = (run_folder / "export" / "model.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a usable ONNX"):
        load(tmp_path / "half.onnx")
    for text, words in (("{not json", "damaged"), ("[]", "damaged"), (json.dumps({"schema": 99}), "newer Limbeck")):
        model = onnx.load(str(run_folder / "export" / "model.onnx"))
        for entry in model.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = text
        onnx.save(model, str(tmp_path / "facts.onnx"))
        with pytest.raises(InputError, match=words):
            load(tmp_path / "facts.onnx")


def test_models_that_take_no_pictures_are_refused(tmp_path):
    foreign(tmp_path / "double.onnx", kind=TensorProto.DOUBLE)
    with pytest.raises(InputError, match=r"not a usable|uint8 or float32"):
        load(tmp_path / "double.onnx")
    foreign(tmp_path / "one.onnx", inputs=("N", 1, 8, 8))
    with pytest.raises(InputError, match="neither RGB pictures"):
        load(tmp_path / "one.onnx")


def test_bad_pictures_are_told_in_one_line(run_folder, tmp_path):
    model = load(run_folder)
    (tmp_path / "text.png").write_text("no picture")
    for wrong, words in (
        (tmp_path / "text.png", "not a readable picture"),
        (tmp_path / "missing.png", "no such file"),
        (b"no picture", "not a readable picture"),
        (np.zeros((4, 4, 3)), "uint8 RGB is needed"),
        (np.zeros((4, 4, 1), np.uint8), "uint8 RGB is needed"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 4), np.uint8), r"\[H, W, 3\]"),
        ([np.zeros((4, 4, 3), np.uint8), 7], "picture 1: int"),
        (None, "picture 0: NoneType"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            model.predict(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="batch_size = 0"):
        model.predict([], batch_size=0)
    with pytest.raises(InputError, match="threads = 0"):
        load(run_folder, threads=0)


def test_a_missing_runtime_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime") as caught:
        open_runtime()
    assert "\n" not in str(caught.value)


def test_a_damaged_runtime_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))  # what an uninstall leaves behind
    with pytest.raises(InputError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        open_runtime()


def test_threads_are_handed_to_the_runtime(run_folder):
    assert load(run_folder, threads=1)._session.get_session_options().intra_op_num_threads == 1
