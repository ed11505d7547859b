"""Squared Euclidean distances between two tables, tile by tile: fast in single precision, exact where it counts.

Products of float32 blocks give every distance with a bound on its error. What is decided by comparing two distances
that are nearer than that bound is decided again from the differences of the rows in double precision. Memory is that of
a few tiles, whatever the tables' size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from metrics.arrays import FloatArray, IntArray

TIE = 1e-12
"""Distances that differ by no more than this share of them are equal."""

_TILE_ROWS = 1024
_TILE_VALUES = 1 << 23
_PRODUCT_COLUMNS = 512
"""Sums of so many float32 products are added up in float64: the bound does not grow with the number of columns."""

_UNIT = 2.0**-24
"""Half the distance from 1 to the next float32."""

_PRODUCT_ERROR = 1.01 * (_PRODUCT_COLUMNS + 4) * _UNIT
_EXACT_VALUES = 1 << 21


class SquaredDistances:
    """Distances of the rows of `x` `[N, D]` from those of `y` `[M, D]`.

    Both tables are centered, each on its own mean, so that neither a common offset nor one between them costs digits.

    Args:
        x: finite numbers, at most 1e100.
        y: likewise, as many columns.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self._means = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        offset = self._means[0] - self._means[1]
        parts = [
            _lengths(table, mean, sign * offset)
            for table, mean, sign in zip((x, y), self._means, (1.0, -1.0), strict=True)
        ]
        # |x - y|^2 = (|x'|^2 + 2 m.x' + |m|^2) + (|y'|^2 - 2 m.y') - 2 x'.y', with m the offset between the means.
        self._own = parts[0][0] + float(offset @ offset), parts[1][0]
        self._norms = parts[0][1], parts[1][1]
        self._sizes = parts[0][2] + float(offset @ offset), parts[1][2]
        self._rounding = 4.0 * np.finfo(np.float64).eps * (x.shape[1] + 64)
        # A power of two, so that scaling rounds nothing; float32 ends at 3e38 and at 1e-38.
        largest = max(float(norms.max()) for norms in self._norms)
        self._scale = 2.0 ** -np.ceil(np.log2(largest)) if largest > 0 else 1.0

    def tiles(self) -> Iterator[tuple[slice, slice, FloatArray, FloatArray]]:
        """All distances: rows, columns, distances of this tile, and the bound on the error of each."""
        step = max(1, min(_TILE_ROWS, _TILE_VALUES // self.x.shape[1]))
        for start in range(0, len(self.x), step):
            rows = slice(start, min(start + step, len(self.x)))
            left = self._scaled(0, rows)
            for first in range(0, len(self.y), step):
                columns = slice(first, min(first + step, len(self.y)))
                yield rows, columns, *self._tile(left, rows, columns)

    def exact(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """The distances of pairs, from the differences of their rows in double precision: `[n]`."""
        result = np.empty(len(rows))
        step = max(1, _EXACT_VALUES // self.x.shape[1])
        for start in range(0, len(rows), step):
            chosen = slice(start, start + step)
            # Cast before the difference: a difference of float32 rounds.
            difference = self.x[rows[chosen]].astype(np.float64) - self.y[columns[chosen]].astype(np.float64)
            result[chosen] = np.einsum("ij,ij->i", difference, difference)
        return result

    def _scaled(self, which: int, rows: slice) -> np.ndarray:
        table = (self.x, self.y)[which][rows]
        return ((table.astype(np.float64) - self._means[which]) * self._scale).astype(np.float32)

    def _tile(self, left: np.ndarray, rows: slice, columns: slice) -> tuple[FloatArray, FloatArray]:
        right = self._scaled(1, columns)
        products = np.zeros((len(left), len(right)))
        for first in range(0, left.shape[1], _PRODUCT_COLUMNS):
            part = slice(first, first + _PRODUCT_COLUMNS)
            products += left[:, part] @ right[:, part].T
        products *= -2.0 / self._scale**2
        products += self._own[0][rows, None]
        products += self._own[1][columns]
        errors = np.outer(self._norms[0][rows], 2.0 * _PRODUCT_ERROR * self._norms[1][columns])
        errors += (self._rounding * self._sizes[0][rows])[:, None]
        # What float32 cannot hold beside the largest value is lost.
        errors += self._rounding * self._sizes[1][columns] + 1e-30 / self._scale**2
        return products, errors


def row_numbers(table: np.ndarray) -> IntArray:
    """A number for each row `[N]`, from 0 in the order of first appearance; copies have the same."""
    seen: dict[bytes, int] = {}
    # Adding 0 makes 0 of -0.
    zero = table.dtype.type(0)
    digests = (hashlib.blake2b((row + zero).tobytes(), digest_size=16).digest() for row in table)
    return np.array([seen.setdefault(digest, len(seen)) for digest in digests], dtype=np.int64)


def _lengths(table: np.ndarray, mean: FloatArray, offset: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of the centered rows c: `|c|^2 + 2 offset.c`, `|c|`, and the size of the terms that add up to the first."""
    own, norms, sizes = (np.empty(len(table)) for _ in range(3))
    distance = float(np.sqrt(offset @ offset))
    step = max(1, min(_TILE_ROWS, _TILE_VALUES // table.shape[1]))
    for start in range(0, len(table), step):
        rows = slice(start, start + step)
        centered = table[rows].astype(np.float64) - mean
        squares = np.einsum("ij,ij->i", centered, centered)
        norms[rows] = np.sqrt(squares)
        own[rows] = squares + 2.0 * (centered @ offset)
        sizes[rows] = squares + 2.0 * distance * norms[rows]
    return own, norms, sizes
