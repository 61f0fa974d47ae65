"""Networks on disk: `architecture.json` and `model.safetensors`, never code. Not here: training checkpoints."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from limbeck.errors import InputError, unknown_name
from limbeck.files import atomic_path, read_json, write_json
from limbeck.models.cifar import cifar_network
from limbeck.models.heads.names import rebuild_dense
from limbeck.models.network import Network, build
from limbeck.models.providers import first_line, outside_network, timm_network, torchvision_network
from limbeck.models.signal import signal_network
from limbeck.models.space_network import space_network
from limbeck.models.table import Table

__all__ = [
    "ARCHITECTURE_FILE",
    "WEIGHTS_FILE",
    "build_architecture",
    "build_described",
    "is_saved_network",
    "load_network",
    "load_state",
    "read_state",
    "save_network",
]

ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.safetensors"


def save_network(network: Network, folder: str | Path) -> Path:
    """Write `architecture.json` and `model.safetensors` into `folder`; returns the folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(state, temporary)
    write_json(folder / ARCHITECTURE_FILE, network.architecture())
    return folder


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict: `.safetensors`, or a torch file of tensors only (also one under `state_dict` or `model`).

    Raises:
        InputError: the file is missing or damaged, carries code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Published checkpoints (CRD's) hold the arguments of their training beside the weights: plain data, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: carries code, or is no file of weights; save a plain state dict or safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged, or no file of weights ({first_line(error)})") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict (names of parameters and their tensors)")
    return state


def load_state(network: Network, state: dict[str, Tensor], where: str | Path) -> None:
    """Load a whole state dict.

    Raises:
        InputError: a tensor is missing, unexpected, or of another shape.
    """
    own = network.state_dict()
    missing, unexpected = [name for name in own if name not in state], [name for name in state if name not in own]
    if missing or unexpected:
        odd = [f"'{name}' is missing" for name in missing[:2]] + [f"'{name}' is unexpected" for name in unexpected[:2]]
        raise InputError(
            f"{where}: weights of another network: {', '.join(odd)} ({len(missing) + len(unexpected)} names differ)"
        )
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise InputError(
                f"{where}: '{name}' has the shape {list(state[name].shape)}, the network wants {list(value.shape)}"
            )
    network.load_state_dict(state)


def normalisation_of(value: Any) -> tuple[list[float], list[float], str]:
    """`mean`, `std`, `interpolation` of a description."""
    return value["mean"], value["std"], value["interpolation"]


def read_normalisation(path: Path) -> tuple[list[float], list[float], str]:
    """`mean`, `std`, `interpolation` of an `architecture.json`.

    Raises:
        InputError: the file is missing, or lacks them.
    """
    try:
        return normalisation_of(read_json(path))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a whole description of a network ({first_line(error)})") from error


def build_architecture(value: Any, where: str | Path) -> Network:
    """Build the network that `Network.architecture()` described, with fresh weights and nothing downloaded.

    Raises:
        InputError: a key is missing or wrong.
    """
    if not isinstance(value, dict) or value.get("schema") != 1:
        raise InputError(f"{where}: is not a description of a network (schema 1)")
    makers = {
        "cifar": cifar_network,
        "signal": signal_network,
        "timm": timm_network,
        "torchvision": torchvision_network,
        "outside": outside_network,
    }
    try:
        kind, normalisation = value["kind"], normalisation_of(value)
        if kind == "table":
            network: Network = build(Table.from_json(value["table"], where=str(where)))
        elif kind in ("segmentation", "detection"):
            network = rebuild_dense(kind, value, str(where))
        elif kind in makers or kind == "space":
            shape = {
                "num_classes": value["num_classes"],
                "input_size": tuple(value["input_size"]),
                "in_channels": value["in_channels"],
                "options": value["options"],
            }
            if kind == "space":
                network = space_network(value["name"], **shape, point=value["point"], where=str(where))
            else:
                network = makers[kind](value["name"], **shape)
        else:
            known = ["table", "segmentation", "detection", "space", *makers]
            raise unknown_name("kind", str(kind), known, where=str(where))
        network.normalise_by(*normalisation)
        network.origin = dict(value["origin"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a whole description of a network ({first_line(error)})") from error
    return network


def build_described(value: Any, where: str | Path) -> Network:
    """Build the network of a table's JSON, or of a whole description of a network.

    Raises:
        InputError: a key is missing or wrong.
    """
    if isinstance(value, dict) and "kind" in value:
        return build_architecture(value, where)
    return build(Table.from_json(value, where=str(where)))


def is_saved_network(path: str | Path) -> bool:
    """Whether `path` is what `load_network` takes: a folder, or one of the two files in it; not a bare file of weights."""
    path = Path(path)
    if path.name == WEIGHTS_FILE:
        return (path.parent / ARCHITECTURE_FILE).exists()
    return path.is_dir() or path.name == ARCHITECTURE_FILE


def load_network(path: str | Path) -> Network:
    """Build and fill the network that `save_network` wrote.

    Args:
        path: the folder, or its `model.safetensors` or `architecture.json`.

    Raises:
        InputError: a file is missing or damaged, or the weights do not belong to the architecture.
    """
    path = Path(path)
    folder = path.parent if path.name in (WEIGHTS_FILE, ARCHITECTURE_FILE) else path
    if not folder.is_dir():
        raise InputError(f"{path}: no such folder (expected one with {ARCHITECTURE_FILE} and {WEIGHTS_FILE})")
    network = build_architecture(read_json(folder / ARCHITECTURE_FILE), folder / ARCHITECTURE_FILE)
    load_state(network, read_state(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    return network
