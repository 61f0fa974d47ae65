"""A loss of your own: the Jensen-Shannon divergence. In a recipe: `[[distill.terms]] loss = "my_loss:jensen_shannon"`.

A loss is a function of tensors: student first, teacher second, hyper-parameters by keyword, a scalar out, the mean over
the batch. Its keyword arguments are the options that a recipe may set.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError


def jensen_shannon(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """T^2 times the Jensen-Shannon divergence of the two softmaxes of [N, K] logits; 0 where they agree."""
    if student.shape != teacher.shape:
        raise InputError(f"jensen_shannon: student is {list(student.shape)}, teacher is {list(teacher.shape)}")
    wide = torch.promote_types(
        student.dtype, torch.float32
    )  # half precision is too coarse for a difference of logarithms
    p = functional.log_softmax(student.to(wide) / temperature, dim=1)
    q = functional.log_softmax(teacher.detach().to(wide) / temperature, dim=1)
    middle = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0, dtype=wide, device=p.device))
    both = functional.kl_div(middle, p, reduction="batchmean", log_target=True) + functional.kl_div(
        middle, q, reduction="batchmean", log_target=True
    )
    return temperature**2 * both / 2
