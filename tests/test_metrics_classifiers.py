"""Explicitness, SAP and BetaVAE: the classifiers beside scikit-learn's, cases worked by hand, degenerate codes."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from metrics import logistic, svm
from metrics.beta_vae import beta_vae, dlib_beta_vae
from metrics.explicitness import dlib_explicitness, explicitness
from metrics.sap import dlib_sap, dlib_sap_continuous, sap

Table = np.ndarray


def noisy(rows: int, codes: int, sizes: tuple[int, ...], seed: int, noise: float = 0.7) -> tuple[Table, Table]:
    """Codes that tell a little of everything, and the levels."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, sizes, size=(rows, len(sizes)))
    centred = levels / np.array(sizes) - 0.5
    return centred @ rng.normal(size=(len(sizes), codes)) * 2 + noise * rng.normal(size=(rows, codes)), levels


def liblinear(features: Table, classes: Table) -> OneVsRestClassifier:
    """Logistic regression as scikit-learn 0.20 had it by default."""
    return OneVsRestClassifier(LogisticRegression(solver="liblinear")).fit(features, classes)


def plain_area(model: OneVsRestClassifier, codes: Table, levels: Table) -> float:
    chances = model.predict_proba(codes)
    one_hot = (levels[:, None] == model.classes_).astype(int)
    return float(roc_auc_score(one_hot, chances)) if len(model.classes_) > 2 else roc_auc_score(levels, chances[:, 1])


def plain_explicitness(codes: Table, levels: Table) -> float:
    return float(np.mean([plain_area(liblinear(codes, level), codes, level) for level in levels.T]))


def plain_svm(feature: Table, classes: Table, test: Table, test_classes: Table, seed: int = 0) -> float:
    model = LinearSVC(C=0.01, class_weight="balanced", dual=True, max_iter=1000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float((model.fit(feature[:, None], classes).predict(test[:, None]) == test_classes).mean())


def top_gap(prediction: Table) -> float:
    ordered = np.sort(prediction, axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))


@pytest.mark.parametrize(("rows", "codes", "sizes"), [(60, 2, (2, 3)), (400, 10, (3, 6, 8)), (1500, 5, (2, 40))])
def test_logistic_regression_is_liblinear(rows: int, codes: int, sizes: tuple[int, ...]) -> None:
    features, levels = noisy(rows, codes, sizes, seed=rows)
    for column, size in zip(levels.T, sizes, strict=True):
        reference = liblinear(features, column)
        model = logistic.fit(features, column, size)
        weights = np.array([np.append(binary.coef_[0], binary.intercept_) for binary in reference.estimators_])
        np.testing.assert_allclose(model.weights, weights, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.probabilities(features).T, reference.predict_proba(features), rtol=1e-9)
        assert np.array_equal(model.predict(features), reference.predict(features))


def test_logistic_regression_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    features, levels = noisy(300, 4, (9,), seed=0)
    whole = logistic.fit(features, levels[:, 0], 9).weights
    monkeypatch.setattr(logistic, "_CLASSES_AT_ONCE", 4)
    monkeypatch.setattr(logistic, "_BLOCK_VALUES", 100)
    np.testing.assert_allclose(logistic.fit(features, levels[:, 0], 9).weights, whole, rtol=1e-10)


def test_logistic_regression_of_separable_and_of_blind_features() -> None:
    classes = np.repeat([0, 1, 2], 20)
    blind = logistic.fit(np.zeros((60, 2)), classes, 3)
    np.testing.assert_allclose(blind.probabilities(np.zeros((1, 2)))[:, 0], [1 / 3] * 3)
    assert blind.weights[:, :2].tolist() == [[0, 0]] * 3
    sharp = logistic.fit(1000.0 * np.eye(3)[classes], classes, 3)
    assert (sharp.predict(1000.0 * np.eye(3)) == [0, 1, 2]).all()
    # Far from all classes every classifier says no; what is left of the probabilities is still a number.
    assert np.isfinite(sharp.probabilities(np.full((1, 3), -1e6))).all()
    with pytest.raises(ValueError, match="must occur"):
        logistic.fit(np.zeros((4, 1)), [0, 0, 2, 2], 3)


def test_area_under_the_curve_counts_ties_as_one_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    assert logistic.area_under_curve(scores, np.array([False, True, False, True])) == (1 + 0.5 + 2) / 4
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 9, 500) / 9, rng.random(500) < 0.3
    assert logistic.area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert math.isnan(logistic.area_under_curve(scores, np.full(500, True)))


