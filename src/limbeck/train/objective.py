"""The plainest objective: one network and the task's criterion. Teachers, peers and exits live in `limbeck.distill`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from limbeck.types import Batch

__all__ = ["Supervised"]


class Supervised(nn.Module):
    """Train `network` on targets alone.

    Args:
        network: pictures in, the task's output out.
        criterion: (output, target) -> scalar.
    """

    def __init__(self, network: nn.Module, criterion: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion

    def forward(self, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        """Return `{"loss": criterion}` of one batch."""
        return {"loss": self.criterion(self.network(batch.inputs), batch.target)}

    def after_step(self) -> None:
        """Nothing to write: there is no memory here."""

    def deployable(self) -> nn.Module:
        """The network itself."""
        return self.network

    def learners(self) -> dict[str, nn.Module]:
        """One learner, the `student`."""
        return {"student": self.network}
