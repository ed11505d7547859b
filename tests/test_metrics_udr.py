"""Unsupervised disentanglement ranking: beside plain pairs of models, and for models that are asleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import plain_metrics as plain
from metrics.udr import UdrResult, dlib_udr_lasso, dlib_udr_spearman, relative_strength

Ranking = Callable[..., UdrResult]
BOTH: list[tuple[Ranking, str]] = [(dlib_udr_lasso, "lasso"), (dlib_udr_spearman, "spearman")]


def models(count: int = 4, rows: int = 400, seed: int = 0) -> list[Any]:
    """Codes of the same images by several models: signed permutations of five sources, the last model a mixture."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(rows, 5))
    tables = []
    for _ in range(count - 1):
        order = rng.permutation(5)
        tables.append(sources[:, order] * rng.choice([-2.0, 0.5], size=5) + 0.3 * rng.normal(size=(rows, 5)) + 1)
    return [*tables, sources @ rng.normal(size=(5, 5))]


def test_relative_strength_worked_by_hand() -> None:
    assert relative_strength(np.eye(3)) == 1
    # Columns: 0.8^2 / 1, 0.5^2 / 0.5. Rows: 0.8^2 / 1.3, 0.2^2 / 0.2.
    value = ((0.64 + 0.5) / 2 + (0.64 / 1.3 + 0.2) / 2) / 2
    assert relative_strength([[0.8, 0.5], [0.2, 0.0]]) == pytest.approx(value)
    assert relative_strength(np.zeros((2, 3))) == 0
    assert relative_strength(np.zeros((0, 3))) == 0
    assert relative_strength([[1.0, 0.0]]) == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize(("rank", "method"), BOTH)
def test_same_as_pair_by_pair(rank: Ranking, method: str) -> None:
    tables = models()
    result = rank(tables)
    np.testing.assert_allclose(result.model_scores, plain.udr(tables, method), atol=1e-9)
    assert result.ranking[-1] == 3
    assert result.score == result.model_scores.max()
    assert np.isnan(np.diagonal(result.similarity)).all()
    assert "codes that change are active" in result.notes[0]


@pytest.mark.parametrize(("rank", "method"), BOTH)
def test_the_same_codes_in_any_order_are_alike(rank: Ranking, method: str) -> None:
    sources = np.random.default_rng(0).normal(size=(500, 4))
    result = rank([sources, -3 * sources[:, [2, 0, 3, 1]] + 1])
    # A penalty of 0.1 takes a tenth off each coefficient of 1.
    assert result.score == pytest.approx(1 if method == "spearman" else 0.9, abs=0.15 if method == "spearman" else 0.01)
    assert result.similarity[0, 1] == pytest.approx(result.similarity[1, 0], abs=1e-6)


def test_rank_correlations_see_increasing_functions_through() -> None:
    tables = models()
    bent = [np.exp(table / 4) for table in tables]
    np.testing.assert_allclose(dlib_udr_spearman(bent).model_scores, dlib_udr_spearman(tables).model_scores)


def test_ties_have_mean_ranks() -> None:
    tables = [table.round(0) for table in models(3)]
    np.testing.assert_allclose(dlib_udr_spearman(tables).model_scores, plain.udr(tables, "spearman"), atol=1e-9)


@pytest.mark.parametrize(("rank", "method"), BOTH)
def test_inactive_codes_are_left_out(rank: Ranking, method: str) -> None:
    tables = models(3)
    rng = np.random.default_rng(9)
    noise = [np.concatenate([table, rng.normal(size=(400, 1))], axis=1) for table in tables]
    divergences = [np.array([1, 2, 0.5, 1, 3, 0.01])] * 3
    expected = rank(tables).model_scores
    result = rank(noise, kl=divergences)
    np.testing.assert_allclose(result.model_scores, expected, atol=1e-9)
    assert result.active_codes == (5, 5, 5)
    assert result.notes == ()
    np.testing.assert_allclose(rank(noise, active=[kl > 0.01 for kl in divergences]).model_scores, expected, atol=1e-9)
    assert rank(noise, kl=divergences, kl_threshold=0.001).active_codes == (6, 6, 6)
    assert rank(noise).model_scores.max() < expected.max()


@pytest.mark.parametrize(("rank", "method"), BOTH)
def test_models_may_have_different_numbers_of_codes(rank: Ranking, method: str) -> None:
    tables = models(3)
    result = rank([tables[0], tables[1][:, :2], tables[2]], names=["a", "b", "c"])
    assert np.isfinite(result.model_scores).all()
    assert result.active_codes == (5, 2, 5)
    assert result.names == ("a", "b", "c")


@pytest.mark.parametrize(("rank", "method"), BOTH)
def test_a_model_without_active_codes_is_like_no_other(rank: Ranking, method: str) -> None:
    tables = [*models(3), np.full((400, 5), 0.1)]
    result = rank(tables)
    assert result.model_scores[3] == 0
    assert result.ranking[-1] == 3
    assert result.degenerate == ("without active codes: model 3",)
    strict = rank(tables, strict_reference=True)
    assert np.isnan(strict.model_scores).all()
    assert "stops with an error" in strict.degenerate[-1]


def test_bad_input_is_refused() -> None:
    tables = models(3)
    with pytest.raises(ValueError, match="two or more, not of 1"):
        dlib_udr_lasso(tables[:1])
    with pytest.raises(ValueError, match="same images"):
        dlib_udr_lasso([tables[0], tables[1][:300]])
    with pytest.raises(ValueError, match="not both"):
        dlib_udr_lasso(tables, kl=[np.ones(5)] * 3, active=[np.ones(5)] * 3)
    with pytest.raises(ValueError, match="3 models and 2 entries"):
        dlib_udr_lasso(tables, kl=[np.ones(5)] * 2)
    with pytest.raises(ValueError, match="model 1 has 5 codes"):
        dlib_udr_lasso(tables, kl=[np.ones(5), np.ones(4), np.ones(5)])
    with pytest.raises(ValueError, match="2 names for 3 models"):
        dlib_udr_lasso(tables, names=["a", "b"])
    with pytest.raises(ValueError, match="NaN or infinite"):
        dlib_udr_lasso([tables[0], tables[1] * np.nan])
