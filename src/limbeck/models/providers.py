"""Networks from elsewhere by name: timm, torchvision, and anyone's `package.module:name`.

Not here: our own families and the meaning of `pretrained` for them (`load`).
"""

from __future__ import annotations

import inspect
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.library import ModuleNetwork, TimmNetwork
from limbeck.models.network import INTERPOLATIONS, Network, build
from limbeck.models.table import Table
from limbeck.models.weights import FillReport
from limbeck.parts import find_part

__all__ = [
    "adopt_module",
    "first_line",
    "load_all_but_classifier",
    "outside_network",
    "timm_name",
    "timm_network",
    "timm_normalisation",
    "torchvision_network",
]

DEFAULT_SIZE = (224, 224)

SHORT_NAMES = {  # timm's transformers without their usual patch and picture size
    f"{family}_{size}": f"{family}_{size}_{usual}"
    for family, usual in (("deit", "patch16_224"), ("swin", "patch4_window7_224"), ("vit", "patch16_224"))
    for size in ("tiny", "small", "base")
}


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def no_weights(name: str, error: BaseException) -> InputError:
    """The error for pretrained weights that cannot be had."""
    return InputError(
        f"{name}: the pretrained weights cannot be had ({first_line(error)}); without a network to download from, "
        f"give a path to saved weights or pretrained = false"
    )


def unusable(name: str, options: dict[str, Any], error: BaseException) -> InputError:
    """The error for options that a library's network refuses."""
    return InputError(f"{name}: cannot be built with {options or 'these sizes'} ({first_line(error)})")


def timm_name(name: str) -> str:
    """Timm's own spelling of `deit_tiny`, `swin_tiny.ms_in1k` and the like; any other name as it is."""
    base, dot, tag = name.partition(".")
    return SHORT_NAMES.get(base, base) + dot + tag


def timm_network(
    name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, int] | None = None,
    in_channels: int = 3,
    pretrained: bool = False,
    options: dict[str, Any] | None = None,
) -> Network:
    """A timm network by timm's name (`resnet18`, `resnet18.a1_in1k`, or short `deit_tiny`), with its own resolution and
    normalisation.

    `num_classes` and `input_size` of None are the weights' own.

    Raises:
        InputError: an unknown name or option, or weights that cannot be had.
    """
    import timm

    name, options = timm_name(name), options or {}
    full = f"timm:{name}"
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown_name("timm model", base, timm.list_models())
    if tag and f"{base}.{tag}" not in timm.list_pretrained(f"{base}.*"):
        raise unknown_name("timm weights", name, timm.list_pretrained(f"{base}.*") or ["none"])
    config = timm.get_pretrained_cfg(name)
    size = input_size or tuple(config.input_size[1:])
    # Transformers with a fixed grid of tokens are built for their size; everything else takes any.
    fixed = {"img_size": size} if config.fixed_input_size else {}
    num_classes = config.num_classes if num_classes is None else num_classes
    arguments = {"num_classes": num_classes, "in_chans": in_channels, **fixed, **options}
    try:
        with without_waiting():
            module = timm.create_model(name, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError) as error:
        raise unusable(full, options, error) from error
    except Exception as error:  # what a hub client raises without a network differs by version
        raise (no_weights(full, error) if pretrained else unusable(full, options, error)) from error
    origin = {"source": full, "weights": "random", "licence": "Apache-2.0"}
    if pretrained:
        config = module.pretrained_cfg
        origin |= {"weights": f"timm:{base}.{config['tag']}", "licence": config.get("license") or "not stated"}
    owns = {
        "num_classes": num_classes,
        "input_size": size,
        "in_channels": in_channels,
        **timm_normalisation(module, in_channels, pretrained),
        "origin": origin,
    }
    network: Network
    if hasattr(module, "forward_intermediates") and hasattr(module, "feature_info"):
        network = TimmNetwork(name, module, options, **owns)
    else:
        network = ModuleNetwork("timm", name, module, options, **owns)
    if pretrained:
        network.filled = FillReport.of(network, [] if config["num_classes"] == num_classes else classifier_of(module))
    return network


def classifier_of(module: nn.Module) -> list[str]:
    """The parameters of a timm network that timm leaves fresh for another number of classes."""
    heads = module.pretrained_cfg["classifier"]
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    return [f"module.{name}" for name, _ in module.named_parameters() if name.rpartition(".")[0] in heads]


@contextmanager
def without_waiting() -> Iterator[None]:
    """Use only weights that are on disk already where the hub cannot be found: its client would retry for most of a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    has_proxy = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    if not has_proxy:  # behind a proxy, names are the proxy's to look up
        try:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def timm_normalisation(module: nn.Module, in_channels: int, pretrained: bool = True) -> dict[str, Any]:
    """What a timm network's weights want of their pictures; nothing where its channels were changed."""
    config = getattr(module, "pretrained_cfg", None) or {}
    if len(config.get("mean", ())) != in_channels:
        return {}
    interpolation = config.get("interpolation") if pretrained else "bilinear"
    known = {"mean": list(config["mean"]), "std": list(config["std"])}
    return known | {"interpolation": interpolation if interpolation in INTERPOLATIONS else "bilinear"}


