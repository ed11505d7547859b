"""Modularity (Ridgeway and Mozer, NeurIPS 2018) in the protocols of InfoGAN-CR and disentanglement_lib."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, about_codes, code_table, factor_labels, level_table, listed
from metrics.mutual_information import NUM_BINS, bin_codes, level_entropies, mutual_information
from metrics.results import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ModularityResult(MetricResult):
    """Modularity and what it is made of.

    Args:
        per_code: `[D]` the modularity of every code; NaN for a code that tells nothing of any factor.
        mutual_information: `[D, F]` nats.
    """

    per_code: FloatArray
    mutual_information: FloatArray


def modularity(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> ModularityResult:
    """How near every code is to telling about one factor only, averaged over the codes; InfoGAN-CR's protocol.

    Codes that never change, or that share no information at all with any factor, have no modularity: they are left out
    of the mean and reported. (The released code divides 0 by 0 there, or one rounding error by another.)

    Args:
        codes: `[N, D]` codes.
        levels: `[N, F]` integers, the factors' levels; negative ones are missing and left out for that factor.
        num_bins: bins of equal width that a code is cut into. Default: 20.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code divides 0 by 0, and count factors of one level.

    Returns:
        the score in [0, 1] with its parts. It is 0 if no code tells anything, and 1 if there is only one factor.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Ridgeway and Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss, NeurIPS 2018,
    section 3; Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py`.
    """
    parts = _parts(codes, levels, num_bins, factor_names, strict_reference, "are left out")
    degenerate = parts.degenerate
    if strict_reference and (not parts.telling.all() or parts.num_factors == 1):
        score = float("nan")
        degenerate += ("the released code gives no number here: strict_reference",)
    else:
        score = float(parts.per_code[parts.telling].mean()) if parts.telling.any() else 0.0
    return parts.result(score, degenerate)


def dlib_modularity(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> ModularityResult:
    """Modularity as disentanglement_lib computes it: a code that tells nothing counts 0 in the mean.

    Args:
        codes: `[N, D]` codes; the published protocol has N = 10,000.
        levels: `[N, F]` integers, the factors' levels; negative ones are missing and left out for that factor.
        num_bins: bins of equal width that a code is cut into. Default: 20.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN if there is one factor only, and count factors of one level.

    Returns:
        the score in [0, 1] with its parts. `degenerate` says what the score is without codes that tell nothing.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019,
    `evaluation/metrics/modularity_explicitness.py`.
    """
    parts = _parts(codes, levels, num_bins, factor_names, strict_reference, "count 0, as in disentanglement_lib")
    degenerate = parts.degenerate
    if strict_reference and parts.num_factors == 1:
        return parts.result(float("nan"), (*degenerate, "the released code gives no number here: strict_reference"))
    if parts.telling.any() and not parts.telling.all():
        degenerate += (f"without codes that count 0 the score is {parts.per_code[parts.telling].mean():.4f}",)
    return parts.result(float(np.where(parts.telling, parts.per_code, 0.0).mean()), degenerate)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What both protocols have in common."""

    per_code: FloatArray
    telling: BoolArray
    num_factors: int
    information: FloatArray
    names: tuple[str, ...]
    degenerate: tuple[str, ...]

    def result(self, score: float, degenerate: tuple[str, ...]) -> ModularityResult:
        """The parts under this score."""
        return ModularityResult(
            score=score,
            per_code=self.per_code,
            mutual_information=self.information,
            degenerate=degenerate,
            factor_names=self.names,
        )


def _parts(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    num_bins: int,
    factor_names: Sequence[str] | None,
    keep_all_factors: bool,
    dead: str,
) -> _Parts:
    table = code_table("codes", codes)
    columns = level_table("levels", levels, len(table))
    names = factor_labels(factor_names, columns.shape[1])
    information = mutual_information(bin_codes(table, num_bins), columns)
    degenerate = about_codes(table, f"tell nothing; they {dead}")
    varying = level_entropies(columns) > 0
    counted = np.full(len(names), True) if keep_all_factors else varying
    if not varying.all():
        still = [name for name, varies in zip(names, varying, strict=True) if not varies]
        degenerate += (f"factors of one level {'count' if keep_all_factors else 'are left out'}: {listed(still)}",)
    squares = information[:, counted] ** 2
    largest = squares.max(axis=1, initial=0.0)
    telling = largest > 0
    silent = np.flatnonzero(~telling & (table.max(axis=0) != table.min(axis=0)))
    if silent.size:
        degenerate += (f"codes share no information with any factor and {dead}: {listed(silent)}",)
    per_code = np.full(len(information), np.nan)
    if squares.shape[1] > 1:
        spill = (squares.sum(axis=1) - largest)[telling] / (largest[telling] * (squares.shape[1] - 1))
        per_code[telling] = 1 - spill
    else:
        per_code[telling] = 1.0
        degenerate += ("there is one factor only, which any code that tells something tells alone",)
    if not telling.any():
        degenerate += ("no code tells anything about any factor: the score is 0",)
    return _Parts(per_code, telling, int(squares.shape[1]), information, names, degenerate)
