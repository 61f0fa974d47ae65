"""Teacher-free distillation by a virtual teacher that is always right. Self-distillation of the same paper is plain `kd`
with a teacher of the student's kind.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logits

__all__ = ["tf_kd"]


def tf_kd(
    student: Tensor,
    *,
    target: Tensor,
    temperature: float = 20.0,
    correct: float = 0.99,
    student_temperature: float = 1.0,
) -> Tensor:
    """KL(virtual teacher || student), mean over the batch.

    The virtual teacher gives the label the probability `correct` and the rest evenly to the others; as in the authors'
    code these probabilities, not logits, are then divided by `temperature` and softmaxed, which leaves them all but
    even. There is no factor T^2.

    Args:
        student: [N, K] logits.
        target: [N] class indices; of [N, K] mixed labels the largest entry counts.
        temperature: T > 0 on the teacher's side.
        correct: probability of the label before the softmax, in (1/K, 1].
        student_temperature: T > 0 on the student's side; the paper's equation has that of the teacher here, too.

    Raises:
        InputError: labels out of range, a temperature that is not positive, or a `correct` out of range.

    **Source:** Yuan, Tay, Li, Wang, Feng, "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR
        2020, arXiv 1909.11723, section 5 (the manually designed teacher), as released.
    **Differs:** the mean is over the batch; the authors' is over the classes as well, with a multiplier against that.

    Example:
        >>> import torch
        >>> even = torch.zeros(1, 2)        # the teacher's odds are e : 1 at T = 0.98
        >>> round(tf_kd(even, target=torch.tensor([0]), temperature=0.98).item(), 4)
        0.1109
    """
    student = logits(student, loss="tf_kd")
    classes = student.shape[1]
    for name, value in (("temperature", temperature), ("student_temperature", student_temperature)):
        if not value > 0:
            raise InputError(f"tf_kd: {name} must be positive, not {value}")
    if not 1 / classes < correct <= 1:
        raise InputError(f"tf_kd: correct must lie in (1/K, 1] with K = {classes}, not {correct}")
    labels = class_indices(target, student, loss="tf_kd")
    gap = (correct - (1 - correct) / (classes - 1)) / temperature
    at_label = 1 / (1 + (classes - 1) * math.exp(-gap))
    elsewhere = math.exp(-gap) * at_label
    entropy = elsewhere * (classes - 1) * gap - math.log(at_label)
    # a label and an even rest is what smoothed labels are
    soft = functional.cross_entropy(student / student_temperature, labels, label_smoothing=classes * elsewhere)
    return soft - entropy
