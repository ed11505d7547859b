"""Disentanglement, completeness, informativeness (Eastwood and Williams, ICLR 2018) in the field's two protocols.

A regressor or classifier is fitted to predict each factor from all codes. How much it relies on each code gives a
matrix of importances; a code is disentangled if it matters for one factor only, a factor is represented completely if
one code suffices. InfoGAN-CR standardizes codes and factors, holds nothing out, and averages completeness over the
factors; disentanglement_lib boosts trees, holds images out, and weights completeness by importance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from metrics import boosting, forest
from metrics.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    about_codes,
    code_table,
    factor_labels,
    factor_table,
    listed,
    population_std,
    split_tables,
)
from metrics.importances import DLIB, INFOGAN_CR, DciResult, Fit, dci_result
from metrics.lasso import FOLDS, Products, fold_rows, lasso, lasso_cv
from metrics.parallel import map_tasks

NUM_TREES = 10
INFOGAN_CR_DEPTHS = (4, 5, 2, 5, 5)
"""Depths of the trees for shape, scale, orientation, position x, position y in InfoGAN-CR."""
IBGAN_DEPTHS = (4, 2, 4, 2, 2)
"""The same in IB-GAN, according to InfoGAN-CR."""
CV_DEPTHS = tuple(range(2, 16))
"""The depths among which InfoGAN-CR's grid search chooses."""

# Rough seconds for one row and code: of a level of a regression tree, and of a boosted tree.
_TREE_SECONDS = 1e-8
_EXACT_SECONDS, _HISTOGRAM_SECONDS = 5e-8, 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """Checked input of InfoGAN-CR's protocol: standardized codes, and for each factor its rows and targets."""

    codes: FloatArray
    targets: list[FloatArray]
    rows: list[IntArray]
    factors: IntArray
    names: tuple[str, ...]
    degenerate: tuple[str, ...]
    refused: tuple[str, ...]
    strict: bool


