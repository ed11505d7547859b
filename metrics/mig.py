"""The mutual information gap (Chen et al., NeurIPS 2018) as InfoGAN-CR and disentanglement_lib compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, about_codes, code_table, factor_labels, level_table, listed
from metrics.mutual_information import NUM_BINS, bin_codes, level_entropies, mutual_information
from metrics.results import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MigResult(MetricResult):
    """The gap and what it is made of.

    Args:
        per_factor: `[F]` the gap of every factor, in units of its entropy; NaN for a factor that was left out.
        mutual_information: `[D, F]` nats.
        entropies: `[F]` nats.
    """

    per_factor: FloatArray
    mutual_information: FloatArray
    entropies: FloatArray


def mig(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> MigResult:
    """How much more the best code tells about a factor than the second best, averaged over the factors.

    The same definition serves both protocols: InfoGAN-CR draws 73,728 images of dSprites, disentanglement_lib 10,000.
    Scaling and shifting a code changes nothing; other monotonic functions do, because the bins are of equal width.

    Args:
        codes: `[N, D]` codes.
        levels: `[N, F]` integers, the factors' levels; negative ones are missing and left out for that factor.
        num_bins: bins of equal width that a code is cut into. Default: 20.
        factor_names: names of the factors, for messages.
        strict_reference: give what the released code gives for degenerate input: NaN where a factor has one level,
            or where there is one code only. By default such factors are left out, and the second code counts 0.

    Returns:
        the score in [0, 1] with its parts; 0 if no factor varies.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Chen et al., Isolating Sources of Disentanglement, NeurIPS 2018, equation 6; Lin et al., InfoGAN-CR, ICML
    2020, `gan/metric.py`; Locatello et al., ICML 2019, `evaluation/metrics/mig.py`.
    """
    table = code_table("codes", codes)
    columns = level_table("levels", levels, len(table))
    names = factor_labels(factor_names, columns.shape[1])
    information = mutual_information(bin_codes(table, num_bins), columns)
    entropies = level_entropies(columns)
    degenerate = about_codes(table)
    ordered = np.sort(information, axis=0)
    second = ordered[-2] if len(ordered) > 1 else np.zeros(len(names))
    varying = entropies > 0
    per_factor = np.full(len(names), np.nan)
    per_factor[varying] = (ordered[-1] - second)[varying] / entropies[varying]
    if not varying.all():
        still = [name for name, varies in zip(names, varying, strict=True) if not varies]
        degenerate += (f"factors of one level are left out: {listed(still)}",)
    if len(ordered) == 1:
        degenerate += ("there is one code only: the second best is taken to tell nothing",)
    if not varying.any():
        degenerate += ("no factor varies, so there is nothing to tell",)
    score = float(per_factor[varying].mean()) if varying.any() else 0.0
    if strict_reference and (len(ordered) == 1 or not varying.all()):
        score = float("nan")
        degenerate += ("the released code gives no number here: strict_reference",)
    return MigResult(
        score=score,
        per_factor=per_factor,
        mutual_information=information,
        entropies=entropies,
        degenerate=degenerate,
        factor_names=names,
    )
