"""Mutual information, MIG and modularity: cases worked by hand, scikit-learn beside them, degenerate codes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from metrics.mig import mig
from metrics.modularity import dlib_modularity, modularity
from metrics.mutual_information import bin_codes, joint_counts, level_entropies, mutual_information

SIZES = (3, 6, 8, 5)


def grid(sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """Every combination of levels once."""
    return np.array(list(itertools.product(*map(range, sizes))), dtype=np.int64)


def noisy(rows: int, codes: int, factors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes that tell a little of everything."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, rng.integers(2, 12, factors), size=(rows, factors))
    return levels @ rng.normal(size=(factors, codes)) + rng.normal(size=(rows, codes)), levels


def plain_bins(codes: np.ndarray, num_bins: int = 20) -> np.ndarray:
    return np.stack([np.digitize(code, np.histogram(code, num_bins)[1][:-1]) for code in codes.T], axis=1)


def plain_information(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    bins = plain_bins(codes)
    return np.array([[mutual_info_score(level, bin_) for level in levels.T] for bin_ in bins.T])


def plain_mig(codes: np.ndarray, levels: np.ndarray) -> float:
    ordered = np.sort(plain_information(codes, levels), axis=0)
    entropies = np.array([mutual_info_score(level, level) for level in levels.T])
    return float(np.mean((ordered[-1] - ordered[-2]) / entropies))


def plain_modularity(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    squares = plain_information(codes, levels) ** 2
    largest = squares.max(axis=1)
    return 1 - (squares.sum(axis=1) - largest) / (largest * (squares.shape[1] - 1))


@pytest.mark.parametrize(("rows", "codes", "factors"), [(50, 3, 2), (400, 10, 5), (3000, 6, 4), (999, 2, 7)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_as_pairwise_scikit_learn(rows: int, codes: int, factors: int, dtype: type) -> None:
    table, levels = noisy(rows, codes, factors, seed=rows + codes)
    table = table.astype(dtype)
    assert np.array_equal(bin_codes(table), plain_bins(table) - 1)
    result = mig(table, levels)
    np.testing.assert_allclose(result.mutual_information, plain_information(table, levels), atol=1e-12)
    assert result.score == pytest.approx(plain_mig(table, levels), abs=1e-10)
    assert modularity(table, levels).score == pytest.approx(plain_modularity(table, levels).mean(), abs=1e-10)
    assert dlib_modularity(table, levels).score == pytest.approx(plain_modularity(table, levels).mean(), abs=1e-10)


def test_information_worked_by_hand() -> None:
    # Three of four rows agree: p(0,0) = p(1,1) = 3/8, p(0,1) = p(1,0) = 1/8.
    bins = np.array([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    levels = np.array([0, 0, 0, 1, 1, 1, 1, 0])[:, None]
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert mutual_information(bins, levels)[0, 0] == pytest.approx(expected, abs=1e-15)
    assert level_entropies(levels)[0] == pytest.approx(math.log(2))
    assert joint_counts(bins[:, 0], levels[:, 0]).tolist() == [[3, 1], [1, 3]]


def test_levels_may_be_few_and_large() -> None:
    rng = np.random.default_rng(3)
    codes, levels = rng.normal(size=(200, 2)), rng.integers(0, 3, (200, 2))
    large = np.array([0, 7, 2**61])[levels]
    for measure in (mig, modularity):
        assert measure(codes, large).score == measure(codes, levels).score


def test_independence_and_constancy_are_exactly_zero() -> None:
    levels = grid((3, 7, 11))
    information = mutual_information(levels, levels)
    assert (information[~np.eye(3, dtype=bool)] == 0).all()
    np.testing.assert_allclose(np.diag(information), np.log([3, 7, 11]))
    constant = bin_codes(np.full((len(levels), 1), 0.1))
    assert mutual_information(constant, levels).tolist() == [[0, 0, 0]]


def test_bins_of_values_that_hardly_differ() -> None:
    close = np.array([1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 2), 1.0], dtype=np.float64)[:, None]
    assert bin_codes(close)[:, 0].tolist() == [0, 19, 19, 0]
    assert bin_codes(close.astype(np.float32) * 0 + 3)[:, 0].tolist() == [10] * 4
    with pytest.raises(ValueError, match="num_bins must be 1 or more"):
        bin_codes(close, 0)


def test_perfect_codes() -> None:
    levels = grid()
    perfect = mig(levels.astype(float), levels)
    assert perfect.score == pytest.approx(1.0)
    assert perfect.per_factor == pytest.approx([1, 1, 1, 1])
    np.testing.assert_allclose(perfect.entropies, np.log(SIZES))
    assert modularity(levels.astype(float), levels).score == 1.0
    # Forty levels in twenty bins: two levels share each.
    many = grid((40, 3))
    assert mig(many, many).per_factor == pytest.approx([math.log(20) / math.log(40), 1.0])


def test_mixed_codes_score_less() -> None:
    levels = grid()
    centred = levels - levels.mean(axis=0)
    angle = np.pi / 4
    turned = centred.copy()
    turned[:, 2:] = centred[:, 2:] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert mig(turned, levels).score < 0.75
    assert modularity(turned, levels).score < 0.98
    rng = np.random.default_rng(0)
    random = mig(rng.normal(size=(len(levels), 6)), levels)
    assert 0 <= random.score < 0.05


def test_duplicates_leave_no_gap_and_are_named() -> None:
    levels = grid()
    twice = mig(np.concatenate([levels, levels], axis=1), levels)
    assert twice.score == 0.0
    assert "copies of another: 4 of 0, 5 of 1" in twice.degenerate[0]
    assert modularity(np.concatenate([levels, levels], axis=1), levels).score == 1.0


def test_dead_codes_do_not_decide() -> None:
    codes, levels = noisy(500, 3, 3, seed=4)
    with_dead = np.concatenate([codes, np.full((500, 2), 0.1)], axis=1)
    alone, beside = modularity(codes, levels), modularity(with_dead, levels)
    assert beside.score == alone.score
    assert np.isnan(beside.per_code[3:]).all()
    assert "2 of 5 codes never change and tell nothing; they are left out: 3, 4" in beside.degenerate
    assert alone.degenerate == ()
    assert mig(with_dead, levels).score == mig(codes, levels).score
    strict = modularity(with_dead, levels, strict_reference=True)
    assert math.isnan(strict.score)
    assert "strict_reference" in strict.degenerate[-1]
    assert modularity(codes, levels, strict_reference=True).score == alone.score
    # disentanglement_lib counts a dead code as 0 and averages over all.
    counted = dlib_modularity(with_dead, levels)
    assert counted.score == pytest.approx(alone.score * 3 / 5)
    assert f"the score is {alone.score:.4f}" in counted.degenerate[-1]


def test_codes_that_tell_nothing_are_left_out_of_modularity() -> None:
    levels = grid((4, 5, 6))
    # The third factor is no column of the table that is scored: its code is independent of the others, exactly.
    result = modularity(levels.astype(float), levels[:, :2])
    assert result.score == 1.0
    assert "share no information with any factor and are left out: 2" in result.degenerate[0]


def test_everything_dead() -> None:
    levels = grid()
    for function in (modularity, dlib_modularity):
        result = function(np.zeros((len(levels), 3)), levels)
        assert result.score == 0.0
        assert "no code tells anything about any factor: the score is 0" in result.degenerate
    assert mig(np.zeros((len(levels), 3)), levels).score == 0.0


def test_one_factor_and_one_code() -> None:
    levels = grid((4,))
    one = modularity(np.tile(levels, (1, 2)) * [1, 0], levels)
    assert one.score == 1.0
    assert "one factor only" in " ".join(one.degenerate)
    assert math.isnan(modularity(levels, levels, strict_reference=True).score)
    assert math.isnan(dlib_modularity(levels, levels, strict_reference=True).score)
    single = mig(levels, levels)
    assert single.score == pytest.approx(1.0)
    assert "one code only" in single.degenerate[0]
    assert math.isnan(mig(levels, levels, strict_reference=True).score)


def test_factors_of_one_level_are_left_out_by_name() -> None:
    codes, levels = noisy(300, 4, 3, seed=1)
    with_constant = np.concatenate([levels, np.zeros((300, 1), np.int64)], axis=1)
    names = ["shape", "size", "angle", "color"]
    result = mig(codes, with_constant, factor_names=names)
    assert result.score == pytest.approx(mig(codes, levels).score)
    assert np.isnan(result.per_factor[3])
    assert "factors of one level are left out: color" in result.degenerate
    assert result.factor_names == tuple(names)
    assert math.isnan(mig(codes, with_constant, strict_reference=True).score)
    assert modularity(codes, with_constant).score == pytest.approx(modularity(codes, levels).score)
    # The released code divides by the number of all factors.
    reference = plain_modularity(codes, with_constant).mean()
    assert modularity(codes, with_constant, strict_reference=True).score == pytest.approx(reference)
    nothing = mig(codes, np.zeros((300, 2), np.int64))
    assert nothing.score == 0.0
    assert "no factor varies" in " ".join(nothing.degenerate)


def test_missing_cells_are_left_out_of_their_factor() -> None:
    codes, levels = noisy(400, 5, 3, seed=2)
    holes = levels.copy()
    holes[:150, 1] = -1
    result = mig(codes, holes)
    bins = bin_codes(codes)
    for factor, rows in ((0, slice(0, None)), (1, slice(150, None)), (2, slice(0, None))):
        expected = [mutual_info_score(levels[rows, factor], bins[rows, code]) for code in range(5)]
        np.testing.assert_allclose(result.mutual_information[:, factor], expected, atol=1e-12)
    assert result.entropies[1] == pytest.approx(mutual_info_score(levels[150:, 1], levels[150:, 1]))
    holes[:, 1] = -1
    assert mig(codes, holes).score == pytest.approx(mig(codes, levels[:, [0, 2]]).score)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 4), st.integers(20, 200))
def test_scores_are_between_0_and_1_and_do_not_depend_on_order_or_scale(
    seed: int, codes: int, factors: int, rows: int
) -> None:
    table, levels = noisy(rows, codes, factors, seed)
    rng = np.random.default_rng(seed)
    order, sign = rng.permutation(codes), rng.choice([1.0, 4.0, 0.5], size=codes)
    moved = table[:, order] * sign
    relabeled = levels[:, ::-1] * 3 + 1
    for function in (mig, modularity, dlib_modularity):
        result = function(table, levels)
        assert 0 <= result.score <= 1
        assert function(moved, relabeled).score == pytest.approx(result.score, abs=1e-12)


@pytest.mark.parametrize(
    ("codes", "levels", "error", "words"),
    [
        (np.zeros((4, 2)), np.zeros((3, 2), int), ValueError, r"levels must have the shape \(4, factors\)"),
        (np.zeros((4, 2)), np.zeros((4, 2)), TypeError, "levels must hold integers"),
        (np.zeros((4, 2)), np.zeros(4, int), ValueError, "levels must have the shape"),
        (np.zeros((1, 2)), np.zeros((1, 2), int), ValueError, "codes has one row"),
        (np.zeros((0, 2)), np.zeros((0, 2), int), ValueError, "codes is empty"),
        (np.full((4, 2), np.nan), np.zeros((4, 2), int), ValueError, "NaN or infinite"),
        (np.array([[np.inf, 1], [2, 3]]), np.zeros((2, 2), int), ValueError, "NaN or infinite"),
        (np.full((4, 2), 1e200), np.zeros((4, 2), int), ValueError, "scale them down"),
        (np.full((4, 2), "a"), np.zeros((4, 2), int), TypeError, "real numbers"),
    ],
)
def test_wrong_arrays_are_refused(codes: np.ndarray, levels: np.ndarray, error: type[Exception], words: str) -> None:
    for function in (mig, modularity, dlib_modularity):
        with pytest.raises(error, match=words):
            function(codes, levels)
    with pytest.raises(ValueError, match="factor_names has 1 names for 2 factors"):
        mig(np.arange(4.0)[:, None], np.zeros((4, 2), int), factor_names=["one"])
