"""Factors: levels to numbers and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.factors import Factor, FactorSpace, equal_width_bins


def space_of(sizes: Sequence[int]) -> FactorSpace:
    return FactorSpace(tuple(Factor(f"f{column}", size, "discrete") for column, size in enumerate(sizes)))


SPACE = FactorSpace(
    (Factor("shape", 3, "discrete"), Factor("scale", 6, "continuous"), Factor("orientation", 40, "periodic"))
)


def test_index_counts_like_nested_loops() -> None:
    classes = np.array(list(itertools.product(range(3), range(2), range(4))))
    assert space_of((3, 2, 4)).index_of(classes).tolist() == list(range(24))


def test_dsprites_numbers_are_those_of_the_published_file() -> None:
    # From the real sub-grid: its last image is a heart of the largest scale, orientation 36, x and y 30.
    assert space_of((3, 6, 40, 32, 32)).index_of([[2, 5, 36, 30, 30]]).tolist() == [734174]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_round_trip(sizes: Sequence[int], data: st.DataObject) -> None:
    space = space_of(sizes)
    numbers = data.draw(st.lists(st.integers(0, space.size - 1), max_size=20))
    classes = space.classes_of(numbers)
    assert classes.shape == (len(numbers), len(sizes))
    assert space.index_of(classes).tolist() == numbers


def test_sizes_beyond_32_bits() -> None:
    space = space_of((737_280, 512, 512))
    assert space.index_of(space.classes_of([space.size - 1])).tolist() == [space.size - 1]
    assert space.size == 737_280 * 512 * 512


def test_sample_is_uniform_repeatable_and_keeps_fixed_factors() -> None:
    classes = SPACE.sample(np.random.default_rng(3), 6000, {"scale": 4})
    assert (classes[:, 1] == 4).all()
    assert np.bincount(classes[:, 0]).tolist() == pytest.approx([2000] * 3, rel=0.1)
    assert set(classes[:, 2]) == set(range(40))
    assert (SPACE.sample(np.random.default_rng(3), 6000, {"scale": 4}) == classes).all()
    free = SPACE.sample(np.random.default_rng(3), 6000)
    assert (free[:, [0, 2]] == classes[:, [0, 2]]).all()
    assert SPACE.sample(np.random.default_rng(3), 0).shape == (0, 3)


def test_bins_have_equal_width_and_reach_from_end_to_end() -> None:
    values = np.array([[0.0, -1.0], [0.1, 5.0], [0.25, 5.0], [0.5, 5.0], [0.99, 5.0], [1.0, 5.0]])
    assert equal_width_bins(values, 4).T.tolist() == [[0, 0, 1, 2, 3, 3], [0, 3, 3, 3, 3, 3]]
    rng = np.random.default_rng(0)
    drawn = rng.random((20_000, 3)) * [1.0, 6.28, 3.0]
    counts = [np.bincount(column) for column in equal_width_bins(drawn, 20).T]
    assert all(len(count) == 20 and abs(count - 1000).max() < 160 for count in counts)


def test_factors_are_written_as_fingerprints_know_them() -> None:
    """Fingerprints of written sets hold this text."""
    assert repr(Factor("scale", 6, "continuous")) == "Factor(name='scale', size=6, kind='continuous')"
    assert "limits=(0.0, 2.0)" in repr(Factor("angle", None, "periodic", (0.0, 2.0)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SPACE.index_of([[0, 6, 0]]), "level 6 of scale in row 0; allowed: 0 to 5"),
        (lambda: SPACE.index_of([[0, 0]]), "expected \\(n, 3\\)"),
        (lambda: SPACE.index_of(np.array([[0.5, 0, 0]])), "expected integers"),
        (lambda: SPACE.classes_of([720]), "allowed: 0 to 719"),
        (lambda: SPACE.classes_of([-1]), "allowed: 0 to 719"),
        (lambda: SPACE.classes_of(np.array([[1]])), "expected \\(n,\\)"),
        (lambda: SPACE.sample(np.random.default_rng(), 1, {"color": 0}), "unknown factor 'color'"),
        (lambda: SPACE.sample(np.random.default_rng(), 1, {"shape": 3}), "level 3 of shape; allowed: 0 to 2"),
        (lambda: Factor("x", 3, "round"), "allowed: discrete, continuous, periodic"),
        (lambda: Factor("x", 0, "discrete"), "at least 1"),
        (lambda: Factor("x", None, "continuous"), "either a size .levels. or limits .real values."),
        (lambda: Factor("x", 3, "continuous", (0.0, 1.0)), "either a size"),
        (lambda: Factor("x", None, "discrete", (0.0, 1.0)), "must be continuous or periodic"),
        (lambda: Factor("x", None, "periodic", (1.0, 1.0)), "the first limit below the second"),
        (lambda: FactorSpace((Factor("x", None, "periodic", (0.0, 1.0)),)), "x take real values; a grid needs"),
        (lambda: equal_width_bins(np.zeros((0, 2)), 20), "n of at least 1"),
        (lambda: equal_width_bins(np.zeros(3), 20), "expected .n, columns."),
        (lambda: equal_width_bins(np.zeros((3, 2)), 0), "bins is 0"),
        (lambda: FactorSpace(()), "at least one factor"),
        (lambda: FactorSpace((Factor("x", 1, "discrete"),) * 2), "must differ"),
    ],
)
def test_wrong_values_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
