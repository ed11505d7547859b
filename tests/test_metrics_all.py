"""What holds for every id: a number or a reason, one line for what cannot be scored, the same with the same seed."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import pytest

import metrics
from common.errors import UserError
from metrics.generation_catalogue import ENTRIES
from metrics.results import MetricResult

# Those of generated images, of retrieval and of categorical codes have arrays, and tests, of their own.
OTHERS = {entry.name for entry in ENTRIES} | {"code_error_majority", "code_error_hungarian"}
NAMES = [name for name in metrics.names() if name not in OTHERS]
ON_FACTORS = [name for name in NAMES if metrics.get(name).needs == ("codes", "factors")]
ON_GROUPS = [name for name in NAMES if metrics.get(name).needs == ("group_codes", "group_labels")]
# Its degenerate cases are those of dci_hist_gbt, which grows the same trees in a fraction of the time.
ON_FACTORS.remove("dlib_dci_gbt")
ON_CODES = [*ON_FACTORS, "dhsic"]


@functools.cache
def good() -> dict[str, np.ndarray]:
    """Arrays for all ids: three codes that tell three factors, a fourth that tells nothing."""
    rng = np.random.default_rng(0)
    sizes = (3, 4, 5)
    factors = rng.integers(0, sizes, size=(150, 3))
    groups = rng.integers(0, sizes, size=(30, 12, 3))
    labels = np.arange(30) % 3
    groups[np.arange(30), :, labels] = groups[np.arange(30), 0, labels][:, None]
    noise = rng.normal(size=(4, 150, 4)) * 0.05

    def codes(levels: np.ndarray) -> np.ndarray:
        return np.concatenate([levels - 1.0, rng.normal(size=(*levels.shape[:-1], 1))], axis=-1)

    base = codes(factors)
    return {
        "codes": base,
        "factors": factors,
        "factor_names": np.array(["shape", "size", "side"]),
        "group_codes": codes(groups),
        "group_labels": labels,
        "model_codes": base[:, [2, 0, 1, 3]] + noise,
        "model_scores": rng.random((4, 4)),
        "model_names": np.array(["a", "b", "c", "d"]),
    }


def scored(name: str, strict: bool = False, **changes: np.ndarray) -> MetricResult:
    with np.errstate(all="ignore"):
        result = metrics.score_arrays(good() | changes, [name], seed=1, strict_reference=strict)[name]
    json.dumps(result.to_json(), allow_nan=False)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_good_arrays_give_a_score_without_excuses(name: str) -> None:
    result = scored(name)
    assert math.isfinite(result.score)
    assert -0.01 <= result.score <= 1 + 1e-9
    assert result.degenerate == ()
    if name == "dlib_dci_gbt":
        return
    assert scored(name).to_json() == result.to_json()
    strict = scored(name, strict=True)
    # In DCI a code may be without importance, by which the released code divides.
    if "dci" in name and strict.degenerate:
        assert "without importance" in strict.degenerate[0]
    else:
        assert strict.score == pytest.approx(result.score, abs=1e-12)


@pytest.mark.parametrize("name", ON_FACTORS)
def test_perfect_codes_are_better_than_blind_ones(name: str) -> None:
    blind = np.random.default_rng(3).normal(size=(150, 4))
    assert scored(name).score > scored(name, codes=blind).score + 0.1


@pytest.mark.parametrize("name", [*ON_CODES, *ON_GROUPS])
def test_a_dead_code_is_reported_and_decides_nothing(name: str) -> None:
    arrays = good()
    dead_groups = np.concatenate([np.full((30, 12, 1), 0.1), arrays["group_codes"]], axis=2)
    dead_codes = np.concatenate([np.full((150, 1), 0.1), arrays["codes"]], axis=1)
    result = scored(name, codes=dead_codes, group_codes=dead_groups)
    assert "1 of 5 codes" in result.degenerate[0]
    alone = scored(name).score
    if name == "dlib_modularity":
        assert result.score == pytest.approx(alone * 4 / 5)
    elif name == "explicitness":
        # To a classifier that penalizes its intercept, a constant code is a second one.
        assert result.score == pytest.approx(alone, abs=0.01)
    elif "dci" in name:
        # Completeness is in units of the number of codes; what is drawn at random is drawn differently.
        assert result.score == pytest.approx(alone, abs=0.1)
    else:
        assert result.score == pytest.approx(alone, abs=1e-9)
    strict = scored(name, strict=True, codes=dead_codes, group_codes=dead_groups)
    assert math.isfinite(strict.score) or strict.degenerate != result.degenerate


@pytest.mark.parametrize("name", [*ON_CODES, *ON_GROUPS])
def test_dead_and_duplicate_codes_alone_have_a_defined_score(name: str) -> None:
    zeros = scored(name, codes=np.zeros((150, 3)), group_codes=np.zeros((30, 12, 3)))
    assert math.isfinite(zeros.score)
    assert zeros.degenerate
    twins = np.concatenate([good()["codes"]] * 2, axis=1)
    twin_groups = np.concatenate([good()["group_codes"]] * 2, axis=2)
    double = scored(name, codes=twins, group_codes=twin_groups)
    assert math.isfinite(double.score)
    one = scored(name, codes=good()["codes"][:, :1], group_codes=good()["group_codes"][:, :, :1])
    assert math.isfinite(one.score)


@pytest.mark.parametrize("name", ON_FACTORS)
def test_few_factors_and_levels_have_a_defined_score(name: str) -> None:
    factors = good()["factors"]
    single = scored(name, factors=factors[:, :1], factor_names=np.array(["shape"]))
    assert math.isfinite(single.score)
    constant = np.concatenate([factors[:, :2], np.zeros((150, 1), int)], axis=1)
    result = scored(name, factors=constant)
    assert math.isfinite(result.score)
    assert any("side" in text for text in result.degenerate)
    nothing = scored(name, factors=np.zeros((150, 3), int))
    assert math.isfinite(nothing.score)
    assert nothing.degenerate
    holes = factors.astype(float)
    holes[5:40, 1] = np.nan
    missing = scored(name, factors=holes)
    assert math.isfinite(missing.score)
    assert "35 of 150 images have no size and are left out for it" in missing.notes
    strict = scored(name, strict=True, factors=constant)
    assert math.isfinite(strict.score) or strict.degenerate


@pytest.mark.parametrize("name", ON_GROUPS)
def test_one_label_has_a_defined_score(name: str) -> None:
    result = scored(name, group_labels=np.zeros(30, int))
    # The revised score lets as many codes vote as there are labels: one.
    assert result.score == 1.0 or name == "factor_vae_revised"
    assert any("same label" in text for text in result.degenerate)


@pytest.mark.parametrize("name", [*ON_CODES, *ON_GROUPS])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_codes_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    arrays: dict[str, Any] = {key: good()[key].copy() for key in ("codes", "group_codes")}
    for array in arrays.values():
        array[0, 0] = bad
    with pytest.raises(UserError, match="NaN or infinite") as error:
        scored(name, **arrays)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ON_FACTORS)
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 12])
def test_few_rows_give_a_number_or_one_line(name: str, rows: int) -> None:
    try:
        result = scored(name, codes=good()["codes"][:rows], factors=good()["factors"][:rows])
    except UserError as error:
        said = str(error)
    else:
        assert rows > 1
        assert math.isfinite(result.score)
        return
    assert rows < 6
    assert "row" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ON_FACTORS)
def test_lengths_that_differ_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="codes has 150 rows and factors 149"):
        scored(name, factors=good()["factors"][:-1])


@pytest.mark.parametrize("name", ["mig", "sap", "explicitness", "dlib_mig", "dlib_sap", "dlib_irs", "dci_lasso"])
def test_the_order_of_codes_and_factors_does_not_matter(name: str) -> None:
    order = [2, 0, 3, 1]
    arrays: dict[str, Any] = {"codes": good()["codes"][:, order], "factors": good()["factors"][:, ::-1]}
    result = scored(name, **arrays, factor_names=good()["factor_names"][::-1])
    assert result.score == pytest.approx(scored(name).score, abs=1e-9)


def test_every_id_says_what_it_needs_and_whose_it_is() -> None:
    for name in NAMES:
        metric = metrics.get(name)
        assert metric.needs
        assert set(metric.reads) >= set(metric.needs)
        assert metric.paper
        assert name.startswith("dlib_") == metric.paper.startswith("disentanglement_lib")
