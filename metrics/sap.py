"""The SAP score (Kumar et al., ICLR 2018) in the protocols of InfoGAN-CR and disentanglement_lib."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metrics import svm
from metrics.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    about_codes,
    code_table,
    factor_labels,
    factor_table,
    listed,
    live_codes,
    split_tables,
)
from metrics.results import MetricResult

_DEAD_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SapResult(MetricResult):
    """The gaps and what they are gaps of.

    Args:
        per_factor: `[F]` difference of the two best codes; NaN for a factor that was left out.
        prediction: `[D, F]` how well each code alone predicts each factor: squared correlation or accuracy; NaN for a
            code that was left out.
        discrete: `[F]` for which factors it is the accuracy of a classifier.
    """

    per_factor: FloatArray
    prediction: FloatArray
    discrete: BoolArray


def sap(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    discrete: Sequence[bool] | BoolArray,
    *,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> SapResult:
    """How much better the best code predicts a factor than the second best, averaged over the factors: InfoGAN-CR's.

    A quantity is predicted by a line, and its squared Pearson correlation counts; a category by a linear support vector
    machine with balanced classes, and its accuracy on the same images counts. The correlation depends neither on the
    codes' scale nor on where their 0 is; the machine depends on both, because weight and intercept are penalized.

    Args:
        codes: `[N, D]` codes.
        factors: `[N, F]` numbers; NaN is a missing cell, left out for that factor.
        discrete: `[F]` which factors are categories.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code divides 0 by 0, as it does for a code that never changes. By
            default such codes are left out, as are factors of one value.

    Returns:
        the score in [0, 1] with its parts; 0 if nothing varies. If only one code is left, the second best is what is
        told without codes: correlation 0, or the share of the most frequent category.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Kumar et al., Variational Inference of Disentangled Latent Concepts, ICLR 2018, section 3; Lin et al.,
    InfoGAN-CR, ICML 2020, `gan/metric.py`. The support vector machine is brought to its exact optimum.
    """
    table = code_table("codes", codes)
    values = factor_table("factors", factors, len(table))
    kinds = np.asarray(discrete, dtype=bool)
    if kinds.shape != (values.shape[1],):
        raise ValueError(f"discrete has the shape {kinds.shape}; give one of True and False for each factor")
    live = live_codes(table)
    prediction = np.full((table.shape[1], values.shape[1]), np.nan)
    for factor, is_category in enumerate(kinds):
        present = ~np.isnan(values[:, factor])
        target = values[present, factor]
        if is_category:
            classes = np.unique(target, return_inverse=True)[1]
            for code in np.flatnonzero(live):
                column = table[present, code]
                prediction[code, factor] = _accuracy(column, classes, column, classes)
        else:
            prediction[live, factor] = _squared_correlations(table[present][:, live], target)
    floors = np.array([_floor(column, kind) for column, kind in zip(values.T, kinds, strict=True)])
    names = factor_labels(factor_names, values.shape[1])
    degenerate = about_codes(table, "are left out")
    return _result(prediction, kinds, floors, names, degenerate, strict_reference, not live.all())


def dlib_sap(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_levels: npt.ArrayLike,
    *,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> SapResult:
    """The SAP score as disentanglement_lib publishes it: all factors are categories, accuracy on images held out.

    Codes that never change take part: their classifier names one level always, as in the released code.

    Args:
        codes: `[N, D]` codes to fit to; the published protocol has N = 10,000.
        levels: `[N, F]` integers, their factors' levels; negative ones are missing and left out for that factor.
        test_codes: `[T, D]` codes held out; the published protocol has T = 5,000.
        test_levels: `[T, F]` their levels.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code stops with an error: factors of one level, a single code.

    Returns:
        the score in [0, 1] with its parts.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019, `evaluation/metrics/sap_score.py` with
    `continuous_factors = False`.
    """
    table, columns, held_out, test_columns = split_tables(codes, levels, test_codes, test_levels)
    prediction = np.full((table.shape[1], columns.shape[1]), np.nan)
    floors = np.zeros(columns.shape[1])
    for factor in range(columns.shape[1]):
        present, test_present = columns[:, factor] >= 0, test_columns[:, factor] >= 0
        found, classes = np.unique(columns[present, factor], return_inverse=True)
        # A level that the training set does not show is not predicted by anything.
        known = {int(level): number for number, level in enumerate(found)}
        test_classes = np.array([known.get(int(level), -1) for level in test_columns[test_present, factor]], np.int64)
        if found.size < 2 or not test_classes.size:
            floors[factor] = np.nan
            continue
        floors[factor] = (test_classes == np.bincount(classes).argmax()).mean()
        for code in range(table.shape[1]):
            train, test = table[present, code], held_out[test_present, code]
            prediction[code, factor] = _accuracy(train, classes, test, test_classes)
    names = factor_labels(factor_names, columns.shape[1])
    kinds = np.full(columns.shape[1], True)
    degenerate = about_codes(table, "predict one level always")
    return _result(prediction, kinds, floors, names, degenerate, strict_reference, False)


def dlib_sap_continuous(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> SapResult:
    """The SAP score of disentanglement_lib with all factors as quantities: squared correlations on one set of images.

    Codes with a variance of at most 1e-12 count 0, as in the released code.

    Args:
        codes: `[N, D]` codes; the published protocol has N = 10,000.
        factors: `[N, F]` numbers; NaN is a missing cell, left out for that factor.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code gives no number: factors of one value, a single code.

    Returns:
        the score in [0, 1] with its parts.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019, `evaluation/metrics/sap_score.py` with
    `continuous_factors = True`.
    """
    table = code_table("codes", codes)
    values = factor_table("factors", factors, len(table))
    prediction = np.zeros((table.shape[1], values.shape[1]))
    for factor, column in enumerate(values.T):
        present = ~np.isnan(column)
        kept = table[present].astype(np.float64)
        counted = kept.var(axis=0, ddof=1) > _DEAD_VARIANCE if len(kept) > 1 else np.full(table.shape[1], False)
        prediction[counted, factor] = _squared_correlations(table[present][:, counted], column[present])
    degenerate = about_codes(table, "count 0, as in disentanglement_lib")
    floors = np.array([_floor(column, False) for column in values.T])
    names = factor_labels(factor_names, values.shape[1])
    kinds = np.full(values.shape[1], False)
    return _result(prediction, kinds, floors, names, degenerate, strict_reference, False)


def _squared_correlations(codes: np.ndarray, target: FloatArray) -> FloatArray:
    """The squared Pearson correlation of every column of `[N, D]` with the target; NaN if the target is constant."""
    if not target.size or target.max() == target.min():
        return np.full(codes.shape[1], np.nan)
    # Differences from the first row, divided by the largest: equal values give 0, large and small ones no overflow.
    offsets = codes.astype(np.float64) - codes[0].astype(np.float64)
    extent = np.abs(offsets).max(axis=0, initial=0.0)
    offsets /= np.where(extent > 0, extent, 1.0)
    centred = offsets - offsets.mean(axis=0)
    wanted = (target - target[0]) / np.abs(target - target[0]).max()
    wanted = wanted - wanted.mean()
    square = (centred * centred).sum(axis=0) * (wanted @ wanted)
    result: FloatArray = (wanted @ centred) ** 2 / np.where(square > 0, square, 1.0)
    return result


def _accuracy(train: np.ndarray, classes: IntArray, test: np.ndarray, test_classes: IntArray) -> float:
    """How often a support vector machine on one code names the right level; NaN if there are not two levels."""
    count = int(classes.max(initial=-1)) + 1
    if count < 2:
        return float("nan")
    return float((svm.fit(train, classes, count).predict(test) == test_classes).mean())


def _floor(column: FloatArray, is_category: bool) -> float:
    """What is predicted of a factor without any code; NaN if it does not vary."""
    counts = np.unique(column[~np.isnan(column)], return_counts=True)[1]
    if counts.size < 2:
        return float("nan")
    return float(counts.max() / counts.sum()) if is_category else 0.0


def _result(
    prediction: FloatArray,
    discrete: BoolArray,
    floors: FloatArray,
    names: tuple[str, ...],
    degenerate: tuple[str, ...],
    strict_reference: bool,
    undefined: bool,
) -> SapResult:
    """The mean gap.

    Args:
        prediction: `[D, F]`, NaN for codes that are left out.
        discrete: `[F]` which factors are categories.
        floors: `[F]` what is predicted without codes, NaN for factors that are left out.
        names: of the factors.
        degenerate: what is known so far.
        strict_reference: whether to give what the released code gives.
        undefined: whether the released code gives no number.
    """
    varying = ~np.isnan(floors)
    if not varying.all():
        degenerate += (f"factors of one value are left out: {listed(np.array(names)[~varying])}",)
    kept = prediction[~np.isnan(prediction).all(axis=1)] if varying.any() else prediction[:0]
    if len(kept) < 2 and varying.any():
        number = "no code" if not len(kept) else "one code only"
        degenerate += (f"{number} takes part: what is told without codes stands in for the missing",)
    ordered = np.sort(np.concatenate([np.tile(floors, (max(0, 2 - len(kept)), 1)), kept]), axis=0)
    gaps = ordered[-1] - ordered[-2] if len(kept) > 1 else ordered[-1] - floors
    per_factor = np.where(varying, gaps, np.nan)
    score = float(per_factor[varying].mean()) if varying.any() else 0.0
    if not varying.any():
        degenerate += ("no factor varies, so there is nothing to predict",)
    if strict_reference and (undefined or not varying.all() or len(prediction) < 2):
        score = float("nan")
        degenerate += ("the released code gives no number here: strict_reference",)
    prediction.setflags(write=False)
    return SapResult(
        score=score,
        per_factor=per_factor,
        prediction=prediction,
        discrete=discrete,
        degenerate=degenerate,
        factor_names=names,
    )
