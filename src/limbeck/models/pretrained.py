"""Where pretrained weights for our tables come from: a library's network, its module, a saved network, a file.

Not here: the copying itself (`weights`), downloads (`providers`), names of our families (`load`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.cifar import CifarNetwork
from limbeck.models.library import ModuleNetwork, TimmNetwork
from limbeck.models.network import Network, TableNetwork, build
from limbeck.models.providers import load_all_but_classifier, timm_network, timm_normalisation, torchvision_network
from limbeck.models.storage import (
    ARCHITECTURE_FILE,
    WEIGHTS_FILE,
    is_saved_network,
    load_network,
    read_normalisation,
    read_state,
)
from limbeck.models.table import Table
from limbeck.models.weights import FillReport, adopt_conventions, choose_table, fill_from, fill_from_ours

__all__ = ["Weights", "fill_from_path", "fill_table", "find_weights"]


@dataclass(frozen=True)
class Weights:
    """Pretrained weights at hand.

    Attributes:
        module: a library's module, or one of our own networks.
        source: what they are called in messages.
        normalisation: `mean`, `std`, `interpolation` that they were trained with; empty = unknown.
        input_size: (height, width) that they were trained at; None = unknown.
        origin: entries of `Network.origin`.
    """

    module: nn.Module
    source: str
    normalisation: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    origin: dict[str, Any] = field(default_factory=dict)


def weights_of(network: Network, source: str) -> Weights:
    """A network of ours, or a library's that we wrapped, as weights."""
    module = network if isinstance(network, TableNetwork) else network.get_submodule("module")
    return Weights(module, source, network.normalisation, network.input_size, network.origin)


def find_weights(
    pretrained: str | Path | nn.Module, *, template: Callable[[str, int], nn.Module | None], in_channels: int
) -> Weights:
    """Get the weights that `pretrained` names.

    Args:
        pretrained: `timm:NAME`, `torchvision:NAME`, a path, or a module.
        template: library (`timm`, `torchvision`) and number of classes -> a fresh network of the wanted architecture,
            for files that hold a library's tensors without saying of which network; None where the library has none.
        in_channels: of the network to be filled.

    Raises:
        InputError: they cannot be had, or are damaged.
    """
    if isinstance(pretrained, Network):
        return weights_of(pretrained, "network")
    if isinstance(pretrained, nn.Module):
        size = (getattr(pretrained, "pretrained_cfg", None) or {}).get("input_size")
        origin = {"weights": f"module {type(pretrained).__name__}", "licence": "not stated"}
        return Weights(
            pretrained, "module", timm_normalisation(pretrained, in_channels), tuple(size[1:]) if size else None, origin
        )
    provider, _, name = str(pretrained).partition(":")
    if provider in ("timm", "torchvision"):
        maker: Callable[..., Network] = timm_network if provider == "timm" else torchvision_network
        network = maker(name, in_channels=in_channels, pretrained=True)
        return weights_of(network, str(pretrained))
    path = Path(pretrained)
    if is_saved_network(path):
        return replace(
            weights_of(load_network(path), str(path)), origin={"weights": str(path), "licence": "as its source"}
        )
    return weights_of_file(path, template)


def weights_of_file(path: Path, template: Callable[[str, int], nn.Module | None]) -> Weights:
    """A bare file of timm's or torchvision's tensors, loaded into the network that they belong to."""
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}
    first = {"conv_stem.weight": "timm", "features.0.0.weight": "torchvision", "layers.0.weight": "torchvision"}
    library = next((name for tensor, name in first.items() if tensor in state), "")
    dense = [value for name, value in state.items() if name.startswith("classifier") and value.dim() == 2]
    module = template(library, len(dense[-1])) if library and dense else None
    if module is None:
        raise InputError(
            f"{path}: weights of an unknown network; expected a folder that was saved with its {ARCHITECTURE_FILE}, or "
            f"timm's or torchvision's own tensors of this network"
        )
    load_all_but_classifier(module, state, str(path))
    return Weights(module, str(path), origin={"weights": str(path), "licence": "not stated"})


def fill_table(tables: Sequence[Table], weights: Weights) -> TableNetwork:
    """Build a table with the weights' own conventions and normalisation, and fill what has the same shape.

    Args:
        tables: one, or several of the same family that libraries scale differently; the one that fits is taken.
        weights: to fill it with.

    Raises:
        InputError: the weights are of another architecture.
    """
    ours = isinstance(weights.module, TableNetwork)
    table = tables[0] if ours else choose_table(tables, weights.module, source=weights.source)
    table = adopt_conventions(table, weights.module, source=weights.source)
    network = build(table, **weights.normalisation)
    network.origin = {"source": "limbeck", "weights": weights.source, "licence": "not stated", **weights.origin} | {
        "source": "limbeck"
    }
    fill = fill_from_ours if ours else fill_from
    network.filled = fill(network, weights.module, source=weights.source)
    if network.filled.filled == 0:
        raise InputError(f"{weights.source}: no weight has the shape that '{table.name}' wants")
    return network


def fill_from_path(network: Network, path: Path) -> Network:
    """Fill a library's or a CIFAR network from a folder of `save_network` or a file of weights, all but the classifier
    of other classes.

    Raises:
        InputError: the weights are missing, damaged, or of another network.
    """
    folder = path if path.is_dir() else path.parent
    state: dict[str, Tensor] = read_state(path / WEIGHTS_FILE if path.is_dir() else path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    prefix = "module." if isinstance(network, TimmNetwork | ModuleNetwork) else ""
    if isinstance(network, CifarNetwork):
        state = network.own_names(state)
    module = network.get_submodule(prefix.removesuffix("."))
    if more := sorted(set(state) - set(module.state_dict())):  # a deeper network holds all that a shallow one wants
        raise InputError(f"{path}: weights of another network: '{more[0]}' is unexpected ({len(more)} such)")
    left = load_all_but_classifier(module, state, str(path))
    if (folder / ARCHITECTURE_FILE).exists():
        network.normalise_by(*read_normalisation(folder / ARCHITECTURE_FILE))
    network.origin |= {"weights": str(path), "licence": "not stated"}
    network.filled = FillReport.of(network, [f"{prefix}{name}" for name in left])
    return network
