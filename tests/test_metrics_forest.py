"""Trees, forests and boosting: beside scikit-learn, beside a search over all splits, and where splits are tied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from metrics import boosting
from metrics.forest import RegressionTree, SortedCodes, bootstrap, grow_tree, r_squared, tree_seeds


def problem(rows: int = 2000, codes: int = 4, seed: int = 0, decimals: int | None = None) -> tuple[Any, Any]:
    """Codes, rounded if wished, and a target that depends on some of them."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, codes))
    if decimals is not None:
        table = table.round(decimals)
    return table, np.sin(2 * table[:, 0]) + 0.5 * table[:, 1] ** 2 + 0.1 * rng.normal(size=rows)


def grow(codes: Any, targets: Any, max_depth: int, weights: Any = None, seed: int = 0) -> RegressionTree:
    """A tree of ours."""
    weights = np.ones(len(codes), dtype=np.int64) if weights is None else np.asarray(weights)
    targets = np.asarray(targets, dtype=np.float64)
    return grow_tree(SortedCodes.of(codes), targets, weights, max_depth, np.random.default_rng(seed))


def gain_of(plain: DecisionTreeRegressor) -> float:
    """By how much scikit-learn's tree lowers the sum of squares."""
    tree = plain.tree_
    leaves = tree.children_left < 0
    return float(
        tree.impurity[0] * tree.weighted_n_node_samples[0]
        - (tree.impurity * tree.weighted_n_node_samples)[leaves].sum()
    )


@pytest.mark.parametrize("decimals", [None, 2, 0])
@pytest.mark.parametrize("weighted", [False, True])
def test_trees_are_those_of_scikit_learn_at_every_depth(decimals: int | None, weighted: bool) -> None:
    codes, targets = problem(decimals=decimals)
    weights = bootstrap(3, np.arange(2000), 2000) if weighted else np.ones(2000, dtype=np.int64)
    tree = grow(codes, targets, 6, weights)
    values = SortedCodes.of(codes).values
    for depth in range(1, 7):
        plain = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(codes, targets, sample_weight=weights)
        # Deeper down single rows are split off by several codes equally well, and chance decides.
        assert tree.gains[:depth].sum() == pytest.approx(gain_of(plain), rel=1e-3 if depth > 4 else 1e-10)
        if depth <= 3:
            np.testing.assert_allclose(tree.importances()[depth - 1], plain.feature_importances_, atol=1e-10)
            np.testing.assert_allclose(tree.predictions(values)[depth - 1], plain.predict(codes), atol=1e-10)


def test_thresholds_generalize_as_scikit_learns_do() -> None:
    codes, targets = problem()
    others, _ = problem(rows=300, seed=9)
    plain = DecisionTreeRegressor(max_depth=3, random_state=0).fit(codes, targets)
    ours = grow(codes, targets, 3).predictions(SortedCodes.of(others).values)[-1]
    np.testing.assert_allclose(ours, plain.predict(others), atol=1e-10)


def test_a_shallow_tree_is_the_top_of_a_deep_one() -> None:
    codes, targets = problem(rows=300)
    deep = grow(codes, targets, 12)
    for depth in (1, 3, 5):
        shallow = grow(codes, targets, depth)
        np.testing.assert_allclose(shallow.gains, deep.gains[:depth], atol=1e-9)


def test_a_tree_grown_out_knows_every_row() -> None:
    codes, targets = problem(rows=200)
    tree = grow(codes, targets, 40)
    np.testing.assert_allclose(tree.predictions(SortedCodes.of(codes).values)[-1], targets, atol=1e-9)
    total = ((targets - targets.mean()) ** 2).sum()
    assert tree.gains.sum() == pytest.approx(total, rel=1e-9)


def test_a_forest_is_that_of_scikit_learn() -> None:
    codes, targets = problem()
    rows = np.arange(2000)
    trees = [grow(codes, targets, 2, bootstrap(seed, rows, 2000)) for seed in tree_seeds(7, 6)]
    plain = RandomForestRegressor(6, max_depth=2, random_state=7).fit(codes, targets)
    mean = np.mean([tree.importances()[-1] for tree in trees], axis=0)
    np.testing.assert_allclose(mean / mean.sum(), plain.feature_importances_, atol=1e-10)


