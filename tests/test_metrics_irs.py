"""The interventional robustness score: worked by hand, beside plain loops, and for codes that tell nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import plain_metrics as plain
from metrics.irs import dlib_irs


def factors_of(rows: int = 2000, sizes: tuple[int, ...] = (3, 6, 40), seed: int = 0) -> Any:
    """Levels of independent factors."""
    return np.random.default_rng(seed).integers(0, sizes, size=(rows, len(sizes)))


def test_case_worked_by_hand() -> None:
    codes = np.array([[0.0], [2.0], [10.0], [16.0]])
    levels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    result = dlib_irs(codes, levels, diff_quantile=1.0)
    # The mean is 7, the greatest deviation 9. Factor 0 keeps groups {0, 2} and {10, 16}: deviations 1 and 3.
    # Factor 1 keeps {0, 10} and {2, 16}: deviations 5 and 7.
    assert result.robustness.tolist() == [[pytest.approx(1 - 2 / 9), pytest.approx(1 - 6 / 9)]]
    assert result.score == pytest.approx(1 - 2 / 9)
    assert result.parents.tolist() == [0]
    assert result.max_deviations.tolist() == [9]
    assert result.num_active == 1


@pytest.mark.parametrize("sizes", [(3, 6, 40), (2,), (50, 33)])
def test_same_as_plain_loops(sizes: tuple[int, ...]) -> None:
    levels = factors_of(sizes=sizes)
    rng = np.random.default_rng(1)
    codes = (levels @ rng.normal(size=(len(sizes), 4)) + rng.normal(size=(len(levels), 4))).astype(np.float32)
    assert dlib_irs(codes, levels).score == pytest.approx(plain.dlib_irs(codes, levels), abs=1e-12)


def test_codes_are_weighted_by_their_greatest_deviation() -> None:
    levels = factors_of()
    rng = np.random.default_rng(2)
    codes = np.stack([levels[:, 0], 100 * rng.normal(size=len(levels))], axis=1)
    result = dlib_irs(codes, levels)
    assert result.per_code[0] == pytest.approx(1)
    assert result.score == pytest.approx(np.average(result.per_code, weights=result.max_deviations))
    assert result.score < 0.5
    assert dlib_irs(7 * codes - 3, levels).score == pytest.approx(result.score)


def test_factors_themselves_are_robust_and_noise_is_not() -> None:
    levels = factors_of(sizes=(3, 6, 8))
    result = dlib_irs(levels[:, [2, 0, 1]].astype(float), levels)
    assert result.score == pytest.approx(1)
    assert result.parents.tolist() == [2, 0, 1]
    noise = dlib_irs(np.random.default_rng(0).normal(size=(2000, 3)), levels)
    assert noise.score < 0.5
    turned = dlib_irs(levels @ np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1]]), levels)
    assert noise.score < turned.score < 1


def test_order_of_codes_and_factors_does_not_matter() -> None:
    levels = factors_of()
    codes = levels @ np.random.default_rng(3).normal(size=(3, 5))
    assert dlib_irs(codes[:, ::-1], levels[:, [1, 2, 0]]).score == pytest.approx(dlib_irs(codes, levels).score)


def test_dead_codes_and_factors_are_left_out() -> None:
    levels = factors_of()
    codes = np.random.default_rng(4).normal(size=(2000, 2)) + levels[:, :2]
    dead = np.concatenate([codes, np.full((2000, 1), 0.1)], axis=1)
    still = np.concatenate([levels, np.full((2000, 1), 3)], axis=1)
    result = dlib_irs(dead, still)
    assert result.score == pytest.approx(dlib_irs(codes, levels).score)
    assert result.num_active == 2
    assert np.isnan(result.per_code).tolist() == [False, False, True]
    assert result.parents[2] == -1
    assert len(result.degenerate) == 2
    # The released code takes keeping a factor of one level for an intervention, which robs no code of its best factor.
    strict = dlib_irs(dead, still, strict_reference=True)
    assert np.isfinite(strict.robustness[0]).all()
    assert strict.score == pytest.approx(plain.dlib_irs(codes, still))


@pytest.mark.parametrize("strict", [False, True])
def test_nothing_to_be_robust(strict: bool) -> None:
    result = dlib_irs(np.zeros((10, 2)), np.arange(20).reshape(10, 2) % 3, strict_reference=strict)
    assert result.score == 0
    assert result.num_active == 0
    assert "no code changes" in result.degenerate
    nothing = dlib_irs(np.arange(10.0)[:, None], np.zeros((10, 1), dtype=int))
    assert nothing.score == 0
    assert any("no factor varies" in text for text in nothing.degenerate)


def test_missing_cells_are_left_out_for_their_factor() -> None:
    levels = factors_of(sizes=(3, 4))
    codes = np.random.default_rng(5).normal(size=(2000, 2)) + levels
    holes = levels.copy()
    holes[1500:, 0] = -1
    result = dlib_irs(codes, holes)
    assert result.robustness[:, 1] == pytest.approx(dlib_irs(codes, levels).robustness[:, 1])
    assert np.isfinite(result.robustness).all()


def test_bad_input_is_refused() -> None:
    codes, levels = np.random.default_rng(0).normal(size=(10, 2)), factors_of(rows=10)
    with pytest.raises(ValueError, match="diff_quantile"):
        dlib_irs(codes, levels, diff_quantile=1.5)
    with pytest.raises(ValueError, match="num_bins"):
        dlib_irs(codes, levels, num_bins=0)
    with pytest.raises(ValueError, match="one row for each image"):
        dlib_irs(codes, levels[:9])
    with pytest.raises(TypeError, match="integers"):
        dlib_irs(codes, levels * 0.5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        dlib_irs(codes * np.nan, levels)
