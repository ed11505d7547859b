"""The FactorVAE metric (Kim and Mnih, ICML 2018) in the protocols of InfoGAN-CR, IB-GAN and disentanglement_lib.

All images of a group share one factor's value. The code that varies least within the group, measured in units of its
spread over the data, votes for that factor; the score is the accuracy of the majority vote, in disentanglement_lib on
votes held out, elsewhere on the same votes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray, integer_labels, listed, population_std, real_array
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
    strict_reference: bool = False,
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
        strict_reference: give every vote to the first dead code, as the released code does.

    Returns:
        the scores in [0, 1], with the votes.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a value is not finite, or a label is outside 0..K-1.

    Source: Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py` of the released code.
    """
    groups, labels, columns = checked_groups(group_codes, group_labels, num_factors)
    spread = _checked_spread(code_std, groups.shape[2])
    active = spread > 0
    degenerate = _about_dead_codes(active, "never change over the data (standard deviation 0)")
    result = _majority_vote(groups, labels, columns, spread, active, degenerate)
    if active.all():
        return result
    released = _guess_score(labels)
    result = dataclasses.replace(result, score_as_released=released)
    if not strict_reference:
        return result
    votes = np.zeros_like(result.votes)
    dead = int(np.flatnonzero(~active)[0])
    votes[dead] = np.bincount(np.searchsorted(columns, labels), minlength=columns.size)
    decisions = [None] * len(votes)
    return dataclasses.replace(
        result,
        score=released,
        revised=released,
        votes=votes,
        decisions=(*decisions[:dead], int(columns[votes[dead].argmax()]), *decisions[dead + 1 :]),
        degenerate=(*degenerate, f"code {dead} gets every vote, as in the released code: strict_reference"),
    )


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
    groups, labels, columns = checked_groups(group_codes, group_labels, None)
    size = groups.shape[2]
    spread = population_std(groups.reshape(-1, size)) if code_std is None else _checked_spread(code_std, size)
    active = (spread > 0) & (spread**2 >= variance_cut)
    degenerate = _about_dead_codes(active, f"are collapsed (variance below {variance_cut:g})")
    return _majority_vote(groups, labels, columns, spread, active, degenerate)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DlibFactorVaeResult(MetricResult):
    """Scores of the FactorVAE metric on votes held out, and the votes behind them.

    Args:
        train: accuracy on the votes that decided what each code stands for.
        votes: `[D, K]` int64, those votes: how often code d varied least in a group with label k.
        test_votes: `[D, K]` int64, the votes held out, which `score` counts.
        labels: the K labels, in the order of the columns of both.
        active_codes: the codes that took part.
    """

    train: float
    votes: IntArray
    test_votes: IntArray
    labels: tuple[int, ...]
    active_codes: tuple[int, ...]


