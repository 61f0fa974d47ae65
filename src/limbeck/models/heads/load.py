"""`create_model` for dense networks: their tables by name, and the weights that they may start from.

Not here: the names (`names`), copying layer by layer (`models.weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.heads.backbone import DenseNetwork, fill_backbone
from limbeck.models.heads.names import DENSE_SIZES, OPTIONS, dense_network, find_dense, list_dense
from limbeck.models.names import CONVENTIONS, family_table, find_known
from limbeck.models.network import TableNetwork
from limbeck.models.providers import first_line, no_weights
from limbeck.models.storage import is_saved_network, load_network, read_state
from limbeck.models.table import Table
from limbeck.models.weights import fill_from, fill_from_ours

__all__ = ["create_dense"]

TORCHVISION = {"lraspp": "lraspp_mobilenet_v3_large", "ssdlite": "ssdlite320_mobilenet_v3_large"}


@dataclass(frozen=True)
class DenseWeights:
    """Weights for a whole dense network.

    Attributes:
        module: torchvision's network, or one of ours.
        source: what they are called in messages.
        options: of the builder that they were made for.
        origin: entries of `Network.origin`.
    """

    module: nn.Module
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


def create_dense(
    name: str,
    size: tuple[int, int] | None,
    pretrained: bool | str | Path | nn.Module,
    width: float,
    *,
    classifier: Callable[..., TableNetwork],
    num_classes: int,
    in_channels: int,
    small_images: bool | None = None,
    dropout: float | None = None,
    pretrained_backbone: bool | str | Path | nn.Module = False,
    **options: Any,
) -> DenseNetwork:
    """A dense network by name; arguments as in `create_model`.

    Args:
        name: of a dense network.
        size: (height, width); None = `DENSE_SIZES`.
        pretrained: True or `torchvision:NAME` (torchvision's weights, which bring its design), a path that `save_network`
            wrote, a file of torchvision's tensors, or torchvision's module.
        width: multiplier of the family.
        classifier: name, size, pretrained, width, further settings -> a classifier of the family.
        num_classes: K, without the background.
        in_channels: of the pictures.
        small_images: must not be true: maps of stride 8 and more are read.
        dropout: before the classifier of `raspp`.
        pretrained_backbone: what `pretrained` of the family's classifier takes; fills the backbone where widths agree.
        options: of the head's builder (`names.OPTIONS`), and the conventions of a table.

    Raises:
        InputError: an unknown option, or weights that cannot be had or do not fit.
    """
    found = find_dense(name)
    if found is None:
        raise unknown_name("dense network", name, list_dense())
    head, family, _ = found
    if small_images:
        raise InputError(f"model '{name}': small_images is for classifiers; give it smaller pictures by input_size")
    known = find_known(family)
    assert known is not None
    options |= {} if dropout is None else {"dropout": dropout}
    for key in options:
        if key not in OPTIONS[head] and key not in (*CONVENTIONS, "width_rule"):
            choices = [*OPTIONS[head], "pretrained_backbone", *CONVENTIONS, "width_rule"]
            raise unknown_name("option", key, choices, where=f"model '{name}'")
    own = {key: options.pop(key) for key in OPTIONS[head] if key in options}
    shape: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "small_images": False} | options
    size = size or DENSE_SIZES[head]
    if pretrained is not False and pretrained_backbone is not False:
        raise InputError(f"model '{name}': pretrained fills the backbone too; drop pretrained_backbone")

    def build(table: Table, **further: Any) -> DenseNetwork:
        return dense_network(name, table, width=known.width * width, **own, **further)

    if pretrained_backbone is not False:
        source = classifier(family, size, pretrained_backbone, width, **shape, dropout=None)
        network = build(source.table)
        network.filled = fill_backbone(network, source)
        return network
    table = family_table(family, input_size=size, width_multiplier=width, **shape)
    if pretrained is False:
        return build(table)
    weights = find_dense_weights(name, head, pretrained)
    for key, value in weights.options.items():
        if own.setdefault(key, value) != value:
            raise InputError(
                f"model '{name}': {weights.source} is of {key} = {value!r}, not {own[key]!r}; drop the option"
            )
    return fill_dense(build, table, weights)


def fill_dense(build: Callable[[Table], DenseNetwork], table: Table, weights: DenseWeights) -> DenseNetwork:
    """Build with the weights' own batch-norm eps and normalisation, and fill what has the same shape."""
    module = weights.module
    ours = isinstance(module, DenseNetwork)
    if isinstance(module, DenseNetwork):
        table = replace(table, bn_eps=module.table.bn_eps, padding=module.table.padding)
    else:
        eps = next(part.eps for part in module.modules() if isinstance(part, nn.BatchNorm2d))
        table = replace(table, bn_eps=eps)
    network = build(table)
    if isinstance(module, DenseNetwork):
        network.normalise_by(**module.normalisation)
    elif (transform := getattr(module, "transform", None)) is not None:
        network.normalise_by(list(transform.image_mean), list(transform.image_std))
    fill = fill_from_ours if ours else fill_from
    network.filled = fill(network, module, source=weights.source)  # type: ignore[arg-type]
    if network.filled.filled == 0:
        raise InputError(f"{weights.source}: no weight has the shape that '{table.name}' wants")
    network.origin = {**network.origin, "weights": weights.source, "licence": "not stated", **weights.origin}
    return network


def find_dense_weights(name: str, head: str, pretrained: bool | str | Path | nn.Module) -> DenseWeights:
    """Get the weights that `pretrained` names.

    Raises:
        InputError: they cannot be had, or are of another network.
    """
    theirs = TORCHVISION.get(head, "")
    if pretrained is True:
        if name not in (theirs, f"{head}_mobilenet_v3_large"):
            raise InputError(
                f"model '{name}': nobody published weights for it; pretrained_backbone = true takes those of its "
                f"classifier where there are any"
            )
        pretrained = f"torchvision:{theirs}"
    if isinstance(pretrained, DenseNetwork):
        return DenseWeights(pretrained, "network")
    if isinstance(pretrained, nn.Module):
        return DenseWeights(pretrained, f"module {type(pretrained).__name__}", options_of(pretrained, head, name))
    text = str(pretrained)
    if text.startswith("torchvision:") and not Path(text).exists():
        if text != f"torchvision:{theirs}":
            raise InputError(f"model '{name}': cannot be filled from '{text}', which is another network")
        try:
            state = dense_weights_of(theirs).get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # URLError, timeouts, a hash that does not match
            raise no_weights(text, error) from error
        module = torchvision_module(head, state, text)
        return DenseWeights(module, text, options_of(module, head, name), {"licence": "BSD-3-Clause"})
    path = Path(text)
    if is_saved_network(path):
        network = load_network(path)
        if not isinstance(network, DenseNetwork):
            raise InputError(f"{path}: holds a classifier; give it as pretrained_backbone")
        return DenseWeights(network, text, origin={"licence": "as its source"})
    state = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    module = torchvision_module(head, state, text)
    return DenseWeights(module, text, options_of(module, head, name))


def options_of(module: nn.Module, head: str, name: str) -> dict[str, Any]:
    """The options of the builder that give torchvision's network.

    Raises:
        InputError: it is another network.
    """
    from torchvision.models.detection.ssd import SSD
    from torchvision.models.segmentation import LRASPP

    if not isinstance(module, LRASPP if head == "lraspp" else SSD) or head == "raspp":
        raise InputError(f"model '{name}': cannot be filled from a {type(module).__name__}")
    widths = [part.out_channels for part in module.backbone.modules() if isinstance(part, nn.Conv2d)]
    return {"design": "torchvision", "reduce_tail": 960 not in widths}


def dense_weights_of(theirs: str) -> Any:
    """Torchvision's entry of the published weights of one of `TORCHVISION`."""
    from torchvision.models import get_model_weights

    return get_model_weights(theirs).DEFAULT


def torchvision_module(head: str, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Torchvision's network of as many classes as its tensors are of, filled by them.

    Raises:
        InputError: they are of another network.
    """
    from torchvision.models import get_model

    last = {
        "lraspp": ("classifier.low_classifier.bias", 1),
        "ssdlite": ("head.classification_head.module_list.0.1.bias", 6),
    }
    key, per_class = last.get(head, ("", 1))
    if key not in state:
        raise InputError(
            f"{source}: weights of an unknown network; expected torchvision's, or a saved network's folder"
        )
    classes = len(state[key]) // per_class
    module = get_model(TORCHVISION[head], weights=None, weights_backbone=None, num_classes=classes)
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise InputError(f"{source}: the weights do not fit '{TORCHVISION[head]}' ({first_line(error)})") from error
    return module