@pytest.mark.parametrize(("rows", "codes", "sizes"), [(80, 3, (2, 3)), (500, 10, (3, 6, 5)), (1200, 4, (12, 2))])
def test_explicitness_is_that_of_scikit_learn(rows: int, codes: int, sizes: tuple[int, ...]) -> None:
    table, levels = noisy(rows, codes, sizes, seed=rows)
    result = explicitness(table, levels)
    assert result.score == pytest.approx(plain_explicitness(table, levels), abs=1e-9)
    assert result.train == result.score
    assert result.degenerate == ()
    first = 2 * rows // 3
    held_out = dlib_explicitness(table[:first], levels[:first], table[first:], levels[first:])
    mean, spread = table[:first].mean(axis=0), table[:first].std(axis=0)
    scaled = (table - mean) / spread
    models = [liblinear(scaled[:first], column[:first]) for column in levels.T]
    areas = [plain_area(model, scaled[first:], column[first:]) for model, column in zip(models, levels.T, strict=True)]
    assert held_out.per_factor == pytest.approx(areas, abs=1e-9)
    assert held_out.train == pytest.approx(plain_explicitness(scaled[:first], levels[:first]), abs=1e-9)


def test_softmax_is_what_newer_versions_fit() -> None:
    table, levels = noisy(600, 4, (2, 3, 6), seed=3)
    halves = (table[:400], levels[:400], table[400:], levels[400:])
    scaled = (table - table[:400].mean(axis=0)) / table[:400].std(axis=0)
    areas = []
    for column in levels.T:
        model = LogisticRegression().fit(scaled[:400], column[:400])
        one_hot = (column[400:, None] == model.classes_).astype(int)
        areas.append(roc_auc_score(one_hot, model.predict_proba(scaled[400:])))
    result = dlib_explicitness(*halves, softmax=True)
    assert result.per_factor == pytest.approx(areas, abs=1e-9)
    assert result.per_factor[0] == pytest.approx(dlib_explicitness(*halves).per_factor[0], abs=1e-3)
    values, labels = pair_groups(150, 8, 5, 0, 0.8)
    features = np.abs(values[:, 0::2] - values[:, 1::2]).mean(axis=1)
    expected = LogisticRegression().fit(features[:100], labels[:100]).score(features[100:], labels[100:])
    softmax = dlib_beta_vae(values[:100], labels[:100], values[100:], labels[100:], softmax=True)
    assert softmax.score == pytest.approx(expected)


def test_explicitness_of_known_codes() -> None:
    levels = np.array(list(itertools.product(range(3), range(2))) * 20)
    one_hot = np.concatenate([np.eye(3)[levels[:, 0]], np.eye(2)[levels[:, 1]]], axis=1)
    assert explicitness(one_hot, levels).score == 1.0
    assert explicitness(np.zeros((120, 2)), levels).score == 0.5
    assert explicitness(one_hot, levels[:, ::-1]).per_factor.tolist() == [1.0, 1.0]
    # One code in the order of the levels: lines single out the outer ones, and the middle only by their absence.
    ordered = np.repeat(np.arange(7), 30)[:, None]
    assert 0.8 < explicitness(ordered / 3.0, ordered).score < 1.0


def test_explicitness_of_degenerate_input() -> None:
    table, levels = noisy(300, 4, (3, 4), seed=5)
    with_constant = np.concatenate([levels, np.zeros((300, 1), int)], axis=1)
    result = explicitness(table, with_constant, factor_names=["shape", "size", "color"])
    assert result.score == pytest.approx(explicitness(table, levels).score)
    assert "color: has one level" in result.degenerate
    assert np.isnan(result.per_factor[2])
    assert math.isnan(explicitness(table, with_constant, strict_reference=True).score)
    nothing = explicitness(table, np.zeros((300, 1), int))
    assert nothing.score == 0.5
    assert "score is that of a guess" in nothing.degenerate[-1]
    holes = levels.copy()
    holes[:100, 1] = -1
    expected = [plain_explicitness(table, levels[:, :1]), plain_explicitness(table[100:], levels[100:, 1:])]
    assert explicitness(table, holes).per_factor == pytest.approx(expected, abs=1e-9)


