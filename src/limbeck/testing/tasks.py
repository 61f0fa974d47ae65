"""What every task must do: the conformance suite for a task of your own. The tasks are `limbeck.tasks`'."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from limbeck.protocols import Task

__all__ = ["check_task"]


def check_task(task: Task, out: Any, target: Tensor, *, perfect: Any = None) -> None:
    """Hold a task to the protocol, with a batch of at least four outputs and targets.

    Args:
        task: the task.
        out: what a network gives for the batch: [N, ...], or a tuple of tensors with `take(rows)`, as detectors give it.
        target: [N, ...].
        perfect: outputs of a network that is never wrong; with them `primary` must be at least as good as with `out`.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    for field, kind in (("name", str), ("primary", str), ("higher_is_better", bool)):
        assert isinstance(getattr(task, field, None), kind), f"task.{field} must be a {kind.__name__}"

    out, parts = _as_leaves(out)
    loss = task.criterion(out, target)
    assert loss.dim() == 0, f"criterion must be a scalar, not of shape {tuple(loss.shape)}"
    assert torch.isfinite(loss), "criterion is not finite"
    loss.backward()
    assert any(part.grad is not None for part in parts), "criterion does not depend on the output"
    reached = any(part.grad is not None and bool(part.grad.abs().sum() > 0) for part in parts)
    assert reached, "criterion gives no gradient to the output"
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    shuffled = task.criterion(_rows(out, order), target[order])
    torch.testing.assert_close(shuffled, loss, msg="criterion must not depend on the order of the batch")

    half = len(target) // 2
    first = _figures(task, [(_rows(out, slice(half)), target[:half])])
    figures = _figures(task, [(out, target)])
    assert task.primary in figures, f"metric() has no '{task.primary}', which is the task's primary figure"
    for name, value in figures.items():
        assert isinstance(value, float), f"metric '{name}' must be a float, not {value!r}"
        assert math.isfinite(value), f"metric '{name}' is {value}"
    again = _figures(task, [(_rows(out, slice(half)), target[:half])])
    assert again == first, "metric() must return a fresh accumulator each time"
    parted = [(_rows(out, rows), target[rows]) for rows in (slice(half), slice(half, None))]
    halves = _figures(task, parted)
    for name, value in figures.items():
        assert math.isclose(halves[name], value, rel_tol=1e-4, abs_tol=1e-6), (
            f"metric '{name}' must not depend on how the samples are batched: {value} at once, {halves[name]} in two"
        )
    if perfect is not None:
        best = _figures(task, [(perfect, target)])[task.primary]
        better = best >= figures[task.primary] if task.higher_is_better else best <= figures[task.primary]
        assert better, f"'{task.primary}' is {best} for a perfect output and {figures[task.primary]} for another"


def _as_leaves(out: Any) -> tuple[Any, list[Tensor]]:
    """The outputs with gradients of their own, and the tensors in them."""
    if isinstance(out, Tensor):
        leaf = out.detach().requires_grad_()
        return leaf, [leaf]
    parts = [part.detach().requires_grad_() for part in out]
    return type(out)(*parts), parts


def _rows(out: Any, rows: Any) -> Any:
    return out.take(rows) if hasattr(out, "take") and not isinstance(out, Tensor) else out[rows]


@torch.no_grad()
def _figures(task: Task, batches: list[tuple[Any, Tensor]]) -> dict[str, float]:
    metric = task.metric()
    for out, target in batches:
        metric.update(out, target)
    return metric.compute()
