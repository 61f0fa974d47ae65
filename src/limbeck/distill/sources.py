"""Where a distillation graph's outputs come from: learners, frozen teachers, averages, ensembles, memories. No
losses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.dense import DenseClassifier
from limbeck.models.tap import tap
from limbeck.types import Batch, Outputs

__all__ = [
    "Ensemble",
    "Exit",
    "Frozen",
    "Learner",
    "SecondPass",
    "Source",
    "check_stages",
    "logits_of",
    "look",
    "numbered_stages",
    "pictures_of",
    "read",
    "stage_list",
]


class Source(nn.Module):
    """What a graph may ask of a source; a source of your own overrides `forward`, and of the rest what differs.

    Attributes:
        needs: what it wants of the batches beyond pictures and labels: names of `Batch.further`.
        reads: addresses of earlier sources that it looks up in `seen`.
    """

    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """Outputs for this batch; `seen` holds those of the sources listed before this one."""
        raise TypeError(f"{type(self).__name__} must define forward(batch, seen)")

    def offers(self) -> tuple[str, ...]:
        """The names that may follow the slash of an address of this source, for the list in an error."""
        return ()

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Prepare to give the stages and exits `names`; `inputs` is a probe batch for finding their shapes.

        Raises:
            InputError: it has none of that name.
        """
        for name in names:
            raise unknown_name("stage", name, self.offers())

    def after_step(self) -> None:
        """Called once after each optimizer step: the only place where a source writes its memory."""


def pictures_of(batch: Batch, name: str | None) -> Tensor:
    """The pictures of a batch, or by name what it carries beside them.

    Raises:
        InputError: it does not.
    """
    if name is None:
        return batch.inputs
    if name not in batch.further:
        raise InputError(f"the batches carry no '{name}'; make them with Loader(..., needs=objective.needs())")
    return batch.further[name]


def look(network: nn.Module, inputs: Tensor, stages: Sequence[str] = ()) -> Outputs:
    """Run any network; a plain forward pass unless stages are asked for, by `observe` where it has one, by taps
    otherwise.
    """
    if not stages:
        return Outputs(network(inputs))
    if hasattr(network, "observe"):
        return network.observe(inputs, tuple(stages))
    with tap(network, stages) as seen:
        out = network(inputs)
    return Outputs(out, {name: seen[name] for name in stages})


def read(seen: Mapping[str, Outputs], address: str) -> Any:
    """The tensor at `source`, `source/stage` or `source/exit`."""
    source, _, part = address.partition("/")
    outputs = seen[source]
    if not part:
        return outputs.out
    return outputs.exits[part] if part in outputs.exits else outputs.stages[part]


def logits_of(out: Any) -> Tensor:
    """The task's output where it is one tensor.

    Raises:
        InputError: a detector's, which is not.
    """
    if not isinstance(out, Tensor):
        raise InputError(
            "logits are needed, and a detector gives boxes; odkd and methods on its stages teach detectors"
        )
    return out


def stage_list(network: nn.Module) -> tuple[str, ...]:
    """The stages that a network can show: its own, or the parts of any other module."""
    if hasattr(network, "observe"):
        further = network.further_stage_names() if hasattr(network, "further_stage_names") else ()
        return (*network.stage_names, *further)
    return tuple(name for name, _ in network.named_modules() if name)


def numbered_stages(network: nn.Module) -> list[str]:
    """Those of a network's stages that are called `stage1`, `stage2` ..., from input to output."""
    return [name for name in stage_list(network) if re.fullmatch(r"stage\d+", name)]


def check_stages(network: nn.Module, names: Sequence[str], *, offers: Sequence[str] = ()) -> None:
    """Raise `InputError` for a stage that `network` does not have, listing `offers` too."""
    known = stage_list(network)
    for name in names:
        if name not in known:
            raise unknown_name("stage", name, offers or known)


