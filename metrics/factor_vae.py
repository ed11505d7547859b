"""The FactorVAE metric (Kim and Mnih, ICML 2018) in the two protocols that the suite's papers use.

All images of a group share one factor's value. The code that varies least within the group, measured in units of its
spread over the data, votes for that factor; the score is the accuracy of the majority vote on those same votes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray, integer_labels, population_std, real_array
from metrics.results import MetricResult

_CHUNK_VALUES = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FactorVaeResult(MetricResult):
    """Scores of the FactorVAE metric and the votes behind them.

    Args:
        revised: the score if only as many codes may vote as there are labels (those with the most right votes).
        score_as_released: what the released code of the protocol prints for these codes. It differs from `score`
            only if a code is dead: there the released code divides 0 by 0 and gives every vote to that code.
        votes: `[D, K]` int64, how often code d varied least in a group with label k.
        labels: the K labels, in the order of the columns of `votes`.
        active_codes: the codes that took part.
        decisions: per code the label that it stands for; `None` if it got no vote.
    """

    revised: float
    score_as_released: float
    votes: IntArray
    labels: tuple[int, ...]
    active_codes: tuple[int, ...]
    decisions: tuple[int | None, ...]


def factor_vae(
    group_codes: npt.ArrayLike,
    group_labels: npt.ArrayLike,
    code_std: npt.ArrayLike,
    num_factors: int | None = None,
) -> FactorVaeResult:
    """The FactorVAE metric as InfoGAN-CR measures it.

    Per group the population standard deviation of every code is divided by that code's over the data; the smallest
    quotient votes. Nothing is held out. Codes whose `code_std` is 0 cannot vote and are reported. If all are dead,
    the score is that of always guessing the most frequent label, and `votes` is empty.

    Args:
        group_codes: `[M, L, D]` codes of M groups of L >= 2 images.
        group_labels: `[M]` integers, the factor that is fixed in each group.
        code_std: `[D]` population standard deviation of every code over random images.
        num_factors: K, if the labels are known to be 0..K-1; by default K is the number of distinct labels.

    Returns:
        the scores in [0, 1], with the votes.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a value is not finite, or a label is outside 0..K-1.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py` of the released code.
    """
    groups, labels, columns = _checked_groups(group_codes, group_labels, num_factors)
    spread = _checked_spread(code_std, groups.shape[2])
    active = spread > 0
    degenerate = _about_dead_codes(active, "never change over the data (standard deviation 0)")
    result = _majority_vote(groups, labels, columns, spread, active, degenerate)
    if active.all():
        return result
    return dataclasses.replace(result, score_as_released=_guess_score(labels))


def ibgan_factor_vae(
    group_codes: npt.ArrayLike,
    group_labels: npt.ArrayLike,
    code_std: npt.ArrayLike | None = None,
    variance_cut: float = 0.05,
) -> FactorVaeResult:
    """The FactorVAE metric as IB-GAN's evaluator measures it.

    It differs from `factor_vae` in that collapsed codes, those with a variance below `variance_cut`, cannot vote, and
    in that the spread of a code is taken over the groups' own images. If all codes are collapsed, the score is that
    of always guessing the most frequent label. The cut is absolute: multiplying codes by a constant changes the score.

    Args:
        group_codes: `[M, L, D]` codes of M groups of L >= 2 images.
        group_labels: `[M]` integers, the factor that is fixed in each group.
        code_std: `[D]` standard deviation of every code over ALL evaluation images; by default it is computed from
            `group_codes`.
        variance_cut: codes with a smaller variance are collapsed, default 0.05.

    Returns:
        the scores in [0, 1], with the votes.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a value is not finite, or the cut is negative.

    Source: Jeon et al., IB-GAN, AAAI 2021, `evaluator.py` of the authors' code.
    """
    if not (np.isfinite(variance_cut) and variance_cut >= 0):
        raise ValueError(f"variance_cut must be 0 or more, not {variance_cut}")
    groups, labels, columns = _checked_groups(group_codes, group_labels, None)
    size = groups.shape[2]
    spread = population_std(groups.reshape(-1, size)) if code_std is None else _checked_spread(code_std, size)
    active = (spread > 0) & (spread**2 >= variance_cut)
    degenerate = _about_dead_codes(active, f"are collapsed (variance below {variance_cut:g})")
    return _majority_vote(groups, labels, columns, spread, active, degenerate)


def _checked_groups(
    group_codes: npt.ArrayLike, group_labels: npt.ArrayLike, num_factors: int | None
) -> tuple[np.ndarray, IntArray, IntArray]:
    """The groups, their labels, and the labels that the columns of the votes stand for."""
    groups = real_array("group_codes", group_codes, 3)
    if groups.shape[1] < 2:
        raise ValueError(f"group_codes must have two images or more in a group; its shape is {groups.shape}")
    labels = integer_labels("group_labels", group_labels, groups.shape[0])
    if num_factors is None:
        return groups, labels, np.unique(labels)
    if num_factors < 1:
        raise ValueError(f"num_factors must be 1 or more, not {num_factors}")
    if labels.min() < 0 or labels.max() >= num_factors:
        raise ValueError(f"group_labels must lie in 0..{num_factors - 1}; they span {labels.min()}..{labels.max()}")
    return groups, labels, np.arange(num_factors)


def _checked_spread(code_std: npt.ArrayLike, size: int) -> FloatArray:
    spread = real_array("code_std", code_std, 1).astype(np.float64)
    if spread.shape != (size,):
        raise ValueError(f"code_std must have one value for each of the {size} codes; its shape is {spread.shape}")
    if (spread < 0).any():
        raise ValueError("code_std must not be negative")
    return spread


def _about_dead_codes(active: npt.NDArray[np.bool_], what: str) -> tuple[str, ...]:
    """Says which codes cannot vote, in ranges of at most a dozen numbers."""
    dead = np.flatnonzero(~active)
    if not dead.size:
        return ()
    listed = ", ".join(str(code) for code in dead[:12]) + (", ..." if dead.size > 12 else "")
    message = f"{dead.size} of {active.size} codes {what} and cannot vote: {listed}"
    if dead.size < active.size:
        return (message,)
    return (message, "no code can vote: the score is that of always guessing the most frequent label")


def _majority_vote(
    groups: np.ndarray,
    labels: IntArray,
    columns: IntArray,
    spread: FloatArray,
    active: npt.NDArray[np.bool_],
    degenerate: tuple[str, ...],
) -> FactorVaeResult:
    """Counts which code varies least in each group and scores the majority vote."""
    columns_of = np.searchsorted(columns, labels)
    counts = np.bincount(columns_of, minlength=columns.size)
    if not counts.all():
        missing = ", ".join(str(label) for label in columns[counts == 0])
        degenerate += (f"no group has the label {missing}",)
    if columns.size == 1:
        degenerate += ("all groups have the same label, which any representation gets right",)
    votes = np.zeros((groups.shape[2], columns.size), dtype=np.int64)
    if active.any():
        winners = np.flatnonzero(active)[_least_varying(groups[:, :, active], spread[active])]
        np.add.at(votes, (winners, columns_of), 1)
        right = votes.max(axis=1)
        score = float(right.sum() / labels.size)
        revised = float(np.sort(right)[::-1][: columns.size].sum() / labels.size)
    else:
        score = revised = _guess_score(labels)
    votes.setflags(write=False)
    decided = votes.argmax(axis=1)
    return FactorVaeResult(
        score=score,
        revised=revised,
        score_as_released=score,
        votes=votes,
        labels=tuple(columns.tolist()),
        active_codes=tuple(np.flatnonzero(active).tolist()),
        decisions=tuple(
            int(columns[column]) if row.any() else None for row, column in zip(votes, decided, strict=True)
        ),
        degenerate=degenerate,
    )


def _least_varying(groups: np.ndarray, spread: FloatArray) -> IntArray:
    """Per group the code with the smallest variance in units of its spread; the first of equals."""
    winners = np.empty(groups.shape[0], dtype=np.int64)
    step = max(1, _CHUNK_VALUES // (groups.shape[1] * groups.shape[2]))
    for start in range(0, groups.shape[0], step):
        chunk = groups[start : start + step].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            # Centred on the group's first image, so that a code that is constant in it has a variance of exactly 0.
            variance = ((chunk - chunk[:, :1]) / spread).var(axis=1)
        # A quotient beyond double precision is the opposite of small, and argmin would choose a NaN.
        winners[start : start + step] = np.where(np.isnan(variance), np.inf, variance).argmin(axis=1)
    return winners


def _guess_score(labels: IntArray) -> float:
    """The accuracy of always guessing the most frequent label."""
    return float(np.unique(labels, return_counts=True)[1].max() / labels.size)
