"""Sources that branch off a learner at one of its stages: heads that train beside it and are never handed over, and the
gate that joins them. No losses.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.distill.sources import Learner, Source, logits_of, look, read
from limbeck.errors import InputError
from limbeck.models.tap import first_tensor
from limbeck.types import Batch, Outputs

__all__ = ["Branch", "Gate", "Twin"]


class Branch(Source):
    """A classifier at a stage, behind a bottleneck that brings the stage to the form of a deeper one.

    Beside its logits it gives two stages, [N, C] each: `feature`, which they are read from, and `deepest`, the mean over
    the positions of the deeper stage.

    Args:
        of: the learner's name among the sources.
        stage: where the branch begins, [N, C, H, W].
        deepest: the stage whose channels and size the bottleneck ends in.

    **Source:** Zhang, Song, Gao, Chen, Bao, Ma, "Be Your Own Teacher", ICCV 2019, arXiv 1905.08094, figure 2; the
        bottleneck's layers as common re-implementations have them.
    """

    STAGES = ("feature", "deepest")

    def __init__(self, of: str, *, stage: str, deepest: str) -> None:
        super().__init__()
        self.reads = (of, f"{of}/{stage}", f"{of}/{deepest}")
        self.bottleneck: nn.Module | None = None
        self.linear: nn.Module | None = None

    def offers(self) -> tuple[str, ...]:
        """`feature` and `deepest`."""
        return self.STAGES

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Nothing to prepare: both are there anyway."""
        super().ask([name for name in names if name not in self.STAGES], inputs)

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """Logits and features; the layers are made when the graph is probed."""
        out, feature, deepest = (read(seen, address) for address in self.reads)
        if self.bottleneck is None or self.linear is None:
            self.bottleneck = _bottleneck(feature, deepest, where=self.reads[1]).train(self.training)
            self.linear = nn.Linear(deepest.shape[1], logits_of(out).shape[1]).to(feature.device, feature.dtype)
        pooled = self.bottleneck(feature).mean((2, 3))
        return Outputs(self.linear(pooled), {"feature": pooled, "deepest": deepest.flatten(2).mean(2)})


class Twin(Source):
    """The layers of a learner above a stage once more, with weights of their own, on the learner's map at that stage.

    The weights are the learner's in another order: drawn anew from whatever it was initialised by, as long as it is fresh.

    Args:
        learner: listed before this source.
        of: its name among the sources.
        stage: where the copy begins.
    """

    def __init__(self, learner: Learner, of: str, *, stage: str) -> None:
        super().__init__()
        self.reads = (f"{of}/{stage}",)
        self.stage = stage
        self._learner = (learner,)  # not a sub-module: its weights are saved once, with the learner itself
        self.network: nn.Module | None = None

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Copy the layers above the stage, found by a pass over `inputs`.

        Raises:
            InputError: this network cannot be split there; or a stage is asked for.
        """
        super().ask(names, inputs)
        self.network = upper_part(self._learner[0].network, self.stage, inputs)
        for parameter in self.network.parameters():
            places = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.data = parameter.data.flatten()[places].view_as(parameter)

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """The copy's logits."""
        assert self.network is not None
        return Outputs(run_upper(self.network, batch.inputs, read(seen, self.reads[0])))


class Gate(Source):
    """The mean of several branches' logits, by shares that are learned from a feature map: softmax of rectified,
    normalised, linear figures of its mean over the positions.

    Args:
        stage: address of the map.
        members: addresses of the branches, listed before this source.

    **Source:** Lan, Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, arXiv 1806.04606,
        equation 4; the gate's layers as in the authors' code.
    """

    def __init__(self, stage: str, members: Sequence[str]) -> None:
        super().__init__()
        self.reads = (stage, *members)
        self.layers: nn.Module | None = None

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """The joined logits; the layers are made when the graph is probed."""
        feature, *logits = (read(seen, address) for address in self.reads)
        pooled = feature.flatten(2).mean(2) if feature.dim() > 2 else feature
        if self.layers is None:
            count = len(logits)
            layers = nn.Sequential(nn.Linear(pooled.shape[1], count), nn.BatchNorm1d(count), nn.ReLU())
            self.layers = layers.to(feature.device, feature.dtype).train(self.training)
        shares = self.layers(pooled).softmax(1)
        return Outputs((torch.stack(logits, 2) * shares.unsqueeze(1)).sum(2))


