"""Support vector machines on one feature: the exact optimum of what scikit-learn's `LinearSVC` minimizes.

With one feature and a penalized intercept there are two unknowns for each class, and the rows that violate the margin
are the first or the last ones in the order of the feature. Sums over them are differences of running sums, so that a
Newton step costs the same for ten rows as for a million.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray

_MAX_STEPS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class LinearClassifier:
    """A line for each class.

    Args:
        slopes: `[K]`; for two classes one, that of the second.
        intercepts: likewise.
    """

    slopes: FloatArray
    intercepts: FloatArray

    def predict(self, feature: npt.ArrayLike) -> IntArray:
        """The class `[N]` of every value `[N]`: the one whose line is highest, the first of equals."""
        values = np.asarray(feature, dtype=np.float64)
        if len(self.slopes) == 1:
            return (self.slopes[0] * values + self.intercepts[0] > 0).astype(np.int64)
        best = np.full(len(values), -np.inf)
        chosen = np.zeros(len(values), dtype=np.int64)
        for number, (slope, intercept) in enumerate(zip(self.slopes, self.intercepts, strict=True)):
            height = slope * values + intercept
            higher = height > best
            best[higher], chosen[higher] = height[higher], number
        return chosen


def fit(feature: npt.ArrayLike, classes: npt.ArrayLike, num_classes: int, penalty: float = 0.01) -> LinearClassifier:
    """Fits one classifier for each class against all others, with the squared hinge loss and balanced classes.

    The loss of class k is `(w^2 + b^2) / 2 + sum_i c_i max(0, 1 - y_i (w x_i + b))^2`, where `c_i` is `penalty` for
    the others and `penalty * N / (K * N_k)` for the class itself (with two classes for either). `LinearSVC` with
    `C=penalty, class_weight="balanced", dual=True` goes towards the same minimum in a random order and stops nearby.

    Args:
        feature: `[N]` finite numbers.
        classes: `[N]` integers, 0 to `num_classes - 1`, each of which occurs.
        num_classes: K, at least 2.
        penalty: the weight C of the data. Default: 0.01.

    Raises:
        ValueError: if there are fewer than two classes, or one does not occur.
    """
    sums = _RunningSums(np.asarray(feature, dtype=np.float64), np.asarray(classes, dtype=np.int64), num_classes)
    if num_classes < 2 or not sums.sizes.all():
        raise ValueError("each of two or more classes must occur in the data that a classifier is fitted to")
    balanced = penalty * sums.sizes.sum() / (num_classes * sums.sizes)
    own, other, wanted = balanced, np.full(num_classes, penalty), np.arange(num_classes)
    if num_classes == 2:
        own, other, wanted = balanced[1:], balanced[:1], wanted[1:]
    point = np.zeros((len(wanted), 2))
    value, gradient, hessian = sums.loss(point, wanted, own, other)
    busy = np.arange(len(wanted))
    for _ in range(_MAX_STEPS):
        step = np.asarray(-np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0], dtype=np.float64)
        slope = (gradient * step).sum(axis=1)
        moved, new = _line_search(sums, point[busy], step, slope, value, (wanted[busy], own[busy], other[busy]))
        still = np.abs(moved - point[busy]) > 1e-14 * (1e-3 + np.abs(point[busy]))
        point[busy] = moved
        going = still.any(axis=1)
        if not going.any():
            break
        busy = busy[going]
        value, gradient, hessian = (part[going] for part in new)
    return LinearClassifier(point[:, 0].copy(), point[:, 1].copy())


def _line_search(
    sums: _RunningSums,
    point: FloatArray,
    step: FloatArray,
    slope: FloatArray,
    value: FloatArray,
    problem: tuple[IntArray, FloatArray, FloatArray],
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Halves each step until the loss falls enough, or until it is too short to matter."""
    scale = np.ones(len(point))
    for _ in range(40):
        moved = point + scale[:, None] * step
        new = sums.loss(moved, *problem)
        # What is below the rounding of the loss itself counts as falling: there the full step is the best.
        short = new[0] > value + 1e-4 * scale * slope + 1e-13 * np.abs(value)
        if not short.any():
            break
        scale[short] /= 2
    return moved, new


