"""The Lasso beside scikit-learn's, which stops at the same place, and beside an exact solution."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoCV

from metrics.lasso import Products, fold_rows, lasso, lasso_cv


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def problem(rows: int = 300, mixing: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Inputs, mixed with each other if wished, and three targets."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 6)) @ (np.eye(6) + mixing * rng.normal(size=(6, 6))) + 5
    targets = inputs @ rng.normal(size=(6, 3)) * 0.3 + rng.normal(size=(rows, 3))
    return inputs, targets


@pytest.mark.parametrize("mixing", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [0.002, 0.02, 0.2])
def test_coefficients_are_those_of_scikit_learn(mixing: float, alpha: float) -> None:
    inputs, targets = problem(mixing=mixing)
    ours, ended = lasso(Products.of(inputs, targets), alpha)
    for column, target in zip(ours.T, targets.T, strict=True):
        plain = Lasso(alpha=alpha).fit(inputs, target)
        np.testing.assert_allclose(column, plain.coef_, atol=1e-11)
    assert ended.all()


def test_where_the_search_stops_shows_in_the_numbers() -> None:
    inputs, targets = problem(mixing=2.0)
    ours, _ = lasso(Products.of(inputs, targets), 0.002)
    exact = Lasso(alpha=0.002, tol=1e-14, max_iter=100_000).fit(inputs, targets[:, 0]).coef_
    assert 1e-6 < np.abs(ours[:, 0] - exact).max() < 0.05


def test_uncorrelated_inputs_give_shrunken_correlations() -> None:
    inputs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)
    targets = inputs @ np.array([[0.5], [-0.1]])
    weight, ended = lasso(Products.of(inputs, targets), 0.2)
    np.testing.assert_allclose(weight, [[0.3], [0.0]], atol=1e-12)
    assert ended.all()


def test_a_column_of_zeros_gets_nothing() -> None:
    inputs, targets = problem()
    inputs[:, 2] = 1.0
    weight, _ = lasso(Products.of(inputs, targets), 0.01)
    assert weight[2].tolist() == [0, 0, 0]
    np.testing.assert_allclose(weight[:, 0], Lasso(alpha=0.01).fit(inputs, targets[:, 0]).coef_, atol=1e-11)


def test_problems_do_not_disturb_each_other() -> None:
    inputs, targets = problem(mixing=1.0)
    together, _ = lasso(Products.of(inputs, targets), 0.01)
    for number in range(3):
        alone, _ = lasso(Products.of(inputs, targets[:, [number]]), 0.01)
        np.testing.assert_allclose(together[:, number], alone[:, 0], atol=1e-12)


def test_a_search_that_does_not_end_says_so() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(50, 1))
    inputs = base + 1e-4 * rng.normal(size=(50, 3))
    targets = 1e4 * (inputs[:, :1] - inputs[:, 1:2])
    weight, ended = lasso(Products.of(inputs, targets), 1e-6)
    plain = Lasso(alpha=1e-6).fit(inputs, targets[:, 0])
    assert not ended.any()
    assert plain.n_iter_ == 1000
    np.testing.assert_allclose(weight[:, 0], plain.coef_, rtol=1e-6)


@pytest.mark.parametrize("rows", [60, 100])
def test_the_penalty_is_the_one_that_scikit_learn_chooses(rows: int) -> None:
    inputs, targets = problem(rows=rows, mixing=0.4, seed=rows)
    weight, penalties, ended = lasso_cv(inputs, targets)
    for number, target in enumerate(targets.T):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            plain = LassoCV(cv=3).fit(inputs, target)
        assert penalties[number] == pytest.approx(plain.alpha_, rel=1e-12)
        np.testing.assert_allclose(weight[:, number], plain.coef_, atol=1e-10)
        assert ended[number] == (not caught)


def test_mean_squared_error_from_products() -> None:
    inputs, targets = problem()
    weight = np.random.default_rng(0).normal(size=(6, 3))
    residual = targets - targets.mean(axis=0) - (inputs - inputs.mean(axis=0)) @ weight
    np.testing.assert_allclose(Products.of(inputs, targets).squared_error(weight), (residual**2).mean(axis=0))


def test_folds_are_consecutive_parts() -> None:
    folds = fold_rows(8, 3)
    assert [test.tolist() for _, test in folds] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert folds[1][0].tolist() == [0, 1, 2, 6, 7]
