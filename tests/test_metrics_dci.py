"""DCI in both protocols: scores worked by hand, scikit-learn beside it, known representations, degenerate input."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import plain_metrics as plain
from metrics import boosting, dci
from metrics.dci import (
    dci_hist_gbt,
    dci_lasso,
    dci_lassocv,
    dci_random_forest,
    dci_random_forest_cv,
    dci_random_forest_ibgan,
    dlib_dci_gbt,
)
from metrics.importances import DLIB, INFOGAN_CR, DciResult, Fit, Formulae, dci_result

Variant = Callable[..., DciResult]

SIZES = (3, 6, 40, 32, 32)
REGRESSORS: list[Variant] = [dci_lasso, dci_lassocv, dci_random_forest, dci_random_forest_ibgan, dci_random_forest_cv]
BOOSTED: list[Variant] = [dlib_dci_gbt, dci_hist_gbt]


def factors_of(rows: int = 600, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Any:
    """Levels of independent factors."""
    return np.random.default_rng(seed).integers(0, sizes, size=(rows, len(sizes)))


def mixed(levels: Any, codes: int = 7, noise: float = 0.3, seed: int = 1) -> Any:
    """Codes that depend on several factors each."""
    rng = np.random.default_rng(seed)
    standard = (levels - levels.mean(axis=0)) / levels.std(axis=0)
    weights = rng.normal(size=(levels.shape[1], codes)) * (rng.random((levels.shape[1], codes)) < 0.5)
    weights[:, : levels.shape[1]] += np.eye(levels.shape[1])[:, :codes]
    return (np.tanh(standard @ weights) + noise * rng.normal(size=(len(levels), codes))).astype(np.float32)


def run(variant: Variant, codes: Any, levels: Any, **options: Any) -> DciResult:
    """The variant's result, the last third held out where the protocol holds some out."""
    if variant in BOOSTED:
        first = 2 * len(codes) // 3
        return variant(codes[:first], levels[:first], codes[first:], levels[first:], **options)
    if variant is dci_random_forest_cv:
        options = {"depths": (2, 3, 6), **options}
    return variant(codes, levels.astype(float), **options)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosting that takes a moment."""
    monkeypatch.setattr(boosting, "ROUNDS", 6)


def joined(importances: Any, formulae: Formulae = INFOGAN_CR, strict: bool = False) -> DciResult:
    """The scores of a matrix of importances."""
    matrix = np.asarray(importances, dtype=float)
    fits = [Fit(column, 0.5, 0.75) for column in matrix.T]
    names = tuple(f"f{number}" for number in range(matrix.shape[1]))
    return dci_result(fits, np.arange(len(fits)), names, len(matrix), (), formulae, strict=strict)


def test_infogan_cr_scores_worked_by_hand() -> None:
    result = joined([[2, 0], [0, 1], [1, 1]])
    half = np.log(2) / np.log(2)
    assert result.per_code == pytest.approx([1, 1, 1 - half], abs=1e-9)
    # Weights of the codes: 2, 1, 2 of 5.
    assert result.disentanglement == pytest.approx(3 / 5)
    first = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(3)
    second = np.log(2) / np.log(3)
    assert result.per_factor == pytest.approx([1 - first, 1 - second], abs=1e-9)
    assert result.completeness == pytest.approx(1 - (first + second) / 2)
    assert (result.informativeness, result.informativeness_train) == (0.5, 0.75)
    assert result.score == result.disentanglement
    assert result.degenerate == ()


def test_dlib_weights_completeness_by_importance() -> None:
    result = joined([[4, 0], [0, 1], [0, 1]], DLIB)
    assert result.disentanglement == pytest.approx(1)
    second = np.log(2) / np.log(3)
    assert result.completeness == pytest.approx((4 * 1 + 2 * (1 - second)) / 6)
    assert joined([[4, 0], [0, 1], [0, 1]]).completeness == pytest.approx((1 + 1 - second) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 10_000))
def test_scores_are_the_plain_formulae(codes: int, factors: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).random((codes, factors)) + 0.01
    ours, theirs = joined(matrix), joined(matrix, DLIB)
    assert (ours.disentanglement, ours.completeness) == pytest.approx(plain.infogan_cr_scores(matrix), abs=1e-12)
    assert (theirs.disentanglement, theirs.completeness) == pytest.approx(plain.dlib_scores(matrix), abs=1e-12)
    for result in (ours, theirs):
        assert 0 <= result.disentanglement <= 1
        assert 0 <= result.completeness <= 1
    rows, columns = np.random.default_rng(seed).permutation(codes), np.random.default_rng(seed).permutation(factors)
    turned = joined(matrix[rows][:, columns])
    assert turned.disentanglement == pytest.approx(ours.disentanglement, abs=1e-12)
    assert turned.per_code == pytest.approx(ours.per_code[rows], abs=1e-12)
    assert joined(7 * matrix).completeness == pytest.approx(ours.completeness, abs=1e-12)


def test_what_has_no_importance_weighs_nothing() -> None:
    without = joined([[2, 1], [0, 1]])
    idle = joined([[2, 1], [0, 0], [0, 1]])
    assert idle.disentanglement == pytest.approx(without.disentanglement, abs=1e-11)
    assert np.isnan(idle.per_code).tolist() == [False, True, False]
    assert idle.degenerate == ()
    lost = joined([[2, 0], [1, 0]])
    assert lost.per_factor[1] == 0
    assert lost.degenerate == ("no code has importance for f1",)
    nothing = joined(np.zeros((2, 2)))
    assert (nothing.disentanglement, nothing.completeness) == (0, 0)
    assert "no code has importance for any factor" in nothing.degenerate


def test_strict_scores_follow_the_released_arithmetic() -> None:
    strict = joined([[2, 1], [0, 0], [0, 1]], strict=True)
    assert np.isnan(strict.disentanglement)
    assert strict.completeness == pytest.approx(joined([[2, 1], [0, 0], [0, 1]]).completeness)
    assert "divides 0 by 0 for codes without importance: 1" in strict.degenerate[0]
    assert joined([[2, 1], [0, 1]], strict=True).disentanglement == joined([[2, 1], [0, 1]]).disentanglement
    # One factor: log(1 + 1e-12) / log(1 + 1e-12) is added where nothing should be taken off.
    assert joined([[2.0], [1.0]], strict=True).disentanglement == pytest.approx(2)
    assert joined([[2.0], [1.0]]).disentanglement == 1
    assert np.isnan(joined([[2.0], [1.0]], DLIB, strict=True).disentanglement)
    assert joined(np.zeros((2, 2)), DLIB, strict=True).disentanglement == pytest.approx(0, abs=1e-9)


def test_one_code_or_one_factor_is_separate_from_nothing() -> None:
    one_code = joined([[2.0, 1.0]])
    assert one_code.completeness == 1
    assert "one code only" in one_code.degenerate[0]
    for formulae in (INFOGAN_CR, DLIB):
        one_factor = joined([[2.0], [0.0]], formulae)
        assert one_factor.disentanglement == 1
        assert np.isnan(one_factor.per_code[1])
        assert "one factor varies" in one_factor.degenerate[0]


def test_lasso_is_that_of_scikit_learn() -> None:
    levels = factors_of()
    codes = mixed(levels)
    expected = plain.infogan_cr_dci(codes, levels, plain.lasso_fit)
    result = dci_lasso(codes, levels)
    assert (result.disentanglement, result.completeness) == pytest.approx(expected, abs=1e-9)
    assert result.settings.tolist() == [0.02] * 5


def test_lasso_with_chosen_penalty_is_that_of_scikit_learn() -> None:
    levels = factors_of()
    codes = mixed(levels)
    expected = plain.infogan_cr_dci(codes, levels, plain.lassocv_fit)
    result = dci_lassocv(codes, levels)
    assert (result.disentanglement, result.completeness) == pytest.approx(expected, abs=1e-9)
    assert result.informativeness > dci_lasso(codes, levels).informativeness


@pytest.mark.parametrize(
    ("variant", "depths"), [(dci_random_forest, (4, 5, 2, 5, 5)), (dci_random_forest_ibgan, (4, 2, 4, 2, 2))]
)
def test_forests_are_those_of_scikit_learn(variant: Variant, depths: tuple[int, ...]) -> None:
    levels = factors_of(rows=3000)
    codes = mixed(levels)
    result = variant(codes, levels, seed=5, workers=1)
    expected = plain.infogan_cr_dci(codes, levels, plain.forest_fit(depths, dci.factor_seeds(5, 5)))
    # Up to single rows at the ends of several codes, which both split off at random.
    assert (result.disentanglement, result.completeness) == pytest.approx(expected, abs=5e-4)
    assert result.settings.tolist() == list(depths)
    assert result.informativeness < result.informativeness_train < 1


def test_grid_search_is_that_of_scikit_learn() -> None:
    levels = factors_of(rows=700, sizes=(3, 6))
    codes = mixed(levels, codes=4, noise=0.5)
    result = dci_random_forest_cv(codes, levels, seed=2, workers=1, depths=(2, 3, 4, 6, 9))
    seeds = dci.factor_seeds(2, 2)
    inputs, targets = plain.standardized(codes).astype(np.float32), plain.standardized(levels)
    for number, seed in enumerate(seeds):
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.model_selection import GridSearchCV

        forest = RandomForestRegressor(10, random_state=seed)
        search = GridSearchCV(forest, {"max_depth": [2, 3, 4, 6, 9]}, cv=3).fit(inputs, targets[:, number])
        assert result.settings[number] == search.best_params_["max_depth"]
        assert result.per_factor_informativeness[number] == pytest.approx(search.best_score_, abs=3e-3)
    expected = plain.infogan_cr_dci(codes, levels, plain.forest_cv_fit((2, 3, 4, 6, 9), seeds))
    assert (result.disentanglement, result.completeness) == pytest.approx(expected, abs=0.01)


def test_boosted_trees_are_those_of_scikit_learn() -> None:
    levels = factors_of(rows=600, sizes=(3, 2))
    codes = mixed(levels, codes=3)
    train, test = slice(0, 400), slice(400, None)
    result = dlib_dci_gbt(codes[train], levels[train], codes[test], levels[test], workers=1)
    repeated = [plain.dlib_dci(codes[train], levels[train], codes[test], levels[test], seed=seed) for seed in range(3)]
    mean, spread = np.mean(repeated, axis=0), np.std(repeated, axis=0)
    ours = (result.disentanglement, result.completeness, result.informativeness)
    assert (np.abs(np.array(ours) - mean) <= 4 * spread + 2e-3).all()


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_factors_themselves_in_any_order_are_disentangled(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=400, sizes=(4, 5, 6))
    order = [2, 0, 1]
    result = run(
        variant, -3.0 * levels[:, order] + 7, levels, **({} if "lasso" in variant.__name__ else {"workers": 1})
    )
    assert result.disentanglement > 0.97
    assert result.completeness > 0.97
    assert result.informativeness > (0.8 if variant is dci_random_forest_ibgan else 0.9)
    assert result.importances.argmax(axis=1).tolist() == order


@pytest.mark.parametrize("variant", [dci_lasso, dci_lassocv, dci_random_forest, dci_hist_gbt])
def test_mixtures_are_less_disentangled_and_copies_less_complete(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=400, sizes=(8, 8, 8))
    identity = run(variant, levels.astype(float), levels)
    angle = np.pi / 4
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert run(variant, levels @ turn, levels).disentanglement < identity.disentanglement - 0.2
    rng = np.random.default_rng(0)
    copied = np.concatenate([levels, levels], axis=1) + 0.5 * rng.normal(size=(400, 6))
    twice = run(variant, copied, levels)
    assert twice.completeness < identity.completeness - 0.15
    assert twice.disentanglement > 0.7
    noise = run(variant, rng.normal(size=(400, 3)), levels)
    assert noise.informativeness < 0.3
    assert np.isfinite(noise.score)


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_dead_and_repeated_codes(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=300, sizes=(4, 5, 3, 4, 6))
    codes = mixed(levels)
    dead = np.concatenate([codes, np.full((300, 1), 0.1, np.float32), codes[:, :1]], axis=1)
    result = run(variant, dead, levels)
    assert np.isfinite([result.disentanglement, result.completeness, result.informativeness]).all()
    assert result.importances[7].tolist() == [0] * 5
    assert np.isnan(result.per_code[7])
    assert any("1 of 9 codes never change and weigh nothing: 7" in text for text in result.degenerate)
    assert any("copies of another: 8 of 0" in text for text in result.degenerate)
    strict = run(variant, dead, levels, strict_reference=True)
    if variant in BOOSTED:
        assert strict.disentanglement == pytest.approx(result.disentanglement, abs=1e-9)
    else:
        assert np.isnan(strict.score)
        assert any("divides a code that never changes by 0" in text for text in strict.degenerate)
        assert json.loads(json.dumps(strict.to_json(), allow_nan=False))["score"] is None


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_all_codes_dead_is_zero(variant: Variant, few_rounds: None) -> None:
    result = run(variant, np.zeros((60, 3)), factors_of(rows=60, sizes=(2, 3, 2, 2, 2)))
    assert (result.disentanglement, result.completeness) == (0, 0)
    assert "no code has importance for any factor" in result.degenerate


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_factors_of_one_value_are_left_out(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=300, sizes=(4, 5, 3, 4, 6))
    codes = mixed(levels)
    more = np.concatenate([np.zeros((300, 1), dtype=int), levels], axis=1)
    with_one, without = run(variant, codes, more), run(variant, codes, levels)
    assert with_one.disentanglement == pytest.approx(without.disentanglement, abs=0.03)
    assert np.isnan(with_one.per_factor).tolist() == [True] + [False] * 5
    assert any("left out: factor 0" in text for text in with_one.degenerate)
    assert np.isnan(run(variant, codes, more, strict_reference=True).score)
    if "forest" in variant.__name__ and "cv" not in variant.__name__:
        # The depths belong to the factors that vary.
        assert with_one.settings.tolist()[1:] == without.settings.tolist()
    nothing = run(variant, codes, np.zeros((300, 2), dtype=int))
    assert (nothing.score, nothing.informativeness) == (0, 0)
    assert "no factor varies, so there is nothing to represent" in nothing.degenerate


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_one_factor_and_one_code(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=120, sizes=(4,))
    result = run(variant, levels + 0.1 * np.random.default_rng(0).normal(size=(120, 1)), levels)
    assert (result.disentanglement, result.completeness) == (1, 1)
    assert len(result.degenerate) == 2


def test_missing_cells_leave_out_rows_of_one_factor() -> None:
    levels = factors_of(rows=500, sizes=(4, 5))
    codes = mixed(levels, codes=3)
    values = levels.astype(float)
    values[400:, 1] = np.nan
    result = dci_lasso(codes, values)
    inputs = plain.standardized(codes)
    first = plain.lasso_fit(inputs, plain.standardized(levels)[:, 0], 0)
    second = plain.lasso_fit(inputs[:400], plain.standardized(levels[:400])[:, 1], 1)
    np.testing.assert_allclose(result.importances, np.stack([first, second], axis=1), atol=1e-9)
    forest = dci_random_forest(codes, values, depths=(3, 3), workers=1)
    assert np.isfinite(forest.per_factor_informativeness).all()
    holes = levels.copy()
    holes[:50, 0] = -1
    assert np.isfinite(run(dci_hist_gbt, codes, holes, workers=1).score)


@pytest.mark.parametrize("variant", [dci_lasso, dci_random_forest, dci_hist_gbt])
def test_order_of_codes_does_not_matter(variant: Variant, few_rounds: None) -> None:
    levels = factors_of(rows=900)
    codes = mixed(levels)
    order = np.random.default_rng(3).permutation(7)
    plain_result, turned = run(variant, codes, levels), run(variant, codes[:, order], levels)
    tolerance = 2e-4 if variant is dci_lasso else 0.03
    assert turned.importances == pytest.approx(plain_result.importances[order], abs=tolerance)
    assert turned.score == pytest.approx(plain_result.score, abs=tolerance)


@pytest.mark.parametrize("variant", [dci_lasso, dci_lassocv, dci_random_forest])
def test_scale_of_codes_and_factors_does_not_matter(variant: Variant) -> None:
    levels = factors_of(rows=300)
    codes = mixed(levels).astype(np.float64)
    scaled = run(variant, codes * [1e-8, 1e8, -1, 3, 2, 1, 5] + 4, 3 * levels - 5)
    assert scaled.score == pytest.approx(run(variant, codes, levels).score, abs=1e-3)


def test_depths_for_other_numbers_of_factors() -> None:
    levels = factors_of(rows=200, sizes=(4, 5, 6))
    codes = mixed(levels, codes=4)
    result = dci_random_forest(codes, levels)
    assert result.settings.tolist() == [5, 5, 5]
    assert "trees of depth 5 for all 3 factors" in result.notes[0]
    assert dci_random_forest_ibgan(codes, levels).settings.tolist() == [2, 2, 2]
    chosen = dci_random_forest(codes, levels, depths=(3, 1, 7))
    assert chosen.settings.tolist() == [3, 1, 7]
    assert chosen.notes == ()
    for wrong in ((3, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="3 numbers from 1"):
            dci_random_forest(codes, levels, depths=wrong)


def test_the_same_seed_gives_the_same_numbers_in_any_number_of_processes() -> None:
    levels = factors_of(rows=200, sizes=(4, 5, 6))
    codes = mixed(levels, codes=4)
    options: dict[str, Any] = {"depths": (2, 3), "seed": 3}
    alone = dci_random_forest_cv(codes, levels, workers=1, **options)
    shared = dci_random_forest_cv(codes, levels, workers=2, **options)
    assert alone.importances.tolist() == shared.importances.tolist()
    assert alone.informativeness == shared.informativeness
    other = dci_random_forest_cv(codes, levels, workers=1, depths=(2, 3), seed=4)
    assert other.importances.tolist() != alone.importances.tolist()


def score_in_processes(workers: int) -> float:
    """A score, computed by as many processes."""
    levels = factors_of(rows=100, sizes=(4, 5))
    return dci_random_forest(mixed(levels, codes=3), levels, workers=workers).score


def send_score(connection: Any, workers: int) -> None:
    """Computes a score and sends it."""
    connection.send(score_in_processes(workers))


@pytest.mark.parametrize("daemon", [False, True])
def test_processes_of_others_may_ask_for_processes_and_end(daemon: bool) -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_score, args=(sender, 2), daemon=daemon)
    process.start()
    process.join(timeout=50)
    alive = process.is_alive()
    process.kill()
    assert not alive, "it waits for processes that wait for work"
    assert receiver.recv() == score_in_processes(1)


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
def test_wrong_arrays_are_refused(variant: Variant) -> None:
    levels = factors_of(rows=30, sizes=(2, 3))
    codes = np.random.default_rng(0).normal(size=(30, 3))
    broken = codes.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 values of"):
        run(variant, broken, levels)
    with pytest.raises(ValueError, match="one row for each image"):
        run(variant, codes[:20], levels)
    with pytest.raises(ValueError, match=r"two or more images|is empty"):
        run(variant, codes[:1], levels[:1])
    with pytest.raises(ValueError, match="factor_names has 3 names"):
        run(variant, codes, levels, factor_names=["a", "b", "c"])


def test_wrong_options_are_refused() -> None:
    levels = factors_of(rows=30, sizes=(2, 3))
    codes = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ValueError, match="alpha must be more than 0"):
        dci_lasso(codes, levels, alpha=0)
    with pytest.raises(ValueError, match="num_trees"):
        dci_random_forest(codes, levels, num_trees=0)
    with pytest.raises(ValueError, match="seed"):
        dci_random_forest(codes, levels, seed=-1)
    with pytest.raises(ValueError, match="workers"):
        dci_random_forest(codes, levels, workers=0)
    with pytest.raises(ValueError, match="depths"):
        dci_random_forest_cv(codes, levels, depths=())
    with pytest.raises(ValueError, match="as many columns"):
        dlib_dci_gbt(codes, levels, codes[:, :2], levels)
    with pytest.raises(TypeError, match="integers"):
        dlib_dci_gbt(codes, levels.astype(float), codes, levels)


@pytest.mark.parametrize("variant", REGRESSORS + BOOSTED)
@pytest.mark.parametrize("rows", [2, 3, 5])
def test_tiny_input_gives_numbers(variant: Variant, rows: int, few_rounds: None) -> None:
    codes = np.arange(2.0 * rows).reshape(rows, 2) % 5
    levels = np.arange(2 * rows).reshape(rows, 2) % 3
    result = variant(codes, levels, codes, levels) if variant in BOOSTED else variant(codes, levels)
    assert np.isfinite([result.score, result.completeness, result.informativeness]).all()
