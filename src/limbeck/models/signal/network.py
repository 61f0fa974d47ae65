"""What networks for signals share: frames of I and Q in, unit power, stages as maps of height 1. Not here: the networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.network import Network
from limbeck.models.power import unit_power

__all__ = ["Keep", "SignalNetwork"]

Keep = Callable[[str, Tensor], Tensor]


class SignalNetwork(Network):
    """A classifier of frames [N, 2, T] of any power.

    Stages: `stage1`, `stage2` ..., maps [N, C, 1, T] (height 2 where a network takes I and Q for a picture); `pool` =
    what the last dense layer reads, [N, C].

    Args:
        name: its key in `SIGNALS`.
        stages: how many there are before `pool`.
        any_length: whether frames may be of another length than `input_size` says.
        options: as it was built with, beside what every network has; those that its name fixes may go.
        owns: `num_classes`, `input_size` and `in_channels` as `Network` takes them.
    """

    def __init__(
        self, name: str, *, stages: int, options: dict[str, Any], any_length: bool = True, **owns: Any
    ) -> None:
        channels = owns["in_channels"]
        super().__init__(mean=(0.0,) * channels, std=(1.0,) * channels, **owns)
        self.name, self.any_length, self.options = name, any_length, options
        self.numbered = tuple(f"stage{i + 1}" for i in range(stages))

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stage1` ... , `pool`."""
        return (*self.numbered, "pool")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(2, T)."""
        return (self.in_channels, self.input_size[1])

    @abstractmethod
    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """[N, 2, T] of unit power -> what the last dense layer reads, [N, C]; every stage passes through `keep`."""

    @property
    @abstractmethod
    def last_layer(self) -> nn.Module:
        """From [N, C] to the logits, dropout included."""

    def prepare(self, inputs: Tensor) -> Tensor:
        """Frames of unit power.

        Raises:
            InputError: another shape, or a length that the network is not made for.
        """
        frames = unit_power(inputs, self.in_channels, self.name)
        if not self.any_length and inputs.shape[2] != self.input_size[1]:
            raise InputError(
                f"model '{self.name}': is made for frames of {self.input_size[1]} samples, got {inputs.shape[2]}; "
                "build it with that input_size"
            )
        return frames

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages."""
        seen: dict[str, Tensor] = {}

        def keep(stage: str, value: Tensor) -> Tensor:
            if stage in stages:  # only what was asked is kept alive
                seen[stage] = value.unsqueeze(2) if value.dim() == 3 else value
            return value

        pool = keep("pool", self.features(prepared, keep))
        return self.last_layer(pool), {name: seen[name] for name in stages}

    def architecture(self) -> dict[str, Any]:
        """The name and its options beside what every network has."""
        return {"kind": "signal", **super().architecture(), "name": self.name, "options": self.options}