def test_dlib_explicitness_of_degenerate_input() -> None:
    table, levels = noisy(300, 3, (3, 4), seed=5)
    dead = np.concatenate([table, np.full((300, 1), 0.1)], axis=1)
    halves = (dead[:200], levels[:200], dead[200:], levels[200:])
    result = dlib_explicitness(*halves)
    assert result.score == pytest.approx(dlib_explicitness(table[:200], levels[:200], table[200:], levels[200:]).score)
    assert "1 of 4 codes never change and are set to 0: 3" in result.degenerate
    assert math.isnan(dlib_explicitness(*halves, strict_reference=True).score)
    # Levels that the test set does not show have no curve; those that the training set lacks are nobody's.
    few = levels[200:].copy()
    few[:, 0] = np.where(few[:, 0] == 2, 1, few[:, 0])
    lacking = dlib_explicitness(dead[:200], levels[:200], dead[200:], few)
    assert "factor 0: has 1 of 3 levels that the test set does not show, or shows alone" in lacking.degenerate
    few[:, 0] += 7
    lost = dlib_explicitness(dead[:200], levels[:200], dead[200:], few)
    assert "has no level in the test set" in " ".join(lost.degenerate)
    assert lost.score == lost.per_factor[1]
    with pytest.raises(ValueError, match="as many columns"):
        dlib_explicitness(table, levels, dead, levels)


def brute_force(feature: Table, signs: Table, costs: Table) -> Table:
    """The minimum of the squared hinge loss by Newton's method on all rows."""
    point, rows = np.zeros(2), np.stack([feature, np.ones_like(feature)], axis=1)
    for _ in range(200):
        active = signs * (rows @ point) < 1
        weighted = rows[active] * costs[active, None]
        point = np.linalg.solve(np.eye(2) + 2 * weighted.T @ rows[active], 2 * weighted.T @ signs[active])
    return point


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.01, 0.0), (20.0, 3.0), (1.0, 10.0)])
def test_support_vector_machine_is_at_its_optimum(classes: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 400)
    feature = scale * (labels / classes + 0.4 * rng.normal(size=400)) + shift
    model = svm.fit(feature, labels, classes)
    counts = np.bincount(labels)
    for number in range(len(model.slopes)):
        wanted = 1 if classes == 2 else number
        signs = np.where(labels == wanted, 1.0, -1.0)
        balanced = 0.01 * 400 / (classes * counts)
        costs = np.where(labels == wanted, balanced[wanted], balanced[1 - wanted] if classes == 2 else 0.01)
        point = np.array([model.slopes[number], model.intercepts[number]])
        rows = np.stack([feature, np.ones(400)], axis=1)
        slack = np.maximum(0, 1 - signs * (rows @ point))
        gradient = point - 2 * rows.T @ (costs * signs * slack)
        assert np.abs(gradient).max() < 1e-9 * (1 + np.abs(rows.T @ (costs * slack)).max())
        np.testing.assert_allclose(point, brute_force(feature, signs, costs), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("scale", [0.05, 1.0, 8.0])
def test_support_vector_machine_predicts_as_linear_svc(classes: int, scale: float) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 900)
    feature = scale * (labels / classes + 0.3 * rng.normal(size=900))
    mine = float((svm.fit(feature, labels, classes).predict(feature) == labels).mean())
    references = [plain_svm(feature, labels, feature, labels, seed) for seed in range(3)]
    assert min(references) - 0.002 <= mine <= max(references) + 0.002


def test_support_vector_machine_on_constant_and_on_two_values() -> None:
    labels = np.array([0] * 10 + [1] * 30 + [2] * 20)
    guess = svm.fit(np.full(60, 0.3), labels, 3).predict(np.array([0.3, 0.3]))
    reference = LinearSVC(C=0.01, class_weight="balanced", dual=True).fit(np.full((60, 1), 0.3), labels)
    assert guess.tolist() == reference.predict([[0.3], [0.3]]).tolist()
    assert svm.fit(labels * 1.0, labels, 3).predict(np.array([0.0, 2.0])).tolist() == [0, 2]
    with pytest.raises(ValueError, match="must occur"):
        svm.fit(np.arange(4.0), [0, 0, 0, 0], 1)


@pytest.mark.parametrize(("rows", "codes", "sizes"), [(200, 3, (3, 9)), (900, 8, (3, 6, 20, 5, 4))])
def test_sap_is_that_of_plain_pairwise_fits(rows: int, codes: int, sizes: tuple[int, ...]) -> None:
    table, levels = noisy(rows, codes, sizes, seed=rows)
    kinds = [True] + [False] * (len(sizes) - 1)
    squares = np.corrcoef(table.T, levels.T)[:codes, codes:] ** 2
    accuracies = np.array([[plain_svm(code, level, code, level) for level in levels.T] for code in table.T])
    result = sap(table, levels, kinds)
    np.testing.assert_allclose(result.prediction[:, 1:], squares[:, 1:], atol=1e-12)
    np.testing.assert_allclose(result.prediction[:, 0], accuracies[:, 0], atol=1.5 / rows)
    assert result.score == pytest.approx(top_gap(np.where(kinds, accuracies, squares)), abs=3 / rows)
    assert dlib_sap_continuous(table, levels).score == pytest.approx(top_gap(squares), abs=1e-12)
    half = rows // 2
    held_out = np.array(
        [[plain_svm(code[:half], level[:half], code[half:], level[half:]) for level in levels.T] for code in table.T]
    )
    dlib = dlib_sap(table[:half], levels[:half], table[half:], levels[half:])
    np.testing.assert_allclose(dlib.prediction, held_out, atol=3 / rows)
    assert dlib.score == pytest.approx(top_gap(dlib.prediction), abs=1e-12)


