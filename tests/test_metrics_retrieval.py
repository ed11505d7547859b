"""Retrieval across domains: hand-worked cases, plain loops, ties, chance, refusals, memory."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from metrics.distances import SquaredDistances
from metrics.results import MetricResult
from metrics.retrieval import map_all, map_at_k, map_at_k_reference, precision_at_k, recall_at_k

Search = Callable[..., MetricResult]


def plain_recall(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Share of rows of x whose partner is among the k nearest of y."""
    order = np.argsort(cdist(x, y, "sqeuclidean"), axis=1, kind="stable")
    return float(np.mean([i in order[i, :k] for i in range(len(x))]))


def plain_ap(relevant: list[bool], k: int, divisor: int) -> float:
    """Precisions at the places of the relevant ones, added up."""
    total, hits = 0.0, 0
    for place, is_relevant in enumerate(relevant[:k], 1):
        hits += is_relevant
        total += hits / place if is_relevant else 0.0
    return total / divisor


def orders_of_equals(distances: list[float]) -> list[tuple[int, ...]]:
    """All orders of the images that are sorted by distance."""
    return [
        order
        for order in itertools.permutations(range(len(distances)))
        if all(distances[a] <= distances[b] for a, b in itertools.pairwise(order))
    ]


def directions(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.distances._TILE_ROWS", 16)
    monkeypatch.setattr("metrics.distances._PRODUCT_COLUMNS", 8)
    monkeypatch.setattr("metrics.retrieval._RANKED_VALUES", 300)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "noise"), [(2, 0.3), (30, 2.0), (300, 4.0)])
def test_recall_is_that_of_plain_loops(dtype: type, size: int, noise: float) -> None:
    rng = np.random.default_rng(size)
    x: np.ndarray = rng.normal(size=(70, size)).astype(dtype)
    y: np.ndarray = (x + noise * rng.normal(size=x.shape)).astype(dtype)
    result = recall_at_k(x, y, [1, 3, 10, 70])
    for k in (1, 3, 10, 70):
        assert result.x_to_y[k] == plain_recall(x.astype(float), y.astype(float), k)
        assert result.y_to_x[k] == plain_recall(y.astype(float), x.astype(float), k)
    assert 0 < result.x_to_y[1] < 1 == result.x_to_y[70]
    assert result.score == pytest.approx((result.x_to_y[1] + result.y_to_x[1]) / 2)
    assert result.chance == {1: 1 / 70, 3: 3 / 70, 10: 10 / 70, 70: 1.0}
    assert result.degenerate == ()


def test_recall_by_hand_differs_between_directions() -> None:
    x, y = np.array([[0.0], [1], [5]]), np.array([[0.4], [5.5], [1.2]])
    # From x: 0 -> 0.4 right; 1 -> 1.2 wrong; 5 -> 5.5 wrong. From y: 0.4 -> 0 right; 5.5 -> 5 wrong; 1.2 -> 1 wrong.
    result = recall_at_k(x, y)
    assert result.x_to_y == {1: pytest.approx(1 / 3)}
    y[1], y[2] = 1.8, 1.1
    # From x: 1 -> 1.1 wrong; from y: 1.8 -> 1 right, 1.1 -> 1 wrong.
    result = recall_at_k(x, y)
    assert (result.x_to_y[1], result.y_to_x[1]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_perfect_and_shuffled_codes() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(200, 8)).astype(np.float32)
    perfect = recall_at_k(codes, codes)
    assert perfect.score == 1.0
    assert perfect.x_to_y == {1: 1.0, 5: 1.0, 10: 1.0}
    shifted = recall_at_k(codes, np.roll(codes, 1, axis=0))
    assert shifted.score == 0.0
    independent = recall_at_k(codes, rng.normal(size=codes.shape), [50])
    assert independent.score == pytest.approx(independent.chance[50], abs=0.1)


