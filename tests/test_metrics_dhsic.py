"""dHSIC beside whole matrices of pairs, the median of all distances, and codes without width."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import plain_metrics as plain
from metrics.dhsic import dhsic, median_distance


def all_distances(values: Any) -> Any:
    """|a - b| of all pairs."""
    column = np.asarray(values, dtype=np.float64)
    return np.abs(column[:, None] - column[None, :])


@pytest.mark.parametrize("rows", [2, 3, 50, 401])
@pytest.mark.parametrize("codes", [2, 5])
def test_same_as_matrices_of_all_pairs(rows: int, codes: int) -> None:
    rng = np.random.default_rng(rows)
    table = rng.normal(size=(rows, codes)) @ rng.normal(size=(codes, codes))
    result = dhsic(table)
    assert result.score == pytest.approx(plain.dhsic(table), abs=1e-12)
    assert result.score == pytest.approx(result.joint + result.product + result.cross)
    assert result.bandwidths.tolist() == [np.median(all_distances(column)) for column in table.T]


def test_case_worked_by_hand() -> None:
    # Distances of both codes: 0 (twice) and 1 (twice), median 1/2, kernel exp(-4 |x - y|).
    result = dhsic([[0.0, 0.0], [1.0, 1.0]])
    far = np.exp(-4)
    assert result.bandwidths.tolist() == [0.5, 0.5]
    assert result.joint == pytest.approx((1 + far**2) / 2)
    assert result.product == pytest.approx(((1 + far) / 2) ** 2)
    assert result.cross == pytest.approx(-2 * ((1 + far) / 2) ** 2)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=30),
)
def test_median_of_all_pairs(values: list[float]) -> None:
    assert median_distance(values) == np.median(all_distances(values))


@pytest.mark.parametrize("few", [1, 40])
def test_median_by_counting_only(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.dhsic._FEW_DIFFERENCES", few)
    rng = np.random.default_rng(0)
    for values in (
        rng.normal(size=101),
        rng.integers(0, 50, 200).astype(float),
        np.arange(64.0),
        rng.random(30) * 1e-9,
    ):
        assert median_distance(values) == pytest.approx(np.median(all_distances(values)), rel=1e-13)


def test_blocks_do_not_change_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(1).normal(size=(300, 4))
    whole = dhsic(table).score
    for values in (1, 300, 7_000):
        monkeypatch.setattr("metrics.dhsic._BLOCK_VALUES", values)
        assert dhsic(table).score == pytest.approx(whole, abs=1e-14)


def test_independent_codes_are_near_zero_and_copies_are_not() -> None:
    rng = np.random.default_rng(0)
    independent = rng.uniform(-1, 1, size=(2000, 5))
    assert abs(dhsic(independent).score) < 2e-3
    copied = independent.copy()
    copied[:, 1] = copied[:, 0]
    result = dhsic(copied)
    assert result.score > 3 * abs(dhsic(independent).score)
    assert "copies of another: 1 of 0" in result.degenerate[0]


def test_order_shift_and_sign_do_not_matter_but_scale_does() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4))
    value = dhsic(table).score
    assert dhsic(-table[::-1, [2, 0, 3, 1]] + 5).score == pytest.approx(value, abs=1e-12)
    assert dhsic(3 * table).score != pytest.approx(value, rel=1e-3)


def test_dead_codes_are_left_out() -> None:
    table = np.random.default_rng(3).normal(size=(100, 3))
    dead = np.insert(table, 1, 0.1, axis=1)
    result = dhsic(dead)
    assert result.score == pytest.approx(dhsic(table).score, abs=1e-14)
    assert np.isnan(result.bandwidths).tolist() == [False, True, False, False]
    assert "1 of 4 codes never change and are left out: 1" in result.degenerate
    strict = dhsic(dead, strict_reference=True)
    assert np.isnan(strict.score)
    assert "divides 0 by 0" in strict.degenerate[-1]
    assert dhsic(table, strict_reference=True).score == dhsic(table).score


def test_mostly_equal_values_have_the_kernel_of_equality() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(size=(60, 2))
    table[:50, 0] = 2.0
    result = dhsic(table)
    assert result.bandwidths[0] == 0
    same = (all_distances(table[:, 0]) == 0).astype(float)
    other = np.exp(-all_distances(table[:, 1]) / np.median(all_distances(table[:, 1])) ** 2)
    expected = (same * other).mean() + same.mean() * other.mean() - 2 * (same.mean(1) * other.mean(1)).mean()
    assert result.score == pytest.approx(expected, abs=1e-12)
    assert "most pairs are equal" in result.degenerate[0]
    assert np.isnan(dhsic(table, strict_reference=True).score)


@pytest.mark.parametrize("codes", [1, 3])
def test_nothing_to_depend_on(codes: int) -> None:
    table = np.zeros((20, codes))
    assert dhsic(table).score == 0
    table[:, 0] = np.arange(20)
    result = dhsic(table)
    assert result.score == pytest.approx(0, abs=1e-15)
    assert any("fewer than two codes change" in text for text in result.degenerate)


def test_tiny_and_huge_units_give_numbers() -> None:
    table = np.random.default_rng(5).normal(size=(40, 2))
    for scale in (1e-160, 1e-300, 1e90):
        assert np.isfinite(dhsic(table * [scale, 1.0]).score)


def test_rows_are_drawn_without_replacement_by_the_seed() -> None:
    table = np.random.default_rng(6).normal(size=(300, 2))
    drawn = dhsic(table, num_samples=100, seed=1)
    assert drawn.score == dhsic(table, num_samples=100, seed=1).score
    assert drawn.score != dhsic(table, num_samples=100, seed=2).score
    assert drawn.notes == ()
    assert dhsic(table, num_samples=300).score == dhsic(table, num_samples=None).score
    assert "all 300 images" in dhsic(table).notes[0]


def test_no_matrix_of_pairs_is_formed() -> None:
    table = np.random.default_rng(7).normal(size=(1500, 4)).astype(np.float32)
    tracemalloc.start()
    dhsic(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1500**2 * 8


def test_bad_input_is_refused() -> None:
    table = np.zeros((10, 2))
    with pytest.raises(ValueError, match="num_samples must be 2 or more"):
        dhsic(table, num_samples=1)
    with pytest.raises(ValueError, match="seed"):
        dhsic(table, seed=-1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        dhsic(np.full((10, 2), np.inf))
    with pytest.raises(ValueError, match="one row"):
        dhsic(table[:1])
    with pytest.raises(TypeError, match="real numbers"):
        dhsic([["a", "b"]])