def test_sap_of_known_codes() -> None:
    levels = np.array(list(itertools.product(range(3), range(5))) * 10)
    codes = levels.astype(float)
    # Each code is perfectly correlated with its own factor and, on the full grid, not at all with the other.
    perfect = sap(codes, levels, [False, False])
    assert perfect.score == pytest.approx(1.0)
    assert perfect.prediction == pytest.approx(np.eye(2), abs=1e-15)
    assert sap(-100 * codes[:, ::-1] + 7, levels, [False, False]).score == pytest.approx(1.0)
    assert sap(np.concatenate([codes, codes], axis=1), levels, [False, False]).score == 0.0
    pairs = np.array(list(itertools.product(range(2), range(5))) * 10)
    category = sap(pairs - pairs.mean(axis=0), pairs, [True, False])
    assert category.prediction == pytest.approx(np.array([[1, 0], [0.5, 1]]))
    assert category.discrete.tolist() == [True, False]
    assert category.score == pytest.approx((1 - 0.5 + 1 - 0) / 2)


def test_sap_does_not_overflow_or_vanish() -> None:
    table, levels = noisy(200, 3, (4, 6), seed=0)
    expected = sap(table, levels, [False, False]).score
    for scale in (1e90, 1e-90):
        assert sap(table * scale, levels, [False, False]).score == pytest.approx(expected, rel=1e-9)
    assert sap(table + 1e6, levels, [False, False]).score == pytest.approx(expected, rel=1e-6)


def test_sap_of_degenerate_input() -> None:
    table, levels = noisy(300, 3, (3, 6), seed=1)
    kinds = [True, False]
    alone = sap(table, levels, kinds)
    dead = sap(np.concatenate([np.full((300, 1), 0.1), table], axis=1), levels, kinds)
    assert dead.score == alone.score
    assert np.isnan(dead.prediction[0]).all()
    assert "1 of 4 codes never change and are left out: 0" in dead.degenerate
    strict = sap(np.concatenate([np.full((300, 1), 0.1), table], axis=1), levels, kinds, strict_reference=True)
    assert math.isnan(strict.score)
    assert sap(table, levels, kinds, strict_reference=True).score == alone.score
    single = sap(table[:, :1], levels, kinds)
    share = np.bincount(levels[:, 0]).max() / 300
    expected = (single.prediction[0, 0] - share + single.prediction[0, 1]) / 2
    assert single.score == pytest.approx(expected)
    assert "one code only takes part" in " ".join(single.degenerate)
    none = sap(np.zeros((300, 2)), levels, kinds)
    assert none.score == 0.0
    assert "no code takes part" in " ".join(none.degenerate)
    still = sap(table, np.stack([levels[:, 0], np.ones(300)], axis=1), kinds, factor_names=["shape", "size"])
    assert still.score == alone.per_factor[0]
    assert "factors of one value are left out: size" in still.degenerate
    assert sap(table, np.ones((300, 2)), kinds).score == 0.0
    holes = levels.astype(float)
    holes[:90] = np.nan
    assert sap(table, holes, kinds).score == pytest.approx(sap(table[90:], levels[90:], kinds).score)
    with pytest.raises(ValueError, match="give one of True and False for each factor"):
        sap(table, levels, [True])


def test_dlib_sap_counts_dead_codes() -> None:
    table, levels = noisy(300, 2, (3, 6), seed=1)
    codes = np.concatenate([table, np.zeros((300, 1))], axis=1)
    discrete = dlib_sap(codes[:200], levels[:200], codes[200:], levels[200:])
    assert not np.isnan(discrete.prediction).any()
    assert 0 < discrete.prediction[2, 0] < 0.5
    assert "predict one level always: 2" in discrete.degenerate[0]
    continuous = dlib_sap_continuous(codes, levels)
    assert continuous.prediction[2].tolist() == [0, 0]
    tiny = np.concatenate([table, 1e-7 * table[:, :1]], axis=1)
    assert dlib_sap_continuous(tiny, levels).prediction[2].tolist() == [0, 0]
    assert dlib_sap(codes[:200], levels[:200] * 0, codes[200:], levels[200:]).score == 0.0


