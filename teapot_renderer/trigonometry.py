"""Sine and cosine with the same last bit on every machine.

Those of numpy and of the C library come from instructions that the processor offers, and differ in the last bit from
one processor to another; a pixel at an edge would then differ between two renderings of one scene. These use
additions and multiplications only, whose results the floating-point standard fixes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HALF_PI_HIGH = 1.5707963267341256
"""The leading 33 bits of pi / 2: its products with small integers are exact."""
_HALF_PI_LOW = 6.077100506506192e-11
"""What the leading bits leave out."""
_SINE = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(9)]
_COSINE = [(-1.0) ** k / math.factorial(2 * k) for k in range(10)]


def sine(angle: Floats) -> Floats:
    """The sine of angles in radians, within 3e-16 for angles up to a million."""
    return _turned(angle, 0)


def cosine(angle: Floats) -> Floats:
    """The cosine of angles in radians, within 3e-16 for angles up to a million."""
    return _turned(angle, 1)


def _turned(angle: Floats, quarters: int) -> Floats:
    """The sine of `angle` plus so many quarter turns."""
    angle = np.asarray(angle, np.float64)
    turns = np.rint(angle * (2.0 / math.pi))
    rest = (angle - turns * _HALF_PI_HIGH) - turns * _HALF_PI_LOW
    square = rest * rest
    quadrant = (turns.astype(np.int64) + quarters) & 3
    value = np.where(quadrant & 1, _polynomial(_COSINE, square), rest * _polynomial(_SINE, square))
    return np.where(quadrant & 2, -value, value)


def _polynomial(coefficients: list[float], square: Floats) -> Floats:
    total = np.full_like(square, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * square + coefficient
    return total
