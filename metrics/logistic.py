"""Logistic regression of one class against the rest, stopping where liblinear stops, for all classes at once.

The published numbers of the BetaVAE metric and of explicitness were made with scikit-learn's `LogisticRegression` when
its default was liblinear: an L2 penalty that includes the intercept, one classifier for each class, and an end of the
search as soon as the gradient is small enough. Newer versions minimize another loss (softmax) by default, and refuse
liblinear for three classes or more. Here all classifiers go through the same trust-region Newton iterations as
liblinear, side by side on shared matrix products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from metrics.arrays import BoolArray, FloatArray, IntArray

LARGEST_FEATURE = 1e60
"""Beyond this the products of four features that the search sums up would overflow, and it would never end."""

_CLASSES_AT_ONCE = 32
_BLOCK_VALUES = 1 << 18
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Fitted classifiers.

    Args:
        weights: `[K, D + 1]`, one row for each class and the intercept last; for two classes one row, that of the
            second class.
    """

    weights: FloatArray

    def decisions(self, features: npt.ArrayLike) -> FloatArray:
        """The decision value `[K, N]` of every class; for two classes that of the second and its negative."""
        values = np.asarray(features, dtype=np.float64)
        # One column after the other: equal rows of features give equal bits, which a matrix product need not.
        result = np.repeat(self.weights[:, -1:], len(values), axis=1)
        for column, weight in zip(values.T, self.weights[:, :-1].T, strict=True):
            result += weight[:, None] * column
        return np.concatenate([-result, result]) if len(result) == 1 else result

    def predict(self, features: npt.ArrayLike) -> IntArray:
        """The class `[N]` of every row of `[N, D]` features."""
        return self.decisions(features).argmax(axis=0)

    def probabilities(self, features: npt.ArrayLike) -> FloatArray:
        """The classes' probabilities `[K, N]`: each classifier's own, divided by their sum."""
        result = _sigmoid(self.decisions(features))
        total = result.sum(axis=0)
        # All classifiers may deny a row that lies far away, which leaves nothing to divide by.
        return result / np.where(total > 0, total, 1.0)


def fit(features: npt.ArrayLike, classes: npt.ArrayLike, num_classes: int, penalty: float = 1.0) -> LogisticRegression:
    """Fits one classifier for each class against all others.

    Args:
        features: `[N, D]` finite numbers.
        classes: `[N]` integers, 0 to `num_classes - 1`, each of which occurs.
        num_classes: K, at least 2.
        penalty: the weight C of the data against the penalty. Default: 1.

    Raises:
        ValueError: if there are fewer than two classes, one does not occur, or a feature is beyond `LARGEST_FEATURE`.

    Source: Lin, Weng and Keerthi, Trust Region Newton Method for Large-Scale Logistic Regression, JMLR 2008; constants
    and end of the search as in liblinear, tolerance 1e-4 and at most 100 iterations as in scikit-learn.
    """
    values = _checked_features(features)
    numbers = np.asarray(classes, dtype=np.int64)
    counts = np.bincount(numbers, minlength=num_classes)
    if num_classes < 2 or len(counts) != num_classes or not counts.all():
        raise ValueError("each of two or more classes must occur in the data that a classifier is fitted to")
    table = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    wanted = np.arange(num_classes) if num_classes > 2 else np.array([1])
    parts = [wanted[start : start + _CLASSES_AT_ONCE] for start in range(0, len(wanted), _CLASSES_AT_ONCE)]
    from threadpoolctl import threadpool_limits

    # On matrices of this size the threads of a matrix library wait for each other longer than they work.
    with threadpool_limits(1, user_api="blas"):
        return LogisticRegression(np.concatenate([_Problem(table, numbers, part, penalty).solve() for part in parts]))


@dataclasses.dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """One classifier of all classes.

    Args:
        weights: `[K, D + 1]`, the intercepts last.
    """

    weights: FloatArray

    def decisions(self, features: npt.ArrayLike) -> FloatArray:
        """The decision value `[K, N]` of every class."""
        return LogisticRegression(self.weights).decisions(features)

    def predict(self, features: npt.ArrayLike) -> IntArray:
        """The class `[N]` of every row of `[N, D]` features."""
        return self.decisions(features).argmax(axis=0)

    def probabilities(self, features: npt.ArrayLike) -> FloatArray:
        """The classes' probabilities `[K, N]`."""
        decisions = self.decisions(features)
        raised = np.exp(decisions - decisions.max(axis=0))
        return raised / raised.sum(axis=0)


