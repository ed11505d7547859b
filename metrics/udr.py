"""Unsupervised disentanglement ranking (Duan et al., ICLR 2020) as disentanglement_lib computes it.

Models that were trained alike are compared with each other on the same images: those that find the same codes, up to
order and sign, as many others are taken to be disentangled. No factors are needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray, code_table, listed, live_codes, model_labels, population_std
from metrics.lasso import Products, lasso
from metrics.results import MetricResult

ALPHA = 0.1
KL_THRESHOLD = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class UdrResult(MetricResult):
    """A score for each of n models; `score` is that of the best.

    Args:
        model_scores: `[n]` median similarity to the other models.
        ranking: `[n]` numbers of the models, the best first; of equals the first first.
        similarity: `[n, n]` how similarly models i and j represent images, the codes of j being explained by those of
            i; NaN on the diagonal.
        active_codes: how many codes of each model took part.
        names: of the models.
    """

    model_scores: FloatArray
    ranking: IntArray
    similarity: FloatArray
    active_codes: tuple[int, ...]
    names: tuple[str, ...]


def dlib_udr_lasso(
    codes: Sequence[npt.ArrayLike],
    *,
    kl: Sequence[npt.ArrayLike] | None = None,
    active: Sequence[npt.ArrayLike] | None = None,
    kl_threshold: float = KL_THRESHOLD,
    names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> UdrResult:
    """Ranks models by how sparsely their codes explain each other's, in Lasso regressions.

    For every ordered pair of models the codes of one, standardized, predict those of the other with a Lasso of penalty
    0.1. The sizes of the coefficients make a matrix; of each row and each column the greatest squared, divided by the
    sum, is its strength, and the mean strength of rows and of columns, averaged, the similarity. A model's score is the
    median of the similarities in which its codes are predicted.

    Args:
        codes: for each of two or more models `[N, D]` codes of the same images; D may differ.
        kl: for each model `[D]` nats by which a code's posterior differs from the prior, averaged over images; codes of
            at most `kl_threshold` are inactive and left out.
        active: for each model `[D]` bools instead. With neither, codes that change at all are active.
        kl_threshold: nats. Default: 0.01.
        names: of the models. Default: `model 0`, `model 1` and so on.
        strict_reference: give NaN where the released code stops with an error: for models without active codes. By
            default they are similar to no other: 0.

    Returns:
        the scores of all models, and the ranking.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if there are fewer than two models, the shapes do not fit, or codes are not finite.

    Source: Duan et al., Unsupervised Model Selection for Variational Disentangled Representation Learning, ICLR 2020,
    section 4; `evaluation/udr/metrics/udr.py` of disentanglement_lib.
    """
    return _udr("lasso", codes, kl, active, kl_threshold, names, strict_reference)


def dlib_udr_spearman(
    codes: Sequence[npt.ArrayLike],
    *,
    kl: Sequence[npt.ArrayLike] | None = None,
    active: Sequence[npt.ArrayLike] | None = None,
    kl_threshold: float = KL_THRESHOLD,
    names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> UdrResult:
    """Ranks models by Spearman's rank correlations of their codes; all else is as in `dlib_udr_lasso`."""
    return _udr("spearman", codes, kl, active, kl_threshold, names, strict_reference)


def relative_strength(matrix: npt.ArrayLike) -> float:
    """How near a matrix of correlation sizes is to one match for each row and each column.

    Args:
        matrix: `[A, B]` numbers from 0.

    Returns:
        the mean over the columns of (greatest^2 / sum), and the same over the rows, averaged. A row or column of zeros
        counts 0; so does a matrix without entries.
    """
    table = np.asarray(matrix, dtype=np.float64)
    if table.size == 0:
        return 0.0

    def along(axis: int) -> float:
        whole = table.sum(axis=axis)
        return float(np.divide(table.max(axis=axis) ** 2, whole, out=np.zeros_like(whole), where=whole > 0).mean())

    return (along(0) + along(1)) / 2


