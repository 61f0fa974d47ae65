"""What every distillation must do: the conformance suite for a method of your own. The methods are `limbeck.distill`'s."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from limbeck.types import Batch

__all__ = ["check_distillation"]


def check_distillation(objective: Any, batch: Batch, *, teacher: nn.Module | None = None) -> None:
    """Hold an objective to the protocol of the training loop; its weights are as before afterwards.

    Args:
        objective: what `limbeck.distill.distillation` made of the method.
        batch: labelled pictures, four at least.
        teacher: a ready teacher, which must not change or get a gradient.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    frozen = {} if teacher is None else {name: value.clone() for name, value in teacher.state_dict().items()}
    objective.train()
    for progress in (0.0, 0.5, 0.999):
        objective.zero_grad(set_to_none=True)
        losses = objective(batch, torch.tensor(progress))
        assert "loss" in losses, "forward() gives no 'loss'"
        assert losses["loss"].dim() == 0, f"'loss' must be a scalar, not of shape {list(losses['loss'].shape)}"
        for name, value in losses.items():
            assert torch.isfinite(value).all(), f"'{name}' is not finite at progress {progress}"
        losses["loss"].backward()
    learners = objective.learners()
    assert any(objective.deployable() is learner for learner in learners.values()), (
        "deployable() is none of the learners()"
    )
    for name, learner in learners.items():
        moved = [p for p in learner.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert moved, f"no gradient reaches the learner '{name}'"
    objective.after_step()
    if teacher is not None:
        assert not teacher.training, "the teacher is not in evaluation mode"
        assert all(p.grad is None for p in teacher.parameters()), "a gradient reaches the teacher"
        changed = [name for name, value in teacher.state_dict().items() if not torch.equal(value, frozen[name])]
        assert not changed, f"the teacher's {', '.join(changed[:1])} changed"
    objective.zero_grad(set_to_none=True)
    objective.load_state_dict(state)