class Exit(nn.Module):
    """Logits from a stage: mean over the positions, one linear layer. Trained beside the network, never deployed.

    Args:
        channels: of the stage.
        num_classes: K.
        normalise: whether every position passes a layer norm of its own first, as Swin's stages want it.
    """

    def __init__(self, channels: int, num_classes: int, *, normalise: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if normalise else None
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, feature: Tensor) -> Tensor:
        """[N, C, ...] -> [N, K]."""
        if self.norm is not None:
            feature = self.norm(feature.movedim(1, -1)).movedim(-1, 1)
        return self.linear(feature.flatten(2).mean(2) if feature.dim() > 2 else feature)

    def at_positions(self, feature: Tensor) -> Tensor:
        """[N, C, ...] -> [N, K, ...], whose mean over the positions is what `forward` gives."""
        rows = feature.movedim(1, -1)
        return self.linear(self.norm(rows) if self.norm is not None else rows).movedim(-1, 1)


class Learner(Source):
    """A network that trains here, with exits where the graph asks for `exit` (at `exit_stage`) or `exit@STAGE`.

    The address `dense` is the network's own classifier at every position of its last map, [N, K, H, W], `dense@STAGE`
    the exit's there.

    Args:
        network: ours, or any module as long as no stage is asked for that `tap` does not find.
        exit_stage: where the address `exit` sits; None = the network's own choice (`Network.exit_stage`), or the last
            but one of its `stage1`, `stage2` ...
        view: name of the pictures in `Batch.further` that it sees, such as `view2`; None = the batch's own.
    """

    def __init__(self, network: nn.Module, *, exit_stage: str | None = None, view: str | None = None) -> None:
        super().__init__()
        self.network = network
        self.view, self.needs = view, () if view is None else (view,)
        self.exit_stage = exit_stage
        self.exits = nn.ModuleList()
        self._exit_stages: dict[str, str] = {}
        self._stages: tuple[str, ...] = ()
        self._dense: DenseClassifier | None = None

    def offers(self) -> tuple[str, ...]:
        """The network's stages, `exit`, `exit@STAGE`, `dense` and `dense@STAGE`."""
        return (*stage_list(self.network), "exit", "exit@STAGE", "dense", "dense@STAGE")

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Note the stages and build the exits, one for each stage that has any, on the network's device."""
        if "dense" in names:
            try:
                self._dense = DenseClassifier(self.network, inputs)
            except InputError as error:
                raise InputError(f"'dense' cannot be had, since {error}; name a stage: dense@STAGE") from None
        self._exit_stages = {
            name: self._place(name) for name in names if name == "exit" or name.startswith(("exit@", "dense@"))
        }
        stages = [name for name in names if name not in self._exit_stages and name != "dense"]
        check_stages(self.network, [*stages, *self._exit_stages.values()], offers=self.offers())
        self._stages = tuple(dict.fromkeys([*stages, *self._exit_stages.values()]))
        if self._exit_stages:
            outputs = look(self.network, inputs, self._stages)
            for stage in dict.fromkeys(self._exit_stages.values()):
                feature = outputs.stages[stage]
                classes = logits_of(outputs.out).shape[1]
                if feature.dim() == 3 and inputs.dim() == 4:  # [N, T, C] would be read as T channels
                    raise InputError(
                        f"'{stage}' gives tokens {list(feature.shape)}, and an exit needs one of them or a map: make the "
                        f"network by its name, such as timm:deit_tiny, and name stage6.class or stage6"
                    )
                normalise = feature.dim() > 2 and getattr(self.network, "has_raw_maps", False)
                head = Exit(feature.shape[1], classes, normalise=normalise)
                self.exits.append(head.to(device=feature.device, dtype=feature.dtype))

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """One pass, with what was asked for."""
        pictures = pictures_of(batch, self.view)
        if self._dense is None:
            outputs = look(self.network, pictures, self._stages)
        else:
            with tap(self.network, self._dense.parts) as shown:
                outputs = look(self.network, pictures, (*self._stages, *self._dense.stages))
            feature = {**outputs.stages, **shown}[self._dense.place]
            outputs.stages["dense"] = self._dense(self.network, feature)
        heads = dict(zip(dict.fromkeys(self._exit_stages.values()), self.exits, strict=True))
        for name, stage in self._exit_stages.items():
            give = heads[stage].at_positions if name.startswith("dense@") else heads[stage]
            outputs.exits[name] = give(outputs.stages[stage])
        return outputs

    def _place(self, name: str) -> str:
        stage = name.partition("@")[2] or self.exit_stage
        if stage:
            return stage
        if hasattr(self.network, "exit_stage"):
            return self.network.exit_stage
        stages = numbered_stages(self.network)
        if not stages:
            raise InputError(
                "an exit needs a stage: write exit@STAGE, with one of " + ", ".join(stage_list(self.network))
            )
        return stages[max(len(stages) - 2, 0)]