def pair_groups(groups: int, size: int, codes: int, seed: int, shared: float = 0.2) -> tuple[Table, Table]:
    """Groups in which the code of the label varies less."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, groups)
    values = rng.normal(size=(groups, size, codes))
    values[np.arange(groups), :, labels] *= shared
    return values, labels


@pytest.mark.parametrize(("groups", "size", "shared"), [(60, 10, 0.2), (150, 7, 0.8), (300, 20, 0.9)])
def test_beta_vae_is_that_of_scikit_learn(groups: int, size: int, shared: float) -> None:
    values, labels = pair_groups(groups, size, 5, groups, shared)
    features = np.array([np.mean([np.abs(g[2 * i] - g[2 * i + 1]) for i in range(size // 2)], axis=0) for g in values])
    model = liblinear(features, labels)
    result = beta_vae(values, labels)
    assert result.score == result.train == float((model.predict(features) == labels).mean())
    assert result.confusion.sum() == groups
    assert np.trace(result.confusion) == round(result.score * groups)
    first = groups // 2
    model = liblinear(features[:first], labels[:first])
    held_out = dlib_beta_vae(values[:first], labels[:first], values[first:], labels[first:])
    assert held_out.score == float((model.predict(features[first:]) == labels[first:]).mean())
    assert held_out.train == float((model.predict(features[:first]) == labels[:first]).mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.float16])
def test_beta_vae_of_other_kinds_of_numbers(dtype: type) -> None:
    # Pairs differ by 1 or by 100, half of them upwards. Differences that wrap around would be 128 on average for both.
    labels = np.arange(40) % 2
    groups: np.ndarray = np.zeros((40, 20, 1), dtype)
    for group, label in zip(groups, labels, strict=True):
        group[0::4] = group[3::4] = 100 if label else 1
    assert beta_vae(groups, labels).score == 1.0


@pytest.mark.parametrize("size", [1e61, 1e80, 1e100])
def test_codes_beyond_what_can_be_multiplied_are_refused(size: float) -> None:
    rng = np.random.default_rng(8)
    codes, labels = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    for fit in (logistic.fit, logistic.fit_softmax):
        with pytest.raises(ValueError, match=r"beyond 1e\+60; scale them down"):
            fit(codes * size, labels, 3)
    weights = logistic.fit(codes * (1e59 / np.abs(codes).max()), labels, 3).weights
    assert np.isfinite(weights).all()


def test_beta_vae_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = pair_groups(50, 8, 4, 0)
    whole = beta_vae(values, labels)
    monkeypatch.setattr("metrics.beta_vae._CHUNK_VALUES", 100)
    assert beta_vae(values, labels).confusion.tolist() == whole.confusion.tolist()


def test_beta_vae_of_degenerate_input() -> None:
    values, labels = pair_groups(60, 10, 3, 0)
    one = beta_vae(values, np.zeros(60))
    assert one.score == 1.0
    assert "same label" in one.degenerate[0]
    assert math.isnan(beta_vae(values, np.zeros(60), strict_reference=True).score)
    blind = beta_vae(np.zeros((60, 10, 3)), labels)
    assert blind.score == np.bincount(labels).max() / 60
    assert "3 of 3 codes never change" in blind.degenerate[0]
    unknown = dlib_beta_vae(values[:40], labels[:40] % 2, values[40:], labels[40:])
    assert "count as wrong" in unknown.degenerate[0]
    assert unknown.score <= (labels[40:] < 2).mean()
    with pytest.raises(ValueError, match="two images or more"):
        beta_vae(values[:, :1], labels)
    with pytest.raises(ValueError, match="same number of codes"):
        dlib_beta_vae(values, labels, values[:, :, :2], labels)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(30, 120))
def test_scores_do_not_depend_on_the_order_of_codes_factors_and_rows(seed: int, codes: int, rows: int) -> None:
    table, levels = noisy(rows, codes, (2, 3), seed)
    if any(np.unique(level).size < 2 for level in levels.T):
        return
    rng = np.random.default_rng(seed)
    order, lines = rng.permutation(codes), rng.permutation(rows)
    moved, changed = table[lines][:, order], levels[lines][:, ::-1]
    result = sap(table, levels, [True, False])
    assert 0 <= result.score <= 1
    assert sap(moved, changed, [False, True]).score == pytest.approx(result.score, abs=1e-9)
    area = explicitness(table, levels).score
    assert 0 <= area <= 1
    assert explicitness(moved, changed).score == pytest.approx(area, abs=1e-9)
