"""The active shape model: which shapes points take together, and points smoothed by what it knows.

What does not live here: losses on smoothed points (`losses.asmnet`), who learns from them (`distill`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.files import atomic_path

__all__ = ["ShapeModel"]

Points = TypeVar("Points", np.ndarray, Tensor)

SIGMAS = 3.0
"""How many standard deviations a shape may lie from the mean along each mode."""


@dataclass(frozen=True)
class ShapeModel:
    """A mean shape and the modes in which shapes vary most; shapes are not aligned to each other first.

    Attributes:
        mean: [2L] float64, x and y in turn, in the unit of the shapes it was fitted on.
        modes: [k, 2L] float64, orthonormal, the greatest variance first.
        eigenvalues: [k] variance along each mode, over n - 1.
        variance: the share of variance that was asked for.
        shapes: how many it was fitted on.

    **Source:** Cootes et al., "Active Shape Models", CVIU 1995; as Fard and Mahoor use it, arXiv 2111.07047 and its code.
    """

    mean: np.ndarray
    modes: np.ndarray
    eigenvalues: np.ndarray
    variance: float
    shapes: int

    @classmethod
    def fit(cls, landmarks: np.ndarray | Tensor, variance: float = 0.95) -> ShapeModel:
        """Fit on shapes: the fewest modes whose variances together exceed a share of the whole.

        Args:
            landmarks: [N, L, 2] or [N, 2L]; shapes with a NaN (an unknown point) are left out.
            variance: the share, in (0, 1].

        Raises:
            InputError: another form, a share out of range, or fewer than two whole shapes that differ.
        """
        from sklearn.decomposition import PCA  # late: its import takes a second

        if not 0 < variance <= 1:
            raise InputError(f"shape model: variance must lie in (0, 1], not {variance}")
        given = landmarks.detach().cpu().numpy() if isinstance(landmarks, Tensor) else np.asarray(landmarks)
        shapes = _rows(given).astype(np.float64)
        shapes = shapes[np.isfinite(shapes).all(1)]
        if len(shapes) < 2 or not np.ptp(shapes, axis=0).any():
            raise InputError(
                f"shape model: {len(shapes)} of {len(given)} shapes have all their points; needs two at least that differ"
            )
        found = PCA(n_components=None if variance == 1 else variance, svd_solver="full").fit(shapes)
        modes = np.ascontiguousarray(found.components_)  # as a saved model has them: sums then are the same to the bit
        return cls(found.mean_, modes, found.explained_variance_, float(variance), len(shapes))

    @property
    def points(self) -> int:
        """L, how many points a shape has."""
        return len(self.mean) // 2

    def soften(self, landmarks: Points) -> Points:
        """The nearest shapes that the model knows, no further than 3 standard deviations along any mode.

        Of a shape with unknown points (NaN) the modes are fitted to those that are known; unknown ones stay so.

        Args:
            landmarks: [N, L, 2] or [N, 2L], in the unit of the shapes it was fitted on.

        Returns:
            The same form, type and place.

        Raises:
            InputError: another form or number of points.
        """
        if isinstance(landmarks, np.ndarray):
            return self.soften(torch.from_numpy(np.array(landmarks))).numpy()  # torch takes no reversed nor locked ones
        rows = _rows(landmarks)
        if rows.shape[1] != len(self.mean):
            raise InputError(f"shape model: has {self.points} points; got {rows.shape[1] // 2}")
        dtype = rows.dtype if rows.is_floating_point() else torch.float64
        work = torch.promote_types(dtype, torch.float32)

        def placed(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=work, device=rows.device)

        mean, modes, limits = (placed(part) for part in (self.mean, self.modes, SIGMAS * np.sqrt(self.eigenvalues)))
        deviation = rows.to(work) - mean
        unknown = deviation.isnan()
        amounts = deviation.masked_fill(unknown, 0.0) @ modes.T
        for row in unknown.any(1).nonzero().flatten().tolist():  # few: most pictures have all their points
            known = ~unknown[row]
            basis = modes[:, known]
            amounts[row] = torch.linalg.pinv(basis.T) @ deviation[row, known]
        soft = mean + amounts.clamp(-limits, limits) @ modes
        return soft.masked_fill(unknown, torch.nan).to(dtype).reshape(landmarks.shape)

    def varied(self, mode: int, deviations: np.ndarray | tuple[float, ...] = (-SIGMAS, 0.0, SIGMAS)) -> np.ndarray:
        """[S, L, 2] the mean shape moved along one mode, by each of S numbers of standard deviations.

        Raises:
            InputError: there is no such mode.
        """
        if not 0 <= mode < len(self.modes):
            raise InputError(f"shape model: has the modes 0 .. {len(self.modes) - 1}, not {mode}")
        steps = np.asarray(deviations, np.float64)[:, None] * np.sqrt(self.eigenvalues[mode])
        return (self.mean + steps * self.modes[mode]).reshape(-1, self.points, 2)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        from safetensors.numpy import save_file

        parts = {name: np.ascontiguousarray(getattr(self, name)) for name in ("mean", "modes", "eigenvalues")}
        with atomic_path(path) as temporary:
            save_file(parts, temporary, metadata={"variance": repr(self.variance), "shapes": str(self.shapes)})

    @classmethod
    def load(cls, path: str | Path) -> ShapeModel:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, or is another.
        """
        from safetensors import safe_open

        try:
            with safe_open(path, "numpy") as file:
                about = file.metadata() or {}
                mean, modes, eigenvalues = (file.get_tensor(name) for name in ("mean", "modes", "eigenvalues"))
            return cls(mean, modes, eigenvalues, float(about["variance"]), int(about["shapes"]))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except Exception as error:  # the library's own exception is not public
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path}: holds no shape model ({reason})") from error


def _rows(landmarks: Points) -> Points:
    if (landmarks.ndim == 3 and landmarks.shape[2] == 2) or (landmarks.ndim == 2 and landmarks.shape[1] % 2 == 0):
        return landmarks.reshape(landmarks.shape[0], -1)
    raise InputError(f"shape model: expected [N, L, 2] or [N, 2L] points, got {list(landmarks.shape)}")