def dci_lasso(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    alpha: float = 0.02,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with the Lasso, importance being the size of a coefficient; InfoGAN-CR's protocol.

    Both kinds of informativeness are the squared multiple correlation (R^2) on the images themselves; InfoGAN-CR does
    not report any. Scaling and shifting codes and factors changes nothing.

    Args:
        codes: `[N, D]` codes.
        factors: `[N, F]` numbers, categories too; NaN is a missing cell, left out for that factor.
        alpha: the penalty. Default: 0.02.
        factor_names: names of the factors, for messages.
        strict_reference: give what the released code gives for degenerate input: NaN for a code or factor that never
            changes (its fit stops with an error), for a code without importance, and a score of 2 for one factor. By
            default such codes weigh nothing, and such factors are left out.

    Returns:
        the scores with the importances.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, codes are not finite, or alpha is not positive.

    Source: Eastwood and Williams, A Framework for the Quantitative Evaluation of Disentangled Representations, ICLR
    2018, section 2; Lin et al., InfoGAN-CR, ICML 2020, `gan/metric.py`, variant `Lasso`.
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha must be more than 0, not {alpha}")
    problem = _problem(codes, factors, factor_names, strict_reference)

    def fit(inputs: FloatArray, targets: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        weight, ended = lasso(Products.of(inputs, targets), alpha)
        return weight, np.full(targets.shape[1], alpha), ended

    return _linear(problem, fit)


def dci_lassocv(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with a Lasso whose penalty is chosen for each factor by threefold cross-validation among one hundred.

    Everything else is as in `dci_lasso`, whose other arguments, result and source it shares; variant `LassoCV`. The
    folds are three parts of the rows as they come, so the order of the rows matters a little.
    """
    problem = _problem(codes, factors, factor_names, strict_reference, least_rows=FOLDS + 1)
    return _linear(problem, lasso_cv)


def dci_random_forest(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    depths: Sequence[int] | None = None,
    num_trees: int = NUM_TREES,
    seed: int = 0,
    workers: int | None = None,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with random forests of fixed depths, importance being the share of variance removed; InfoGAN-CR's protocol.

    With the same depths and seeds the forests are those of scikit-learn (trees see all codes at every split). The
    informativeness is the R^2 of out-of-bag predictions, that is of the trees that have not seen an image; InfoGAN-CR
    has it computed and does not report it. Increasing functions of a code change nothing but rounding.

    Args:
        codes: `[N, D]` codes.
        factors: `[N, F]` numbers, categories too; NaN is a missing cell, left out for that factor.
        depths: `[F]` the greatest depth of the trees for each factor. Default: 4, 5, 2, 5, 5 if five factors vary
            (InfoGAN-CR uses them by position for any data set); for another number their median 5 for all, which the
            result says.
        num_trees: trees in a forest. Default: 10, scikit-learn's default when the paper was written.
        seed: any integer from 0 (the default). Published numbers were not seeded.
        workers: processes; by default as many as there are processor cores, for work that takes seconds.
        factor_names: names of the factors, for messages.
        strict_reference: as in `dci_lasso`.

    Returns:
        the scores with the importances.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, codes are not finite, or an option is out of range.

    Source: as `dci_lasso`, variant `RandomForest`.
    """
    problem = _problem(codes, factors, factor_names, strict_reference)
    return _random_forest(problem, depths, INFOGAN_CR_DEPTHS, num_trees, seed, workers)


def dci_random_forest_ibgan(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    depths: Sequence[int] | None = None,
    num_trees: int = NUM_TREES,
    seed: int = 0,
    workers: int | None = None,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with random forests of the depths 4, 2, 4, 2, 2, which IB-GAN used; for another number of factors 2 for all.

    Everything else is as in `dci_random_forest`; variant `RandomForestIBGAN`.
    """
    problem = _problem(codes, factors, factor_names, strict_reference)
    return _random_forest(problem, depths, IBGAN_DEPTHS, num_trees, seed, workers)


def dci_random_forest_cv(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    depths: Sequence[int] = CV_DEPTHS,
    num_trees: int = NUM_TREES,
    seed: int = 0,
    workers: int | None = None,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with random forests whose depth is chosen for each factor by threefold cross-validation.

    The depth with the best mean R^2 on three held-out parts of the rows as they come (scikit-learn's grid search; parts
    weighted by their size, its default then) is fitted to all rows. The informativeness is that mean. For all depths of
    a fold the same bootstrap samples serve, as with a seed in scikit-learn; without one each depth draws its own, and
    chance decides a little more among nearly equal depths.

    Args:
        depths: the depths to choose from. Default: 2 to 15.

    The other arguments, the result and the source are as in `dci_random_forest`; variant `RandomForestCV`.
    """
    chosen = sorted({int(depth) for depth in depths})
    if not chosen or chosen[0] < 1:
        raise ValueError(f"depths must be one or more numbers from 1, not {list(depths)}")
    _check_forest(num_trees, seed)
    problem = _problem(codes, factors, factor_names, strict_reference, least_rows=2 * FOLDS)
    if problem.refused:
        return _result(problem, [])
    table = forest.SortedCodes.of(problem.codes)
    seeds = factor_seeds(seed, len(problem.targets))
    tasks = []
    for rows, target, own in zip(problem.rows, problem.targets, seeds, strict=True):
        for train, test in fold_rows(rows.size, FOLDS):
            tasks.append((table, target, rows[train], rows[test], chosen, num_trees, own))
    seconds = _TREE_SECONDS * problem.codes.size * num_trees * len(problem.rows)
    errors = map_tasks(_fold_scores, tasks, workers, seconds * (FOLDS - 1) * chosen[-1])
    scores, best = [], []
    for number in range(len(problem.rows)):
        part = slice(number * FOLDS, (number + 1) * FOLDS)
        mean = np.average(errors[part], axis=0, weights=[task[3].size for task in tasks[part]])
        best.append(chosen[int(mean.argmax())])
        scores.append(float(mean.max()))
    fits = _forests(problem, table, best, num_trees, seeds, workers)
    fits = [dataclasses.replace(fit, held_out=score) for fit, score in zip(fits, scores, strict=True)]
    return _result(problem, fits)


def dlib_dci_gbt(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_levels: npt.ArrayLike,
    *,
    seed: int = 0,
    workers: int | None = None,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """DCI with gradient-boosted trees as disentanglement_lib publishes it.

    For each factor one hundred rounds of trees of depth 3 classify its levels; the importances sum to 1 over the codes.
    Both disentanglement and completeness are weighted by importance. The informativeness is the accuracy on the images
    held out. Nothing depends on the scale of the codes; increasing functions change nothing but rounding.

    The trees are those of scikit-learn's `GradientBoostingClassifier` with its defaults, up to rounding and to which
    of several codes wins a split that they make equally well: scikit-learn leaves that to chance too.

    Args:
        codes: `[N, D]` codes to fit to; the published protocol has N = 10,000.
        levels: `[N, F]` integers, their factors' levels; negative ones are missing and left out for that factor.
        test_codes: `[T, D]` codes held out; the published protocol has T = 5,000.
        test_levels: `[T, F]` their levels.
        seed: any integer from 0 (the default), for splits of equal worth.
        workers: processes; by default as many as there are processor cores, for work that takes seconds.
        factor_names: names of the factors, for messages.
        strict_reference: give NaN where the released code stops with an error (a factor of one level) or divides 0 by 0
            (one factor, one code). By default such factors are left out; one factor or one code is trivially separate.

    Returns:
        the scores with the importances.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if the shapes do not fit, or codes are not finite.

    Source: Locatello et al., Challenging Common Assumptions, ICML 2019, `evaluation/metrics/dci.py`.
    """
    arrays = (codes, levels, test_codes, test_levels)
    return _boosted(boosting.exact, _EXACT_SECONDS, arrays, seed, workers, factor_names, strict_reference)


def dci_hist_gbt(
    codes: npt.ArrayLike,
    levels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_levels: npt.ArrayLike,
    *,
    seed: int = 0,
    workers: int | None = None,
    factor_names: Sequence[str] | None = None,
    strict_reference: bool = False,
) -> DciResult:
    """`dlib_dci_gbt` with trees that split between 64 bins of each code: an approximation in a fraction of the time.

    Its arguments and its result are those of `dlib_dci_gbt`. It cannot split off single images, with which exact trees
    follow noise: on made-up noisy codes of 10,000 images of dSprites' size the scores were 0.02 apart. Where no code
    takes more than 64 values they agree but for rounding.
    """
    arrays = (codes, levels, test_codes, test_levels)
    return _boosted(boosting.histogram, _HISTOGRAM_SECONDS, arrays, seed, workers, factor_names, strict_reference)


def _problem(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    factor_names: Sequence[str] | None,
    strict: bool,
    least_rows: int = 2,
) -> _Problem:
    """Checks and standardizes: a code that never changes becomes zeros, a factor that never changes is left out."""
    table = code_table("codes", codes)
    values = factor_table("factors", factors, len(table))
    names = factor_labels(factor_names, values.shape[1])
    degenerate = about_codes(table, "weigh nothing")
    refused: tuple[str, ...] = ()
    spread = population_std(table)
    if (spread == 0).any():
        refused += ("the reference stops with an error: it divides a code that never changes by 0",)
    centered = table.astype(np.float64) - table.astype(np.float64).mean(axis=0)
    standard = np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 0)
    targets, rows, used, still = [], [], [], []
    for number, column in enumerate(values.T):
        present = np.flatnonzero(~np.isnan(column))
        kept = column[present]
        if kept.size < least_rows or (kept == kept[0]).all():
            still.append(names[number])
            continue
        used.append(number)
        rows.append(present)
        targets.append(np.zeros(len(column)))
        targets[-1][present] = (kept - kept.mean()) / population_std(kept[:, None])[0]
    if still:
        degenerate += (f"factors of one value (or of fewer than {least_rows} images) are left out: {listed(still)}",)
        refused += (f"the reference stops with an error: {listed(still)} never changes",)
    return _Problem(
        standard, targets, rows, np.array(used, dtype=np.int64), names, degenerate, refused if strict else (), strict
    )


def _linear(
    problem: _Problem, fit: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray, BoolArray]]
) -> DciResult:
    """DCI of linear predictors; factors without missing cells are fitted together."""
    if problem.refused:
        return _result(problem, [])
    fits: dict[int, Fit] = {}
    slow: list[str] = []
    groups: dict[bytes, list[int]] = {}
    for number, rows in enumerate(problem.rows):
        groups.setdefault(rows.tobytes(), []).append(number)
    for numbers in groups.values():
        rows = problem.rows[numbers[0]]
        inputs = problem.codes[rows]
        targets = np.stack([problem.targets[number][rows] for number in numbers], axis=1)
        weight, settings, ended = fit(inputs, targets)
        unexplained = Products.of(inputs, targets).squared_error(weight)
        for place, number in enumerate(numbers):
            explained = 1 - float(unexplained[place])
            fits[number] = Fit(np.abs(weight[:, place]), explained, explained, float(settings[place]))
            if not ended[place]:
                slow.append(problem.names[problem.factors[number]])
    result = _result(problem, [fits[number] for number in range(len(fits))])
    if not slow:
        return result
    note = f"the Lasso's search ended before it had converged, where scikit-learn ends it too: {listed(slow)}"
    return dataclasses.replace(result, notes=(*result.notes, note))


def _random_forest(
    problem: _Problem,
    depths: Sequence[int] | None,
    published: tuple[int, ...],
    num_trees: int,
    seed: int,
    workers: int | None,
) -> DciResult:
    _check_forest(num_trees, seed)
    count = len(problem.targets)
    notes: tuple[str, ...] = ()
    if depths is not None:
        if len(depths) != len(problem.names) or min(depths) < 1:
            raise ValueError(
                f"depths must hold {len(problem.names)} numbers from 1, one per factor; not {list(depths)}"
            )
        chosen = [int(depths[factor]) for factor in problem.factors]
    elif count == len(published):
        chosen = list(published)
    else:
        middle = int(np.median(published))
        chosen = [middle] * count
        notes = (
            f"trees of depth {middle} for all {count} factors, the median of the published depths "
            f"{', '.join(map(str, published))}, which are for five",
        )
    if problem.refused:
        return _result(problem, [])
    table = forest.SortedCodes.of(problem.codes)
    fits = _forests(problem, table, chosen, num_trees, factor_seeds(seed, count), workers)
    return dataclasses.replace(_result(problem, fits), notes=notes)


def _check_forest(num_trees: int, seed: int) -> None:
    if num_trees < 1:
        raise ValueError(f"num_trees must be 1 or more, not {num_trees}")
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")


def factor_seeds(seed: int, count: int) -> list[int]:
    """A seed for each factor's forest, such as scikit-learn's `random_state` takes.

    Args:
        seed: of the metric.
        count: how many factors vary.
    """
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(count)]


def _forests(
    problem: _Problem,
    table: forest.SortedCodes,
    depths: list[int],
    num_trees: int,
    seeds: list[int],
    workers: int | None,
) -> list[Fit]:
    """A forest for each factor; the deepest ones are begun first."""
    order = sorted(range(len(depths)), key=lambda number: -depths[number])
    tasks = [(table, problem.targets[n], problem.rows[n], depths[n], num_trees, seeds[n]) for n in order]
    seconds = _TREE_SECONDS * problem.codes.size * num_trees * sum(depths)
    fits = dict(zip(order, map_tasks(_fit_forest, tasks, workers, seconds), strict=True))
    return [fits[number] for number in range(len(depths))]


def _fit_forest(
    table: forest.SortedCodes, target: FloatArray, rows: IntArray, depth: int, num_trees: int, seed: int
) -> Fit:
    """Importances of a forest, and its R^2 on out-of-bag rows and on all."""
    importances = np.zeros(len(table.values))
    outside, votes, inside = np.zeros(target.size), np.zeros(target.size), np.zeros(target.size)
    for tree_seed in forest.tree_seeds(seed, num_trees):
        weights = forest.bootstrap(tree_seed, rows, target.size)
        tree = forest.grow_tree(table, target, weights, depth, np.random.default_rng(tree_seed))
        importances += tree.importances()[-1]
        predicted = tree.predictions(table.values)[-1]
        unseen = weights == 0
        outside += predicted * unseen
        votes += unseen
        inside += predicted
    total = importances.sum()
    judged = rows[votes[rows] > 0]
    held_out = forest.r_squared(target[judged], outside[judged] / votes[judged])
    train = forest.r_squared(target[rows], inside[rows] / num_trees)
    return Fit(importances / total if total > 0 else importances, held_out, train, float(depth))


def _fold_scores(
    table: forest.SortedCodes,
    target: FloatArray,
    train: IntArray,
    test: IntArray,
    depths: list[int],
    num_trees: int,
    seed: int,
) -> FloatArray:
    """The R^2 on the held-out rows for each depth."""
    values = table.values.take(test, axis=1)
    predicted = np.zeros((depths[-1], test.size))
    for tree_seed in forest.tree_seeds(seed, num_trees):
        weights = forest.bootstrap(tree_seed, train, target.size)
        tree = forest.grow_tree(table, target, weights, depths[-1], np.random.default_rng(tree_seed))
        predicted += tree.predictions(values)
    return np.array([forest.r_squared(target[test], predicted[depth - 1] / num_trees) for depth in depths])


def _boosted(
    classifier: Callable[..., boosting.Boosted],
    seconds_per_tree: float,
    arrays: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    seed: int,
    workers: int | None,
    factor_names: Sequence[str] | None,
    strict: bool,
) -> DciResult:
    """DCI of boosted trees in disentanglement_lib's protocol; the factor with the most levels is begun first."""
    _check_seed(seed)
    table, columns, held_out, test_columns = split_tables(*arrays)
    names = factor_labels(factor_names, columns.shape[1])
    degenerate = about_codes(table, "weigh nothing")
    tasks: dict[int, tuple[object, ...]] = {}
    num_levels: dict[int, int] = {}
    seeds = factor_seeds(seed, len(names))
    for number in range(len(names)):
        rows, test_rows = np.flatnonzero(columns[:, number] >= 0), np.flatnonzero(test_columns[:, number] >= 0)
        found = np.unique(columns[rows, number])
        if found.size < 2 or not test_rows.size:
            continue
        train, test = (table[rows], columns[rows, number]), (held_out[test_rows], test_columns[test_rows, number])
        tasks[number], num_levels[number] = (*train, *test, seeds[number]), found.size
    still = [name for number, name in enumerate(names) if number not in tasks]
    refused: tuple[str, ...] = ()
    if still:
        degenerate += (f"factors of one level (or without images held out) are left out: {listed(still)}",)
        refused = (f"the reference stops with an error: {listed(still)} has one level",) if strict else ()
    order = [] if refused else sorted(tasks, key=lambda number: -num_levels[number])
    seconds = seconds_per_tree * table.size * boosting.ROUNDS * sum(num_levels.values())
    found_fits = map_tasks(classifier, [tasks[number] for number in order], workers, seconds)
    boosted = dict(zip(order, found_fits, strict=True))
    used = np.array(sorted(boosted), dtype=np.int64)
    fits = [Fit(b.importances, b.test_accuracy, b.train_accuracy) for b in (boosted[number] for number in used)]
    return dci_result(fits, used, names, table.shape[1], degenerate + refused, DLIB, bool(refused), strict)


def _result(problem: _Problem, fits: list[Fit]) -> DciResult:
    """InfoGAN-CR's scores of these fits."""
    return dci_result(
        fits,
        problem.factors[: len(fits)],
        problem.names,
        problem.codes.shape[1],
        problem.degenerate + problem.refused,
        INFOGAN_CR,
        bool(problem.refused),
        problem.strict,
    )
