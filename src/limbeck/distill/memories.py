"""Sources that remember: averages of weights, outputs by sample; written after a step only. Other sources: `sources`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from limbeck.distill.sources import Learner, Observed, Source, logits_of, read
from limbeck.errors import InputError, unknown_name
from limbeck.losses.gather import gather_rows, last_of_each
from limbeck.types import Batch, Outputs

__all__ = ["Ema", "Memory"]

NEVER = (
    -1e4
)  # a logit whose probability is exactly 0 beside one of 0, also at high temperatures, and finite in products


class Ema(Observed):
    """A teacher that is the moving average of a learner's weights, written after each step and kept in checkpoints.

    Args:
        learner: whose weights are averaged (parameters and floating buffers; counters are copied).
        decay: share of the average that stays per step; it starts low, as min(decay, (1 + n) / (10 + n)) after n steps.

    **Source:** Tarvainen, Valpola, "Mean teachers are better role models", 2017, arXiv 1703.01780.
    """

    updates: Tensor

    def __init__(self, learner: Learner, *, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise InputError(f"ema: decay must lie in [0, 1), not {decay}")
        self.decay = decay
        self.network = copy.deepcopy(learner.network).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._learner = (learner,)  # not a sub-module: its weights are saved once, with the learner itself

    @torch.no_grad()
    def after_step(self) -> None:
        """Move towards the learner."""
        self.updates += 1
        n = int(self.updates)
        weight = 1 - min(self.decay, (1 + n) / (10 + n))
        ours, theirs = self.network.state_dict(), self._learner[0].network.state_dict()
        averaged = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in averaged], [theirs[name] for name in averaged], weight)
        for name in ours.keys() - set(averaged):
            ours[name].copy_(theirs[name])


class Memory(Source):
    """What an earlier source said of each sample when it was last seen.

    Args:
        num_samples: size of the data set; the batch's `index` runs below it.
        shape: of one value; an integer for [K] logits; None = as the first batch shows it, which is the graph's probe.
        of: the address that is remembered.
        momentum: share of the old value that stays when a sample is seen again.
        unseen: what stands for a sample not seen yet: what is said of it `now`, or logits whose softmax is its `label`.
    """

    values: Tensor
    filled: Tensor

    def __init__(
        self,
        num_samples: int,
        shape: int | Sequence[int] | None = None,
        *,
        of: str = "student",
        momentum: float = 0.0,
        unseen: Literal["now", "label"] = "now",
    ) -> None:
        super().__init__()
        if num_samples < 1 or not 0 <= momentum < 1:
            raise InputError(f"memory: needs num_samples >= 1 and momentum in [0, 1), not {num_samples} and {momentum}")
        if unseen not in ("now", "label"):
            raise unknown_name("choice of 'unseen'", unseen, ("now", "label"), where="memory")
        self.reads, self.momentum, self.unseen = (of,), momentum, unseen
        self._is_open = shape is None
        shape = (shape or 0,) if isinstance(shape, int | None) else tuple(shape)
        self.register_buffer("values", torch.zeros(num_samples, *shape))
        self.register_buffer("filled", torch.zeros(num_samples, dtype=torch.bool))
        self._pending: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch, seen: Mapping[str, Outputs]) -> Outputs:
        """The remembered values; what is said now waits for `after_step`."""
        now = logits_of(read(seen, self.reads[0])).detach().to(self.values.dtype)
        if self._is_open:
            if now.dim() > 2 and "/" not in self.reads[0]:
                raise InputError(
                    f"memory: keeps one row of logits per sample; '{self.reads[0]}' says {list(now.shape[1:])} of each"
                )
            self.values = now.new_zeros(len(self.values), *now.shape[1:])
            self._is_open = False
        if now.shape[1:] != self.values.shape[1:]:
            raise InputError(
                f"memory: holds {list(self.values.shape[1:])} per sample, '{self.reads[0]}' is {list(now.shape[1:])}"
            )
        if self.unseen == "label" and now.dim() != 2:
            raise InputError(f"memory: labels can stand for [N, K] logits only; '{self.reads[0]}' is {list(now.shape)}")
        known = self.filled[batch.index].view(-1, *[1] * (now.dim() - 1))
        instead = now if self.unseen == "now" else _label_logits(batch.target, now)
        before = torch.where(known, self.values[batch.index], instead)
        if self.training:
            self._pending.append((batch.index, now))
        return Outputs(before)

    @torch.no_grad()
    def after_step(self) -> None:
        """Write what all processes saw since the last step, in the same order everywhere."""
        if not self._pending:
            return
        index, now = gather_rows(*(torch.cat(parts) for parts in zip(*self._pending, strict=True)))
        self._pending.clear()
        last = last_of_each(index)
        index, now = index[last], now[last]
        if self.momentum:
            known = self.filled[index].view(-1, *[1] * (now.dim() - 1))
            now = torch.where(known, now.lerp(self.values[index], self.momentum), now)
        self.values[index] = now
        self.filled[index] = True


def _label_logits(target: Tensor, like: Tensor) -> Tensor:
    """[N, K] finite logits whose softmax is the label of each sample, class indices or rows; any for a missing one."""
    if target.is_floating_point():
        return target.to(like.dtype).log().clamp(min=NEVER)
    return torch.full_like(like, NEVER).scatter_(1, target.clamp(min=0).unsqueeze(1), 0.0)