def test_bootstrap_draws_only_the_rows_it_may() -> None:
    weights = bootstrap(0, np.array([2, 5, 7]), 9)
    assert weights.sum() == 3
    assert weights[[0, 1, 3, 4, 6, 8]].sum() == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_first_split_is_the_best_of_all(data: st.DataObject) -> None:
    rows, codes = data.draw(st.integers(2, 9)), data.draw(st.integers(1, 3))
    small = st.lists(st.integers(-3, 3), min_size=rows * codes, max_size=rows * codes)
    table = np.array(data.draw(small), dtype=float).reshape(rows, codes)
    targets = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=rows, max_size=rows)), dtype=float)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    if weights.sum() == 0:
        weights[0] = 1

    def squares(part: Any) -> float:
        if not weights[part].sum():
            return 0.0
        mean = np.average(targets[part], weights=weights[part])
        return float((weights[part] * (targets[part] - mean) ** 2).sum())

    whole = squares(np.full(rows, True))
    best = 0.0
    for column in table.T:
        for value in column:
            left = column <= value
            best = max(best, whole - squares(left) - squares(~left))
    tree = grow(table, targets, 1, weights)
    assert tree.gains.sum() == pytest.approx(best, abs=1e-9)


def test_equal_values_are_never_parted() -> None:
    # The target jumps between two rows of the same value: the best place for a split is not there.
    rng = np.random.default_rng(0)
    column = np.sort(rng.normal(size=1000))
    column[500] = column[499]
    targets = np.where(np.arange(1000) >= 500, 1.0, 0.0)
    table = np.stack([column, 0.01 * column + rng.normal(size=1000)], axis=1)
    assert not SortedCodes.of(table).repeats.any()
    plain = DecisionTreeRegressor(max_depth=3, random_state=0).fit(table, targets)
    tree = grow(table, targets, 3)
    np.testing.assert_allclose(tree.predictions(SortedCodes.of(table).values)[-1], plain.predict(table), atol=1e-12)
    first = tree.predictions(SortedCodes.of(table).values)[0]
    assert first[499] == first[500]
    assert len(set(first)) == 2


def test_copies_of_a_code_share_its_splits_at_random() -> None:
    codes, targets = problem()
    doubled = np.concatenate([codes[:, :2], codes[:, :1]], axis=1)
    firsts = [grow(doubled, targets, 1, seed=seed).levels[0].code[0] for seed in range(60)]
    single = grow(codes[:, :2], targets, 1)
    assert single.levels[0].code[0] == 0
    assert 15 < firsts.count(0) < 45
    assert set(firsts) == {0, 2}
    shared = grow(doubled, targets, 4).gains.sum(axis=1)
    np.testing.assert_allclose(shared, grow(codes[:, :2], targets, 4).gains.sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("codes", "targets"), [(np.zeros((5, 2)), [0, 1, 2, 3, 4]), (np.eye(5), np.full(5, 0.1)), (np.ones((1, 3)), [2.0])]
)
def test_without_anything_to_split_a_tree_is_a_leaf(codes: Any, targets: Any) -> None:
    tree = grow(codes, targets, 3)
    assert not tree.gains.any()
    assert not tree.importances().any()
    values = np.asarray(codes, dtype=np.float32).T
    np.testing.assert_allclose(tree.predictions(values), np.mean(targets), rtol=1e-12)


def test_increasing_functions_of_a_code_change_no_split() -> None:
    codes, targets = problem()
    plain, bent = grow(codes, targets, 5), grow(np.exp(codes) + 3, targets, 5)
    np.testing.assert_allclose(plain.gains, bent.gains, rtol=1e-9)