class _RunningSums:
    """Sums of 1, x and x^2 over the first rows in the order of x, of all classes and of each.

    Args:
        feature: `[N]` x.
        classes: `[N]` numbers from 0.
        num_classes: how many classes.
    """

    def __init__(self, feature: FloatArray, classes: IntArray, num_classes: int) -> None:
        order = np.argsort(feature, kind="stable")
        self._sorted = feature[order]
        ranked = classes[order]
        by_class = np.argsort(ranked, kind="stable")
        # The rows of class k in the order of x stand together; key k * N + m finds how many are among the first m.
        self._keys = ranked[by_class] * len(feature) + by_class
        self._all = _cumulated(self._sorted)
        self._grouped = _cumulated(self._sorted[by_class])
        self.sizes = np.bincount(ranked, minlength=num_classes)
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])

    def loss(
        self, point: FloatArray, wanted: IntArray, own: FloatArray, other: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The loss `[B]`, its gradient `[B, 2]` and second derivatives `[B, 2, 2]` of the wanted classes' problems."""
        slopes, intercepts = point[:, 0], point[:, 1]
        members, _ = self._below(slopes, intercepts, wanted, 1.0)
        own_rest, all_rest = self._below(-slopes, -intercepts, wanted, 1.0)
        counts = np.stack([members, all_rest - own_rest])
        weights, signs = np.stack([own, other])[:, :, None], np.array([1.0, -1.0])[:, None]
        number, first, second = np.moveaxis(counts, -1, 0)
        # The sum of (1 - s (w x + b))^2 = ((1 - s b) - s w x)^2 over the rows that violate the margin.
        shift, factor = 1 - signs * intercepts, -signs * slopes
        squares = shift**2 * number + 2 * shift * factor * first + factor**2 * second
        value = 0.5 * (point**2).sum(axis=1) + (weights[:, :, 0] * np.maximum(squares, 0)).sum(axis=0)
        pull = np.stack([shift * first + factor * second, shift * number + factor * first], axis=-1)
        gradient = point - 2 * (weights * signs[:, :, None] * pull).sum(axis=0)
        moments = np.stack([np.stack([second, first], axis=-1), np.stack([first, number], axis=-1)], axis=-2)
        hessian = np.eye(2) + 2 * (weights[:, :, :, None] * moments).sum(axis=0)
        return value, gradient, hessian

    def _below(
        self, slopes: FloatArray, intercepts: FloatArray, wanted: IntArray, margin: float
    ) -> tuple[FloatArray, FloatArray]:
        """Sums over the rows with `slope x + intercept < margin`: of the wanted class, and of all."""
        flat = slopes == 0
        with np.errstate(over="ignore"):
            edge = (margin - intercepts) / np.where(flat, 1.0, slopes)
        rising = slopes > 0
        size = len(self._sorted)
        left = np.searchsorted(self._sorted, edge, side="left")
        right = np.searchsorted(self._sorted, edge, side="right")
        start = np.where(flat, 0, np.where(rising, 0, right))
        stop = np.where(flat, np.where(intercepts < margin, size, 0), np.where(rising, left, size))
        of_all = self._all[stop] - self._all[start]
        ends = [np.searchsorted(self._keys, wanted * size + place, side="left") for place in (start, stop)]
        # A place at the very end is the key where the next class begins.
        return self._grouped[ends[1]] - self._grouped[ends[0]], of_all


def _cumulated(values: FloatArray) -> FloatArray:
    """`[N + 1, 3]`: sums of 1, x and x^2 over the first 0, 1, ..., N values."""
    powers = np.stack([np.ones_like(values), values, values**2], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(powers, axis=0)])
