"""Inception Score, confidence and balance of the modes: known answers, a plain loop, invariances, refusals."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metrics.inception_score import confidence, inception_score, mode_kl
from metrics.results import MetricResult

ALL: list[Callable[[np.ndarray], MetricResult]] = [inception_score, confidence, mode_kl]


def random_table(seed: int, count: int = 200, classes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=count)


def plain_score(table: np.ndarray) -> tuple[float, float]:
    """exp of the mean, and the deviation, of divergences that are added up one by one."""
    marginal = table.mean(axis=0)
    divergences = []
    for row in table:
        divergences.append(sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True) if p > 0))
    return math.exp(sum(divergences) / len(table)), float(np.std(divergences))


@pytest.mark.parametrize("seed", range(3))
def test_score_is_that_of_a_plain_loop(seed: int) -> None:
    table = random_table(seed)
    table[:20] = np.eye(4)[np.arange(20) % 4]
    result = inception_score(table)
    score, log_std = plain_score(table)
    assert result.score == pytest.approx(score, rel=1e-12)
    assert result.log_std == result.std == pytest.approx(log_std, rel=1e-12)
    assert (result.count, result.classes, result.splits) == (200, 4, 1)


def test_known_answers() -> None:
    balanced = np.eye(3)[np.arange(30) % 3]
    assert inception_score(balanced).score == pytest.approx(3.0, rel=1e-12)
    assert inception_score(balanced).log_std == pytest.approx(0)
    assert inception_score(balanced, 10).score == pytest.approx(3.0)
    assert inception_score(np.full((30, 3), 1 / 3)).score == pytest.approx(1.0)
    one = np.eye(3)[np.zeros(30, int)]
    assert inception_score(one).score == pytest.approx(1.0)
    assert "all images have the same probabilities" in inception_score(one).degenerate
    # Three of one class and one of another: exp of the entropy of 3/4 and 1/4.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(np.eye(3)[[0, 0, 0, 2]]).score == pytest.approx(math.exp(entropy))


def test_splits_are_parts_in_order() -> None:
    table = random_table(5, count=205)
    edges = [0, 20, 41, 61, 82, 102, 123, 143, 164, 184, 205]
    scores = [plain_score(table[start:stop])[0] for start, stop in itertools.pairwise(edges)]
    result = inception_score(table, 10)
    assert result.score == pytest.approx(np.mean(scores), rel=1e-12)
    assert result.std == pytest.approx(np.std(scores), rel=1e-9)
    assert result.log_std == inception_score(table).log_std


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = random_table(7, count=50)
    whole = inception_score(table)
    monkeypatch.setattr("metrics.inception_score._BLOCK_ROWS", 7)
    parts = inception_score(table)
    assert (parts.score, parts.log_std) == (whole.score, whole.log_std)


def test_few_images_in_a_part_are_noted_or_refused() -> None:
    table = random_table(6, count=50, classes=10)
    assert "parts of 5 images cannot show all 10 classes; the score is too low" in inception_score(table, 10).notes
    assert inception_score(table).notes == ()
    with pytest.raises(ValueError, match="19 images are too few for 10 parts; give at least 20"):
        inception_score(table[:19], 10)
    with pytest.raises(ValueError, match="1 images are too few"):
        inception_score(table[:1])
    with pytest.raises(ValueError, match="splits is 0"):
        inception_score(table, 0)


def test_confidence() -> None:
    result = confidence(np.array([[0.5, 0.5, 0], [0.2, 0.7, 0.1], [0, 0, 1]]))
    assert result.score == pytest.approx((0.5 + 0.7 + 1) / 3)
    assert result.std == pytest.approx(np.std([0.5, 0.7, 1]))
    assert confidence(np.full((5, 4), 0.25)).score == 0.25
    # One image is enough for these two.
    assert confidence([[0.1, 0.9]]).score == 0.9
    assert mode_kl([[0.1, 0.9]]).score == pytest.approx(math.log(2))


def test_mode_kl() -> None:
    balanced = mode_kl(np.eye(3)[np.arange(30) % 3])
    assert balanced.score == 0.0
    assert balanced.counts.tolist() == [10, 10, 10]
    assert balanced.degenerate == ()
    skewed = mode_kl(np.eye(3)[[0, 0, 0, 2]])
    assert skewed.score == pytest.approx(0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 3))
    assert skewed.counts.tolist() == [3, 0, 1]
    assert "1 of 3 classes have no image: 1" in skewed.degenerate
    assert mode_kl(np.eye(3)[[1] * 7]).score == pytest.approx(math.log(3))


def test_the_first_of_equally_likely_classes_counts() -> None:
    result = mode_kl(np.array([[0.4, 0.2, 0.4], [0.2, 0.4, 0.4], [0, 0, 1.0]]))
    assert result.counts.tolist() == [1, 1, 1]
    assert "2 images have several likeliest classes and count for the first" in result.degenerate


@settings(max_examples=40, deadline=None)
@given(
    weights=arrays(
        np.float64, st.tuples(st.integers(2, 30), st.integers(1, 6)), elements=st.sampled_from([0, 1, 2, 9])
    ),
    seed=st.integers(0, 1000),
)
def test_bounds_and_invariance(weights: np.ndarray, seed: int) -> None:
    weights[weights.sum(axis=1) == 0] = 1
    table = weights / weights.sum(axis=1, keepdims=True)
    classes = table.shape[1]
    rng = np.random.default_rng(seed)
    moved = rng.permutation(table)[:, rng.permutation(classes)]
    assert 1 - 1e-12 <= inception_score(table).score <= classes + 1e-9
    assert 1 / classes - 1e-12 <= confidence(table).score <= 1
    assert 0 <= mode_kl(table).score <= math.log(classes) + 1e-12
    assert inception_score(moved).score == pytest.approx(inception_score(table).score, rel=1e-12)
    assert confidence(moved).score == pytest.approx(confidence(table).score, rel=1e-12)
    rows = rng.permutation(table)
    assert mode_kl(rows).counts.tolist() == mode_kl(table).counts.tolist()


def test_single_precision_is_taken_as_it_is() -> None:
    table = random_table(7).astype(np.float32)
    assert inception_score(table).score == pytest.approx(plain_score(table.astype(np.float64))[0], rel=1e-12)


def test_one_class_is_called_degenerate() -> None:
    for measure in ALL:
        assert "there is one class only" in measure(np.ones((5, 1))).degenerate[0]
    assert inception_score(np.ones((5, 1))).score == 1.0


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        (np.array([[2.0, -1], [0.5, 0.5]]), ValueError, r"lie in \[0, 1\]; they span -1 to 2 \(are these logits"),
        (np.array([[0.5, 0.4], [0.5, 0.5]]), ValueError, "add up to 1; one is off by 0.1"),
        (np.array([[0.5, np.nan], [0.5, 0.5]]), ValueError, "1 values of 4 that are NaN"),
        (np.array([0.5, 0.5]), ValueError, "2 axes"),
        (np.zeros((0, 3)), ValueError, "empty"),
        (np.array([["a", "b"]]), TypeError, "real numbers"),
    ],
)
def test_what_is_no_distribution_is_refused(
    measure: Callable[[np.ndarray], MetricResult], table: np.ndarray, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        measure(table)


def test_results_become_json_and_cannot_be_changed() -> None:
    result = mode_kl(np.eye(3)[[0, 1, 2]], "dsprites_shape_0123abcd")
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["counts"] == [1, 1, 1]
    assert record["extractor"] == "dsprites_shape_0123abcd"
    with pytest.raises(ValueError, match="read-only"):
        result.counts[0] = 5
