"""Checks and statistics of code arrays that every metric shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def real_array(name: str, values: npt.ArrayLike, dimensions: int) -> np.ndarray:
    """`values` as an array of finite real numbers.

    Args:
        name: what to call it in messages.
        values: numbers of any integer or floating-point type.
        dimensions: how many axes it must have.

    Raises:
        TypeError: if the values are not real numbers.
        ValueError: if the number of axes is wrong, an axis is empty, or a value is not finite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not values of type {array.dtype}")
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} axes; its shape is {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            missing = array.size - int(np.count_nonzero(finite))
            raise ValueError(f"{name} holds {missing:,} values of {array.size:,} that are NaN or infinite")
    return array


def integer_labels(name: str, values: npt.ArrayLike, length: int) -> IntArray:
    """`values` as `length` integer labels; whole floating-point numbers are taken too.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shape is not `(length,)`, or a value is not a whole number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold integers, not values of type {array.dtype}")
    if array.shape != (length,):
        raise ValueError(f"{name} must have the shape ({length},), one label per group; its shape is {array.shape}")
    # Compared in the type given: 2**63 as float64 would pass a comparison of casts and overflow.
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (np.floor(array) == array).all()):
        raise ValueError(f"{name} must hold whole numbers")
    if array.size and (array.max() >= 2**62 or array.min() <= -(2**62)):
        raise ValueError(f"{name} holds a label beyond 2**62; number the labels from 0")
    return array.astype(np.int64)


def population_std(codes: npt.ArrayLike) -> FloatArray:
    """The population standard deviation of every code; exactly 0 for a code that never changes.

    Args:
        codes: `[N, D]` codes.

    Returns:
        `[D]` float64.

    Raises:
        ValueError: if the codes are so far apart that their differences are not finite.
    """
    array = real_array("codes", codes, 2)
    # Centred on a row of the data: equal values then give 0, which the rounding of a mean would not.
    with np.errstate(over="ignore"):
        centred = array.astype(np.float64) - array[0].astype(np.float64)
    extent = np.abs(centred).max(axis=0)
    if not np.isfinite(extent).all():
        raise ValueError("codes are too far apart for double precision; scale them down")
    # Scaled before squaring, so that codes near 1e200 or 1e-200 neither overflow nor vanish.
    scale = np.where(extent > 0, extent, 1.0)
    return (centred / scale).std(axis=0) * scale
