"""Mutual information between codes and factors, from joint histograms.

The codes are cut into bins of equal width as InfoGAN-CR and disentanglement_lib cut them: at the edges of numpy's
histogram without the last one. Information is in nats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray

NUM_BINS = 20
"""Bins of a code in both protocols."""

_ROUNDING = 1e-12


def bin_codes(codes: npt.ArrayLike, num_bins: int = NUM_BINS) -> IntArray:
    """Cuts every column into bins of equal width between its least and its greatest value.

    Args:
        codes: `[N, D]` finite numbers. The edges are computed in their own precision.
        num_bins: how many bins, at least 1. Default: 20.

    Returns:
        `[N, D]` int64, 0 to `num_bins - 1`; a column of equal values is in one bin.

    Raises:
        ValueError: if the number of bins is below 1.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, not {num_bins}")
    table = np.asarray(codes)
    bins = np.empty(table.shape, dtype=np.int64)
    for column in range(table.shape[1]):
        bins[:, column] = np.digitize(*_values_and_edges(table[:, column], num_bins)) - 1
    return bins


def _values_and_edges(values: np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        return values, np.histogram_bin_edges(values, num_bins)[:-1]
    except ValueError:
        # Values so close together that numpy finds no edges between them: their differences still have room for some.
        offsets = values.astype(np.float64) - np.float64(values.min())
        return offsets, np.linspace(0, offsets.max(), num_bins + 1)[:-1]


def mutual_information(bins: IntArray, levels: IntArray) -> FloatArray:
    """The mutual information of every code with every factor.

    Args:
        bins: `[N, D]` bins of the codes, from 0.
        levels: `[N, F]` levels of the factors from 0; a negative one is missing, and its row is left out for that
            factor.

    Returns:
        `[D, F]` nats. It is exactly 0 where code or factor has one value, and where only rounding is left.

    Source: Chen et al., Isolating Sources of Disentanglement, NeurIPS 2018, equation 6.
    """
    information = np.zeros((bins.shape[1], levels.shape[1]))
    for factor in range(levels.shape[1]):
        present = levels[:, factor] >= 0
        whole = present.all()
        of_factor = levels[:, factor] if whole else levels[present, factor]
        # Numbered anew: levels may be few and large.
        of_factor = np.unique(of_factor, return_inverse=True)[1]
        of_codes = bins if whole else bins[present]
        for code in range(bins.shape[1]):
            information[code, factor] = _information(joint_counts(of_codes[:, code], of_factor))
    return information


def joint_counts(first: IntArray, second: IntArray) -> IntArray:
    """How often two columns `[N]` of numbers from 0 take each pair of values: `[largest + 1, largest + 1]`."""
    if not first.size:
        return np.zeros((1, 1), dtype=np.int64)
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    return np.bincount(first * columns + second, minlength=rows * columns).reshape(rows, columns)


def _information(counts: IntArray) -> float:
    total = int(counts.sum())
    if not total:
        return 0.0
    rows, columns = np.nonzero(counts)
    cells = counts[rows, columns].astype(np.float64)
    of_rows, of_columns = counts.sum(axis=1).astype(np.float64), counts.sum(axis=0).astype(np.float64)
    # The quotient is exactly 1 where both are independent, as a difference of logarithms would not be.
    nats = float((cells * np.log(cells * total / (of_rows[rows] * of_columns[columns]))).sum() / total)
    return nats if nats > _ROUNDING else 0.0


def level_entropies(levels: IntArray) -> FloatArray:
    """The entropy `[F]` in nats of every column of `[N, F]` levels; negative ones are missing and do not count."""
    entropies = np.zeros(levels.shape[1])
    for factor in range(levels.shape[1]):
        present = levels[levels[:, factor] >= 0, factor]
        shares = np.unique(present, return_counts=True)[1] / max(1, present.size)
        entropies[factor] = -(shares * np.log(shares)).sum() if shares.size > 1 else 0.0
    return entropies
