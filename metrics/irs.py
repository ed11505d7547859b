"""The interventional robustness score (Suter et al., ICML 2019) as disentanglement_lib computes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray, about_codes, code_table, factor_labels, level_table, listed
from metrics.arrays import live_codes as varying_codes
from metrics.mutual_information import NUM_BINS, bin_codes
from metrics.results import MetricResult

DIFF_QUANTILE = 0.99


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IrsResult(MetricResult):
    """The score and what it is made of.

    Args:
        per_code: `[D]` the score of every code; NaN for codes that never change.
        robustness: `[D, F]` 1 less how far a code strays while a factor is kept, in units of its greatest deviation;
            NaN for codes that never change and factors left out.
        parents: `[D]` the factor that each code stands for; -1 for codes that never change.
        max_deviations: `[D]` the greatest deviation of every code from its mean, which is its weight in the score.
        num_active: how many codes change.
    """

    per_code: FloatArray
    robustness: FloatArray
    parents: IntArray
    max_deviations: FloatArray
    num_active: int


def dlib_irs(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    diff_quantile: float = DIFF_QUANTILE,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> IrsResult:
    """How little each code strays when the factor it stands for is kept and all others change.

    Images are grouped by the level of a factor (cut into bins of equal width). In each group the 0.99 quantile of the
    distances to the group's mean is taken; averaged over the groups and divided by the code's greatest deviation from
    its mean over all images, it is lost robustness. A code's score is that for its best factor; codes are weighted by
    their greatest deviation. Scaling all codes by one number changes nothing; scaling one changes its weight.

    Args:
        codes: `[N, D]` codes; the published protocol has N = 10,000.
        levels: `[N, F]` integers, the factors' levels; negative ones are missing and left out for that factor.
        num_bins: bins of equal width that the levels of each factor are cut into. Default: 20.
        diff_quantile: which quantile of the distances counts. Default: 0.99; the paper has 1, the greatest.
        factor_names: names of the factors, for messages.
        strict_reference: count factors of one level, as the released code does. By default they are left out: keeping
            them is no intervention.

    Returns:
        the score in [0, 1]; 0 if no code or no factor changes.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, codes are not finite, or an option is out of range.

    Source: Suter et al., Robustly Disentangled Causal Mechanisms, ICML 2019, section 4; Locatello et al., Challenging
    Common Assumptions, ICML 2019, `evaluation/metrics/irs.py`.
    """
    if not 0 <= diff_quantile <= 1:
        raise ValueError(f"diff_quantile must be between 0 and 1, not {diff_quantile}")
    table = code_table("codes", codes)
    columns = level_table("levels", levels, len(table))
    names = factor_labels(factor_names, columns.shape[1])
    degenerate = about_codes(table, "are left out")
    active = table.var(axis=0) > 0 if strict_reference else varying_codes(table)
    used = np.array([(column >= 0).any() for column in columns.T])
    if not strict_reference:
        used &= np.array([np.unique(column[column >= 0]).size > 1 for column in columns.T])
    if not used.all():
        degenerate += (f"factors of one level are left out: {listed([names[n] for n in np.flatnonzero(~used)])}",)
    if not active.any() or not used.any():
        degenerate += ("no code changes" if used.any() else "no factor varies, so no code can stand for one",)
        return _nothing(active, columns.shape[1], names, degenerate)
    values = table[:, active].astype(np.float64)
    greatest = np.abs(values - values.mean(axis=0)).max(axis=0)
    robustness = np.full((table.shape[1], columns.shape[1]), np.nan)
    for number in np.flatnonzero(used):
        present = columns[:, number] >= 0
        bins = bin_codes(columns[present, number, None], num_bins)[:, 0]
        lost = _mean_deviation(values[present], bins, diff_quantile) / greatest
        robustness[active, number] = 1 - lost
    return _result(robustness, active, used, greatest, names, degenerate)


def _mean_deviation(values: FloatArray, bins: IntArray, quantile: float) -> FloatArray:
    """`[D]`: the quantile of the distances to the mean of a bin, averaged over the bins that occur."""
    order = np.argsort(bins, kind="stable")
    groups = np.split(values[order], np.flatnonzero(np.diff(bins[order])) + 1)
    return np.asarray(
        np.mean([np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0) for group in groups], axis=0)
    )


def _result(
    robustness: FloatArray,
    active: BoolArray,
    used: BoolArray,
    greatest: FloatArray,
    names: tuple[str, ...],
    degenerate: tuple[str, ...],
) -> IrsResult:
    best = robustness[np.ix_(active, used)]
    per_code, weights = np.full(active.size, np.nan), np.zeros(active.size)
    parents = np.full(active.size, -1)
    per_code[active], weights[active] = best.max(axis=1), greatest
    parents[active] = np.flatnonzero(used)[best.argmax(axis=1)]
    for array in (robustness, per_code, weights, parents):
        array.setflags(write=False)
    return IrsResult(
        score=float(np.average(per_code[active], weights=greatest)),
        per_code=per_code,
        robustness=robustness,
        parents=parents,
        max_deviations=weights,
        num_active=int(active.sum()),
        degenerate=degenerate,
        factor_names=names,
    )


def _nothing(active: BoolArray, num_factors: int, names: tuple[str, ...], degenerate: tuple[str, ...]) -> IrsResult:
    """The result where nothing can be robust."""
    return IrsResult(
        score=0.0,
        per_code=np.full(active.size, np.nan),
        robustness=np.full((active.size, num_factors), np.nan),
        parents=np.full(active.size, -1),
        max_deviations=np.zeros(active.size),
        num_active=int(active.sum()),
        degenerate=degenerate,
        factor_names=names,
    )
