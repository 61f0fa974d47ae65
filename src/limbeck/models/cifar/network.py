"""What the CIFAR networks share: the normalisation, stages kept by name, how fresh convolutions are drawn.

Not here: the networks (`resnet`, `wide_resnet`, `vgg`, `mobilenet`, `shufflenet`), their names (`names`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.models.network import Network

__all__ = ["CIFAR_MEAN", "CIFAR_STD", "CifarNetwork", "Keep", "draw_convolutions", "stage_and_preact"]

# Of CIFAR-100's training pictures; the literature uses them for CIFAR-10 too.
CIFAR_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR_STD = (0.2675, 0.2565, 0.2761)

Keep = Callable[[str, Tensor], Tensor]


class CifarNetwork(Network):
    """A network of the distillation literature for pictures of 32 pixels, in the literature's own names of layers.

    Stages: `stem`; `stage1` ... as the literature numbers them; `head` = the map after a last 1x1 convolution, where
    there is one; `pool` = what the classifier reads, [N, C]. Finer: `stage1.preact` ... = the same maps before their
    last activation, as feature methods (CRD's comparison, ReviewKD) want them.

    Args:
        name: its key in `CIFAR`.
        stages: how many stages there are.
        dropout: probability, before the classifier.
        owns: as `Network` takes them; `mean` and `std` default to CIFAR's.
    """

    has_head = False

    def __init__(self, name: str, *, stages: int, dropout: float = 0.0, in_channels: int = 3, **owns: Any) -> None:
        known = {"mean": CIFAR_MEAN, "std": CIFAR_STD} if in_channels == 3 else {}
        super().__init__(in_channels=in_channels, **{**known, **owns})
        self.name, self.numbered = name, tuple(f"stage{i + 1}" for i in range(stages))
        self.dropout = nn.Dropout(dropout)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stem`, `stage1` ... , `head` where there is one, `pool`."""
        return ("stem", *self.numbered, *(("head",) if self.has_head else ()), "pool")

    @property
    def ends_in_convolution(self) -> bool:
        """Whether there is a `head`."""
        return self.has_head

    def further_stage_names(self) -> tuple[str, ...]:
        """`stage1.preact` ..."""
        return tuple(f"{stage}.preact" for stage in self.numbered)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A published checkpoint's tensors by our names of them: the same, but for what a network says otherwise."""
        return state

    @abstractmethod
    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last map of normalised pictures, [N, C, H, W]; every stage but `pool` passes through `keep`."""

    @property
    @abstractmethod
    def last_layer(self) -> nn.Module:
        """The classifier."""

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages."""
        seen: dict[str, Tensor] = {}

        def keep(stage: str, value: Tensor) -> Tensor:
            if stage in stages:  # only what was asked is kept alive
                seen[stage] = value
            return value

        pool = keep("pool", self.maps(prepared, keep).mean((2, 3)))
        return self.last_layer(self.dropout(pool)), {name: seen[name] for name in stages}

    def architecture(self) -> dict[str, Any]:
        """The name and its options beside what every network has."""
        options = {"dropout": self.dropout.p}
        return {"kind": "cifar", **super().architecture(), "name": self.name, "options": options}

    def layer_of(self, parameter: str) -> str:
        """The block (`layer1.0`), or the top-level part outside of blocks."""
        pieces = parameter.split(".")
        number = next((i for i, piece in enumerate(pieces[:-2]) if piece.isdigit()), 0)
        return ".".join(pieces[: number + 1])


def stage_and_preact(keep: Keep, stage: str, preact: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Keep a map before and after its activation; gives the latter."""
    return keep(stage, activation(keep(f"{stage}.preact", preact)))


def draw_convolutions(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (k * k * c_out)), biases 0; depthwise kernels count all channels.

    **Source:** the published code of CRD (RepDistiller), which draws ResNets, WRNs, VGGs and MobileNetV2 alike.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