@pytest.mark.usefixtures("small_tiles")
def test_constant_codes_are_at_chance() -> None:
    for x in (np.full((40, 3), 0.1), np.zeros((40, 3), np.float32)):
        result = recall_at_k(x, x + 7)
        assert result.x_to_y == pytest.approx({1: 1 / 40, 5: 5 / 40, 10: 10 / 40})
        assert result.y_to_x == pytest.approx(result.chance)
        assert "the codes of x are the same for all images" in result.degenerate
        assert "the codes of y are the same for all images" in result.degenerate
        assert any("40 of 40 queries from x are as near to other images" in text for text in result.degenerate)
    # One domain only: from x all of y are equally far, from y each image has one nearest value of x: all of them.
    half = recall_at_k(np.ones((40, 2)), np.random.default_rng(1).normal(size=(40, 2)))
    assert half.y_to_x[1] == pytest.approx(1 / 40)
    # Every query of x prefers the same image.
    assert half.x_to_y[1] == pytest.approx(1 / 40)


@pytest.mark.usefixtures("small_tiles")
def test_copies_share_their_places() -> None:
    rng = np.random.default_rng(2)
    codes = np.repeat(rng.normal(size=(10, 4)) * 1e3 + 1e4, 5, axis=0).astype(np.float32)
    result = recall_at_k(codes, codes, [1, 2, 5])
    assert result.x_to_y == pytest.approx({1: 0.2, 2: 0.4, 5: 1.0})
    assert result.y_to_x == pytest.approx(result.x_to_y)


def test_copies_need_no_exact_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    exact = SquaredDistances.exact

    def counted(self: SquaredDistances, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        looked_at.append(len(rows))
        return exact(self, rows, columns)

    monkeypatch.setattr(SquaredDistances, "exact", counted)
    still = np.zeros((60, 3))
    still[::2] *= -1.0
    for x, y in ((still, still), (still, np.random.default_rng(4).normal(size=(60, 3)))):
        result = recall_at_k(x, y, [1])
        assert result.score == pytest.approx(1 / 60)
        # Each image and its partner, and what single precision leaves open.
        assert sum(looked_at) < 100
        looked_at.clear()


@pytest.mark.parametrize("excess", [1e-6, -1e-6])
def test_near_ties_are_decided_exactly(excess: float) -> None:
    # Each partner has a rival that is nearer or farther by a millionth: less than products in single precision tell.
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 600)) * 10
    partners, rivals = rng.normal(size=(2, 30, 600))
    partners *= 50 / np.linalg.norm(partners, axis=1, keepdims=True)
    rivals *= 50 * (1 + excess) / np.linalg.norm(rivals, axis=1, keepdims=True)
    y = np.concatenate([x[:30] + partners, x[:30] + rivals])
    result = recall_at_k(x, y, [1, 2])
    assert result.x_to_y == {k: plain_recall(x, y, k) for k in (1, 2)}
    assert (result.x_to_y[1] >= 0.5) == (excess > 0)
    assert result.x_to_y[2] >= 0.5


def test_an_offset_between_the_domains_costs_no_digits() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 20))
    y = x + rng.normal(size=x.shape) * 0.8
    expected = recall_at_k(x, y)
    moved = recall_at_k(x + 1e4, y + 1e4)
    assert moved.x_to_y == expected.x_to_y
    shift = rng.normal(size=20) * 1e6
    apart = recall_at_k(x, y + shift)
    assert apart.x_to_y == {k: plain_recall(x, y + shift, k) for k in (1, 5, 10)}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 30), size=st.integers(1, 5), levels=st.integers(1, 4))