def fit_softmax(
    features: npt.ArrayLike, classes: npt.ArrayLike, num_classes: int
) -> LogisticRegression | SoftmaxRegression:
    """Fits what `LogisticRegression()` of scikit-learn 0.22 and later fits: softmax regression by L-BFGS.

    Args:
        features: `[N, D]` finite numbers.
        classes: `[N]` integers, 0 to `num_classes - 1`, each of which occurs.
        num_classes: K, at least 2; for two classes there is one classifier, as for `fit`.

    Raises:
        ValueError: if a feature is beyond `LARGEST_FEATURE`.
    """
    values = _checked_features(features)
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression as Softmax
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        # It ends after 100 iterations, converged or not; that end is what others report.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Softmax().fit(values, classes)
    weights = np.concatenate([model.coef_, model.intercept_[:, None]], axis=1)
    return LogisticRegression(weights) if num_classes == 2 else SoftmaxRegression(weights)


def _checked_features(features: npt.ArrayLike) -> FloatArray:
    values = np.asarray(features, dtype=np.float64)
    # Written so that NaN is refused too.
    if not np.abs(values).max(initial=0.0) <= LARGEST_FEATURE:
        raise ValueError(f"the codes hold numbers beyond {LARGEST_FEATURE:g}; scale them down")
    return values


