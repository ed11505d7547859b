"""Fréchet and kernel distances between features of real and of generated images (FID, KID).

Numbers of different feature extractors must never be compared, and those of FID not even across numbers of images:
results therefore carry the extractor's id and both counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, code_table
from metrics.feature_statistics import FeatureStatistics, statistics_of
from metrics.protocols import generator
from metrics.results import MetricResult

STANDARD_IMAGES = 50_000
"""How many generated images the usual FID has."""

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
_BLOCK_ROWS = 1024
_NOT_NEGATIVE = 1e-6
"""A covariance's least eigenvalue may be below 0 by rounding, but not by this share of the largest."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FidResult(MetricResult):
    """The squared Fréchet distance of two Gaussians, and its two parts.

    Args:
        mean_part: squared distance of the means.
        covariance_part: `tr(A) + tr(B) - 2 tr((A B)^(1/2))` of the covariances.
        real_count: how many real images.
        fake_count: how many generated images.
        feature_count: features of an image.
        extractor: id of what made the features; empty if it is not known.
    """

    mean_part: float
    covariance_part: float
    real_count: int
    fake_count: int
    feature_count: int
    extractor: str


def fid(features_real: npt.ArrayLike, features_fake: npt.ArrayLike, extractor: str = "") -> FidResult:
    """The Fréchet distance between Gaussians fitted to two sets of features (FID, for features of Inception).

    It is biased: fewer images give higher values. The usual number of generated images is 50,000.

    Args:
        features_real: `[N, D]` features of real images, N > D.
        features_fake: `[M, D]` features of generated images, M > D.
        extractor: id of what made the features.

    Returns:
        the distance, 0 or more; lower is better.

    Raises:
        TypeError: if the features are not real numbers.
        ValueError: if there are too few images for a covariance of full rank, if both sets have different features,
            or if a feature is not finite.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, equation 6.
    """
    real, fake = feature_pair(features_real, features_fake)
    return fid_of_statistics(statistics_of("features_real", real), statistics_of("features_fake", fake), extractor)


def fid_of_statistics(real: FeatureStatistics, fake: FeatureStatistics, extractor: str = "") -> FidResult:
    """`fid` from means and covariances.

    The trace of the root of a product of covariances is the sum of the singular values of the product of their roots.
    (The squares of these are the eigenvalues of `A^(1/2) B A^(1/2)`, but squares near 0 drown in rounding.) The roots
    are taken by symmetric eigendecompositions. Nothing ever becomes complex, nor is anything added to the diagonals.

    Args:
        real: statistics of real images, more of them than features.
        fake: those of generated images, likewise.
        extractor: id of what made the features.

    Raises:
        ValueError: as for `fid`, and for a matrix that is no covariance.
    """
    if real.size != fake.size:
        raise ValueError(f"features_real has {real.size} columns and features_fake {fake.size}; use one extractor")
    degenerate: tuple[str, ...] = ()
    for name, statistics in (("features_real", real), ("features_fake", fake)):
        if statistics.count <= statistics.size:
            raise ValueError(
                f"{name} has {statistics.count:,} rows of {statistics.size:,} features; FID needs at least "
                f"{statistics.size + 1:,} images, or the covariance is singular: give more, or measure kid"
            )
        still = int(np.count_nonzero(np.diagonal(statistics.scatter) == 0))
        if still:
            degenerate += (f"{still} of {statistics.size} columns of {name} never change",)
    (root_real, about_real), (root_fake, about_fake) = (
        _root("features_real", real.covariance),
        _root("features_fake", fake.covariance),
    )
    shared = float(np.linalg.svd(root_real @ root_fake, compute_uv=False).sum())
    mean_part = float(((real.mean - fake.mean) ** 2).sum())
    covariance_part = float(np.trace(real.covariance) + np.trace(fake.covariance)) - 2.0 * shared
    if not np.isfinite(mean_part + covariance_part):
        raise ValueError("the features are too large for double precision; scale them down")
    return FidResult(
        score=max(0.0, mean_part + covariance_part),
        mean_part=mean_part,
        covariance_part=covariance_part,
        real_count=real.count,
        fake_count=fake.count,
        feature_count=real.size,
        extractor=extractor,
        degenerate=degenerate,
        notes=about_real + about_fake,
    )


