"""From a matrix of importances to disentanglement and completeness, by the formulae of two released codes."""

from __future__ import annotations

import dataclasses

import numpy as np

from metrics.arrays import FloatArray, IntArray, listed
from metrics.results import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DciResult(MetricResult):
    """The three scores and what they are made of; `score` is the disentanglement.

    Args:
        disentanglement: in [0, 1], the codes weighted by their importance.
        completeness: in [0, 1].
        informativeness: how well the factors are predicted, averaged over them. 1 is perfect; what it is for each
            metric is said there.
        informativeness_train: the same on the images that were fitted.
        importances: `[D, F]` how much the predictor of each factor relies on each code; zeros for factors left out.
        per_code: `[D]` disentanglement of every code; NaN for codes without importance.
        per_factor: `[F]` completeness of every factor; NaN for factors left out.
        per_factor_informativeness: `[F]`; NaN for factors left out.
        settings: `[F]` the penalty or the depth that each factor's predictor was fitted with; NaN where there is none.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    informativeness_train: float
    importances: FloatArray
    per_code: FloatArray
    per_factor: FloatArray
    per_factor_informativeness: FloatArray
    settings: FloatArray


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What the predictor of one factor tells.

    Args:
        importances: `[D]`, 0 or more.
        held_out: how well it predicts what it was not fitted to.
        train: how well it predicts what it was fitted to.
        setting: its penalty or depth, if it has one.
    """

    importances: FloatArray
    held_out: float
    train: float
    setting: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Formulae:
    """How a released code turns shares of importance into scores.

    Args:
        before: added to every importance before shares are formed.
        inside: added to every share before its logarithm is taken, and to the number of shares.
        weighted: whether completeness is weighted by the factors' importance, or is a plain mean.
    """

    before: float
    inside: float
    weighted: bool

    def separation(self, importances: FloatArray) -> FloatArray:
        """1 less the entropy of each row's shares in units of the greatest; not a number where a row has no shares."""
        raised = importances + self.before
        with np.errstate(divide="ignore", invalid="ignore"):
            share = raised / raised.sum(axis=1, keepdims=True)
            entropy = -(share * np.log(share + self.inside)).sum(axis=1)
            return np.asarray(1 - entropy / np.log(importances.shape[1] + self.inside))


INFOGAN_CR = Formulae(before=0.0, inside=1e-12, weighted=False)
DLIB = Formulae(before=1e-11, inside=0.0, weighted=True)


def dci_result(
    fits: list[Fit],
    used: IntArray,
    names: tuple[str, ...],
    num_codes: int,
    degenerate: tuple[str, ...],
    formulae: Formulae,
    refused: bool = False,
    strict: bool = False,
) -> DciResult:
    """Joins the fits of all factors.

    Args:
        fits: one for each factor that was not left out.
        used: `[len(fits)]` which factors these are.
        names: of all F factors.
        num_codes: D.
        degenerate: what was degenerate so far.
        formulae: whose scores.
        refused: whether the released code gives no result at all; `degenerate` has the reason then.
        strict: whether to follow the released code where it divides 0 by 0.
    """
    importances = np.zeros((num_codes, len(names)))
    per_factor, informativeness, settings = (np.full(len(names), np.nan) for _ in range(3))
    for number, fit in zip(used, fits, strict=True):
        importances[:, number] = fit.importances
        informativeness[number], settings[number] = fit.held_out, fit.setting
    train = float(np.mean([fit.train for fit in fits])) if fits else 0.0
    held_out = float(np.mean([fit.held_out for fit in fits])) if fits else 0.0
    per_code = np.full(num_codes, np.nan)
    if refused:
        scores = [np.nan] * 4
    elif not fits:
        scores = [0.0] * 4
        degenerate += ("no factor varies, so there is nothing to represent",)
    else:
        score = _strict_scores if strict else _defined_scores
        per_code, per_factor[used], both, remarks = score(importances[:, used], formulae)
        unpredicted = [names[number] for number in used if not importances[:, number].any()]
        if unpredicted:
            remarks += (f"no code has importance for {listed(unpredicted)}",)
        degenerate += remarks
        scores = [*both, held_out, train]
    disentanglement, completeness, held_out, train = scores
    for array in (importances, per_code, per_factor, informativeness, settings):
        array.setflags(write=False)
    return DciResult(
        score=disentanglement,
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=held_out,
        informativeness_train=train,
        importances=importances,
        per_code=per_code,
        per_factor=per_factor,
        per_factor_informativeness=informativeness,
        settings=settings,
        degenerate=degenerate,
        factor_names=names,
    )


_Scores = tuple[FloatArray, FloatArray, tuple[float, float], tuple[str, ...]]


def _defined_scores(importances: FloatArray, formulae: Formulae) -> _Scores:
    """Scores that are always numbers: what has no importance weighs nothing, what is alone is separate from others.

    A factor for which no code has importance is represented incompletely: it counts 0 in a plain mean.
    """
    num_codes, num_factors = importances.shape
    of_codes, of_factors = importances.sum(axis=1), importances.sum(axis=0)
    per_code, per_factor = np.ones(num_codes), np.ones(num_factors)
    remarks: tuple[str, ...] = ()
    if num_factors > 1:
        per_code = formulae.separation(importances)
    else:
        remarks += ("one factor varies: every code is about it alone",)
    if num_codes > 1:
        per_factor = formulae.separation(importances.T)
    else:
        remarks += ("there is one code only: every factor is complete in it",)
    per_code[of_codes == 0] = np.nan
    per_factor[of_factors == 0] = 0.0
    whole = importances.sum()
    if whole == 0:
        return per_code, per_factor, (0.0, 0.0), (*remarks, "no code has importance for any factor")
    weighing = of_codes > 0
    disentanglement = float((per_code[weighing] * of_codes[weighing]).sum() / whole)
    completeness = float((per_factor * of_factors).sum() / whole if formulae.weighted else per_factor.mean())
    return per_code, per_factor, (disentanglement, completeness), remarks


def _strict_scores(importances: FloatArray, formulae: Formulae) -> _Scores:
    """What the released code's arithmetic gives, with the reasons where that is no score."""
    per_code, per_factor = formulae.separation(importances), formulae.separation(importances.T)
    weights = importances
    if formulae.weighted and not importances.any():
        weights = np.ones_like(importances)
    with np.errstate(invalid="ignore"):
        disentanglement = float((per_code * weights.sum(axis=1) / weights.sum()).sum())
        by_weight = float((per_factor * weights.sum(axis=0) / weights.sum()).sum())
    completeness = by_weight if formulae.weighted else float(per_factor.mean())
    remarks: tuple[str, ...] = ()
    idle = np.flatnonzero(~importances.any(axis=1))
    if idle.size and not formulae.weighted:
        remarks += (f"the reference divides 0 by 0 for codes without importance: {listed(idle)}",)
    if 1 in importances.shape:
        remarks += ("the reference's entropy of a single share is no entropy: scores beyond [0, 1] or not numbers",)
    return per_code, per_factor, (disentanglement, completeness), remarks
