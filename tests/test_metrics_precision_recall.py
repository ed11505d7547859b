"""Distances in tiles, and precision and recall: against plain loops, known answers, refusals."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from metrics.distances import SquaredDistances
from metrics.precision_recall import precision, recall, squared_radii


def plain_precision(real: np.ndarray, fake: np.ndarray, neighbors: int) -> float:
    """Spheres around reals, by all distances in double precision; by definition precise only without ties."""
    within = cdist(real, real)
    np.fill_diagonal(within, np.inf)
    radii = np.sort(within, axis=1)[:, neighbors - 1]
    return float((cdist(fake, real) <= radii).any(axis=1).mean())


def tiled(distances: SquaredDistances) -> tuple[np.ndarray, np.ndarray]:
    values, errors = (np.full((len(distances.x), len(distances.y)), np.nan) for _ in range(2))
    for rows, columns, near, bound in distances.tiles():
        values[rows, columns], errors[rows, columns] = near, bound
    return values, errors


@pytest.mark.parametrize("columns", [1, 3, 700, 2000])
@pytest.mark.parametrize(("scale", "offset", "between"), [(1, 0, 0), (1e-12, 5, 0), (1e30, 1e33, 0), (1, 1e6, 1e6)])
def test_errors_are_within_their_bounds(columns: int, scale: float, offset: float, between: float) -> None:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(40, columns)) * scale + offset
    y = rng.normal(size=(30, columns)) * scale + offset + between
    distances = SquaredDistances(x, y)
    values, errors = tiled(distances)
    rows, places = (index.ravel() for index in np.indices(values.shape))
    exact = distances.exact(rows, places).reshape(values.shape)
    np.testing.assert_allclose(exact, cdist(x, y, "sqeuclidean"), rtol=1e-9)
    assert (np.abs(values - exact) <= errors).all()
    # The bounds are of use: some ten thousandths of what varies, though it may vary little beside the offsets.
    varying = np.median(cdist(x - x.mean(axis=0), y - y.mean(axis=0), "sqeuclidean"))
    assert np.median(errors) < 1e-4 * varying + 1e-9 * between**2 * columns


def test_errors_are_within_their_bounds_if_one_side_never_changes() -> None:
    rng = np.random.default_rng(2)
    still, moving = np.full((40, 30), 1e5), rng.normal(size=(50, 30)) * 10
    around = np.concatenate([moving, -moving])
    for x, y in ((still, moving), (moving, still), (still * 0, around), (around, still * 0)):
        values, errors = tiled(SquaredDistances(x, y))
        exact = cdist(x, y, "sqeuclidean")
        assert np.abs(values - exact).max() > 0
        assert (np.abs(values - exact) <= errors).all()


def test_errors_are_within_their_bounds_for_single_precision() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(50, 1500)).astype(np.float32) + 100 for _ in range(2))
    y[:20] = x[:20]
    distances = SquaredDistances(x, y)
    values, errors = tiled(distances)
    exact = cdist(x.astype(np.float64), y.astype(np.float64), "sqeuclidean")
    assert (np.abs(values - exact) <= errors).all()
    assert distances.exact(np.arange(20), np.arange(20)).tolist() == [0.0] * 20


def test_tiles_cover_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.distances._TILE_ROWS", 7)
    monkeypatch.setattr("metrics.distances._EXACT_VALUES", 10)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(23, 3))
    values, errors = tiled(SquaredDistances(x, y))
    assert (np.abs(values - cdist(x, y, "sqeuclidean")) <= errors).all()


def test_rows_of_zeros_have_no_distance() -> None:
    values, errors = tiled(SquaredDistances(np.full((4, 3), 0.1), np.full((5, 3), 0.1)))
    assert np.abs(values).max() <= errors.min() < 1e-25


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("neighbors", [1, 3, 5])
def test_shares_are_those_of_plain_loops(seed: int, neighbors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.distances._TILE_ROWS", 16)
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(60, 4))
    fake = rng.normal(size=(45, 4)) * 1.5 + 0.5
    assert precision(real, fake, neighbors).score == plain_precision(real, fake, neighbors)
    assert recall(real, fake, neighbors).score == plain_precision(fake, real, neighbors)


def test_radii_are_those_of_sorted_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.distances._TILE_ROWS", 16)
    table = np.random.default_rng(2).normal(size=(70, 5))
    within = cdist(table, table, "sqeuclidean")
    np.fill_diagonal(within, np.inf)
    for neighbors in (1, 3, 69):
        expected = np.sort(within, axis=1)[:, neighbors - 1]
        np.testing.assert_allclose(squared_radii(table, neighbors), expected, rtol=1e-12)


def test_a_line_by_hand() -> None:
    # Reals 0, 1, 2, 10 with k = 1: spheres [-1, 1], [0, 2], [1, 3], [2, 18]; fakes 20, 30 have [10, 30], [20, 40].
    real = np.array([[0.0], [1], [2], [10]])
    fake = np.array([[20.0], [30], [17.5], [-1.0]])
    assert precision(real, fake, 1).score == 0.5
    # Fakes with k = 1: 20 +- 2.5, 30 +- 10, 17.5 +- 2.5, -1 +- 18.5: all reals are within the last.
    assert recall(real, fake, 1).score == 1.0


def test_points_on_a_sphere_are_inside_however_numbers_round() -> None:
    rng = np.random.default_rng(3)
    real = np.concatenate([np.zeros((1, 50)), np.eye(50) * 0.1, np.eye(50) * -0.1])
    fake = 0.1 * np.linalg.qr(rng.normal(size=(50, 50)))[0]
    assert precision(real, fake, 1).score == 1.0
    assert precision(real, fake * (1 + 1e-6), 1).score < 1.0


def test_the_same_images_are_covered() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(size=(80, 6)).astype(np.float32)
    result = precision(table, table[::-1])
    assert result.score == recall(table, table).score == 1.0
    assert (result.neighbors, result.real_count, result.fake_count, result.feature_count) == (3, 80, 80, 6)
    far = precision(table, table + 100)
    assert far.score == 0.0


def test_copies_make_spheres_points() -> None:
    rng = np.random.default_rng(5)
    real = np.repeat(rng.normal(size=(5, 3)) + 1e3, 4, axis=0)
    result = precision(real, np.concatenate([real[:6], real[:6] + 1e-9]))
    assert result.score == 0.5
    assert "20 rows of features_real have 3 equal ones, so that their spheres are points" in result.degenerate
    # Two, three or seven copies beside single ones: by plain loops.
    table = np.concatenate([np.repeat(rng.normal(size=(3, 4)), (2, 3, 7), axis=0), rng.normal(size=(6, 4))])
    table = rng.permutation(table)
    within = cdist(table, table, "sqeuclidean")
    np.fill_diagonal(within, np.inf)
    for neighbors in (1, 2, 3, 8):
        expected = np.sort(within, axis=1)[:, neighbors - 1]
        np.testing.assert_allclose(squared_radii(table, neighbors), expected, rtol=1e-12, atol=1e-15)
    still = precision(np.full((9, 2), 0.1), np.full((9, 2), 0.1))
    assert still.score == 1.0
    assert still.degenerate


def test_a_collapsed_generator_costs_no_memory() -> None:
    rng = np.random.default_rng(6)
    real, fake = rng.normal(size=(3000, 8)), np.repeat(rng.normal(size=(2, 8)), 1500, axis=0)
    fake[1::2] *= -1.0
    tracemalloc.start()
    assert recall(real, fake).score == 0.0
    assert recall(fake, np.where(fake == 0, -0.0, fake)).score == 1.0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Each of the 9 million pairs would take 24 bytes.
    assert peak < 100e6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e8]))
def test_order_rotation_shift_and_scale_change_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(30, 4)), rng.normal(size=(25, 4)) + 0.8
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    for measure in (precision, recall):
        score = measure(real, fake).score
        assert measure(rng.permutation(real), rng.permutation(fake)).score == score
        assert measure((real @ turn + 3) * scale, (fake @ turn + 3) * scale).score == score


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (np.zeros((3, 2)), np.zeros((9, 2)), "there are 3 images of one kind; .* at least 4"),
        (np.zeros((9, 2)), np.zeros((3, 2)), "there are 3 images of one kind"),
        (np.zeros((9, 2)), np.zeros((9, 3)), "same columns"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), "NaN or infinite"),
    ],
)
def test_wrong_features_are_refused(real: np.ndarray, fake: np.ndarray, words: str) -> None:
    for measure in (precision, recall):
        with pytest.raises(ValueError, match=words):
            measure(real, fake)


def test_wrong_neighbors_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbors is 0"):
        precision(np.zeros((9, 2)), np.zeros((9, 2)), 0)
