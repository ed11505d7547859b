"""How many generated images look real, and how many real images the generator could have made: precision and recall.

An image counts as covered by a set if it lies within the sphere of one of its images, which reaches to that image's
k-th nearest neighbor in the set.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray
from metrics.distances import TIE, SquaredDistances, row_numbers
from metrics.fid import feature_pair
from metrics.results import MetricResult

NEIGHBORS = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CoverageResult(MetricResult):
    """Which share of one set of images lies on the manifold of another.

    Args:
        neighbors: k, which neighbor a sphere reaches to.
        real_count: how many real images.
        fake_count: how many generated images.
        feature_count: features of an image.
        extractor: id of what made the features; empty if it is not known.
    """

    neighbors: int
    real_count: int
    fake_count: int
    feature_count: int
    extractor: str


def precision(
    features_real: npt.ArrayLike, features_fake: npt.ArrayLike, neighbors: int = NEIGHBORS, extractor: str = ""
) -> CoverageResult:
    """The share of generated images that lie on the manifold of the real ones (improved precision).

    Args:
        features_real: `[N, D]` features of real images, N > k.
        features_fake: `[M, D]` features of generated images, M > k.
        neighbors: k, default 3. An image is not its own neighbor.
        extractor: id of what made the features.

    Returns:
        the share in [0, 1]; a point on a sphere counts as inside.

    Raises:
        TypeError: if the features are not real numbers.
        ValueError: if there are too few images, both sets have different features, or a feature is not finite.

    Source: Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, equation 2.
    """
    real, fake = feature_pair(features_real, features_fake)
    share, degenerate = _covered("features_real", real, fake, neighbors)
    return _result(share, degenerate, real, fake, neighbors, extractor)


def recall(
    features_real: npt.ArrayLike, features_fake: npt.ArrayLike, neighbors: int = NEIGHBORS, extractor: str = ""
) -> CoverageResult:
    """The share of real images that lie on the manifold of the generated ones (improved recall); see `precision`."""
    real, fake = feature_pair(features_real, features_fake)
    share, degenerate = _covered("features_fake", fake, real, neighbors)
    return _result(share, degenerate, real, fake, neighbors, extractor)


def _result(
    share: float, degenerate: tuple[str, ...], real: np.ndarray, fake: np.ndarray, neighbors: int, extractor: str
) -> CoverageResult:
    return CoverageResult(
        score=share,
        neighbors=neighbors,
        real_count=len(real),
        fake_count=len(fake),
        feature_count=real.shape[1],
        extractor=extractor,
        degenerate=degenerate,
    )


def _covered(name: str, reference: np.ndarray, images: np.ndarray, neighbors: int) -> tuple[float, tuple[str, ...]]:
    """The share of `images` within the spheres of `reference`, and whether spheres are points."""
    if neighbors < 1:
        raise ValueError(f"neighbors is {neighbors}; it must be 1 or more")
    for table in (reference, images):
        if len(table) <= neighbors:
            raise ValueError(
                f"there are {len(table)} images of one kind; spheres to the neighbor number {neighbors} need at least "
                f"{neighbors + 1} of each"
            )
    radii = squared_radii(reference, neighbors)
    points = int(np.count_nonzero(radii == 0))
    degenerate: tuple[str, ...] = ()
    if points:
        degenerate = (f"{points:,} rows of {name} have {neighbors} equal ones, so that their spheres are points",)
    # Of copies one is enough: a generator that has collapsed makes thousands.
    images, numbers, _ = _without_copies(images)
    reference, _, kept = _without_copies(reference)
    return float(_inside(SquaredDistances(images, reference), radii[kept])[numbers].mean()), degenerate


def _without_copies(table: np.ndarray) -> tuple[np.ndarray, IntArray, IntArray]:
    """The distinct rows, which of them each row is, and where each stands first."""
    numbers = row_numbers(table)
    first = np.unique(numbers, return_index=True)[1]
    return (table if len(first) == len(table) else table[first]), numbers, first


def squared_radii(table: np.ndarray, neighbors: int) -> FloatArray:
    """The squared distance `[N]` of every row of `[N, D]` from its `neighbors`-th nearest other row."""
    numbers = row_numbers(table)
    counts = np.bincount(numbers)
    nth_copy = np.empty(len(table), dtype=np.int64)
    nth_copy[np.argsort(numbers, kind="stable")] = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Copies beyond k + 1 are nobody's k nearest that others would not be as well, and have k others at no distance.
    kept = nth_copy <= neighbors
    radii = np.zeros(len(table))
    radii[kept] = _radii_of_few_copies(table if kept.all() else table[kept], neighbors)
    return radii


def _radii_of_few_copies(table: np.ndarray, neighbors: int) -> FloatArray:
    """`squared_radii` of a table in which no row occurs more than `neighbors` + 1 times: all its ties are kept."""
    distances = SquaredDistances(table, table)
    # Upper bounds on the k smallest distances of each row so far; what may be below the k-th is kept for a closer look.
    bounds = np.full((len(table), neighbors), np.inf)
    kept: list[tuple[IntArray, IntArray, FloatArray]] = []
    for rows, columns, near, errors in distances.tiles():
        if rows == columns:
            np.fill_diagonal(near, np.inf)
        candidates = np.concatenate([bounds[rows], near + errors], axis=1)
        bounds[rows] = np.partition(candidates, neighbors - 1, axis=1)[:, :neighbors]
        near -= errors
        row, column = np.nonzero(near <= bounds[rows].max(axis=1, keepdims=True))
        kept.append((row + rows.start, column + columns.start, near[row, column]))
    row, column, least = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    wanted = least <= bounds.max(axis=1)[row]
    row, column = row[wanted], column[wanted]
    exact = distances.exact(row, column)
    order = np.lexsort((exact, row))
    first = np.searchsorted(row[order], np.arange(len(table)))
    return np.asarray(exact[order][first + neighbors - 1])


def _inside(distances: SquaredDistances, radii: FloatArray) -> BoolArray:
    """Which rows of x lie within the sphere of some row of y: `[N]` truth values."""
    inside = np.zeros(len(distances.x), dtype=bool)
    limits = radii * (1 + TIE)
    for rows, columns, near, errors in distances.tiles():
        inside[rows] |= (near + errors <= limits[columns]).any(axis=1)
        row, column = np.nonzero(~inside[rows, None] & (near - errors <= limits[columns]))
        row, column = row + rows.start, column + columns.start
        inside[row[distances.exact(row, column) <= limits[column]]] = True
    return inside
