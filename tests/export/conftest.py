"""A small network that has learnt something, its exported forms, and a device to run them on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.export import export_onnx, quantize_onnx

NAMES = ("red", "green", "blue", "grey")
SIZE = (24, 20)  # not square: an exchange of height and width must show
TEMPERATURE = 1.7


class TinyNetwork(nn.Module):
    """What every network of Limbeck shows, in four layers."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes, self.input_size, self.in_channels = 4, SIZE, 3
        self.origin = {"source": "test", "weights": "trained on coloured noise", "licence": "CC0-1.0"}
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1), persistent=False)
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.Hardswish(),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def architecture(self) -> dict:
        return {"kind": "tiny"}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if tuple(inputs.shape[-2:]) != self.input_size:
            inputs = nn.functional.interpolate(inputs, size=self.input_size, mode="bilinear", align_corners=False)
        return self.head(self.dropout(self.body((inputs - self.mean) / self.std).mean((2, 3))))


def coloured_noise(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose class is a faint colour cast under noise: learnable, not perfectly."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size=count)
    cast = np.array([[14, 0, 0], [0, 14, 0], [0, 0, 14], [0, 0, 0]])[labels]
    shade = generator.normal(0, 7, size=(count, 1, 1, 3))
    noise = generator.normal(110, 40, size=(count, *SIZE, 3))
    return np.clip(noise + shade + cast[:, None, None, :], 0, 255).astype(np.uint8), labels


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def say(network: nn.Module, pictures: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of the network itself, in evaluation mode."""
    network.eval()
    return torch.softmax(network(as_tensor(pictures)) / temperature, dim=1).numpy()


class Host:
    """This machine's ONNX Runtime as a device."""

    def describe(self) -> SimpleNamespace:
        return SimpleNamespace(target="onnxruntime,threads=1")

    def run(self, artifact, inputs: np.ndarray) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.fixture(scope="session")
def host() -> Host:
    return Host()


@pytest.fixture(scope="session")
def trained() -> TinyNetwork:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = TinyNetwork()
    pictures, labels = coloured_noise(512, seed=0)
    inputs, target = as_tensor(pictures), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(96):
        rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs[rows]), target[rows]).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return coloured_noise(300, seed=1)[0]


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return coloured_noise(300, seed=1)[1]


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return export_onnx(
        trained,
        path,
        sample_size=SIZE,
        temperature=TEMPERATURE,
        class_names=NAMES,
        fit="pad",
        metadata={"task": "classification", "data": "coloured noise"},
    )


@pytest.fixture(scope="session")
def int8(exported, tmp_path_factory):
    batches = (coloured_noise(32, seed=seed)[0] for seed in range(2, 6))
    return quantize_onnx(exported, tmp_path_factory.mktemp("int8") / "model_int8.onnx", batches)


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The helpers above, for test modules (which cannot import a conftest by name)."""
    return SimpleNamespace(
        say=say, TinyNetwork=TinyNetwork, coloured_noise=coloured_noise, SIZE=SIZE, NAMES=NAMES, TEMPERATURE=TEMPERATURE
    )