def torchvision_network(
    name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, int] | None = None,
    in_channels: int = 3,
    pretrained: bool = False,
    options: dict[str, Any] | None = None,
) -> ModuleNetwork:
    """A torchvision classifier by its name (`resnet18`); the last layer stays fresh for another number of classes.

    `num_classes` and `input_size` of None are the weights' own.

    Raises:
        InputError: an unknown name or option, channels other than 3, or weights that cannot be had.
    """
    from torchvision import models

    full, options = f"torchvision:{name}", options or {}
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    if in_channels != 3:
        raise InputError(f"{full}: takes pictures of 3 channels only, got in_channels = {in_channels}")
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    num_classes = len(weights.meta["categories"]) if num_classes is None else num_classes
    size = input_size or (preset.crop_size[0], preset.crop_size[0])
    try:
        fixed = {"image_size": size[0]} if name.startswith("vit_") else {}
        module = models.get_model(name, weights=None, num_classes=num_classes, **fixed, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise unusable(full, options, error) from error
    origin = {"source": full, "weights": "random", "licence": "BSD-3-Clause"}
    if pretrained:
        try:
            state = weights.get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # URLError, timeouts, a hash that does not match
            raise no_weights(full, error) from error
        left = load_all_but_classifier(module, state, full)
        origin |= {
            "weights": f"torchvision:{name}.{weights.name}",
            "licence": weights.meta.get("license", "BSD-3-Clause"),
        }
    network = ModuleNetwork(
        "torchvision",
        name,
        module,
        options,
        num_classes=num_classes,
        input_size=size,
        mean=list(preset.mean),
        std=list(preset.std),
        interpolation=preset.interpolation.value
        if pretrained and preset.interpolation.value in INTERPOLATIONS
        else "bilinear",
        origin=origin,
    )
    if pretrained:
        network.filled = FillReport.of(network, [f"module.{name}" for name in left])
    return network


def load_all_but_classifier(module: nn.Module, state: dict[str, torch.Tensor], source: str) -> list[str]:
    """Load a state dict: a last layer for other classes stays fresh (its names); other differences are InputErrors."""
    own = module.state_dict()
    last = list(own)[-1].rsplit(".", 1)[0] + "."
    odd = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if wrong := [name for name in odd if not name.startswith(last)]:
        raise InputError(
            f"{source}: the weights do not fit: '{wrong[0]}' has another shape or is missing ({len(wrong)} such)"
        )
    kept = OrderedDict((name, value) for name, value in state.items() if name in own and name not in odd)
    # the version that each part was written by; torchvision's MnasNets refuse tensors without one
    kept._metadata = getattr(state, "_metadata", None) or own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(kept, strict=False)
    return odd


def outside_network(
    name: str,
    *,
    num_classes: int,
    input_size: tuple[int, int] | None = None,
    in_channels: int = 3,
    pretrained: bool = False,
    options: dict[str, Any] | None = None,
) -> Network:
    """Anyone's network: a callable that gives a `Network`, a `Table`, or any module from normalised pictures to logits.

    It is called with `options`, and with those of `num_classes`, `input_size`, `in_channels`, `pretrained` that it
    names. A module may have `mean` and `std` of its own (ImageNet's otherwise).

    Raises:
        InputError: it cannot be imported or built, gives something else, or not [N, num_classes] logits.
    """
    maker = find_part("model", name, {})
    if not callable(maker):
        raise InputError(f"model '{name}': is not callable")
    size, options = input_size or DEFAULT_SIZE, options or {}
    offered = {"num_classes": num_classes, "input_size": size, "in_channels": in_channels, "pretrained": pretrained}
    named = inspect.signature(maker).parameters
    try:
        made = maker(**{key: value for key, value in offered.items() if key in named}, **options)
    except TypeError as error:
        raise unusable(f"model '{name}'", options, error) from error
    if isinstance(made, Table):
        made = build(made)
    if isinstance(made, nn.Module) and not isinstance(made, Network):
        shape = {"num_classes": num_classes, "input_size": size, "in_channels": in_channels}
        module = made
        made = adopt_module(
            module,
            lambda **owns: ModuleNetwork("outside", name, module, options, **owns),
            where=f"model '{name}'",
            source=name,
            **shape,
        )
    if not isinstance(made, Network):
        raise InputError(f"model '{name}': gave a {type(made).__name__}, expected a network, a table or a torch module")
    if made.num_classes != num_classes:
        raise InputError(f"model '{name}': has {made.num_classes} classes, expected {num_classes}")
    return made


def adopt_module(
    module: nn.Module,
    wrapped: Callable[..., ModuleNetwork],
    *,
    where: str,
    source: str,
    num_classes: int,
    input_size: tuple[int, int],
    in_channels: int,
) -> ModuleNetwork:
    """Anyone's module as a network, once it has given logits for one blank picture.

    Args:
        module: from normalised pictures to logits; may have `mean` and `std` of its own.
        wrapped: makes the network around it of what every network owns.
        where: the part in words, for errors.
        source: for the network's `origin`.
        num_classes: K.
        input_size: (height, width).
        in_channels: of the pictures.

    Raises:
        InputError: it fails on a picture, or does not give [N, num_classes] logits.
    """
    normalisation = {
        key: [float(value) for value in torch.as_tensor(getattr(module, key)).flatten()]
        for key in ("mean", "std")
        if hasattr(module, key)
    }
    shape = {"num_classes": num_classes, "input_size": input_size, "in_channels": in_channels}
    network = wrapped(**shape, **normalisation)
    try:
        out, _ = network.probe(())
    except (RuntimeError, ValueError, IndexError) as error:
        size = "x".join(map(str, (in_channels, *input_size)))
        raise InputError(f"{where}: fails on a picture of {size} ({first_line(error)})") from error
    if tuple(out.shape) != (1, num_classes):
        raise InputError(f"{where}: gives {list(out.shape)} for one picture, expected [1, {num_classes}] logits")
    network.origin = {"source": source, "weights": "random", "licence": "not stated"}
    return network
