"""The metrics as they are usually written: one scikit-learn or scipy call for each pair, whole matrices of pairs.

Written from the definitions, not from any released code. They are what `benchmarks.metrics` times ours beside, and what
tests compare numbers with. They need scikit-learn, take clean input only and give the score (for DCI three numbers).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import Lasso, LassoCV, LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import label_binarize
from sklearn.svm import LinearSVC

Array = npt.NDArray[Any]

# scikit-learn's defaults when InfoGAN-CR and disentanglement_lib were released.
NUM_TREES = 10
FOLDS = 3


def binned(codes: Array, num_bins: int = 20) -> Array:
    """Every column cut into bins of equal width."""
    columns = [np.digitize(column, np.histogram(column, num_bins)[1][:-1]) for column in codes.T]
    return np.stack(columns, axis=1)


def information_matrix(codes: Array, levels: Array) -> Array:
    """`[D, F]` mutual information in nats."""
    bins = binned(codes)
    return np.array([[mutual_info_score(level, bin_) for level in levels.T] for bin_ in bins.T])


def mig(codes: Array, levels: Array) -> float:
    """The mutual information gap."""
    matrix = np.sort(information_matrix(codes, levels), axis=0)[::-1]
    entropies = np.array([mutual_info_score(level, level) for level in levels.T])
    return float(np.mean((matrix[0] - matrix[1]) / entropies))


def modularity(codes: Array, levels: Array) -> float:
    """Modularity."""
    squares = information_matrix(codes, levels) ** 2
    best = squares.max(axis=1)
    return float(np.mean(1 - (squares.sum(axis=1) - best) / (best * (squares.shape[1] - 1))))


def one_against_the_rest() -> OneVsRestClassifier:
    """Logistic regression as scikit-learn fitted it by default until 0.22."""
    return OneVsRestClassifier(LogisticRegression(solver="liblinear", max_iter=100))


def explicitness(codes: Array, levels: Array) -> float:
    """Explicitness on the same images."""
    return explicitness_held_out(codes, levels, codes, levels)


def dlib_explicitness(codes: Array, levels: Array, test_codes: Array, test_levels: Array) -> float:
    """Explicitness of standardized codes on images held out."""
    mean, std = codes.mean(axis=0), codes.std(axis=0)
    return explicitness_held_out((codes - mean) / std, levels, (test_codes - mean) / std, test_levels)


def explicitness_held_out(codes: Array, levels: Array, test_codes: Array, test_levels: Array) -> float:
    """Mean area under the ROC curves of all levels of all factors."""
    areas = []
    for level, test_level in zip(levels.T, test_levels.T, strict=True):
        model = one_against_the_rest().fit(codes, level)
        truth = label_binarize(test_level, classes=np.arange(model.classes_.max() + 1))[:, model.classes_]
        areas.append(roc_auc_score(truth, model.predict_proba(test_codes)))
    return float(np.mean(areas))


def sap(codes: Array, factors: Array, discrete: Sequence[bool]) -> float:
    """SAP: squared correlations, and accuracies of support vector machines for categories."""
    matrix = np.empty((codes.shape[1], factors.shape[1]))
    for code, factor in np.ndindex(*matrix.shape):
        x, y = codes[:, code], factors[:, factor]
        if discrete[factor]:
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=True).fit(x[:, None], y)
            matrix[code, factor] = machine.score(x[:, None], y)
        else:
            covariance = np.cov(x, y, ddof=1)
            matrix[code, factor] = covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1])
    return gap(matrix)


def dlib_sap(codes: Array, levels: Array, test_codes: Array, test_levels: Array) -> float:
    """SAP with all factors as categories, on images held out."""
    matrix = np.empty((codes.shape[1], levels.shape[1]))
    for code, factor in np.ndindex(*matrix.shape):
        machine = LinearSVC(C=0.01, class_weight="balanced", dual=True).fit(codes[:, [code]], levels[:, factor])
        matrix[code, factor] = machine.score(test_codes[:, [code]], test_levels[:, factor])
    return gap(matrix)


def gap(matrix: Array) -> float:
    """Mean over the columns of the greatest less the second greatest."""
    ordered = np.sort(matrix, axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))


def factor_vae(groups: Array, labels: Array, spread: Array) -> float:
    """The FactorVAE score, one group after the other."""
    votes = np.zeros((groups.shape[2], labels.max() + 1))
    for group, label in zip(groups, labels, strict=True):
        votes[np.argmin(np.std(group / spread, axis=0)), label] += 1
    return float(votes.max(axis=1).sum() / len(labels))


def dlib_factor_vae(groups: Array, labels: Array, test_groups: Array, test_labels: Array, spread: Array) -> float:
    """The FactorVAE score on held-out votes, without codes of deviation below 0.05."""
    active = spread >= 0.05
    votes = np.zeros((2, active.sum(), labels.max() + 1))
    for number, (some_groups, some_labels) in enumerate(((groups, labels), (test_groups, test_labels))):
        for group, label in zip(some_groups, some_labels, strict=True):
            ratio = np.var(group, axis=0, ddof=1) / spread**2
            votes[number, np.argmin(ratio[active]), label] += 1
    return float(votes[1][np.arange(active.sum()), votes[0].argmax(axis=1)].sum() / len(test_labels))


def pair_differences(groups: Array) -> Array:
    """Mean absolute differences of images 0 and 1, 2 and 3, and so on."""
    return np.stack([np.mean(np.abs(group[0::2] - group[1::2]), axis=0) for group in groups])


def beta_vae(groups: Array, labels: Array) -> float:
    """The BetaVAE score on the same groups."""
    return dlib_beta_vae(groups, labels, groups, labels)


def dlib_beta_vae(groups: Array, labels: Array, test_groups: Array, test_labels: Array) -> float:
    """The BetaVAE score on groups held out."""
    model = one_against_the_rest().fit(pair_differences(groups), labels)
    return float(model.score(pair_differences(test_groups), test_labels))


def dhsic(codes: Array) -> float:
    """dHSIC from whole matrices of pairs."""
    kernels = []
    for column in codes.astype(np.float64).T:
        distance = np.abs(column[:, None] - column[None, :])
        kernels.append(np.exp(-distance / np.median(distance) ** 2))
    joint = np.prod(kernels, axis=0).mean()
    product = np.prod([kernel.mean() for kernel in kernels])
    cross = np.prod([kernel.mean(axis=1) for kernel in kernels], axis=0).mean()
    return float(joint + product - 2 * cross)


def standardized(table: Array) -> Array:
    """Columns of mean 0 and variance 1."""
    wide = np.asarray(table, dtype=np.float64)
    return (wide - wide.mean(axis=0)) / wide.std(axis=0)


def infogan_cr_dci(codes: Array, factors: Array, fit: Callable[[Array, Array, int], Array]) -> tuple[float, float]:
    """Disentanglement and completeness in InfoGAN-CR's protocol.

    Args:
        codes: `[N, D]`.
        factors: `[N, F]`.
        fit: (standardized codes, one standardized factor, its number) -> importances `[D]`.
    """
    inputs, targets = standardized(codes), standardized(factors)
    importances = np.stack([fit(inputs, target, number) for number, target in enumerate(targets.T)], axis=1)
    return infogan_cr_scores(importances)


def infogan_cr_scores(importances: Array) -> tuple[float, float]:
    """Disentanglement and completeness of importances `[D, F]`."""

    def separation(rows: Array) -> Array:
        share = rows / rows.sum(axis=1, keepdims=True)
        return 1 + (share * np.log(share + 1e-12)).sum(axis=1) / np.log(rows.shape[1] + 1e-12)

    used = importances[importances.sum(axis=1) > 0]
    weight = used.sum(axis=1) / used.sum()
    return float((weight * separation(used)).sum()), float(separation(importances.T).mean())


def lasso_fit(inputs: Array, target: Array, number: int) -> Array:
    """Importances by a Lasso."""
    return np.abs(Lasso(alpha=0.02).fit(inputs, target).coef_)


def lassocv_fit(inputs: Array, target: Array, number: int) -> Array:
    """Importances by a Lasso with a cross-validated penalty."""
    return np.abs(LassoCV(cv=FOLDS).fit(inputs, target).coef_)


def forest_fit(depths: Sequence[int], seeds: Sequence[int]) -> Callable[[Array, Array, int], Array]:
    """Importances by random forests of these depths."""

    def fit(inputs: Array, target: Array, number: int) -> Array:
        model = RandomForestRegressor(NUM_TREES, max_depth=depths[number], random_state=seeds[number])
        return model.fit(inputs, target).feature_importances_

    return fit


def forest_cv_fit(depths: Sequence[int], seeds: Sequence[int]) -> Callable[[Array, Array, int], Array]:
    """Importances by random forests whose depth a grid search chooses."""

    def fit(inputs: Array, target: Array, number: int) -> Array:
        forest = RandomForestRegressor(NUM_TREES, random_state=seeds[number])
        search = GridSearchCV(forest, {"max_depth": list(depths)}, cv=FOLDS).fit(inputs, target)
        return search.best_estimator_.feature_importances_

    return fit


def dlib_dci(
    codes: Array, levels: Array, test_codes: Array, test_levels: Array, seed: int = 0
) -> tuple[float, float, float]:
    """Disentanglement, completeness and held-out accuracy with gradient-boosted trees."""
    importances, accuracy = [], []
    for level, test_level in zip(levels.T, test_levels.T, strict=True):
        model = GradientBoostingClassifier(random_state=seed).fit(codes, level)
        importances.append(model.feature_importances_)
        accuracy.append(model.score(test_codes, test_level))
    return *dlib_scores(np.stack(importances, axis=1)), float(np.mean(accuracy))


def dlib_scores(importances: Array) -> tuple[float, float]:
    """Disentanglement and completeness of importances `[D, F]` as disentanglement_lib weights them."""
    raised = importances + 1e-11
    of_codes = 1 - scipy.stats.entropy(raised.T, base=raised.shape[1])
    of_factors = 1 - scipy.stats.entropy(raised, base=raised.shape[0])
    share = importances / importances.sum()
    return float(of_codes @ share.sum(axis=1)), float(of_factors @ share.sum(axis=0))


def dlib_irs(codes: Array, levels: Array) -> float:
    """The interventional robustness score, one code and one group after the other."""
    codes = codes.astype(np.float64)
    bins = binned(levels)
    robust = np.empty((codes.shape[1], levels.shape[1]))
    greatest = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    for code, factor in np.ndindex(*robust.shape):
        lost = []
        for level in np.unique(bins[:, factor]):
            group = codes[bins[:, factor] == level, code]
            lost.append(np.quantile(np.abs(group - group.mean()), 0.99))
        robust[code, factor] = 1 - np.mean(lost) / greatest[code]
    return float(np.average(robust.max(axis=1), weights=greatest))


def udr(codes: Sequence[Array], method: str) -> Array:
    """`[n]` scores of models, one pair of models after the other."""
    tables = [standardized(table) for table in codes]
    similarity = np.zeros((len(tables), len(tables)))
    for first, second in itertools.permutations(range(len(tables)), 2):
        x, y = tables[first], tables[second]
        if method == "lasso":
            matrix = np.abs(Lasso(alpha=0.1).fit(x, y).coef_.T)
        else:
            matrix = np.abs([[scipy.stats.spearmanr(a, b).statistic for b in y.T] for a in x.T])
        strengths = []
        for axis in (0, 1):
            whole = matrix.sum(axis=axis)
            strengths.append(np.mean(np.nan_to_num(matrix.max(axis=axis) ** 2 / np.where(whole > 0, whole, np.nan))))
        similarity[first, second] = np.mean(strengths)
    return np.array([np.median(np.delete(similarity[:, number], number)) for number in range(len(tables))])
