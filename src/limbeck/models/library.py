"""Networks of other libraries, and anyone's modules, in the form of our `Network`: own normalisation, named stages.

Not here: our own tables (`network`), and which weights they start from (`load`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.network import Network
from limbeck.models.tap import first_tensor, tap

__all__ = ["ModuleNetwork", "TimmNetwork"]


class TimmNetwork(Network):
    """A timm network.

    Stages: `stage1` ... in timm's own order, always [N, C, H, W] (tokens of transformers reshaped); `pool` = what the
    classifier reads, [N, C]. Finer, where a transformer has a class token: `stage1.class` ..., [N, C].
    """

    def __init__(self, name: str, module: nn.Module, options: dict[str, Any], **owns: Any) -> None:
        super().__init__(**owns)
        self.name, self.module, self.options = name, module, options
        self.depth = len(module.feature_info)
        self.has_class_token = getattr(module, "cls_token", None) is not None

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stage1` ... , `pool`."""
        return (*(f"stage{i + 1}" for i in range(self.depth)), "pool")

    def further_stage_names(self) -> tuple[str, ...]:
        """`stage1.class` ... where there is a class token."""
        return tuple(f"stage{i + 1}.class" for i in range(self.depth)) if self.has_class_token else ()

    @property
    def exit_stage(self) -> str:
        """The last map but one; of a transformer of one resolution the class token half way, or the map without one."""
        if self.depth > 1 and len({stage["reduction"] for stage in stages_of(self.module)}) == 1:
            return f"stage{self.depth // 2}" + (".class" if self.has_class_token else "")
        return super().exit_stage

    @property
    def ends_in_convolution(self) -> bool:
        """Whether the map that is pooled is none of the stages, as in MobileNetV2."""
        return self.module.num_features != stages_of(self.module)[-1]["num_chs"]

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages."""
        if not stages:
            return self.module(prepared), {}
        numbers = sorted({int(name.removeprefix("stage").split(".")[0]) - 1 for name in stages if name != "pool"})
        seen: dict[str, Tensor] = {}
        if numbers:
            with_tokens = {"return_prefix_tokens": True} if any(name.endswith(".class") for name in stages) else {}
            final, maps = self.module.forward_intermediates(prepared, indices=numbers, output_fmt="NCHW", **with_tokens)
            for number, found in zip(numbers, maps, strict=True):
                feature, tokens = found if with_tokens else (found, None)
                seen[f"stage{number + 1}"] = feature
                if tokens is not None:
                    seen[f"stage{number + 1}.class"] = tokens[:, 0]
        else:
            final = self.module.forward_features(prepared)
        if "pool" in stages:
            seen["pool"] = self.module.forward_head(final, pre_logits=True)
        return self.module.forward_head(final), {name: seen[name] for name in stages}

    def architecture(self) -> dict[str, Any]:
        """Timm's name and options beside what every network has."""
        return {"kind": "timm", **super().architecture(), "name": self.name, "options": self.options}

    def layer_groups(self) -> list[list[str]]:
        """Timm's own grouping of this network's parameters."""
        from timm.models import group_parameters

        if not hasattr(self.module, "group_matcher"):
            return super().layer_groups()
        groups = group_parameters(self.module, self.module.group_matcher())
        return [[f"module.{name}" for name in groups[order]] for order in sorted(groups)]


def stages_of(module: nn.Module) -> list[dict[str, Any]]:
    """What timm says of a network's stages: `num_chs`, `reduction` ..."""
    info = module.feature_info
    return info if isinstance(info, list) else info.info