def _root(name: str, covariance: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """The symmetric root of a covariance, and what was clipped."""
    symmetric = (covariance + covariance.T) / 2
    if not np.isfinite(symmetric).all():
        raise ValueError(f"the covariance of {name} is not finite; scale the features down")
    values, vectors = np.linalg.eigh(symmetric)
    largest = float(values[-1])
    if values[0] < -_NOT_NEGATIVE * max(largest, 0.0):
        raise ValueError(f"the covariance of {name} has the eigenvalue {values[0]:.3g}: it is no covariance")
    negative = int(np.count_nonzero(values < 0))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    if not negative:
        return root, ()
    return root, (f"{negative} eigenvalues of the covariance of {name}, below 0 by rounding, counted as 0",)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KidResult(MetricResult):
    """The kernel distance, an unbiased estimate of a squared distance, which may be slightly below 0.

    Args:
        std: standard deviation over the subsets; `None` if all pairs were taken at once.
        subsets: how many subsets.
        subset_size: images of each kind in a subset; `None` if all were taken.
        real_count: how many real images.
        fake_count: how many generated images.
        feature_count: features of an image.
        extractor: id of what made the features; empty if it is not known.
    """

    std: float | None
    subsets: int
    subset_size: int | None
    real_count: int
    fake_count: int
    feature_count: int
    extractor: str


def kid(
    features_real: npt.ArrayLike,
    features_fake: npt.ArrayLike,
    subsets: int = KID_SUBSETS,
    subset_size: int = KID_SUBSET_SIZE,
    seed: int = 0,
    extractor: str = "",
) -> KidResult:
    """The kernel distance (KID, for features of Inception) as it is usually given: a mean over random subsets.

    Each subset is drawn without replacement. The kernel is `(x . y / D + 1) ** 3`.

    Args:
        features_real: `[N, D]` features of real images.
        features_fake: `[M, D]` features of generated images.
        subsets: how many subsets, default 100.
        subset_size: images of each kind in a subset, default 1,000; at most the smaller of N and M.
        seed: of the subsets.
        extractor: id of what made the features.

    Returns:
        mean and standard deviation (of the population of subsets) of the unbiased estimates; lower is better.

    Raises:
        TypeError: if the features are not real numbers.
        ValueError: if there are fewer images than a subset has, both sets have different features, or a feature is
            not finite.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4.
    """
    real, fake = feature_pair(features_real, features_fake)
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"subsets is {subsets} and subset_size {subset_size}; allowed: from 1 and from 2")
    for name, table in (("features_real", real), ("features_fake", fake)):
        if len(table) < subset_size:
            raise ValueError(
                f"{name} has {len(table):,} rows; KID draws subsets of {subset_size:,}: give at least as many images, "
                "or measure kid_all"
            )
    rng = generator(seed, "kid subsets")
    estimates = np.empty(subsets)
    for number in range(subsets):
        # In ascending order: a table that is mapped from a file is then read in one go.
        rows = [np.sort(rng.choice(len(table), subset_size, replace=False)) for table in (real, fake)]
        estimates[number] = _squared_distance(real[rows[0]], fake[rows[1]])
    return _kid_result(real, fake, float(estimates.mean()), extractor, float(estimates.std()), subsets, subset_size)


def kid_all(features_real: npt.ArrayLike, features_fake: npt.ArrayLike, extractor: str = "") -> KidResult:
    """The kernel distance over all pairs of images: the unbiased estimate of least variance, without a seed.

    It takes `(N + M) ** 2` kernel values, computed in blocks.

    Args:
        features_real: `[N, D]` features of real images, N >= 2.
        features_fake: `[M, D]` features of generated images, M >= 2.
        extractor: id of what made the features.

    Returns:
        the estimate; lower is better.

    Raises:
        TypeError: if the features are not real numbers.
        ValueError: if both sets have different features, or a feature is not finite.

    Source: Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 3, with the kernel of `kid`.
    """
    real, fake = feature_pair(features_real, features_fake)
    return _kid_result(real, fake, _squared_distance(real, fake), extractor, None, 1, None)


def feature_pair(features_real: npt.ArrayLike, features_fake: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both tables, checked to be of the same features.

    Raises:
        TypeError: if the features are not real numbers.
        ValueError: if they have different numbers of columns, or a feature is not finite.
    """
    real, fake = code_table("features_real", features_real), code_table("features_fake", features_fake)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"features_real {real.shape} and features_fake {fake.shape} must have the same columns")
    return real, fake


def _kid_result(
    real: np.ndarray,
    fake: np.ndarray,
    score: float,
    extractor: str,
    std: float | None,
    subsets: int,
    subset_size: int | None,
) -> KidResult:
    if not np.isfinite(score):
        raise ValueError("the features are too large for the cubic kernel; scale them down")
    return KidResult(
        score=score,
        std=std,
        subsets=subsets,
        subset_size=subset_size,
        real_count=len(real),
        fake_count=len(fake),
        feature_count=real.shape[1],
        extractor=extractor,
    )


def _squared_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy."""
    n, m = len(x), len(y)
    within = _kernel_sum(x, None) / (n * (n - 1)) + _kernel_sum(y, None) / (m * (m - 1))
    return within - 2.0 * (_kernel_sum(x, y) / (n * m))


def _kernel_sum(x: np.ndarray, y: np.ndarray | None) -> float:
    """The sum of the kernel over all pairs of rows, or over all ordered pairs of different rows of `x` if y is None."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for first, rows in _blocks(x):
            if y is not None:
                total += sum(float(_kernel(rows, others).sum()) for _, others in _blocks(y))
                continue
            own = _kernel(rows, rows)
            total += float(own.sum() - np.trace(own))
            total += 2.0 * sum(float(_kernel(rows, others).sum()) for _, others in _blocks(x, first + len(rows)))
    return total


def _blocks(table: np.ndarray, start: int = 0) -> Iterator[tuple[int, FloatArray]]:
    for first in range(start, len(table), _BLOCK_ROWS):
        yield first, table[first : first + _BLOCK_ROWS].astype(np.float64)


def _kernel(x: FloatArray, y: FloatArray) -> FloatArray:
    values = x @ y.T
    values /= x.shape[1]
    values += 1.0
    return values * values * values
