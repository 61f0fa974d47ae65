"""Wing and adaptive Wing losses of coordinates, which weigh small errors more. Not here: losses on heatmaps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.landmark_errors import known_mean, true_coordinates

__all__ = ["adaptive_wing", "wing"]


def wing(student: Tensor, *, target: Tensor, width: float = 10 / 256, epsilon: float = 2 / 256) -> Tensor:
    """Logarithmic near the truth: width * ln(1 + |e| / epsilon) where |e| < width, else |e| less what joins them.

    The mean over batch and coordinates.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        target: the same; NaN = unknown, left out.
        width: > 0, error from which the loss is linear; the paper's 10 pixels of 256.
        epsilon: > 0, curvature; the paper's 2 pixels of 256. In pixels with both in pixels it is the paper's value.

    Raises:
        InputError: shapes that differ, or a width or epsilon that is not positive.

    **Source:** Feng, Kittler, Awais, Huber, Wu, "Wing Loss for Robust Facial Landmark Localisation with Convolutional
        Neural Networks", CVPR 2018, arXiv 1711.06753, equation 5.

    Example:
        >>> errors = torch.tensor([[2.0, 12.0]])                            # 10 ln 2, and 12 - 10 + 10 ln 6
        >>> round(wing(errors, target=torch.zeros(1, 2), width=10.0, epsilon=2.0).item(), 4)
        13.4245
    """
    if not width > 0 or not epsilon > 0:
        raise InputError(f"wing: width and epsilon must be positive, not {width} and {epsilon}")
    ours, truth, known = true_coordinates(student, target, loss="wing", names=())
    error = (ours - truth).abs()
    offset = width - width * math.log1p(width / epsilon)
    return known_mean(torch.where(error < width, width * torch.log1p(error / epsilon), error - offset), known)


def adaptive_wing(
    student: Tensor,
    *,
    target: Tensor,
    omega: float = 14 / 256,
    theta: float = 0.5 / 256,
    epsilon: float = 1 / 256,
    exponent: float = 1.1,
) -> Tensor:
    """Logarithmic, but flat at the truth: omega * ln(1 + |e / epsilon|^exponent) where |e| < theta, then the tangent.

    The mean over batch and coordinates.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        target: the same; NaN = unknown, left out.
        omega: > 0, height.
        theta: > 0, error from which the loss is linear.
        epsilon: > 0, curvature.
        exponent: > 1, so that the slope is 0 at the truth.

    Raises:
        InputError: shapes that differ, or constants out of range.

    **Source:** Wang, Bo, Fuxin, "Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression", ICCV 2019, arXiv
        1904.07399, equation 3 with omega 14, theta 0.5, epsilon 1, alpha 2.1.
    **Differs:** there errors are those of heatmaps, whose values y in [0, 1] give the exponent alpha - y; coordinates have
        no such value: the exponent is that of a landmark's own place (y = 1), and constants are in pixels of 256.

    Example:
        >>> errors = torch.tensor([[0.25, 1.0]])
        >>> shared = {"omega": 14.0, "theta": 0.5, "epsilon": 1.0}
        >>> round(adaptive_wing(errors, target=torch.zeros(1, 2), **shared).item(), 4)
        6.5081
    """
    if not min(omega, theta, epsilon) > 0 or not exponent > 1:
        raise InputError(
            f"adaptive_wing: needs omega, theta and epsilon > 0 and exponent > 1, not {omega}, {theta}, {epsilon} and "
            f"{exponent}"
        )
    ours, truth, known = true_coordinates(student, target, loss="adaptive_wing", names=())
    error = (ours - truth).abs()
    ratio = theta / epsilon
    slope = omega * exponent * ratio ** (exponent - 1) / (1 + ratio**exponent) / epsilon
    offset = theta * slope - omega * math.log1p(ratio**exponent)
    curved = omega * torch.log1p((error.clamp(max=theta) / epsilon) ** exponent)  # cut, so that it cannot overflow
    return known_mean(torch.where(error < theta, curved, slope * error - offset), known)
