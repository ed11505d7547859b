"""The Lasso, many problems at once, stopping where scikit-learn stops.

Cyclic coordinate descent from zero ends when the coefficients have settled and the duality gap is below a
ten-thousandth of the targets' sum of squares. Published importances depend on that: at the exact optimum they differ
in the third or fourth digit. Everything is computed from products of centered columns, whatever the number of rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from metrics.arrays import BoolArray, FloatArray, IntArray

MOST_ROUNDS = 1000
TOLERANCE = 1e-4
NUM_PENALTIES = 100
PENALTY_RANGE = 1e-3
FOLDS = 3
_LEAST_PENALTY = 1e-15


@dataclasses.dataclass(frozen=True, eq=False)
class Products:
    """What the Lasso needs to know of P problems with D inputs each: mean products of centered columns.

    Args:
        inputs: `[D, D, P]` of two inputs; `[D, D, 1]` if all problems have the same.
        targets: `[D, P]` of an input and the target.
        energy: `[P]` of the target with itself.
    """

    inputs: FloatArray
    targets: FloatArray
    energy: FloatArray

    @classmethod
    def of(
        cls, inputs: FloatArray, targets: FloatArray, center: tuple[FloatArray, FloatArray] | None = None
    ) -> Products:
        """Those of inputs `[N, D]` and P targets `[N, P]`, less their means or the `center` given."""
        inputs_center, targets_center = center or (inputs.mean(axis=0), targets.mean(axis=0))
        inputs, targets = inputs - inputs_center, targets - targets_center
        rows = len(inputs)
        energy = np.einsum("np,np->p", targets, targets)
        return cls((inputs.T @ inputs / rows)[:, :, None], inputs.T @ targets / rows, energy / rows)

    def some(self, problems: IntArray) -> Products:
        """The same of some problems only."""
        inputs = self.inputs if self.inputs.shape[2] == 1 else self.inputs[:, :, problems]
        return Products(inputs, self.targets[:, problems], self.energy[problems])

    def squared_error(self, weight: FloatArray) -> FloatArray:
        """`[P]` mean squared error of predictions with coefficients `[D, P]`."""
        explained = np.einsum("ijp,ip,jp->p", self.inputs, weight, weight)
        return np.asarray(self.energy - 2 * np.einsum("dp,dp->p", weight, self.targets) + explained)


def lasso(
    products: Products, penalty: FloatArray | float, start: FloatArray | None = None
) -> tuple[FloatArray, BoolArray]:
    """Minimizes, for each problem, the mean squared error / 2 + penalty * sum of the coefficients' sizes.

    Args:
        products: the problems.
        penalty: `[P]` or one number for all, more than 0.
        start: `[D, P]` coefficients to begin with; zeros by default.

    Returns:
        the coefficients `[D, P]`, and for each problem whether its search came to an end within 1,000 rounds.
    """
    shape = products.targets.shape
    limit = np.broadcast_to(np.asarray(penalty, dtype=np.float64), shape[1:])
    result = np.zeros(shape) if start is None else start.copy()
    running = np.arange(shape[1])
    search = _Search(products, limit, result.copy())
    for _ in range(MOST_ROUNDS):
        search.round()
        unfinished = np.flatnonzero(~search.done)
        if 2 * unfinished.size <= search.done.size:
            # Those that are done keep their coefficients; the others go on among themselves.
            result[:, running] = search.weight
            running = running[unfinished]
            if not running.size:
                break
            search = _Search(products.some(running), limit[running], result[:, running])
    ended = np.full(shape[1], True)
    if running.size:
        result[:, running], ended[running] = search.weight, search.done
    return result, ended


class _Search:
    """Coordinate descent for some problems; every quantity of an input is in units of that input's sum of squares."""

    def __init__(self, products: Products, limit: FloatArray, weight: FloatArray) -> None:
        self._products, self._limit, self.weight = products, limit, weight
        self._scale = np.einsum("iip->ip", products.inputs)
        scale = np.where(self._scale > 0, self._scale, 1.0)
        # A column that is all zero keeps its coefficient 0: no correlation is beyond an infinite limit.
        self._bound = np.where(self._scale > 0, limit / scale, np.inf)
        self._below = -self._bound
        self._effect = np.ascontiguousarray(np.swapaxes(products.inputs, 0, 1) / scale)
        self._rest = products.targets / scale - np.einsum("jip,jp->ip", self._effect, weight)
        self.done = np.zeros(weight.shape[1], dtype=bool)

    def round(self) -> None:
        """Visits every coefficient once, then sees who is done."""
        before, moving = self.weight.copy(), ~self.done
        all_move = bool(moving.all())
        inputs = zip(self.weight, self._rest, self._bound, self._below, self._effect, strict=True)
        for weight, rest, bound, below, effect in inputs:
            free = weight + rest
            step = free - np.minimum(np.maximum(free, below), bound)
            step -= weight
            if not all_move:
                step *= moving
            weight += step
            self._rest -= effect * step
        change = np.abs(self.weight - before).max(axis=0)
        largest = np.abs(self.weight).max(axis=0)
        settled = moving & ((largest == 0) | (change < TOLERANCE * largest))
        if settled.any():
            self.done |= settled & (self._gap() <= TOLERANCE * self._products.energy)

    def _gap(self) -> FloatArray:
        """The duality gap of each problem."""
        rest = self._rest * self._scale
        energy = self._products.energy
        fitted = np.einsum("dp,dp->p", self.weight, self._products.targets)
        residual = energy - fitted - np.einsum("dp,dp->p", self.weight, rest)
        steepest = np.abs(rest).max(axis=0)
        shrink = np.where(steepest > self._limit, self._limit / np.where(steepest > 0, steepest, 1), 1.0)
        gap = 0.5 * residual * (1 + shrink**2) - shrink * (energy - fitted)
        return np.asarray(gap + self._limit * np.abs(self.weight).sum(axis=0))