def test_r_squared() -> None:
    targets = np.array([0.0, 1.0, 2.0])
    assert r_squared(targets, targets) == 1
    assert r_squared(targets, np.ones(3)) == 0
    assert r_squared(targets, np.array([0.0, 1.0, 4.0])) == pytest.approx(1 - 4 / 2)
    assert r_squared(np.ones(3), np.ones(3)) == 1
    assert r_squared(np.ones(3), targets) == 0
    assert r_squared(np.empty(0), np.empty(0)) == 0


def classes(rows: int, count: int, seed: int = 0) -> tuple[Any, Any]:
    """Codes and classes that depend on them."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 3)).astype(np.float32).astype(np.float64)
    noisy = table[:, 0] + 0.5 * table[:, 1] + 0.4 * rng.normal(size=rows)
    return table, np.digitize(noisy, np.quantile(noisy, np.arange(1, count) / count))


@pytest.mark.parametrize("count", [2, 4])
def test_boosting_is_that_of_scikit_learn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 12)
    table, labels = classes(1500, count)
    train, test = slice(0, 1000), slice(1000, None)
    plain = GradientBoostingClassifier(n_estimators=12, random_state=0).fit(table[train], labels[train])
    ours = boosting.exact(table[train], labels[train], table[test], labels[test])
    np.testing.assert_allclose(ours.importances, plain.feature_importances_, atol=2e-3)
    assert ours.train_accuracy == pytest.approx(plain.score(table[train], labels[train]), abs=0.01)
    assert ours.test_accuracy == pytest.approx(plain.score(table[test], labels[test]), abs=0.01)


def test_boosting_without_ties_is_exactly_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 8)
    # One code: nothing can be tied with it.
    table, labels = classes(800, 3)
    table = table[:, :1]
    plain = GradientBoostingClassifier(n_estimators=8, random_state=0).fit(table[:500], labels[:500])
    found: dict[str, Any] = {}
    original = boosting._choose

    def keep(raw: Any) -> Any:
        found[str(raw.shape)] = raw
        return original(raw)

    monkeypatch.setattr(boosting, "_choose", keep)
    ours = boosting.exact(table[:500], labels[:500], table[500:], labels[500:])
    assert ours.importances.tolist() == [1.0]
    # Only differences of the classes' values count.
    raw, expected = found["(3, 300)"].T, plain.decision_function(table[500:])
    np.testing.assert_allclose(
        raw - raw.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=1e-9
    )
    assert ours.test_accuracy == plain.score(table[500:], labels[500:])


def test_bins_of_single_values_give_the_exact_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 10)
    table, labels = classes(900, 3)
    rough = (8 * table).round() / 8
    assert max(np.unique(column).size for column in rough.T) <= boosting.BINS
    arguments = (rough[:600], labels[:600], rough[600:], labels[600:])
    exact, binned = boosting.exact(*arguments), boosting.histogram(*arguments)
    np.testing.assert_allclose(binned.importances, exact.importances, atol=2e-3)
    assert binned.test_accuracy == pytest.approx(exact.test_accuracy, abs=0.01)


def test_bins_are_near_the_exact_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 20)
    table, labels = classes(3000, 5)
    arguments = (table[:2000], labels[:2000], table[2000:], labels[2000:])
    exact, binned = boosting.exact(*arguments), boosting.histogram(*arguments)
    assert np.abs(exact.importances - binned.importances).max() < 0.02
    assert abs(exact.test_accuracy - binned.test_accuracy) < 0.03
    again = boosting.histogram(*arguments)
    assert again.importances.tolist() == binned.importances.tolist()
    assert binned.importances.sum() == pytest.approx(1)


@pytest.mark.parametrize("classifier", [boosting.exact, boosting.histogram])
def test_boosting_of_dead_codes_gains_nothing(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 3)
    table, labels = np.zeros((30, 2)), np.arange(30) % 3
    result = classifier(table, labels, table, labels)
    assert result.importances.tolist() == [0, 0]
    assert result.train_accuracy == pytest.approx(1 / 3)


def test_labels_that_were_never_shown_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "ROUNDS", 3)
    table, labels = classes(200, 3)
    assert boosting.exact(table, labels, table, labels + 10).test_accuracy == 0