def test_recall_of_random_grids(seed: int, count: int, size: int, levels: int) -> None:
    # Codes of few levels have many ties: the mean of all orders is compared with counts.
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, levels, size=(count, size)) / 7 for _ in range(2))
    distances = np.round(cdist(x, y, "sqeuclidean") * 49).astype(int)
    partner = np.diagonal(distances)
    nearer = (distances < partner[:, None]).sum(axis=1)
    equal = (distances == partner[:, None]).sum(axis=1)
    order = rng.permutation(count)
    for k in (1, count // 2 + 1, count):
        expected = np.clip((k - nearer) / equal, 0, 1).mean()
        assert recall_at_k(x, y, [k]).x_to_y[k] == pytest.approx(expected, abs=1e-12)
        assert recall_at_k(y, x, [k]).y_to_x[k] == pytest.approx(expected, abs=1e-12)
        assert recall_at_k(x[order] * 3 + 5, y[order] * 3 + 5, [k]).x_to_y[k] == pytest.approx(expected, abs=1e-12)


def test_wrong_pairs_are_refused() -> None:
    codes = np.zeros((5, 2))
    for x, y, words in (
        (codes, np.zeros((4, 2)), "same rows and columns"),
        (codes, np.zeros((5, 3)), "same rows and columns"),
        (np.full((5, 2), np.nan), codes, "codes_x holds 10 values of 10 that are NaN"),
        (codes, np.full((5, 2), np.inf), "codes_y holds 10 values"),
        (codes[:1], codes[:1], "one row"),
        (np.full((5, 2), 1e200), codes, "scale them down"),
    ):
        with pytest.raises(ValueError, match=words):
            recall_at_k(x, y)
    for at in ([0], [6], []):
        with pytest.raises(ValueError, match="allowed: 1 to 5"):
            recall_at_k(codes, codes, at)
    assert recall_at_k(codes, codes).x_to_y.keys() == {1, 5}


def test_average_precision_by_hand() -> None:
    # From 0 degrees: 1 (relevant), 2, 3 (relevant), 4; from 90: 4, 3, 2 (relevant), 1.
    gallery, labels = directions(10, 20, 30, 40), [7, 8, 7, 9]
    queries, wanted = directions(0, 90), [7, 8]
    first, second = (1 + 2 / 3) / 2, 1 / 3
    result = map_all(queries, wanted, gallery, labels)
    assert result.score == pytest.approx((first + second) / 2)
    assert result.per_class == {7: pytest.approx(first), 8: pytest.approx(second)}
    assert (result.k, result.queries, result.gallery) == (4, 2, 4)
    assert map_at_k(queries, wanted, gallery, labels, 1).score == pytest.approx((1 / 1 + 0) / 2)
    assert map_at_k(queries, wanted, gallery, labels, 3).score == pytest.approx((first + second) / 2)
    assert map_at_k_reference(queries, wanted, gallery, labels, 3).score == pytest.approx(
        ((1 + 2 / 3) / 3 + (1 / 3) / 3) / 2
    )
    assert precision_at_k(queries, wanted, gallery, labels, 1).score == 0.5
    assert precision_at_k(queries, wanted, gallery, labels, 3).score == pytest.approx((2 / 3 + 1 / 3) / 2)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = rng.normal(size=(40, 6)), rng.normal(size=(50, 6)).astype(np.float32)
    wanted, labels = rng.integers(0, 4, 40), rng.integers(0, 4, 50)
    queries += np.eye(6)[wanted]
    gallery += np.eye(6, dtype=np.float32)[labels]
    order = np.argsort(cdist(queries, gallery, "cosine"), axis=1)
    for k in (1, 7, 20, 50):
        usual, released, share, whole = [], [], [], []
        for query in range(40):
            relevant = (labels[order[query]] == wanted[query]).tolist()
            usual.append(plain_ap(relevant, k, min(k, sum(relevant))))
            released.append(plain_ap(relevant, k, k))
            share.append(sum(relevant[:k]) / k)
            whole.append(plain_ap(relevant, 50, sum(relevant)))
        arrays = (queries, wanted, gallery, labels)
        assert map_at_k(*arrays, k).score == pytest.approx(np.mean(usual), rel=1e-12)
        assert map_at_k_reference(*arrays, k).score == pytest.approx(np.mean(released), rel=1e-12)
        assert precision_at_k(*arrays, k).score == pytest.approx(np.mean(share), rel=1e-12)
        assert map_all(*arrays).score == pytest.approx(np.mean(whole), rel=1e-12)
        assert map_all(*arrays).degenerate == ()


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.integers(0, 2), min_size=2, max_size=6),
    marks=st.lists(st.booleans(), min_size=6, max_size=6),
    k=st.integers(1, 6),
    seed=st.integers(0, 100),
)
def test_equals_count_as_the_mean_of_all_their_orders(places: list[int], marks: list[bool], k: int, seed: int) -> None:
    size = len(places)
    relevant, k = [True, *marks[1:size]], min(k, size)
    # Lengths differ, directions do not: cosines are equal up to rounding.
    lengths = np.random.default_rng(seed).uniform(0.5, 2, size=(size, 1))
    gallery = directions(*(10 * place + 5 for place in places)) * lengths
    arrays = (directions(0, 0), [1, 1], gallery, np.where(relevant, 1, 2))
    orders = [[relevant[place] for place in order] for order in orders_of_equals([float(p) for p in places])]
    every = sum(relevant)
    for found, expected in (
        (map_all(*arrays), [plain_ap(order, size, every) for order in orders]),
        (map_at_k(*arrays, k), [plain_ap(order, k, min(k, every)) for order in orders]),
        (map_at_k_reference(*arrays, k), [plain_ap(order, k, k) for order in orders]),
        (precision_at_k(*arrays, k), [sum(order[:k]) / k for order in orders]),
    ):
        assert found.score == pytest.approx(np.mean(expected), rel=1e-12)
        if len(set(places)) < size:
            assert any("2 queries are as near to several images" in text for text in found.degenerate)