def _bottleneck(feature: Tensor, deepest: Tensor, *, where: str) -> nn.Module:
    """From [N, C, H, W] to the channels, and nearly the size, of the deeper map."""
    if feature.dim() != 4 or deepest.dim() != 4:
        raise InputError(f"a branch needs maps [N, C, H, W]; '{where}' is {list(feature.shape)}")
    channels, wanted = feature.shape[1], deepest.shape[1]
    middle = max(wanted // 4, 1)
    stride = [max(mine // theirs, 1) for mine, theirs in zip(feature.shape[2:], deepest.shape[2:], strict=True)]
    shapes = ((channels, middle, 1), (middle, middle, stride), (middle, wanted, 1))
    layers = [
        layer
        for inner, outer, size in shapes
        for layer in (nn.Conv2d(inner, outer, size, stride=size), nn.BatchNorm2d(outer), nn.ReLU())  # type: ignore[arg-type]
    ]
    return nn.Sequential(*layers).to(feature.device, feature.dtype)


class _Given(nn.Module):
    """Stands where a part of the network was: gives what it was handed, whatever comes in."""

    value: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.value


class _Skipped(nn.Module):
    """Stands where a part was whose result nobody reads: hands on what comes in."""

    def forward(self, first: Any, *args: Any, **kwargs: Any) -> Any:
        return first


def upper_part(network: nn.Module, stage: str, inputs: Tensor) -> nn.Module:
    """A copy of the network without what runs before a stage; its attribute `given` names the part that hands the stage's
    map in.

    That is a part of whose output the stage is made, such that the map in its place gives the network's own logits. The
    network must be in evaluation mode.

    Raises:
        InputError: there is none: no part ends at the stage, or what runs after it reads more than its map.
    """
    ran: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        return lambda part, arguments, output: ran.append((name, first_tensor(output)))

    handles = [part.register_forward_hook(note(name)) for name, part in network.named_modules() if name]
    try:
        outputs = look(network, inputs, (stage,))
    finally:
        for handle in handles:
            handle.remove()
    feature, logits = outputs.stages[stage], logits_of(outputs.out)
    places = [place for place, (_, out) in enumerate(ran) if out is not None and out.shape == feature.shape]
    for place in sorted(places, key=lambda place: (ran[place][1] is feature, place), reverse=True):
        upper = _from_part(network, [name for name, _ in ran], place)
        try:
            again = run_upper(upper, inputs, feature)
        except Exception:  # what stands between the parts below may fail in any way without them
            continue
        if again.shape == logits.shape and torch.allclose(again, logits, rtol=1e-3, atol=1e-4):
            return upper
    raise InputError(f"{type(network).__name__} cannot be split at '{stage}': its map alone does not give the logits")


def _from_part(network: nn.Module, ran: Sequence[str], place: int) -> nn.Module:
    """A copy in which part `ran[place]` gives what it is handed, and those that ran before it alone are gone."""
    given, after = ran[place], set(ran[place + 1 :])
    below = {
        name
        for name in ran[:place]
        if name not in after and not name.startswith(f"{given}.") and not given.startswith(f"{name}.")
    }
    upper = copy.deepcopy(network)
    for name in below:
        if not any(name.startswith(f"{other}.") for other in below):
            upper.set_submodule(name, _Skipped())
    upper.set_submodule(given, _Given())
    upper.given = given
    return upper


def run_upper(upper: nn.Module, inputs: Tensor, feature: Tensor) -> Tensor:
    """What `upper_part` gives for the map of its stage; of `inputs` only the shape counts."""
    part = upper.get_submodule(upper.given)
    part.value = feature
    try:
        return upper(inputs)
    finally:
        part.value = None
