"""Small networks, objectives and batches for the tests of the training loop and for the scripts that they start."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.train import Supervised, TrainSettings
from limbeck.types import Batch

CLASSES = 4


class ToyBatches:
    """Noisy pictures whose brightest quarter is the class: a pure function of (seed, epoch, step)."""

    def __init__(self, steps: int = 6, size: int = 8, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.steps, self.size, self.seed, self.rank, self.world = steps, size, seed, rank, world

    def steps_per_epoch(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps):
            generator = torch.Generator().manual_seed(self.seed * 10_000 + epoch * 100 + step)
            target = torch.randint(CLASSES, (self.size,), generator=generator)
            inputs = 0.5 * torch.rand(self.size, 3, 8, 8, generator=generator)
            for row, label in enumerate(target.tolist()):
                inputs[row, :, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 0.4
            index = torch.arange(self.size) + step * self.size
            own = slice(self.rank, None, self.world)
            yield Batch(index[own], inputs[own], target[own], view=epoch)


class ToyNetwork(nn.Module):
    def __init__(self, width: int = 8, *, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * 4, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        features = F.relu(self.norm(self.stem(inputs)))
        return self.head(self.dropout(F.adaptive_avg_pool2d(features, 2).flatten(1)))

    def layer_groups(self) -> list[list[str]]:
        return [["stem", "norm"], ["head"]]


def _gathered(tensor: Tensor) -> list[Tensor]:
    pieces = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(pieces, tensor.contiguous())
    return pieces


class Pair(nn.Module):
    """Two learners that teach each other through a projector, and a memory that is written after each step."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.a, self.b = ToyNetwork(width), ToyNetwork(width + 2)
        self.projector = nn.Linear(CLASSES, CLASSES)
        self.register_buffer("memory", torch.zeros(64, CLASSES))
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, batch: Batch, progress: Tensor) -> dict[str, Tensor]:
        a, b = self.a(batch.inputs), self.b(batch.inputs)
        self._seen = batch.index, a.detach()
        terms = {
            "task_a": F.cross_entropy(a, batch.target),
            "task_b": F.cross_entropy(b, batch.target),
            "mutual": progress * F.mse_loss(self.projector(a), b.detach()),
            "memory": 0.1 * F.mse_loss(b, self.memory[batch.index % 64]),
        }
        return {"loss": sum(terms.values()), **terms}

    def after_step(self) -> None:
        assert self._seen is not None
        index, out = self._seen
        if dist.is_initialized():  # a memory is the same in every process
            index, out = (torch.cat(_gathered(tensor)) for tensor in (index, out))
        self.memory[index % 64] = 0.5 * self.memory[index % 64] + 0.5 * out

    def deployable(self) -> nn.Module:
        return self.a

    def learners(self) -> dict[str, nn.Module]:
        return {"a": self.a, "b": self.b}


def settings(**changes) -> TrainSettings:
    small: dict = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "warmup_epochs": 0.5, "device": "cpu"}
    return TrainSettings(**{**small, **changes})


def supervised(seed: int = 0, **options) -> Supervised:
    torch.manual_seed(seed)
    return Supervised(ToyNetwork(**options), F.cross_entropy)


def pair(seed: int = 0) -> Pair:
    torch.manual_seed(seed)
    return Pair()


def accuracy(network: nn.Module) -> dict[str, float]:
    """Figures on batches that no training sees."""
    right, loss = 0.0, 0.0
    with torch.no_grad():
        batches = list(ToyBatches(steps=2, size=32, seed=7).epoch(0))
        for batch in batches:
            out = network(batch.inputs)
            right += (out.argmax(1) == batch.target).float().mean().item() / len(batches)
            loss += F.cross_entropy(out, batch.target).item() / len(batches)
    return {"top1": right, "nll": loss}


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
