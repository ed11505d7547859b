"""Drawn digits in the format of MNIST, for tests and first tries without any file."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

SIDE = 28

_Points = tuple[tuple[float, float], ...]


def _arc(x: float, y: float, radius_x: float, radius_y: float, start: float, stop: float) -> _Points:
    """Points of an ellipse, from one angle to another in turns, clockwise from the right as the image is seen."""
    angles = 2 * np.pi * np.linspace(start, stop, 13)
    return tuple((x + radius_x * float(np.cos(a)), y + radius_y * float(np.sin(a))) for a in angles)


# Lines through points (x to the right, y down), each digit within -1 to 1 down and about -0.6 to 0.6 across.
_STROKES: tuple[tuple[_Points, ...], ...] = (
    (_arc(0, 0, 0.6, 1, 0, 1),),
    (((-0.3, -0.65), (0.1, -1), (0.1, 1)),),
    ((*_arc(0, -0.45, 0.55, 0.55, 0.5, 1.08), (-0.55, 1), (0.6, 1)),),
    ((*_arc(-0.05, -0.5, 0.5, 0.5, 0.55, 1.25), *_arc(-0.05, 0.5, 0.6, 0.5, 0.75, 1.45)),),
    (((0.1, -1), (-0.6, 0.3), (0.65, 0.3)), ((0.3, -0.35), (0.3, 1))),
    (((0.5, -1), (-0.4, -1), (-0.45, -0.15)), (*_arc(-0.05, 0.4, 0.6, 0.6, 0.64, 1.4),)),
    (((0.4, -1), (-0.3, -0.3), (-0.55, 0.4)), (_arc(0, 0.45, 0.55, 0.55, 0, 1))),
    (((-0.6, -1), (0.6, -1), (-0.15, 1)),),
    (_arc(0, -0.5, 0.45, 0.5, 0, 1), _arc(0, 0.5, 0.58, 0.5, 0, 1)),
    (_arc(0, -0.45, 0.5, 0.55, 0, 1), ((0.5, -0.45), (0.4, 0.4), (0.1, 1))),
)


def _segments(digit: int) -> NDArray[np.float32]:
    """The straight pieces of a digit, of shape (pieces, 2 ends, 2 coordinates)."""
    pieces = [pair for line in _STROKES[digit] for pair in itertools.pairwise(line)]
    return np.array(pieces, np.float32)


def draw_digits(digits: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws digits by strokes, each turned, sheared, scaled, moved and of a width of its own.

    Args:
        digits: which ones, integers of shape (n,) from 0 to 9.
        rng: where the randomness comes from.

    Returns:
        uint8 of shape (n, 28, 28, 1), light on black with soft edges.
    """
    n = len(digits)
    turn, shear = rng.uniform(-0.2, 0.2, n), rng.uniform(-0.2, 0.2, n)
    height, width = rng.uniform(7.5, 9.5, n), rng.uniform(7.0, 10.0, n)
    cosine, sine = np.cos(turn), np.sin(turn)
    # First sheared and scaled, then turned.
    turned = np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    scaled = np.array([[width, shear * height], [np.zeros(n), height]]).transpose(2, 0, 1)
    bend = (turned @ scaled).astype(np.float32)
    move = (SIDE / 2 + rng.uniform(-1.5, 1.5, (n, 2))).astype(np.float32)
    pen = rng.uniform(1.8, 3.4, n).astype(np.float32)
    images = np.zeros((n, SIDE, SIDE, 1), np.uint8)
    for digit in range(10):
        rows = np.flatnonzero(digits == digit)
        if rows.size:
            ends = np.einsum("nij,pkj->pkni", bend[rows], _segments(digit)) + move[rows]
            images[rows, ..., 0] = _covered(ends, pen[rows])
    return images


def _covered(ends: NDArray[np.float32], pen: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How far each pixel is covered by lines between `ends`, (pieces, 2, n, 2), as gray levels (n, 28, 28)."""
    line = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    across, down = line[None, None, :], line[None, :, None]
    nearest = np.full((len(pen), SIDE, SIDE), np.inf, np.float32)
    for start, stop in ends:
        x, y = start[:, 0, None, None], start[:, 1, None, None]
        along_x, along_y = stop[:, 0, None, None] - x, stop[:, 1, None, None] - y
        length = np.maximum(along_x**2 + along_y**2, np.float32(1e-9))
        part = np.clip(((across - x) * along_x + (down - y) * along_y) / length, 0, 1)
        np.minimum(nearest, np.hypot(across - x - part * along_x, down - y - part * along_y), out=nearest)
    cover = np.clip(pen[:, None, None] / 2 - nearest + np.float32(0.5), 0, 1)
    return (cover * 255 + np.float32(0.5)).astype(np.uint8)