def test_constant_codes_find_nothing_better_than_chance() -> None:
    labels = np.repeat(np.arange(5), 20)
    codes = np.full((100, 4), 0.3)
    assert precision_at_k(codes, labels, codes, labels, 10).score == pytest.approx(0.2)
    rng = np.random.default_rng(5)
    random = map_all(rng.normal(size=(100, 4)), labels, rng.normal(size=(100, 4)), labels).score
    assert map_all(codes, labels, codes, labels).score == pytest.approx(random, abs=0.02)


def test_perfect_classes() -> None:
    labels = np.repeat(np.arange(4), 5)
    codes = np.eye(4)[labels] + 0.01 * np.random.default_rng(6).normal(size=(20, 4))
    assert map_all(codes, labels, codes, labels).score == 1.0
    assert map_at_k(codes, labels, codes, labels, 10).score == 1.0
    # Five of ten are there to be found.
    assert precision_at_k(codes, labels, codes, labels, 10).score == 0.5
    assert map_at_k_reference(codes, labels, codes, labels, 10).score == 0.5


def test_length_does_not_matter_and_zero_has_no_direction() -> None:
    rng = np.random.default_rng(7)
    queries, gallery = rng.normal(size=(10, 3)), rng.normal(size=(20, 3))
    wanted, labels = np.arange(10) % 2, np.arange(20) % 2
    score = map_all(queries, wanted, gallery, labels).score
    lengths = np.array([1e-200, 1e90] * 5)[:, None]
    assert map_all(queries * lengths, wanted, gallery, labels).score == pytest.approx(score, rel=1e-12)
    queries[3] = 0
    result = map_all(queries, wanted, gallery, labels)
    assert "1 of 10 queries are 0 and have no direction: their cosine is 0" in result.degenerate
    gallery[[4, 5]] = 0
    assert any("2 of 20 rows of gallery are 0" in text for text in map_all(queries, wanted, gallery, labels).degenerate)


