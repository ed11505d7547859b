"""Explicitness (Ridgeway and Mozer, NeurIPS 2018) in the protocols of InfoGAN-CR and disentanglement_lib."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from metrics import logistic
from metrics.arrays import (
    FloatArray,
    IntArray,
    about_codes,
    code_table,
    factor_labels,
    level_table,
    listed,
    live_codes,
    split_tables,
)
from metrics.results import MetricResult

_Model = logistic.LogisticRegression | logistic.SoftmaxRegression


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExplicitnessResult(MetricResult):
    """Areas under ROC curves.

    Args:
        per_factor: `[F]` mean area over the factor's levels; NaN for a factor that was left out. They are those that
            `score` is the mean of.
        train: the mean area on the images that the classifiers were fitted to.
    """

    per_factor: FloatArray
    train: float


@dataclasses.dataclass(frozen=True)
class _Area:
    """The mean area of one factor on both sets, or why there is none."""

    train: float = float("nan")
    test: float = float("nan")
    remarks: tuple[str, ...] = ()


def explicitness(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    *,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> ExplicitnessResult:
    """How well a logistic regression tells a factor's levels from the codes: InfoGAN-CR's protocol.

    The codes are not standardized and nothing is held out. A chance representation has 0.5, which is not rescaled. The
    search stops where liblinear stops, so numbers agree with scikit-learn's liblinear, one classifier against the rest,
    to what rounding makes of ill-conditioned codes: with codes whose spreads differ by factors of a hundred liblinear
    itself moves by some 1e-5 when the rows are put in another order.

    Args:
        codes: `[N, D]` codes.
        levels: `[N, F]` integers, the factors' levels; negative ones are missing and left out for that factor.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code stops with an error: at a factor of one level. By default
            such factors are left out.

    Returns:
        the score in [0, 1]; 0.5 if no factor varies.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Ridgeway and Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss, NeurIPS 2018,
    section 3; Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py`.
    """
    table = code_table("codes", codes)
    columns = level_table("levels", levels, len(table))
    values = table.astype(np.float64)
    areas = [_area(logistic.fit, values, column, None, None) for column in columns.T]
    return _result(areas, "train", about_codes(table), factor_labels(factor_names, columns.shape[1]), strict_reference)


def dlib_explicitness(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_levels: npt.ArrayLike,
    *,
    softmax: bool = False,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> ExplicitnessResult:
    """Explicitness as disentanglement_lib computes it: standardized codes, and a score on images held out.

    The codes of both sets are brought to mean 0 and standard deviation 1 of the training set; codes that never change
    become 0, where the released code divides 0 by 0. The classifier is liblinear's, one against the rest, as in the
    versions of scikit-learn that the published numbers were made with (0.21 and older); with newer ones the released
    code takes softmax regression and gives up to several hundredths more.

    Args:
        codes: `[N, D]` codes to fit to; the published protocol has N = 10,000.
        levels: `[N, F]` integers, their factors' levels; negative ones are missing and left out for that factor.
        test_codes: `[T, D]` codes held out; the published protocol has T = 5,000.
        test_levels: `[T, F]` their levels.
        softmax: take softmax regression, as the released code does with scikit-learn 0.22 and later. Default: False.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code gives none: codes that never change, factors of one level.

    Returns:
        the score on the images held out, in [0, 1]; `train` is that on the others.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019,
    `evaluation/metrics/modularity_explicitness.py`.
    """
    table, columns, held_out, test_columns = split_tables(codes, levels, test_codes, test_levels)
    live = live_codes(table)
    # In the precision of the codes, as the released code has it.
    mean, spread = table.mean(axis=0), np.where(live, table.std(axis=0), 1)
    spread = np.where(spread > 0, spread, 1)
    train = ((table - mean) / spread * live).astype(np.float64)
    test = ((held_out - mean) / spread * live).astype(np.float64)
    fit = logistic.fit_softmax if softmax else logistic.fit
    areas = [_area(fit, train, column, test, other) for column, other in zip(columns.T, test_columns.T, strict=True)]
    names = factor_labels(factor_names, columns.shape[1])
    return _result(areas, "test", about_codes(table, "are set to 0"), names, strict_reference, live.all())


def _area(
    fit: Callable[[FloatArray, IntArray, int], _Model],
    codes: FloatArray,
    levels: IntArray,
    test_codes: FloatArray | None,
    test_levels: IntArray | None,
) -> _Area:
    """The mean area over the levels of one factor."""
    present = levels >= 0
    found, classes = np.unique(levels[present], return_inverse=True)
    if found.size < 2:
        return _Area(remarks=("has one level",))
    model = fit(codes[present], classes, found.size)
    train = _mean_area(model, codes[present], levels[present], found)[0]
    if test_codes is None or test_levels is None:
        return _Area(train)
    kept = test_levels >= 0
    if not np.isin(test_levels[kept], found).any():
        return _Area(train, remarks=("has no level in the test set that is in the training set",))
    test, left_out = _mean_area(model, test_codes[kept], test_levels[kept], found)
    remarks: tuple[str, ...] = ()
    if left_out:
        remarks = (f"has {left_out} of {found.size} levels that the test set does not show, or shows alone",)
    if not np.isin(test_levels[kept], found).all():
        remarks += ("has levels in the test set that the training set does not show",)
    return _Area(train, test, remarks)


def _mean_area(model: _Model, codes: FloatArray, levels: IntArray, found: IntArray) -> tuple[float, int]:
    """The mean over the levels that both occur and do not occur alone, and how many were left out."""
    chances = model.probabilities(codes)
    areas = np.array(
        [logistic.area_under_curve(scores, levels == level) for scores, level in zip(chances, found, strict=True)]
    )
    defined = ~np.isnan(areas)
    return float(areas[defined].mean()) if defined.any() else float("nan"), int((~defined).sum())


def _result(
    areas: list[_Area],
    chosen: str,
    degenerate: tuple[str, ...],
    names: tuple[str, ...],
    strict_reference: bool,
    live: bool | np.bool_ = True,
) -> ExplicitnessResult:
    per_factor = np.array([getattr(area, chosen) for area in areas])
    remarks = [(name, remark) for name, area in zip(names, areas, strict=True) for remark in area.remarks]
    defined = ~np.isnan(per_factor)
    for remark in dict.fromkeys(remark for _, remark in remarks):
        about = listed([name for name, other in remarks if other == remark])
        degenerate += (f"{about}: {remark}",)
    score = float(per_factor[defined].mean()) if defined.any() else 0.5
    if not defined.any():
        degenerate += ("no factor can be told: the score is that of a guess",)
    elif not defined.all():
        degenerate += (f"factors without a score are left out: {listed(np.array(names)[~defined])}",)
    if strict_reference and (remarks or not live):
        score = float("nan")
        degenerate += ("the released code gives no number here: strict_reference",)
    train = np.array([area.train for area in areas])
    known = train[~np.isnan(train)]
    return ExplicitnessResult(
        score=score,
        per_factor=per_factor,
        train=float(known.mean()) if known.size else 0.5,
        degenerate=degenerate,
        factor_names=names,
    )
