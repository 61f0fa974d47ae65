"""The conformance suite of losses, ours and anyone's. Reference values belong to each loss's own test."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.losses.checks import HANDED_OVER, positional_names

__all__ = ["check_loss"]


def check_loss(
    loss: Callable[..., Tensor],
    *,
    options: dict[str, Any] | None = None,
    classes: int = 7,
    batch: int = 6,
    shape: Sequence[int] | None = None,
    teacher_shape: Sequence[int] | None = None,
    target: Tensor | None = None,
    second_learns: bool = False,
    zero_at_match: bool = False,
    seed: int = 0,
) -> None:
    """Hold a loss on [N, K] logits, or on features of other shapes, to Limbeck's rules: call it from a test.

    The rules: a 0-d result in float32 or better (half precision upcast, float64 kept); finite value and gradients, also
    at logits of +-1e4; a gradient to the student and none to the teacher; no dependence on the order of the batch;
    N = 1 works; hyper-parameters by keyword only; inputs left as they were; numbers of classes that differ, of samples
    for features, give an `InputError`. Layers of a module may run in autocast's precision, its arithmetic may not.

    Args:
        loss: takes the student's logits first, then perhaps a teacher's; or a module with that call, which is copied. One
            that draws or remembers cannot keep the rules about order.
        options: hyper-parameters to call it with.
        classes: K of the inputs.
        batch: N of the inputs.
        shape: of the student's features without the batch axis, for losses on features.
        teacher_shape: of the teacher's; None = as the student's.
        target: [N, ...] what `target` is handed; None = N classes.
        second_learns: the second input is an exit that learns, not a teacher.
        zero_at_match: the loss claims to be 0 where both inputs are equal.
        seed: of the inputs.

    Raises:
        AssertionError: the rule that is broken, in words.
    """
    module = copy.deepcopy(loss) if isinstance(loss, nn.Module) else None
    loss = module or loss
    has_layers = module is not None and any(parameter.dim() > 1 for parameter in module.parameters())
    call = module.forward if module is not None else loss
    parameters = inspect.signature(call).parameters
    names = positional_names(call)
    title = getattr(loss, "__name__", type(loss).__name__)
    _require(len(names) >= 1, f"{title}: takes no tensor by position; the student's logits come first")
    generator = torch.Generator().manual_seed(seed)
    ours = tuple(shape or (classes,))
    shapes = [ours, *[tuple(teacher_shape or ours)] * (len(names) - 1)]
    inputs = [torch.randn(batch, *one, generator=generator, dtype=torch.float64) * 2 for one in shapes]
    handed = {
        "target": torch.randint(0, classes, (batch,), generator=generator) if target is None else target,
        "index": torch.arange(batch),
        "progress": torch.tensor(0.5),
        "snr": torch.linspace(-20.0, 20.0, batch),
    }
    keywords = {name: handed[name] for name in HANDED_OVER if name in parameters}
    settings = dict(options or {})
    strays = [n for n in names if n in settings or n in HANDED_OVER]
    _require(not strays, f"{title}: {', '.join(strays)} must be keyword-only")

    def run(tensors: list[Tensor], rows: slice | Tensor = slice(None)) -> Tensor:
        picked = {name: value if value.dim() == 0 else value[rows] for name, value in keywords.items()}
        if module is not None:
            module.to(torch.promote_types(tensors[0].dtype, torch.float32))
        return loss(*[tensor[rows] for tensor in tensors], **picked, **settings)

    leaves = [value.clone().requires_grad_() for value in inputs]
    value = run(leaves)
    _require(value.dim() == 0, f"{title}: returns shape {list(value.shape)}, not a scalar")
    _require(value.dtype == torch.float64, f"{title}: float64 inputs give {value.dtype}")
    _require(all(torch.equal(a, b) for a, b in zip(leaves, inputs, strict=True)), f"{title}: changes its inputs")
    value.backward()
    student, *others = leaves
    _require(_is_reached(student), f"{title}: no gradient reaches the student")
    for name, other in zip(names[1:], others, strict=True):
        if second_learns:
            _require(_is_reached(other), f"{title}: no gradient reaches '{name}'")
        else:
            _require(not _is_reached(other), f"{title}: a gradient reaches '{name}'; detach it on entry")

    with torch.no_grad():
        shuffled = run(inputs, torch.randperm(batch, generator=generator))
        _require(torch.allclose(shuffled, value, rtol=1e-10), f"{title}: depends on the order of the batch")
        single = run([value.float() for value in inputs])
        _require(single.dtype == torch.float32, f"{title}: float32 inputs give {single.dtype}")
        _require(torch.allclose(single.double(), value, rtol=1e-4, atol=1e-5), f"{title}: float32 gives another value")
        if zero_at_match and others:
            match = loss(*[inputs[0]] * len(names), **keywords, **settings)
            _require(abs(float(match)) < 1e-12, f"{title}: {float(match)} at a perfect match, not 0")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = run([value.float() for value in inputs])
        if has_layers:
            _require(cast.dtype == torch.float32, f"{title}: gives {cast.dtype} under autocast")
        else:
            _require(torch.equal(cast, single), f"{title}: autocast lowers its precision; avoid products of matrices")
    for dtype in (torch.float16, torch.bfloat16):
        low = [value.to(dtype) for value in inputs]
        half = run(low)
        _require(half.dtype == torch.float32, f"{title}: {dtype} inputs give {half.dtype}; upcast to float32 on entry")
        exact = run([value.float() for value in low])
        _require(torch.allclose(half, exact, rtol=1e-5), f"{title}: computes in {dtype}")

    _check_finite(title, run, [value[:1].float() for value in inputs], "N = 1", slice(0, 1))
    extreme = [torch.where(torch.rand(batch, *one, generator=generator) < 0.5, -1e4, 1e4) for one in shapes]
    _check_finite(title, run, extreme, "logits of +-1e4")
    _check_finite(title, run, [1e4 * value.float() for value in inputs], "logits of many 1e4")
    if others:
        axis, what = (
            (1, f"{classes} and {classes - 1} classes") if shape is None else (0, f"{batch} and {batch - 1} samples")
        )
        if module is not None:
            module.double()
        try:
            loss(
                inputs[0],
                *[value.narrow(axis, 0, value.shape[axis] - 1) for value in inputs[1:]],
                **keywords,
                **settings,
            )
        except InputError:
            pass
        else:
            raise AssertionError(f"{title}: accepts {what} together; raise InputError")


def _check_finite(
    title: str, run: Callable[..., Tensor], inputs: list[Tensor], what: str, rows: slice | Tensor = slice(None)
) -> None:
    leaves = [value.clone().requires_grad_() for value in inputs]
    value = run(leaves, rows)
    _require(bool(torch.isfinite(value)), f"{title}: {value.item()} at {what}")
    value.backward()
    finite = all(leaf.grad is None or bool(torch.isfinite(leaf.grad).all()) for leaf in leaves)
    _require(finite, f"{title}: a gradient that is not finite at {what}")


def _is_reached(leaf: Tensor) -> bool:
    return leaf.grad is not None and bool(leaf.grad.abs().sum() > 0)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