def lasso_cv(inputs: FloatArray, targets: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """The Lasso with the penalty that predicts held-out rows best: scikit-learn's `LassoCV(cv=3)`.

    One hundred penalties, evenly spaced in their logarithm over three powers of ten below the one that leaves no
    coefficient; three folds of consecutive rows; each search begins where that of the next larger penalty ended.

    Args:
        inputs: `[N, D]`.
        targets: `[N, P]`, none of them constant.

    Returns:
        coefficients `[D, P]`, penalties `[P]`, and for each target whether all its searches came to an end.
    """
    whole = Products.of(inputs, targets)
    # Where nothing is correlated with a target, scikit-learn takes a least penalty too.
    largest = np.maximum(np.abs(whole.targets).max(axis=0), _LEAST_PENALTY)
    penalties = np.geomspace(largest, np.maximum(largest * PENALTY_RANGE, _LEAST_PENALTY), NUM_PENALTIES)
    fitted, tested = [], []
    num_targets = targets.shape[1]
    for train, test in fold_rows(len(inputs), FOLDS):
        center = inputs[train].mean(axis=0), targets[train].mean(axis=0)
        fitted.append(Products.of(inputs[train], targets[train], center))
        tested.append(Products.of(inputs[test], targets[test], center))
    joined = Products(
        np.repeat(np.concatenate([part.inputs for part in fitted], axis=2), num_targets, axis=2),
        np.concatenate([part.targets for part in fitted], axis=1),
        np.concatenate([part.energy for part in fitted]),
    )
    errors = np.zeros((NUM_PENALTIES, num_targets))
    weight, ended = np.zeros_like(joined.targets), np.ones(joined.energy.size, dtype=bool)
    for number, penalty in enumerate(penalties):
        weight, finished = lasso(joined, np.tile(penalty, FOLDS), weight)
        ended &= finished
        for part, mine in zip(tested, np.split(weight, FOLDS, axis=1), strict=True):
            errors[number] += part.squared_error(mine)
    chosen = penalties[errors.argmin(axis=0), np.arange(num_targets)]
    weight, finished = lasso(whole, chosen)
    return weight, chosen, finished & ended.reshape(FOLDS, -1).all(axis=0)


def fold_rows(num_rows: int, num_folds: int) -> list[tuple[IntArray, IntArray]]:
    """Training and held-out rows of each fold: consecutive parts, the first ones longer by a row if need be."""
    parts = np.array_split(np.arange(num_rows), num_folds)
    return [(np.concatenate(parts[:fold] + parts[fold + 1 :]), parts[fold]) for fold in range(num_folds)]