def dlib_factor_vae(
    group_codes: npt.ArrayLike,
    group_labels: npt.ArrayLike,
    test_group_codes: npt.ArrayLike,
    test_group_labels: npt.ArrayLike,
    code_std: npt.ArrayLike,
    min_std: float = 0.05,
) -> DlibFactorVaeResult:
    """The FactorVAE metric as disentanglement_lib measures it: votes of some groups decide, those of others count.

    Codes whose standard deviation over random images is below `min_std` cannot vote; if that holds for all, the score
    is 0, as in the released code. The cut is absolute: multiplying codes by a constant changes the score.

    Args:
        group_codes: `[M, L, D]` codes of M groups of L >= 2 images; published: M = 10,000, L = 64.
        group_labels: `[M]` integers, the factor that is fixed in each group.
        test_group_codes: `[T, L, D]` codes of the groups held out; published: T = 5,000.
        test_group_labels: `[T]` integers.
        code_std: `[D]` sample standard deviation (divided by N - 1) of every code over random images; published:
            N = 10,000.
        min_std: codes that vary less are left out. Default: 0.05.

    Returns:
        the score in [0, 1], with the votes.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a value is not finite, or `min_std` is negative.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019, `evaluation/metrics/factor_vae.py` with
    `prune_dims.threshold = 0.05`.
    """
    if not (np.isfinite(min_std) and min_std >= 0):
        raise ValueError(f"min_std must be 0 or more, not {min_std}")
    groups, labels, columns = checked_groups(group_codes, group_labels, None)
    test_groups, test_labels, _ = checked_groups(test_group_codes, test_group_labels, None)
    if groups.shape[2] != test_groups.shape[2]:
        raise ValueError("group_codes and test_group_codes must have the same number of codes")
    spread = _checked_spread(code_std, groups.shape[2])
    columns = np.union1d(columns, test_labels)
    active = (spread > 0) & (spread >= min_std)
    degenerate = _about_dead_codes(active, f"have a standard deviation of 0 or below {min_std:g}", "the score is 0")
    degenerate += _about_labels(labels, columns)
    votes = _votes(groups, labels, columns, spread, active)
    test_votes = _votes(test_groups, test_labels, columns, spread, active)
    decided = votes.argmax(axis=1)
    return DlibFactorVaeResult(
        score=float(test_votes[np.arange(len(votes)), decided].sum() / len(test_labels)),
        train=float(votes.max(axis=1).sum() / len(labels)),
        votes=votes,
        test_votes=test_votes,
        labels=tuple(columns.tolist()),
        active_codes=tuple(np.flatnonzero(active).tolist()),
        degenerate=degenerate,
    )


def checked_groups(
    group_codes: npt.ArrayLike, group_labels: npt.ArrayLike, num_factors: int | None
) -> tuple[np.ndarray, IntArray, IntArray]:
    """The groups, their labels, and the labels that the columns of the votes stand for.

    Raises:
        TypeError: if an array does not hold numbers.
        ValueError: if shapes do not fit, a value is not finite, or a label is outside 0..K-1.
    """
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


def _about_dead_codes(
    active: BoolArray, what: str, none_left: str = "the score is that of always guessing the most frequent label"
) -> tuple[str, ...]:
    """Says which codes cannot vote."""
    dead = np.flatnonzero(~active)
    if not dead.size:
        return ()
    message = f"{dead.size} of {active.size} codes {what} and cannot vote: {listed(dead)}"
    if dead.size < active.size:
        return (message,)
    return (message, f"no code can vote: {none_left}")


def _about_labels(labels: IntArray, columns: IntArray) -> tuple[str, ...]:
    """Says which of the labels in `columns` no group has, and whether there is one only."""
    degenerate: tuple[str, ...] = ()
    absent = np.setdiff1d(columns, labels)
    if absent.size:
        degenerate += (f"no group has the label {listed(absent)}",)
    if columns.size == 1:
        degenerate += ("all groups have the same label, which any representation gets right",)
    return degenerate


def _votes(groups: np.ndarray, labels: IntArray, columns: IntArray, spread: FloatArray, active: BoolArray) -> IntArray:
    """How often each code varied least in a group of each label: `[D, K]`."""
    votes = np.zeros((groups.shape[2], columns.size), dtype=np.int64)
    if active.any():
        winners = np.flatnonzero(active)[_least_varying(groups[:, :, active], spread[active])]
        np.add.at(votes, (winners, np.searchsorted(columns, labels)), 1)
    votes.setflags(write=False)
    return votes


def _majority_vote(
    groups: np.ndarray,
    labels: IntArray,
    columns: IntArray,
    spread: FloatArray,
    active: BoolArray,
    degenerate: tuple[str, ...],
) -> FactorVaeResult:
    """Counts which code varies least in each group and scores the majority vote."""
    degenerate += _about_labels(labels, columns)
    votes = _votes(groups, labels, columns, spread, active)
    if active.any():
        right = votes.max(axis=1)
        score = float(right.sum() / labels.size)
        revised = float(np.sort(right)[::-1][: columns.size].sum() / labels.size)
    else:
        score = revised = _guess_score(labels)
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
