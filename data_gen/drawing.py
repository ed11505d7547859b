"""Soft-edged shapes for miniature data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIDE = 64


def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    line = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    return line[None, None, :], line[None, :, None]


def _column(values: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


def ellipse(x: ArrayLike, y: ArrayLike, radius_x: ArrayLike, radius_y: ArrayLike) -> NDArray[np.float32]:
    """How far each pixel is covered by an ellipse.

    Args:
        x, y: centers in pixels, numbers or arrays of shape (n,).
        radius_x, radius_y: half axes in pixels, likewise.

    Returns:
        float32 of shape (n, 64, 64) in [0, 1]; edges are about two pixels soft.
    """
    across, down = _grid()
    reach = np.hypot((across - _column(x)) / _column(radius_x), (down - _column(y)) / _column(radius_y))
    return np.clip((1.0 - reach) * np.minimum(_column(radius_x), _column(radius_y)) / 2.0 + 0.5, 0.0, 1.0)


def stroke(x0: ArrayLike, y0: ArrayLike, x1: ArrayLike, y1: ArrayLike, width: ArrayLike) -> NDArray[np.float32]:
    """How far each pixel is covered by a line with round ends.

    Args:
        x0, y0, x1, y1: the ends in pixels, numbers or arrays of shape (n,).
        width: in pixels, likewise.

    Returns:
        float32 of shape (n, 64, 64) in [0, 1]; edges are about one pixel soft.
    """
    across, down = _grid()
    along_x, along_y = _column(x1) - _column(x0), _column(y1) - _column(y0)
    length = np.maximum(along_x**2 + along_y**2, 1e-9)
    part = np.clip(((across - _column(x0)) * along_x + (down - _column(y0)) * along_y) / length, 0.0, 1.0)
    distance = np.hypot(across - _column(x0) - part * along_x, down - _column(y0) - part * along_y)
    return np.clip(_column(width) / 2.0 - distance + 0.5, 0.0, 1.0)


def paint(canvas: NDArray[np.float32], cover: NDArray[np.float32], color: NDArray[np.floating[Any]]) -> None:
    """Paints a color onto pictures where they are covered, in place.

    Args:
        canvas: float32 of shape (n, 64, 64, channels).
        cover: float32 of shape (n, 64, 64) in [0, 1].
        color: floats of shape (n, channels).
    """
    canvas += cover[..., None] * (color.astype(np.float32)[:, None, None, :] - canvas)


def to_bytes(canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures in [0, 1] as uint8, 0 to 255."""
    return np.clip(canvas * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
