"""Frames of signals as an exported model takes them, from the forms that signals come in. Not here: running a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.errors import InputError

__all__ = ["as_frames"]


def as_frames(signals: Any, length: int) -> np.ndarray:
    """[N, 2, T] float32 of one frame or several; nothing is cut or padded.

    Args:
        signals: [N, 2, T] or [2, T] floats (in phase, quadrature), or [N, T] or [T] complex.
        length: T.

    Raises:
        InputError: another form or length, or a frame that is not finite or all zeros.
    """
    frames = np.asarray(signals)
    if np.iscomplexobj(frames):
        frames = np.stack([frames.real, frames.imag], axis=-2)
    elif frames.dtype.kind != "f":
        raise InputError(
            f"signals: {frames.dtype} {list(frames.shape)}; [N, 2, {length}] floats or complex samples are due"
        )
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3 or frames.shape[1:] != (2, length):
        hint = "; swap its last two axes" if frames.ndim == 3 and frames.shape[1:] == (length, 2) else ""
        raise InputError(f"signals: the model takes frames [N, 2, {length}], got {list(frames.shape)}{hint}")
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    flat = frames.reshape(len(frames), 2 * length)
    for wrong, what in (
        (~np.isfinite(flat).all(1), "holds a value that is not finite"),
        (~flat.any(1), "is all zeros"),
    ):
        if wrong.any():
            raise InputError(f"signals: frame {int(np.flatnonzero(wrong)[0])} {what} ({int(wrong.sum())} such)")
    return frames
