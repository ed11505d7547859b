"""dHSIC of the codes: how far they are from being independent of each other, as InfoGAN-CR measures it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray, about_codes, code_table, live_codes
from metrics.results import MetricResult

NUM_SAMPLES = 5000

_BLOCK_VALUES = 1 << 19
# A search among so many differences is left to a selection that has them all in memory.
_FEW_DIFFERENCES = 1 << 18


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DhsicResult(MetricResult):
    """The dependence, the three terms that it is the sum of, and the widths of the kernels.

    Args:
        joint: the mean over all pairs of images of the product of the codes' kernels.
        product: the product over the codes of their kernels' means.
        cross: minus twice the mean over the images of the product of their kernels' row means.
        bandwidths: `[D]` the median distance of two images in each code; NaN for codes that were left out.
    """

    joint: float
    product: float
    cross: float
    bandwidths: FloatArray


def dhsic(
    codes: npt.ArrayLike,
    *,
    num_samples: int | None = NUM_SAMPLES,
    seed: int = 0,
    strict_reference: bool = False,
) -> DhsicResult:
    """How far the codes are from independent of each other: 0 for independent codes, the lower the better.

    Each code has the kernel exp(-|x - y| / h^2), h being the median of |x - y| over all n^2 pairs of images, each with
    itself among them. (The released code has the distance where the cited paper has its square.) The score is the sum
    of three terms; sampling makes it differ from 0 by about 1e-3 even if the codes are independent. It is not invariant
    to the scale of the codes, because h has the unit of a code and the exponent has its inverse.

    Memory grows with n only: no matrix of pairs is ever formed.

    Args:
        codes: `[N, D]` codes.
        num_samples: at most so many rows are used, drawn without replacement. Default: 5,000; `None`: all.
        seed: which rows are drawn; any integer from 0 (the default).
        strict_reference: give NaN where the released code divides 0 by 0: for codes of which more than half of all
            pairs are equal, as in codes that never change. By default codes that never change are left out, and the
            kernel of the others is the limit for small h: 1 for equal values, else 0.

    Returns:
        the score with its terms; 0 if fewer than two codes change.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shape does not fit, codes are not finite, or `num_samples` is below 2.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py`, after Pfister et al., Kernel-based Tests for Joint
    Independence, JRSS B 80, 2018, equation 7.
    """
    table = code_table("codes", codes)
    if num_samples is not None and num_samples < 2:
        raise ValueError(f"num_samples must be 2 or more, or None for all rows; not {num_samples}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    notes: tuple[str, ...] = ()
    if num_samples is not None and len(table) > num_samples:
        table = table[np.random.default_rng(seed).choice(len(table), num_samples, replace=False)]
    elif num_samples is not None and len(table) < num_samples:
        notes = (f"all {len(table):,} images, where the published protocol has {num_samples:,}",)
    live = live_codes(table)
    bandwidths = np.full(live.size, np.nan)
    bandwidths[live] = [median_distance(column) for column in table[:, live].astype(np.float64).T]
    degenerate = about_codes(table, "are left out")
    if strict_reference and not (bandwidths > 0).all():
        degenerate += ("the reference divides 0 by 0 for codes of which most pairs are equal",)
        return _result((np.nan, np.nan, np.nan), bandwidths, degenerate, notes)
    if live.sum() < 2:
        degenerate += ("fewer than two codes change: there is nothing that they could depend on",)
    pointed = np.flatnonzero(bandwidths == 0)
    if pointed.size:
        degenerate += (f"of {pointed.size} codes most pairs are equal: their kernel tells only equal from unequal",)
    if not live.any():
        return _result((1.0, 1.0, -2.0), bandwidths, degenerate, notes)
    return _result(_terms(table[:, live].astype(np.float64), bandwidths[live]), bandwidths, degenerate, notes)


def _result(
    terms: tuple[float, float, float], bandwidths: FloatArray, degenerate: tuple[str, ...], notes: tuple[str, ...]
) -> DhsicResult:
    bandwidths.setflags(write=False)
    joint, product, cross = terms
    return DhsicResult(
        score=joint + product + cross,
        joint=joint,
        product=product,
        cross=cross,
        bandwidths=bandwidths,
        degenerate=degenerate,
        notes=notes,
    )


def _terms(codes: FloatArray, bandwidths: FloatArray) -> tuple[float, float, float]:
    """The three terms of `[n, D]` codes."""
    rows = len(codes)
    scaled = np.stack([_scaled(column, width**2) for column, width in zip(codes.T, bandwidths, strict=True)])
    row_means = np.stack([_row_means(column) for column in scaled])
    product = float(np.prod(row_means.mean(axis=1)))
    cross = -2 * float(np.prod(row_means, axis=0).mean())
    return (rows + 2 * _pair_sum(scaled)) / rows**2, product, cross


def _scaled(column: FloatArray, unit: float) -> FloatArray:
    """A code in such units that the kernel is exp(-distance)."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = (column - column.min()) / unit
    if np.isfinite(scaled).all():
        return scaled
    # The limit of small units: unequal values are so far apart that exp gives 0.
    return np.asarray(1e4 * np.unique(column, return_inverse=True)[1])


def _pair_sum(scaled: FloatArray) -> float:
    """The sum of exp(-city-block distance) over all pairs of two different columns of `[D, n]`.

    The product of the kernels is one exponential of the sum of the distances, and each pair is looked at once.
    """
    rows = scaled.shape[1]
    total = 0.0
    start = 0
    while start < rows:
        step = max(1, min(rows - start, _BLOCK_VALUES // (rows - start)))
        # Rows start.. of the block, columns start..: what lies below the diagonal is taken off again.
        distance = np.zeros((step, rows - start))
        difference = np.empty_like(distance)
        for column in scaled:
            np.subtract(column[start : start + step, None], column[start:], out=difference)
            np.abs(difference, out=difference)
            distance += difference
        np.negative(distance, out=distance)
        np.exp(distance, out=distance)
        square = distance[:, :step]
        total += float(distance[:, step:].sum()) + float(np.triu(square, 1).sum())
        start += step
    return total


def _row_means(column: FloatArray) -> FloatArray:
    """For each value `[n]` the mean of exp(-distance) to all values, in one sweep up and one down the sorted values."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    decay = np.exp(-np.diff(ordered))
    means = np.empty(column.size)
    means[order] = (_decaying_sums(decay) + _decaying_sums(decay[::-1])[::-1] - 1) / column.size
    return means


def _decaying_sums(decay: FloatArray) -> FloatArray:
    """s[0] = 1, s[i] = 1 + decay[i - 1] * s[i - 1]."""
    sums = np.empty(decay.size + 1)
    current = 1.0
    sums[0] = current
    for index, factor in enumerate(decay.tolist(), 1):
        current = 1.0 + factor * current
        sums[index] = current
    return sums


def median_distance(values: npt.ArrayLike) -> float:
    """The median of |a - b| over all n^2 ordered pairs of n values, each with itself among them.

    The pairs are counted, not formed: a search for the number that half of them do not exceed, each step of which
    counts the neighbors of all sorted values, until so few differences are left that they can be sorted.

    Args:
        values: `[n]` finite numbers.

    Returns:
        the median as numpy defines it: of an even number of pairs the mean of the middle two.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    pairs = int(counts.sum()) ** 2
    lower = _ordered_distance(distinct, counts, (pairs - 1) // 2)
    return lower if pairs % 2 else lower / 2 + _ordered_distance(distinct, counts, pairs // 2) / 2


def _ordered_distance(distinct: FloatArray, counts: IntArray, rank: int) -> float:
    """The distance with this number, from 0, among the sorted distances of all ordered pairs."""
    before = np.concatenate([[0], np.cumsum(counts)])

    def reach(distance: float) -> IntArray:
        """For each value the number of distinct values up to this distance above it."""
        return np.searchsorted(distinct, distinct + distance, side="right")

    def ranked(ends: IntArray) -> int:
        """How many ordered pairs that is, both ways and each value with its equals."""
        above = before[ends] - before[1:]
        return int(2 * (counts * above).sum() + (counts**2).sum())

    low, high = 0.0, float(distinct[-1] - distinct[0])
    low_ends, high_ends = np.arange(1, distinct.size + 1), np.full(distinct.size, distinct.size)
    if rank < ranked(low_ends):
        return 0.0
    while int((high_ends - low_ends).sum()) > _FEW_DIFFERENCES:
        middle = low + (high - low) / 2
        if not low < middle < high:
            return high
        ends = reach(middle)
        if rank < ranked(ends):
            high, high_ends = middle, ends
        else:
            low, low_ends = middle, ends
    number = high_ends - low_ends
    first = np.repeat(np.arange(distinct.size), number)
    second = np.arange(first.size) - np.repeat(np.cumsum(number) - number, number) + np.repeat(low_ends, number)
    distance = distinct[second] - distinct[first]
    order = np.argsort(distance)
    passed = ranked(low_ends) + np.cumsum(2 * (counts[first] * counts[second])[order])
    return float(distance[order[np.searchsorted(passed, rank, side="right")]])