class _Problem:
    """Classifiers of some classes against the rest: their losses, gradients and curvatures.

    Args:
        table: `[N, P]` features and a column of ones.
        classes: `[N]` the class of every row.
        wanted: `[K]` the classes to tell from all others.
        penalty: the weight C of the data.
    """

    def __init__(self, table: FloatArray, classes: IntArray, wanted: IntArray, penalty: float) -> None:
        self._table = table
        self._penalty = penalty
        members = (classes[None, :] == wanted[:, None]).astype(np.float64)
        # The sum of the features of every class; with it neither loss nor gradient needs the labels again.
        self._sums = members @ table
        sizes = members.sum(axis=1)
        smaller = np.maximum(1, np.minimum(sizes, len(table) - sizes))
        self._tolerance = _TOLERANCE * smaller / len(table)
        self._block = max(1, _BLOCK_VALUES // max(len(wanted), table.shape[1]))

    def solve(self) -> FloatArray:
        """The weights `[K, P]`."""
        weights = np.zeros_like(self._sums)
        loss, chances = self._loss(weights, self._sums)
        gradient = self._gradient(weights, chances, self._sums)
        radius = np.linalg.norm(gradient, axis=1)
        goal = self._tolerance * radius
        iterations = np.ones(len(weights), dtype=np.int64)
        busy = np.flatnonzero(radius > goal)
        while busy.size:
            step, residual = _conjugate_gradients(gradient[busy], radius[busy], self._curvature(chances, busy))
            slope = (gradient[busy] * step).sum(axis=1)
            promised = -0.5 * (slope - (step * residual).sum(axis=1))
            tried = weights[busy] + step
            new_loss, new_chances = self._loss(tried, self._sums[busy])
            gained = loss[busy] - new_loss
            length = np.linalg.norm(step, axis=1)
            bound = np.where(iterations[busy] == 1, np.minimum(radius[busy], length), radius[busy])
            radius[busy] = _new_radius(bound, length, gained, promised, slope)
            good = gained > 1e-4 * promised
            moved = busy[good]
            weights[moved], loss[moved], chances[moved] = tried[good], new_loss[good], new_chances[good]
            gradient[moved] = self._gradient(tried[good], new_chances[good], self._sums[moved])
            iterations[moved] += 1
            done = good & (np.linalg.norm(gradient[busy], axis=1) <= goal[busy])
            done |= iterations[busy] > _MAX_ITERATIONS
            smallest = 1e-12 * np.abs(loss[busy])
            done |= (np.abs(gained) <= smallest) & (np.abs(promised) <= smallest)
            busy = busy[~done]
        return weights

    def _loss(self, weights: FloatArray, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The penalized loss `[K]`, and the probabilities `[K, N]` of belonging to the class."""
        chances = np.empty((len(weights), len(self._table)))
        total = np.zeros(len(weights))
        for rows in self._blocks():
            logits = weights @ self._table[rows].T
            small = np.exp(-np.abs(logits))
            total += (np.log1p(small) + np.maximum(logits, 0)).sum(axis=1)
            chances[:, rows] = np.where(logits >= 0, 1.0, small) / (1 + small)
        loss = 0.5 * (weights * weights).sum(axis=1) + self._penalty * (total - (weights * sums).sum(axis=1))
        return loss, chances

    def _gradient(self, weights: FloatArray, chances: FloatArray, sums: FloatArray) -> FloatArray:
        return weights + self._penalty * (chances @ self._table - sums)

    def _curvature(self, chances: FloatArray, busy: IntArray) -> Callable[[FloatArray, BoolArray], FloatArray]:
        """The product of the second derivatives of the busy classes with directions `[chosen, P]`."""
        busy_chances = chances if len(busy) == len(chances) else chances[busy]
        weight = self._penalty * busy_chances * (1 - busy_chances)

        def product(directions: FloatArray, chosen: BoolArray) -> FloatArray:
            weights = weight if chosen.all() else weight[chosen]
            result = directions.copy()
            for rows in self._blocks():
                part = self._table[rows]
                result += ((directions @ part.T) * weights[:, rows]) @ part
            return result

        return product

    def _blocks(self) -> list[slice]:
        return [slice(start, start + self._block) for start in range(0, len(self._table), self._block)]


def _conjugate_gradients(
    gradient: FloatArray, radius: FloatArray, product: Callable[[FloatArray, BoolArray], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Steps `[K, P]` towards the minima of the quadratic models, none longer than its radius, and what is left."""
    step = np.zeros_like(gradient)
    residual = -gradient
    direction = residual.copy()
    square = (residual * residual).sum(axis=1)
    goal = 0.1 * np.sqrt(square)
    running = np.sqrt(square) > goal
    while running.any():
        along = direction[running]
        curved = product(along, running)
        length = square[running] / (along * curved).sum(axis=1)
        moved = step[running] + length[:, None] * along
        outside = np.linalg.norm(moved, axis=1) > radius[running]
        length = np.where(outside, _to_the_border(step[running], along, radius[running]), length)
        step[running] += length[:, None] * along
        residual[running] -= length[:, None] * curved
        new_square = (residual[running] * residual[running]).sum(axis=1)
        direction[running] = residual[running] + (new_square / square[running])[:, None] * along
        square[running] = new_square
        running[running] = ~outside & (np.sqrt(new_square) > goal[running])
    return step, residual


def _to_the_border(step: FloatArray, along: FloatArray, radius: FloatArray) -> FloatArray:
    """How far each step can go along its direction until it is as long as its radius."""
    mixed, square = (step * along).sum(axis=1), (along * along).sum(axis=1)
    room = radius**2 - (step * step).sum(axis=1)
    root = np.sqrt(np.maximum(mixed * mixed + square * room, 0))
    return np.where(mixed >= 0, room / np.where(mixed >= 0, mixed + root, 1.0), (root - mixed) / square)


def _new_radius(
    radius: FloatArray, length: FloatArray, gained: FloatArray, promised: FloatArray, slope: FloatArray
) -> FloatArray:
    """Trust regions grow where the model kept its promise, and shrink where it did not."""
    excess = -gained - slope
    factor = np.full(len(radius), 4.0)
    curved = excess > 0
    factor[curved] = np.maximum(0.25, -0.5 * slope[curved] / excess[curved])
    reach = factor * length
    return np.select(
        [gained < 1e-4 * promised, gained < 0.25 * promised, gained < 0.75 * promised],
        [
            np.minimum(np.maximum(factor, 0.25) * length, 0.5 * radius),
            np.maximum(0.25 * radius, np.minimum(reach, 0.5 * radius)),
            np.maximum(0.25 * radius, np.minimum(reach, 4 * radius)),
        ],
        np.maximum(radius, np.minimum(reach, 4 * radius)),
    )


def _sigmoid(values: FloatArray) -> FloatArray:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1 + small)


def area_under_curve(scores: FloatArray, positive: BoolArray) -> float:
    """The area under the ROC curve: how often a positive row scores above a negative one, ties counting one half.

    Args:
        scores: `[N]` finite numbers.
        positive: `[N]` which rows are positive; NaN if all or none are.
    """
    chosen, others = scores[positive], np.sort(scores[~positive])
    if not chosen.size or not others.size:
        return float("nan")
    below = np.searchsorted(others, chosen, side="left").sum()
    not_above = np.searchsorted(others, chosen, side="right").sum()
    return float(below + not_above) / (2 * chosen.size * others.size)
