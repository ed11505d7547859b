"""What the columns of arrays mean: categories, levels, missing cells, what is held out, what the fast preset reads."""

from __future__ import annotations

import re

import numpy as np
import pytest

import metrics
from common.errors import UserError
from metrics.arrays import about_codes, factor_labels, listed
from metrics.factors import read_factors
from metrics.inputs import FAST_ROWS, Inputs, limited


def dsprites_like(rows: int = 600, seed: int = 0) -> np.ndarray:
    """Values of shape, scale, orientation, position x and y as dSprites has them."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, (3, 6, 40, 32, 32), size=(rows, 5))
    return levels * [1, 0.1, 2 * np.pi / 39, 1 / 31, 1 / 31] + [1, 0.5, 0, 0, 0]


def test_the_rules_give_the_flags_of_dsprites() -> None:
    values = dsprites_like()
    factors = read_factors(values)
    assert factors.discrete.tolist() == [True, False, False, False, False]
    assert factors.about_kinds == ("`discrete` is not given; taken for categories: factor 0",)
    assert factors.about_levels == ()
    # Levels are the places of the values among those found, whether whole or not.
    for column, level in zip(values.T, factors.levels.T, strict=True):
        assert np.array_equal(np.unique(column)[level], column)
    classes = np.round((values - [1, 0.5, 0, 0, 0]) / [1, 0.1, 2 * np.pi / 39, 1 / 31, 1 / 31]).astype(int)
    assert np.array_equal(read_factors(classes).levels, classes)
    assert read_factors(classes).discrete.tolist() == [True, False, False, False, False]


def test_names_tell_categories() -> None:
    values = np.random.default_rng(0).integers(0, 40, size=(500, 4))
    factors = read_factors(values, names=["object_shape", "shape", "identity", "shape_size"])
    assert factors.discrete.tolist() == [True, True, True, False]
    assert "taken for categories: object_shape, shape, identity" in factors.about_kinds[0]
    given = read_factors(values, discrete=[False, True, False, False], names=["object_shape", "a", "b", "c"])
    assert given.discrete.tolist() == [False, True, False, False]
    assert given.about_kinds == ()


def test_real_values_are_cut_into_twenty_bins() -> None:
    values = np.random.default_rng(0).uniform(3, 5, size=(1000, 2))
    factors = read_factors(values, names=["azimuth", "red"])
    edges = np.histogram(values[:, 0], 20)[1]
    assert np.array_equal(factors.levels[:, 0], np.minimum(np.searchsorted(edges, values[:, 0], "right") - 1, 19))
    assert factors.levels.min() == 0
    assert factors.levels.max() == 19
    assert factors.about_levels == ("real values are cut into 20 bins of equal width: azimuth, red",)
    # Whole numbers too, if there are too many of them to be levels.
    many = read_factors(np.arange(600)[:, None] % 500)
    assert many.levels.max() == 19
    assert read_factors(np.arange(600)[:, None] % 200).levels.max() == 199
    assert read_factors(np.arange(600)[:, None] % 500, discrete=[True]).levels.max() == 499


def test_missing_cells() -> None:
    values = dsprites_like(100)
    values[:30, 1] = np.nan
    factors = read_factors(values)
    assert (factors.levels[:30, 1] == -1).all()
    assert factors.levels[30:, 1].min() == 0
    assert factors.missing == ("30 of 100 images have no factor 1 and are left out for it",)
    assert factors.rows(slice(0, 10)).levels.shape == (10, 5)


def test_circles_are_noted_and_truth_values_are_numbers() -> None:
    factors = read_factors(np.array([[True, False], [False, True]]), periodic=[False, True], names=["on", "angle"])
    assert factors.about_circles == ("periodic factors are used as ordinary numbers, as published: angle",)
    assert factors.levels.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"factors": np.zeros(4)}, ValueError, "must have the shape"),
        ({"factors": np.full((4, 1), "a")}, TypeError, "must hold numbers"),
        ({"factors": np.full((4, 1), np.inf)}, ValueError, "missing cells are NaN"),
        ({"factors": np.zeros((4, 2)), "discrete": [True]}, ValueError, "True and False for each of 2 factors"),
        ({"factors": np.zeros((4, 1)), "discrete": [0.5]}, TypeError, "discrete must hold True and False"),
        ({"factors": np.zeros((4, 1)), "periodic": [2]}, TypeError, "periodic must hold True and False"),
        ({"factors": np.zeros((4, 2)), "names": ["a"]}, ValueError, "1 names for 2 factors"),
        ({"factors": np.zeros((4, 2)), "levels": np.zeros((4, 1), int)}, ValueError, "levels have the shape"),
        ({"factors": np.arange(2000.0)[:, None], "discrete": [True]}, ValueError, "called discrete and has 2,000"),
    ],
)
def test_wrong_factors_are_refused(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_factors(**arguments)  # type: ignore[arg-type]


def test_the_last_third_is_held_out() -> None:
    codes, factors = np.arange(30.0).reshape(15, 2), np.arange(15)[:, None] % 3
    split = Inputs({"codes": codes, "factors": factors}).split
    assert len(split.codes) == len(split.factors.levels) == 10
    assert len(split.test_codes) == len(split.test_factors.levels) == 5
    assert split.notes == ("fitted to the first 10 rows; the other 5 are held out",)
    given = Inputs({"codes": codes, "factors": factors, "test_codes": codes[:4], "test_factors": factors[:4] * 2}).split
    assert len(given.codes) == 15
    # Levels are numbered over both sets.
    assert given.factors.levels[:4].ravel().tolist() == [0, 1, 2, 0]
    assert given.test_factors.levels.ravel().tolist() == [0, 2, 3, 0]
    assert given.notes == ()
    with pytest.raises(ValueError, match="too few to hold a third"):
        _ = Inputs({"codes": codes[:5], "factors": factors[:5]}).split


def test_the_last_third_of_groups_is_held_out() -> None:
    groups, labels = np.random.default_rng(0).normal(size=(9, 4, 2)), np.arange(9) % 3
    split = Inputs({"group_codes": groups, "group_labels": labels}).group_split
    assert (len(split.codes), len(split.test_codes)) == (6, 3)
    assert split.test_labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="too few to hold a third"):
        _ = Inputs({"group_codes": groups[:2], "group_labels": labels[:2]}).group_split
    with pytest.raises(ValueError, match="test_group_labels is missing"):
        _ = Inputs({"group_codes": groups, "group_labels": labels, "test_group_codes": groups}).group_split


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factors": np.zeros((9, 2))}, "codes has 10 rows and factors 9"),
        ({"factors": np.zeros(10)}, "factors must have the shape"),
        ({"test_codes": np.zeros((4, 3))}, "test_factors is missing"),
        ({"test_codes": np.zeros((4, 3)), "test_factors": np.zeros((3, 2))}, "test_factors has the shape (3, 2)"),
        ({"test_codes": np.ones((4, 2)), "test_factors": np.zeros((4, 2))}, "must have the same number of codes"),
        ({"codes": np.full((10, 3), np.nan)}, "30 values of 30 that are NaN"),
        ({"discrete": np.array([0.5, 1])}, "discrete must hold True and False"),
    ],
)
def test_arrays_that_do_not_fit_end_in_one_line(changes: dict[str, np.ndarray], words: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {"codes": rng.normal(size=(10, 3)), "factors": rng.integers(0, 2, size=(10, 2))}
    with pytest.raises(UserError, match=f"dlib_sap: .*{re.escape(words)}"):
        metrics.score_arrays(arrays | changes, ["dlib_sap"])


def test_the_fast_preset_reads_ten_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    rows = FAST_ROWS + 500
    factors = rng.integers(0, 4, size=(rows, 2))
    arrays = {
        "codes": factors + 0.5 * rng.normal(size=(rows, 2)),
        "factors": factors,
        "group_codes": np.zeros((2, 2, 2)),
    }
    used, notes = limited(arrays, 3)
    assert len(used["codes"]) == len(used["factors"]) == FAST_ROWS
    assert used["group_codes"] is arrays["group_codes"]
    assert np.array_equal(limited(arrays, 3)[0]["codes"], used["codes"])
    assert not np.array_equal(limited(arrays, 4)[0]["codes"], used["codes"])
    assert notes == {"codes": "10,000 of the 10,500 rows of codes (preset fast)"}
    assert limited({"codes": arrays["codes"][:50]}, 0)[1] == {}
    # Arrays that do not belong together are left for the metric to refuse.
    assert limited({"codes": arrays["codes"], "factors": factors[:-1]}, 0)[1] == {}
    fast = metrics.score_arrays(arrays, ["mig"], preset="fast", seed=3)["mig"]
    assert fast.notes == ("10,000 of the 10,500 rows of codes (preset fast)",)
    assert fast.score == pytest.approx(metrics.score_arrays(arrays, ["mig"])["mig"].score, abs=0.02)
    with pytest.raises(UserError, match="no preset 'quick'"):
        metrics.score_arrays(arrays, ["mig"], preset="quick")


def test_results_say_what_was_assumed() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 3, 300), rng.uniform(size=300)], axis=1)
    values[:7, 1] = np.nan
    arrays = {
        "codes": rng.normal(size=(300, 2)),
        "factors": values,
        "factor_names": np.array(["shape", "angle"]),
        "periodic": np.array([False, True]),
    }
    results = metrics.score_arrays(arrays, ["mig", "sap", "dlib_sap"])
    hole = "7 of 300 images have no angle and are left out for it"
    cut = "real values are cut into 20 bins of equal width: angle"
    assert results["mig"].notes == (cut, hole)
    assert results["sap"].notes == (
        "`discrete` is not given; taken for categories: shape",
        "periodic factors are used as ordinary numbers, as published: angle",
        hole,
    )
    assert results["dlib_sap"].notes == ("fitted to the first 200 rows; the other 100 are held out", cut, hole)
    assert results["mig"].factor_names == ("shape", "angle")


def test_codes_of_any_kind_of_number() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, size=(300, 2))
    codes = np.round(factors * 8 + 4 * rng.normal(size=(300, 2)))
    about = {"discrete": np.array([False, False])}
    expected = metrics.score_arrays({"codes": codes, "factors": factors, **about}, ["mig", "sap"])
    for dtype in (np.float32, np.float16, np.int8, np.int64, np.uint16):
        shifted = codes - codes.min() if dtype == np.uint16 else codes
        arrays = {"codes": shifted.astype(dtype), "factors": factors.astype(np.uint8), **about}
        results = metrics.score_arrays(arrays, ["mig", "sap"])
        for name, result in results.items():
            assert result.score == pytest.approx(expected[name].score, abs=1e-6)


def test_what_is_said_of_codes() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 30))
    assert about_codes(codes) == ()
    codes[:, 5:25] = 1
    codes[:, 29] = codes[:, 0]
    assert about_codes(codes) == (
        "20 of 30 codes never change and carry no information: 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, ...",
        "some codes are copies of another: 29 of 0",
    )
    assert listed(["a", "b"]) == "a, b"
    assert factor_labels(None, 2) == ("factor 0", "factor 1")
