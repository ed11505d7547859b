"""Checks and statistics of code arrays that every metric shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LARGEST = 1e100
"""Beyond this the squares that some metrics sum up would overflow."""

_MOST_LISTED = 12


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


def code_table(name: str, codes: npt.ArrayLike) -> np.ndarray:
    """`codes` as `[N, D]` finite real numbers of at least two images.

    Raises:
        TypeError: if the values are not real numbers.
        ValueError: if the shape is another, a value is not finite or too large to be squared, or N is 1.
    """
    array = real_array(name, codes, 2)
    if len(array) < 2:
        raise ValueError(f"{name} has one row; two or more images are needed")
    if array.dtype == np.float16:
        # Too coarse for the sums and bins of any metric.
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4 and np.abs(array).max() > LARGEST:
        raise ValueError(f"{name} holds numbers beyond {LARGEST:g}; scale them down")
    return array


def level_table(name: str, levels: npt.ArrayLike, rows: int) -> IntArray:
    """`levels` as `[rows, F]` integers, where a negative number stands for a missing cell.

    Raises:
        TypeError: if the values are not integers.
        ValueError: if the shape is another.
    """
    array = np.asarray(levels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, not values of type {array.dtype}")
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise ValueError(f"{name} must have the shape ({rows}, factors), one row for each image; it is {array.shape}")
    return array.astype(np.int64)


def factor_table(name: str, factors: npt.ArrayLike, rows: int) -> FloatArray:
    """`factors` as `[rows, F]` float64 numbers, where NaN stands for a missing cell.

    Raises:
        TypeError: if the values are not numbers or truth values.
        ValueError: if the shape is another, or a value is infinite or too large to be squared.
    """
    array = np.asarray(factors)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, not values of type {array.dtype}")
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise ValueError(f"{name} must have the shape ({rows}, factors), one row for each image; it is {array.shape}")
    values = array.astype(np.float64)
    if np.nanmax(np.abs(values), initial=0.0) > LARGEST:
        raise ValueError(f"{name} holds infinite values or some beyond {LARGEST:g}; missing cells are NaN")
    return values


def live_codes(codes: np.ndarray) -> BoolArray:
    """Which columns of `[N, D]` hold more than one value."""
    return np.asarray(codes.max(axis=0) != codes.min(axis=0))


def about_codes(codes: np.ndarray, dead: str = "carry no information") -> tuple[str, ...]:
    """What a user should know of `[N, D]` codes: which never change, and which are copies of another.

    Args:
        codes: checked codes.
        dead: what that means for the metric: it follows "2 of 10 codes never change and ...".

    Returns:
        at most one sentence for each of the two.
    """
    live = live_codes(codes)
    found: tuple[str, ...] = ()
    if not live.all():
        numbers = np.flatnonzero(~live)
        found += (f"{numbers.size} of {live.size} codes never change and {dead}: {listed(numbers)}",)
    first: dict[bytes, int] = {}
    copies = [
        (first.setdefault(np.ascontiguousarray(codes[:, column]).tobytes(), int(column)), int(column))
        for column in np.flatnonzero(live)
    ]
    repeated = [f"{column} of {original}" for original, column in copies if original != column]
    if repeated:
        found += (f"some codes are copies of another: {listed(repeated)}",)
    return found


def listed(items: Sequence[object] | np.ndarray) -> str:
    """Names or numbers with commas between; of more than a dozen only the first."""
    shown = ", ".join(str(item) for item in list(items)[:_MOST_LISTED])
    return shown + (", ..." if len(items) > _MOST_LISTED else "")


def split_tables(
    codes: npt.ArrayLike, levels: npt.ArrayLike, test_codes: npt.ArrayLike, test_levels: npt.ArrayLike
) -> tuple[np.ndarray, IntArray, np.ndarray, IntArray]:
    """Codes and levels to fit to and those held out, as by `code_table` and `level_table`, of the same columns.

    Raises:
        TypeError: if the codes are not real numbers or the levels not integers.
        ValueError: if shapes do not fit, or a code is not finite.
    """
    table, held_out = code_table("codes", codes), code_table("test_codes", test_codes)
    columns = level_table("levels", levels, len(table))
    test_columns = level_table("test_levels", test_levels, len(held_out))
    if table.shape[1] != held_out.shape[1] or columns.shape[1] != test_columns.shape[1]:
        raise ValueError("codes and test_codes, and levels and test_levels, must have as many columns as each other")
    return table, columns, held_out, test_columns


def model_labels(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Names for `count` models: those given, or `model 0`, `model 1` and so on.

    Raises:
        ValueError: if there is another number of names.
    """
    if names is None:
        return tuple(f"model {number}" for number in range(count))
    if len(names) != count:
        raise ValueError(f"there are {len(names)} names for {count} models; give one for each")
    return tuple(str(name) for name in names)


def factor_labels(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Names for `count` factors: those given, or `factor 0`, `factor 1` and so on.

    Raises:
        ValueError: if there is another number of names.
    """
    if names is None or not len(names):
        return tuple(f"factor {number}" for number in range(count))
    if len(names) != count:
        raise ValueError(f"factor_names has {len(names)} names for {count} factors; give one for each column")
    return tuple(str(name) for name in names)