def _udr(
    method: Literal["lasso", "spearman"],
    codes: Sequence[npt.ArrayLike],
    kl: Sequence[npt.ArrayLike] | None,
    active: Sequence[npt.ArrayLike] | None,
    kl_threshold: float,
    names: Sequence[str] | None,
    strict: bool,
) -> UdrResult:
    tables = [code_table(f"codes of model {number}", table) for number, table in enumerate(codes)]
    count = len(tables)
    if count < 2:
        raise ValueError(f"models are compared with each other: give the codes of two or more, not of {count}")
    if len({len(table) for table in tables}) > 1:
        raise ValueError(f"all models must encode the same images; they have {[len(table) for table in tables]} rows")
    labels = model_labels(names, count)
    masks = _active_masks(tables, kl, active, kl_threshold)
    kept = [
        _standardized(table[:, mask], ranks=method == "spearman") for table, mask in zip(tables, masks, strict=True)
    ]
    similarity = np.full((count, count), np.nan)
    for first in range(count):
        others = [number for number in range(count) if number != first]
        matrices = _strengths(method, kept[first], [kept[number] for number in others])
        for second, matrix in zip(others, matrices, strict=True):
            similarity[first, second] = relative_strength(matrix)
    notes = ("no divergences are given: codes that change are active",) if kl is None and active is None else ()
    asleep = np.flatnonzero([table.shape[1] == 0 for table in kept])
    degenerate: tuple[str, ...] = ()
    if asleep.size:
        degenerate = (f"without active codes: {listed([labels[number] for number in asleep])}",)
        if strict:
            degenerate += ("the reference stops with an error",)
            similarity[asleep] = similarity[:, asleep] = np.nan
    column = [np.delete(similarity[:, number], number) for number in range(count)]
    scores = np.array([np.median(part) for part in column])
    ranking = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    for array in (scores, ranking, similarity):
        array.setflags(write=False)
    return UdrResult(
        score=float(scores[ranking[0]]),
        model_scores=scores,
        ranking=ranking,
        similarity=similarity,
        active_codes=tuple(table.shape[1] for table in kept),
        names=labels,
        degenerate=degenerate,
        notes=notes,
    )


def _active_masks(
    tables: list[np.ndarray],
    kl: Sequence[npt.ArrayLike] | None,
    active: Sequence[npt.ArrayLike] | None,
    kl_threshold: float,
) -> list[BoolArray]:
    """Which codes of each model take part; those that never change do not, whatever is said of them."""
    if kl is not None and active is not None:
        raise ValueError("give kl or active, not both")
    given = kl if kl is not None else active
    if given is None:
        return [live_codes(table) for table in tables]
    if len(given) != len(tables):
        raise ValueError(f"there are {len(tables)} models and {len(given)} entries that say which codes are active")
    masks = []
    for number, (table, entry) in enumerate(zip(tables, given, strict=True)):
        array = np.asarray(entry)
        if array.shape != (table.shape[1],):
            raise ValueError(f"model {number} has {table.shape[1]} codes; what says which are active: {array.shape}")
        mask = array > kl_threshold if kl is not None else array.astype(bool)
        masks.append(mask & live_codes(table))
    return masks


def _standardized(table: np.ndarray, ranks: bool) -> FloatArray:
    """Columns `[N, A]`, or their ranks, of mean 0 and variance 1."""
    if table.shape[1] == 0:
        return table.astype(np.float64)
    values = table.astype(np.float64)
    if ranks:
        from scipy.stats import rankdata

        values = rankdata(values, axis=0)
    return np.asarray((values - values.mean(axis=0)) / population_std(values))


def _strengths(method: str, inputs: FloatArray, others: list[FloatArray]) -> list[FloatArray]:
    """`[A, B]` for each of the others: how strongly each input goes with each of their codes."""
    targets = np.concatenate(others, axis=1)
    if inputs.shape[1] == 0 or targets.shape[1] == 0:
        sizes = np.zeros((inputs.shape[1], targets.shape[1]))
    elif method == "lasso":
        sizes = np.abs(lasso(Products.of(inputs, targets), ALPHA)[0])
    else:
        sizes = np.abs(inputs.T @ targets) / len(inputs)
    return np.split(sizes, np.cumsum([other.shape[1] for other in others])[:-1], axis=1)