class ModuleNetwork(Network):
    """Any module that turns normalised pictures into logits, observed through `tap`.

    Stages: `stage1` ... = the last part at each resolution, found by one trial pass (each block where all are of one
    resolution, as in transformers); `pool` = what the last dense layer is given. Finer: any part of the module by its
    own name; where a transformer has a class token `stage1.class` ..., [N, C].
    """

    def __init__(self, kind: str, name: str, module: nn.Module, options: dict[str, Any], **owns: Any) -> None:
        super().__init__(**owns)
        self.kind, self.name, self.module, self.options = kind, name, module, options
        self.has_class_token = any(getattr(module, name, None) is not None for name in ("class_token", "cls_token"))
        self._parts: dict[str, str] | None = None
        self._exit_stage = ""

    @property
    def parts(self) -> dict[str, str]:
        """The module's part behind each stage name; found at first need."""
        if self._parts is None:
            self._parts, self._exit_stage = find_stages(self)
        return self._parts

    @property
    def exit_stage(self) -> str:
        """The last map but one; of a transformer of one resolution the class token half way, or the map without one."""
        return self._exit_stage if self.parts and self._exit_stage else super().exit_stage

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stage1` ... , `pool`."""
        return tuple(self.parts)

    def further_stage_names(self) -> tuple[str, ...]:
        """Every part of the module, and the class tokens."""
        tokens = [f"{name}.class" for name in self.parts if name != "pool"] if self.has_class_token else []
        return (*(name for name, _ in self.module.named_modules() if name), *tokens)

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages."""
        asked = {name: name.removesuffix(".class") if self.has_class_token else name for name in stages}
        places = {name: self.parts.get(stage, stage) for name, stage in asked.items()}
        with tap(self.module, list(places.values())) as seen:
            out = first_tensor(self.module(prepared))
        if out is None:
            raise InputError(f"model '{self.name}': gives no tensor")
        return out, {
            name: self.as_map(seen[place]) if name == asked[name] else seen[place][:, 0]
            for name, place in places.items()
        }

    def as_map(self, feature: Tensor) -> Tensor:
        """[N, H, W, C] and tokens [N, (1 +) H * W, C] as [N, C, H, W]; anything else as it is."""
        height, width = self.input_size
        if feature.dim() == 4:
            _, a, b, c = feature.shape
            channels_last = a * width == b * height and b * width != c * height
            return feature.permute(0, 3, 1, 2) if channels_last else feature
        if feature.dim() != 3:
            return feature
        count = feature.shape[1]
        for extra in (0, 1):  # a class token comes first
            high = round(((count - extra) * height / width) ** 0.5)
            if high > 1 and (count - extra) % high == 0 and (count - extra) // high * height == high * width:
                return feature[:, extra:].transpose(1, 2).unflatten(2, (high, (count - extra) // high))
        return feature

    def probe(self, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run one blank picture, leaving no trace in the statistics; the named parts' outputs in order of running."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad(), tap(self.module, names) as seen:
                out = first_tensor(
                    self.module(torch.zeros(1, self.in_channels, *self.input_size, device=self.mean.device))
                )
        finally:
            for module, mode in modes.items():
                module.training = mode
        if out is None:
            raise InputError(f"model '{self.name}': gives no tensor")
        return out, seen

    def architecture(self) -> dict[str, Any]:
        """The library's name and options beside what every network has."""
        return {"kind": self.kind, **super().architecture(), "name": self.name, "options": self.options}

    def layer_of(self, parameter: str) -> str:
        """The finest part that a stage could be (a block), or the whole top-level part."""
        blocks = [name for name in block_names(self.module) if parameter.startswith(f"module.{name}.")]
        return max(blocks, key=len) if blocks else parameter


def block_names(module: nn.Module) -> list[str]:
    """Names of a module's building blocks: parts, going into sequences and into what holds a stack of like parts."""
    found: list[str] = []

    def walk(part: nn.Module, prefix: str, depth: int) -> None:
        for name, child in part.named_children():
            found.append(prefix + name)
            is_sequence = isinstance(child, nn.Sequential | nn.ModuleList)
            if depth < 4 and (is_sequence or any(is_stack(grandchild) for grandchild in child.children())):
                walk(child, f"{prefix}{name}.", depth + 1)

    walk(module, "", 1)
    return found


def is_stack(module: nn.Module) -> bool:
    """Tell a sequence of four or more parts of one class: a transformer's layers."""
    return (
        isinstance(module, nn.Sequential | nn.ModuleList)
        and len(module) >= 4
        and len({type(part) for part in module}) == 1
    )


def find_stages(network: ModuleNetwork) -> tuple[dict[str, str], str]:
    """Stage name -> part: the last one at each resolution above one pixel, and the classifier's input.

    Returns:
        these, and where an exit sits if that is not the last but one of them.
    """
    module = network.module
    dense = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and part.out_features == network.num_classes
    ]
    _, seen = network.probe(block_names(module))
    at_size: dict[tuple[int, int], list[str]] = {}
    stacked: list[str] = []
    for name, feature in seen.items():
        shape = network.as_map(feature).shape
        if len(shape) == 4 and min(shape[2:]) > 1:
            at_size.setdefault(tuple(shape[2:]), []).append(name)
            if feature.dim() == 3 and "." in name and is_stack(module.get_submodule(name.rsplit(".", 1)[0])):
                stacked.append(name)
    places = stacked or [names[-1] for names in at_size.values()]
    exit_stage = before_head(module, [*at_size.values()][-1]) if at_size else ""
    if stacked:
        exit_stage = f"stage{max(1, len(stacked) // 2)}" + (".class" if network.has_class_token else "")
    stages = {f"stage{i}": name for i, name in enumerate(places, start=1)}
    return stages | ({"pool": f"{dense[-1]}.input"} if dense else {}), exit_stage


def before_head(module: nn.Module, names: list[str]) -> str:
    """Of the parts of the last resolution in order of running, the one before a 1x1 convolution that makes one more map
    before pooling, as in MobileNetV2; empty where there is no such.
    """
    inner = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    for head in sorted(name for name in names if f"{inner[-1]}.".startswith(f"{name}.")):  # from the whole to its part
        kernels = [part.kernel_size for part in module.get_submodule(head).modules() if isinstance(part, nn.Conv2d)]
        if kernels == [(1, 1)]:
            rest = [name for name in names if not (f"{name}.".startswith(f"{head}.") or head.startswith(f"{name}."))]
            # a part may be called as one of our stages is, which would be taken for it: then its own last part
            plain = [name for name in rest if not re.fullmatch(r"stage\d+", name)]
            return plain[-1] if plain else ""
    return ""
