"""The tensors of one training and its one step: objective, optimizer, loss scale, average. No files, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from limbeck.errors import InputError, LimbeckError
from limbeck.train.average import WeightAverage
from limbeck.train.optim import clip_gradients, create_optimizer, set_rate
from limbeck.train.runtime import World, choose_precision, module_device, seed_step
from limbeck.train.schedule import rate_factor
from limbeck.train.settings import TrainSettings
from limbeck.train.standing import Standing
from limbeck.types import Batch

__all__ = ["Training", "load_weights"]


class Training:
    """An objective under training on one device; `release` puts it back where it came from.

    Attributes:
        kept: weights of the best epoch so far, on the CPU; None before the first.
    """

    def __init__(
        self,
        objective: Any,
        settings: TrainSettings,
        *,
        steps_per_epoch: int,
        seed: int,
        world: World,
        device: torch.device,
    ) -> None:
        self.objective, self.settings, self.world, self.device, self.seed = objective, settings, world, device, seed
        self.steps_per_epoch = steps_per_epoch
        self.kept: dict[str, Tensor] | None = None
        self._home = module_device(objective)
        objective.to(device)
        if settings.channels_last:
            _lay_out(objective, torch.channels_last)
        self.optimizer = create_optimizer(objective, settings)
        self.precision = choose_precision(settings.precision, device)
        self.scaler = self.precision.scaler()
        self.average = WeightAverage(objective.deployable(), settings.ema) if settings.ema else None
        self._ddp = None
        if world.size > 1:
            # Buffers are rank 0's in the end; copying them at every step would also write into frozen teachers.
            self._ddp = DistributedDataParallel(objective, broadcast_buffers=False)
        forward: Any = self._ddp or objective
        self.forward = torch.compile(forward) if settings.compile else forward

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step `step`, before the groups' own scales."""
        return self.settings.learning_rate * rate_factor(self.settings, step, self.steps_per_epoch)

    def step(self, batches: Sequence[Batch], standing: Standing) -> list[tuple[tuple[str, ...], Tensor]]:
        """Take one optimizer step over `batches` (several when accumulating) and count it in `standing`.

        Returns:
            per batch the names of its terms and their values, still on the device: reading them would wait for it.
        """
        set_rate(self.optimizer, self.rate(standing.step))
        share_done = standing.step / (self.settings.epochs * self.steps_per_epoch)
        progress = torch.full((), share_done, device=self.device)
        found = []
        for position, batch in enumerate(batches):
            batch = batch.to(self.device, channels_last=self.settings.channels_last)
            seed_step(self.seed, standing.batches, self.world.rank, self.device)
            is_last = position == len(batches) - 1
            with nullcontext() if self._ddp is None or is_last else self._ddp.no_sync():
                with self.precision.autocast():
                    terms = self.forward(batch, progress)
                loss = terms["loss"]
                self.scaler.scale(loss / len(batches) if len(batches) > 1 else loss).backward()
            found.append((tuple(terms), torch.stack([term.detach().float() for term in terms.values()])))
            standing.batches += 1
            standing.images += len(batch)
        self._update(standing.step)
        standing.step += 1
        standing.step_in_epoch += 1
        return found

    def _update(self, step: int) -> None:
        if hasattr(self.objective, "after_backward"):  # where a paused learner loses its gradients
            self.objective.after_backward()
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.optimizer, self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.after_step()
        if self.average is not None:
            self.average.update(step)

    def judged(self) -> nn.Module:
        """The network that evaluation sees: the weight average where there is one."""
        return self.objective.deployable() if self.average is None else self.average.network

    def weights(self) -> dict[str, Tensor]:
        """A copy on the CPU of every learner's state as `learner/name`, the averaged weights in their place."""
        with nullcontext() if self.average is None else self.average.lent():
            return {
                f"{learner}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
                for learner, module in self.objective.learners().items()
                for name, tensor in module.state_dict().items()
            }

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on; tensors are not copied."""
        return {
            "objective": dict(self.objective.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else dict(self.average.network.state_dict()),
            "kept": self.kept,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            InputError: it is not of this objective.
        """
        expected, given = set(self.objective.state_dict()), set(state["objective"])
        if expected != given:
            odd = sorted(expected ^ given)
            raise InputError(f"checkpoint: not of this training ({len(odd)} states differ, such as '{odd[0]}')")
        try:
            # Not strict: a frozen teacher is a part of the objective that its state leaves out.
            self.objective.load_state_dict(state["objective"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.network.load_state_dict(state["average"])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"checkpoint: not of this training ({str(error).splitlines()[0]})") from error
        self.kept = state["kept"]

    def release(self) -> None:
        """Put the objective back on the device and in the memory format that it came in."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.settings.channels_last:
            _lay_out(self.objective, torch.contiguous_format)
        self.objective.to(self._home)


def load_weights(objective: Any, weights: dict[str, Tensor]) -> None:
    """Copy what `Training.weights` returned into an objective's learners.

    Raises:
        LimbeckError: names or shapes differ.
    """
    for learner, module in objective.learners().items():
        prefix = f"{learner}/"
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise LimbeckError(f"weights of learner '{learner}' do not fit it: {reason}") from error


def _lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