class SecondPass(Source):
    """What a learner says of other pictures that the batch carries, as it stands and without gradients.

    It runs in the learner's own mode: in training batch norm sees these pictures too, and its averages move.

    Args:
        learner: listed before this source.
        view: name of the pictures in `Batch.further`.
    """

    def __init__(self, learner: Learner, *, view: str) -> None:
        super().__init__()
        self.view, self.needs = view, (view,)
        self._learner = (learner,)  # not a sub-module: its weights are saved once, with the learner itself

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """One pass without gradients."""
        with torch.no_grad():
            return look(self._learner[0].network, pictures_of(batch, self.view))


class Observed(Source):
    """A network that is only looked at: always in evaluation mode, without gradients. What it is, `Frozen` and `Ema` say."""

    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._stages: tuple[str, ...] = ()

    def offers(self) -> tuple[str, ...]:
        """The network's stages."""
        return stage_list(self.network)

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Note the stages; without any the pass is plain."""
        check_stages(self.network, names)
        self._stages = tuple(dict.fromkeys(names))

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever is asked."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """One pass without gradients."""
        with torch.no_grad():
            return look(self.network, batch.inputs, self._stages)


class Frozen(Observed):
    """A teacher that never changes: always in evaluation mode, without gradients, in no checkpoint and no optimizer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._held = (network.eval(),)  # in a tuple, so that neither state_dict nor DDP nor an optimizer finds it

    @property
    def network(self) -> nn.Module:  # type: ignore[override]
        """The teacher."""
        return self._held[0]

    def _apply(self, fn: Any, recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)
        self.network._apply(fn)  # .to(device) must reach it although it is no sub-module
        return self


class Ensemble(Source):
    """The weighted mean of earlier outputs, gradients included (losses detach their teacher side).

    Args:
        members: addresses of sources listed before this one.
        weights: one per member; None = equal.
    """

    def __init__(self, members: Sequence[str], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not members or (weights is not None and (len(weights) != len(members) or sum(weights) <= 0)):
            raise InputError("ensemble: needs members, and either no weights or one for each, with a positive sum")
        self.reads = tuple(members)
        weights = [1.0] * len(members) if weights is None else weights
        self.weights = tuple(weight / sum(weights) for weight in weights)

    def ask(self, names: Sequence[str], inputs: Tensor) -> None:
        """Refuse any stage: only logits of several networks have a mean."""
        for name in names:
            one = self.reads[0].partition("/")[0]
            raise InputError(f"a mean of several has logits and no '{name}'; name one of them, such as {one}/{name}")

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """The mean of the members' logits."""
        members = [(weight, read(seen, address)) for weight, address in zip(self.weights, self.reads, strict=True)]
        # under autocast networks speak in 16 bits, in which a mean would be rounded
        logits = [(weight, logits_of(value)) for weight, value in members]
        values = [weight * value.to(torch.promote_types(value.dtype, torch.float32)) for weight, value in logits]
        if len({value.shape for value in values}) > 1:
            shapes = ", ".join(f"'{a}' {list(v.shape)}" for a, v in zip(self.reads, values, strict=True))
            raise InputError(f"a mean needs outputs of one shape: {shapes}")
        return Outputs(torch.stack(values).sum(0))