def test_classes_without_images() -> None:
    gallery, labels = directions(10, 20, 30, 40), [7, 8, 7, 9]
    queries, wanted = directions(0, 0), [7, 5]
    found = (1 + 2 / 3) / 2
    for measure in (map_all, map_at_k):
        result = measure(queries, wanted, gallery, labels, *([4] if measure is map_at_k else []))
        assert result.score == pytest.approx(found)
        assert result.queries == 1
        assert "1 queries of classes that the gallery has not are left out: 5" in result.degenerate
    for measure, value in ((map_at_k_reference, (1 + 2 / 3) / 4), (precision_at_k, 0.5)):
        result = measure(queries, wanted, gallery, labels, 4)
        assert result.score == pytest.approx(value / 2)
        assert result.per_class == {5: 0.0, 7: pytest.approx(value)}
        assert "1 queries of classes that the gallery has not count 0: 5" in result.degenerate


@pytest.mark.parametrize("measure", [map_all, map_at_k, map_at_k_reference, precision_at_k])
def test_wrong_searches_are_refused(measure: Search) -> None:
    queries, wanted, gallery, labels = np.ones((3, 2)), [0, 1, 2], np.ones((4, 2)), [0, 0, 1, 2]
    options = [] if measure is map_all else [2]
    for arrays, error, words in (
        ((np.ones((3, 3)), wanted, gallery, labels), ValueError, "same columns"),
        ((queries, [0, 1], gallery, labels), ValueError, r"query_labels must have the shape \(3,\)"),
        ((queries, wanted, gallery, [0, 1]), ValueError, r"gallery_labels must have the shape \(4,\)"),
        ((queries, [0, 1, 0.5], gallery, labels), ValueError, "whole numbers"),
        ((queries, ["a", "b", "c"], gallery, labels), TypeError, "integers"),
        ((queries, [5, 6, 7], gallery, labels), ValueError, "no query has an image of its class"),
        ((queries * np.nan, wanted, gallery, labels), ValueError, "queries holds 6 values of 6 that are NaN"),
        ((queries, wanted, gallery * np.inf, labels), ValueError, "gallery holds 8 values"),
        ((queries[0], wanted, gallery, labels), ValueError, "queries must have 2 axes"),
        ((queries, wanted, np.zeros((0, 2)), []), ValueError, "gallery is empty"),
        ((queries * 1e150, wanted, gallery, labels), ValueError, "scale them down"),
    ):
        with pytest.raises(error, match=words):
            measure(*arrays, *options)


@pytest.mark.parametrize("measure", [map_at_k, map_at_k_reference, precision_at_k])
def test_k_beyond_the_gallery_is_refused(measure: Search) -> None:
    arrays = (np.ones((3, 2)), [0, 0, 0], np.ones((4, 2)), [0, 0, 1, 1])
    for k in (0, -1, 5):
        with pytest.raises(ValueError, match=f"k is {k}; allowed: 1 to 4"):
            measure(*arrays, k)
    assert measure(*arrays, 4).to_json()["k"] == 4


def test_one_query_is_enough() -> None:
    assert map_all(directions(0), [1], directions(10, 20), [1, 2]).score == 1.0


def test_memory_does_not_grow_with_pairs_or_copies() -> None:
    # 4,000 pairs: all distances in double precision would take 128 MB, and their orders several times as much.
    rng = np.random.default_rng(8)
    x = rng.normal(size=(4000, 500)).astype(np.float32)
    y = x + rng.normal(size=x.shape, scale=4).astype(np.float32)
    labels = np.arange(4000) % 50
    tracemalloc.start()
    recall_at_k(x, y, [1])
    recall_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    precision_at_k(x[:1500], labels[:1500], y, labels, 10)
    search_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recall_peak < 90e6
    assert search_peak < 200e6


def test_results_become_json() -> None:
    codes = np.random.default_rng(9).normal(size=(12, 3))
    record = json.loads(json.dumps(recall_at_k(codes, codes).to_json(), allow_nan=False))
    assert record["x_to_y"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    labels = np.arange(12) % 3
    record = json.loads(json.dumps(map_all(codes, labels, codes, labels).to_json(), allow_nan=False))
    assert set(record["per_class"]) == {"0", "1", "2"}
