"""Factors of variation: names, sizes, kinds, and the way from levels to an index and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("discrete", "continuous", "periodic")


@dataclasses.dataclass(frozen=True)
class Factor:
    """One factor of variation.

    Args:
        name: what varies, for example `scale`.
        size: the number of levels, at least 1. Levels are the integers `0 .. size - 1`. `None`: the factor takes real
            values and has no levels.
        kind: `discrete` (levels have no order), `continuous` (levels are ordered steps of a quantity, or the quantity
            itself) or `periodic` (the same around a circle).
        limits: the least and the greatest value of a factor of real values; for a periodic one they are the same
            place on the circle. Default: none, for a factor with levels.
    """

    name: str
    size: int | None
    kind: str
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"factor {self.name!r} has kind {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"factor {self.name!r} has size {self.size}; it must be at least 1")
        if (self.size is None) != (self.limits is not None):
            raise ValueError(f"factor {self.name!r} needs either a size (levels) or limits (real values)")
        if self.limits is not None and (self.kind == "discrete" or not self.limits[0] < self.limits[1]):
            raise ValueError(
                f"factor {self.name!r} of real values is {self.kind} with limits {self.limits}; it must be "
                "continuous or periodic, and the first limit below the second"
            )

    def __repr__(self) -> str:
        # Fingerprints of data sets hold this, so that of factors with levels, which came first, stays without limits.
        limits = "" if self.limits is None else f", limits={self.limits}"
        return f"Factor(name={self.name!r}, size={self.size!r}, kind={self.kind!r}{limits})"

    @property
    def is_real(self) -> bool:
        """Whether it takes real values, and so has no levels."""
        return self.size is None


@dataclasses.dataclass(frozen=True)
class FactorSpace:
    """A full grid of factors: every combination of levels is one image.

    Images are numbered row by row: the last factor varies fastest.

    Args:
        factors: the factors, slowest first; names must differ.

    Example:
        >>> space = FactorSpace((Factor("shape", 3, "discrete"), Factor("scale", 6, "continuous")))
        >>> space.size
        18
        >>> space.index_of([[1, 0], [2, 5]]).tolist()
        [6, 17]
        >>> space.classes_of([6, 17]).tolist()
        [[1, 0], [2, 5]]
    """

    factors: tuple[Factor, ...]

    def __post_init__(self) -> None:
        if not self.factors:
            raise ValueError("a factor space needs at least one factor")
        if len(set(self.names)) != len(self.factors):
            raise ValueError(f"factor names must differ, got {', '.join(self.names)}")
        if real := [factor.name for factor in self.factors if factor.is_real]:
            raise ValueError(f"{', '.join(real)} take real values; a grid needs factors with levels")

    @property
    def names(self) -> tuple[str, ...]:
        """The factors' names, slowest first."""
        return tuple(factor.name for factor in self.factors)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The factors' numbers of levels, slowest first."""
        return tuple(factor.size for factor in self.factors if factor.size is not None)

    @property
    def num_factors(self) -> int:
        """How many factors there are."""
        return len(self.factors)

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(self.sizes)

    def index_of(self, classes: NDArray[Any] | Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """The images' numbers for levels.

        Args:
            classes: levels, integers of shape (n, number of factors).

        Returns:
            numbers, int64 of shape (n,).

        Raises:
            ValueError: for another shape, or a level that its factor does not have.
        """
        levels = np.asarray(classes)
        if levels.ndim != 2 or levels.shape[1] != self.num_factors:
            raise ValueError(f"classes have shape {levels.shape}; expected (n, {self.num_factors}) for {self.names}")
        levels = _as_integers(levels, "classes")
        outside = (levels < 0) | (levels >= np.array(self.sizes))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"level {levels[row, column]} of {self.names[column]} in row {row}; "
                f"allowed: 0 to {self.sizes[column] - 1}"
            )
        return levels @ self._strides()

    def classes_of(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        """The levels of numbered images.

        Args:
            indices: numbers, integers of shape (n,).

        Returns:
            levels, int64 of shape (n, number of factors).

        Raises:
            ValueError: for another shape, or a number outside `0 .. size - 1`.
        """
        numbers = check_indices(indices, self.size)
        return numbers[:, None] // self._strides() % np.array(self.sizes, np.int64)

    def sample(self, rng: np.random.Generator, n: int, fixed: Mapping[str, int] | None = None) -> NDArray[np.int64]:
        """Draws levels, uniformly and with replacement.

        Args:
            rng: where the randomness comes from.
            n: how many rows, at least 0.
            fixed: factors that all rows share: name to level. Default: none.

        Returns:
            levels, int64 of shape (n, number of factors).

        Raises:
            ValueError: for an unknown factor, or a level that its factor does not have.
        """
        # Every column is drawn whether it is fixed or not: fixing one factor leaves the draws of the others alone.
        classes = rng.integers(0, np.array(self.sizes), size=(n, self.num_factors), dtype=np.int64)
        for name, level in (fixed or {}).items():
            if name not in self.names:
                raise ValueError(f"unknown factor {name!r}; allowed: {', '.join(self.names)}")
            column = self.names.index(name)
            if not 0 <= level < self.sizes[column]:
                raise ValueError(f"level {level} of {name}; allowed: 0 to {self.sizes[column] - 1}")
            classes[:, column] = level
        return classes

    def _strides(self) -> NDArray[np.int64]:
        return np.array([math.prod(self.sizes[column + 1 :]) for column in range(self.num_factors)], np.int64)


def equal_width_bins(values: NDArray[np.floating[Any]], bins: int) -> NDArray[np.int64]:
    """Cuts real values into classes: per column, bins of equal width between its least and its greatest value.

    Args:
        values: floats of shape (n, columns), n at least 1.
        bins: how many, at least 1.

    Returns:
        int64 of the same shape, 0 to `bins - 1`. A column of one value only is in one bin.

    Raises:
        ValueError: for another shape, or a number of bins below 1.

    Source: `latent_id` in the evaluation of InfoGAN-CR (Lin, Thekumparampil, Fanti, Oh 2020), with 20 bins.
    """
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values have shape {values.shape}; expected (n, columns) with n of at least 1")
    if bins < 1:
        raise ValueError(f"bins is {bins}; give at least 1")
    columns = [np.digitize(column, np.histogram_bin_edges(column, bins)[:-1]) - 1 for column in values.T]
    return np.stack(columns, axis=1).astype(np.int64)


def check_indices(indices: NDArray[Any] | Sequence[int], num_examples: int) -> NDArray[np.int64]:
    """Image numbers as int64 of shape (n,), all within `0 .. num_examples - 1`; `ValueError` otherwise."""
    numbers = np.asarray(indices)
    if numbers.ndim != 1:
        raise ValueError(f"indices have shape {numbers.shape}; expected (n,)")
    numbers = _as_integers(numbers, "indices")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= num_examples):
        raise ValueError(f"indices reach from {numbers.min()} to {numbers.max()}; allowed: 0 to {num_examples - 1}")
    return numbers


def _as_integers(array: NDArray[Any], what: str) -> NDArray[np.int64]:
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{what} are of type {array.dtype}; expected integers")
    return array.astype(np.int64)
