"""What every exporter must do: the conformance suite for an exporter of your own. The exporters are `limbeck.export`'s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from limbeck.models.network import build
from limbeck.models.table import Head, Row, Table
from limbeck.protocols import Device, Exporter
from limbeck.types import Artifact

__all__ = ["check_exporter"]


def check_exporter(export: Exporter, device: Device, folder: str | Path, *, tolerance: float = 1e-4) -> None:
    """Hold an exporter to its rules: the file says what the network says, for any batch, and is described as it is.

    A small network is exported with a temperature, once for each kind of input, and run on `device`.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    torch.manual_seed(0)
    rows = (Row("inverted", 16, stride=2, expansion=2, se_ratio=0.25, activation="hard_swish"), Row("separable", 16))
    network = build(Table("small", Row("conv", 8), rows, Head(), num_classes=3, input_size=(32, 32))).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for preprocess, shape in (("uint8", (32, 32, 3)), ("float32", (3, 32, 32))):
        path = Path(folder) / preprocess / "model.onnx"
        artifact = export(
            network, path, sample_size=(32, 32), temperature=2.0, preprocess=preprocess, class_names=("a", "b", "c")
        )
        assert isinstance(artifact, Artifact), f"an exporter must return an Artifact, not {type(artifact).__name__}"
        assert Path(artifact.path) == path, f"it was to write {path} and says {artifact.path}"
        assert path.is_file(), f"{path} was not written"
        assert artifact.size_bytes >= path.stat().st_size, "size_bytes is less than the file's size"
        assert artifact.input_dtype == preprocess, f"input_dtype is {artifact.input_dtype} for {preprocess}"
        assert artifact.input_shape == shape, f"input_shape is {artifact.input_shape}, expected {shape}"
        left = [file.name for file in path.parent.iterdir() if not file.name.startswith(path.name)]
        assert not left, f"it left {left} beside the file"
        pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
        planes = pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
        with torch.no_grad():
            expected = (network(torch.from_numpy(planes)) / 2.0).softmax(1).numpy()
        for count in (1, 5):
            found = device.run(artifact, (pictures if preprocess == "uint8" else planes)[:count])
            assert found.shape == (count, 3), f"{count} pictures gave an output of shape {found.shape}"
            far = float(np.abs(found - expected[:count]).max())
            assert far <= tolerance, f"{preprocess}: probabilities are {far:.2g} from the network's"
    assert not network.training, "it left the network in training mode"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), (
        "it changed the network"
    )
