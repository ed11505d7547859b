"""Exact regression trees and random forests that know the answer for every depth at once.

A tree that looks at all codes at every split is greedy: where it splits a node does not depend on how deep it may
become. The first d levels of a deep tree therefore ARE the tree of depth d, and one forest answers for all depths that
a grid search asks for. The trees are those of scikit-learn's `RandomForestRegressor` with the same seed (same bootstrap
samples, same thresholds), except where two codes split a node equally well: both choose at random among them.

Rows are sorted once per code and the sorted order is handed down from level to level, all nodes of a level at once.
Sums run in whole numbers of 64 bits (fixed point, as fine as the numbers of a level allow, about 1e-12 of their sum),
because numpy's running sum of integers is five times as fast as that of floating-point numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray

# Two values of a code nearer than this are one value, and a node with less variance is pure: scikit-learn's constants.
SAME_VALUE = np.float32(1e-7)
_PURE = float(np.finfo(np.float64).eps)
# Scores nearer than this, relatively, are a tie: the fixed-point sums are finer by far.
TIE = 1e-9
# Added to squares, so that a permitted split that gains nothing stands above one that is not permitted.
_NO_GAIN = 1e-290
_HEAVY = 0.01
_BITS = 60
# So many numbers are worked on at a time: what several passes go over should stay near the processor.
_BLOCK = 1 << 17
_LARGEST_SEED = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True, eq=False)
class SortedCodes:
    """Codes with their sorted order.

    Args:
        values: `[D, N]` float32.
        order: `[D, N]` int64, per code the rows from the smallest to the largest value.
        repeats: `[D]` bools, whether a code has so many equal values that most splits must be checked for them.
    """

    values: npt.NDArray[np.float32]
    order: IntArray
    repeats: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, codes: npt.ArrayLike) -> SortedCodes:
        """Sorts codes `[N, D]`; they are rounded to float32, as scikit-learn does."""
        values = np.ascontiguousarray(np.asarray(codes).T, dtype=np.float32)
        order = np.argsort(values, axis=1, kind="stable")
        ordered = np.take_along_axis(values, order, axis=1)
        same = (ordered[:, 1:] <= ordered[:, :-1] + SAME_VALUE).mean(axis=1) if values.shape[1] > 1 else np.ones(1)
        return cls(values, order, np.broadcast_to(same > _HEAVY, len(values)))


@dataclasses.dataclass(frozen=True, eq=False)
class Level:
    """The nodes of one level of a tree, where a node that is not split stands for itself no further.

    Args:
        mean: `[L]` what each node predicts.
        code: `[L]` the code that splits it; -1: a leaf.
        threshold: `[L]` values up to this go left.
        left: `[L]` number of the left child in the next level.
        right: `[L]` number of the right child.
    """

    mean: FloatArray
    code: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray


@dataclasses.dataclass(frozen=True, eq=False)
class RegressionTree:
    """A regression tree that can be read at any depth.

    Args:
        levels: from the root down.
        gains: `[max_depth, D]` by how much the splits of each level by each code lower the sum of squares.
    """

    levels: tuple[Level, ...]
    gains: FloatArray

    def importances(self) -> FloatArray:
        """`[max_depth, D]`: row d - 1 holds each code's share of the gain in the tree of depth d, or 0."""
        total = self.gains.cumsum(axis=0)
        whole = total.sum(axis=1, keepdims=True)
        return np.divide(total, whole, out=np.zeros_like(total), where=whole > 0)

    def predictions(self, values: npt.NDArray[np.float32]) -> FloatArray:
        """`[max_depth, n]`: row d - 1 holds what the tree of depth d predicts for codes `[D, n]`."""
        result = np.empty((len(self.gains), values.shape[1]))
        current = np.empty(values.shape[1])
        for depth, (rows, nodes) in enumerate(self.descents(values)):
            current[rows] = self.levels[depth].mean.take(nodes)
            # A tree that ends early is the same from there on.
            result[max(0, depth - 1) :] = current
        return result

    def leaf_numbers(self, values: npt.NDArray[np.float32]) -> IntArray:
        """`[n]`: in which leaf each of the codes `[D, n]` ends; nodes are numbered from the root through all levels."""
        result = np.empty(values.shape[1], dtype=np.int64)
        before = 0
        for level, (rows, nodes) in zip(self.levels, self.descents(values), strict=True):
            result[rows] = before + nodes
            before += level.code.size
        return result

    def descents(self, values: npt.NDArray[np.float32]) -> Iterator[tuple[IntArray, IntArray]]:
        """For each level the rows of the codes `[D, n]` that come down to it, and in which node they are."""
        num_rows = values.shape[1]
        rows, nodes = np.arange(num_rows), np.zeros(num_rows, dtype=np.int64)
        for number, level in enumerate(self.levels):
            yield rows, nodes
            if number + 1 == len(self.levels):
                return
            if number == 0:
                goes_left = values[level.code[0]] <= level.threshold[0]
            else:
                if level.code.min() < 0:
                    inner = (level.code.take(nodes) >= 0).nonzero()[0]
                    rows, nodes = rows.take(inner), nodes.take(inner)
                places = (level.code * num_rows).take(nodes) + rows
                goes_left = values.ravel().take(places) <= level.threshold.take(nodes)
            nodes = np.stack([level.right, level.left], axis=1).ravel().take(2 * nodes + goes_left)


def grow_tree(
    table: SortedCodes, targets: FloatArray, weights: IntArray, max_depth: int, rng: np.random.Generator
) -> RegressionTree:
    """Grows a regression tree by least squares, all codes looked at in every split, leaves of one row allowed.

    Args:
        table: the codes of N rows.
        targets: `[N]` what to predict.
        weights: `[N]` how often each row counts, whole numbers from 0.
        max_depth: 1 or more.
        rng: decides between codes that split equally well.
    """
    grower = _Grower(table, targets, weights, rng)
    levels: list[Level] = []
    gains = np.zeros((max_depth, len(table.values)))
    for depth in range(max_depth):
        split, gains[depth] = grower.split()
        levels.append(split)
        if not (split.code >= 0).any():
            break
        if depth + 1 == max_depth:
            levels.append(grower.leaves(split))
        else:
            grower.descend(split)
    return RegressionTree(tuple(levels), gains)


def tree_seeds(seed: int, num_trees: int) -> list[int]:
    """The seeds of a forest's trees, as `RandomForestRegressor(random_state=seed)` draws them."""
    source = np.random.RandomState(seed)
    return [int(source.randint(_LARGEST_SEED)) for _ in range(num_trees)]


def bootstrap(seed: int, rows: IntArray, num_rows: int) -> IntArray:
    """How often a tree with this seed sees each of `num_rows` rows, drawing only from `rows` and as many."""
    drawn = np.random.RandomState(seed).randint(0, rows.size, rows.size)
    return np.bincount(rows.take(drawn), minlength=num_rows)


def r_squared(targets: FloatArray, predicted: FloatArray) -> float:
    """The share of the targets' variance that is predicted; for targets that are all equal 1 or 0."""
    missed = float(((targets - predicted) ** 2).sum())
    whole = float(((targets - targets.mean()) ** 2).sum()) if targets.size else 0.0
    if whole == 0:
        return float(missed == 0 and targets.size > 0)
    return 1 - missed / whole


class _Weighing:
    """The weights on both sides of every possible split of a level's nodes, multiplied."""

    def __init__(
        self, weights: npt.NDArray[np.int32], total: npt.NDArray[np.int32], sizes: IntArray, ends: IntArray
    ) -> None:
        before = np.cumsum(total, dtype=np.int32) - total
        self._weights, self._ends = weights, ends
        self._base, self._end = np.repeat(before, sizes), np.repeat(before + total, sizes)

    def by_order(self, order: IntArray) -> FloatArray:
        """`[b, m]` products after each row of some codes' orders; 1 after a node's last row."""
        right = self._weights.take(order)
        return self._products(np.cumsum(right, axis=1, dtype=np.int32, out=right))

    def by_position(self) -> FloatArray:
        """`[1, m]`: 1 divided by the products where all weights are 1, which are the same for all codes."""
        return 1 / self._products(np.arange(1, self._base.size + 1, dtype=np.int32)[None])

    def _products(self, passed: npt.NDArray[np.int32]) -> FloatArray:
        """The products, given the weights passed since the level's first row."""
        left = passed - self._base
        product = np.multiply(left, np.subtract(self._end, passed, out=passed), dtype=np.float64)
        product[:, self._ends] = 1.0
        return product


class _Grower:
    """The rows of a tree that is growing, level by level.

    Only rows with a weight are kept, numbered anew from 0. The nodes of a level lie one after the other in each code's
    order; first all left children, then all right ones.
    """

    def __init__(self, table: SortedCodes, targets: FloatArray, weights: IntArray, rng: np.random.Generator) -> None:
        self.order, self.values, self.targets = table.order, table.values, targets
        self.weights = weights.astype(np.int32)
        self.alike = bool((weights == 1).all())
        if not weights.all():
            self._keep(np.flatnonzero(weights))
        self.repeats = table.repeats
        self.rng = rng
        self.fixed = np.zeros(self.weights.size, dtype=np.int64)
        self._measure(np.array([self.weights.size]))

    def _keep(self, rows: IntArray) -> None:
        """Leaves out all other rows."""
        place = np.full(self.weights.size, -1)
        place[rows] = np.arange(rows.size)
        kept = np.empty((len(self.order), rows.size), dtype=np.int64)
        for order, remaining in zip(self.order, kept, strict=True):
            placed = place.take(order)
            placed.take((placed >= 0).nonzero()[0], out=remaining, mode="clip")
        self.order = kept
        self.values = self.values.take(rows, axis=1)
        self.targets, self.weights = self.targets.take(rows), self.weights.take(rows)

    def _measure(self, sizes: IntArray) -> None:
        """Weights, means and variances of nodes of these sizes, and the targets less the means in fixed point."""
        self.rows = self.order[0]
        self.sizes, self.starts, self.ends = sizes, np.cumsum(sizes) - sizes, np.cumsum(sizes) - 1
        weights, targets = self.weights.take(self.rows), self.targets.take(self.rows)
        self.total = np.add.reduceat(weights, self.starts, dtype=np.int32)
        self.mean = np.add.reduceat(weights * targets, self.starts) / self.total
        centered = targets - np.repeat(self.mean, sizes)
        weighted = weights * centered
        self.variance = np.add.reduceat(weighted * centered, self.starts) / self.total
        bound = float(np.abs(weighted).sum())
        self.unit = 2.0 ** (np.ceil(np.log2(bound)) - _BITS) if bound > 0 else 1.0
        self.fixed[self.rows] = np.rint(weighted / self.unit).astype(np.int64)

    def split(self) -> tuple[Level, FloatArray]:
        """The best split of every node, and per code by how much its splits lower the sum of squares."""
        num_codes, num_nodes = len(self.order), self.sizes.size
        scores = self._scores()
        best_of = np.maximum.reduceat(scores, self.starts, axis=1)
        best = best_of.max(axis=0)
        tied = best_of >= best * (1 - TIE)
        code = np.where(tied, self.rng.random(best_of.shape), -1.0).argmax(axis=0)
        position = self._positions(scores, code, best_of[code, np.arange(num_nodes)])
        inner = (best > 0) & (self.sizes > 1) & (self.variance > _PURE)
        lower, upper = self._neighbors(code, position)
        for node in np.flatnonzero(inner & (upper <= lower + SAME_VALUE)):
            code[node], position[node], best[node] = self._without_repeats(scores, int(node))
            inner[node] = best[node] > 0
        lower, upper = self._neighbors(code, position)
        gains = np.bincount(code[inner], (best * self.total)[inner], minlength=num_codes).astype(np.float64)
        code[~inner] = -1
        left = np.cumsum(inner) - 1
        threshold = lower / np.float64(2) + upper / np.float64(2)
        return Level(self.mean, code, threshold, left, left + np.count_nonzero(inner)), gains

    def _scores(self) -> FloatArray:
        """`[D, m]`: what a split after each row of each code's order is worth; 0: not permitted."""
        scores = np.empty((len(self.order), self.rows.size))
        weighing = _Weighing(self.weights, self.total, self.sizes, self.ends)
        by_position = weighing.by_position() if self.alike else None
        for block in self._blocks():
            order, score = self.order[block], scores[block]
            sums = self.fixed.take(order)
            np.multiply(np.cumsum(sums, axis=1, out=sums), self.unit, out=score)
            np.multiply(score, score, out=score)
            np.add(score, _NO_GAIN, out=score)
            if by_position is None:
                np.divide(score, weighing.by_order(order), out=score)
            else:
                np.multiply(score, by_position, out=score)
            score[:, self.ends] = 0.0
        for index in self.repeats.nonzero()[0]:
            ordered = self.values[index].take(self.order[index])
            scores[index, :-1] *= ordered[1:] > ordered[:-1] + SAME_VALUE
        return scores

    def _blocks(self) -> Iterator[slice]:
        """The codes, some at a time."""
        step = max(1, _BLOCK // self.rows.size)
        for start in range(0, len(self.order), step):
            yield slice(start, start + step)

    def _positions(self, scores: FloatArray, code: IntArray, best: FloatArray) -> IntArray:
        """Per node the first row of the chosen code's order with the best score."""
        index = np.repeat(code * scores.shape[1], self.sizes)
        index += np.arange(scores.shape[1])
        hits = np.flatnonzero(scores.ravel().take(index) >= np.repeat(best * (1 - TIE), self.sizes))
        return hits.take(np.searchsorted(hits, self.starts))

    def _neighbors(self, code: IntArray, position: IntArray) -> tuple[npt.NDArray[np.float32], ...]:
        """The values on both sides of a split."""
        after = np.minimum(position + 1, self.rows.size - 1)
        return self.values[code, self.order[code, position]], self.values[code, self.order[code, after]]

    def _without_repeats(self, scores: FloatArray, node: int) -> tuple[int, int, float]:
        """The split of one node, whose best would part equal values: code, position, score."""
        part = slice(self.starts[node], self.ends[node] + 1)
        mine = scores[:, part].copy()
        for index, order in enumerate(self.order):
            ordered = self.values[index].take(order[part])
            mine[index, :-1] *= ordered[1:] > ordered[:-1] + SAME_VALUE
        best_of = mine.max(axis=1)
        best = float(best_of.max())
        code = int(np.where(best_of >= best * (1 - TIE), self.rng.random(best_of.size), -1.0).argmax())
        position = int(np.argmax(mine[code] >= best_of[code] * (1 - TIE)))
        return code, int(self.starts[node]) + position, best

    def _goes_left(self, level: Level) -> npt.NDArray[np.bool_]:
        """Of each row, in the order of the first code, whether it belongs to its node's left child."""
        place = np.repeat(np.maximum(level.code, 0) * self.values.shape[1], self.sizes) + self.rows
        return self.values.ravel().take(place) <= np.repeat(level.threshold, self.sizes)

    def leaves(self, level: Level) -> Level:
        """The children of the splits of `level`, none of which is split again."""
        inner, goes_left = level.code >= 0, self._goes_left(level)
        weights = self.weights.take(self.rows)
        left = np.add.reduceat(weights * goes_left, self.starts)
        # Of the weighted deviations from a node's mean, those of its two children cancel.
        shift = np.add.reduceat(self.fixed.take(self.rows) * goes_left, self.starts) * self.unit
        sums = np.concatenate([shift[inner], -shift[inner]])
        mean = np.tile(self.mean[inner], 2) + sums / np.concatenate([left[inner], (self.total - left)[inner]])
        none = np.full(mean.size, -1)
        return Level(mean, none, mean, none, none)

    def descend(self, level: Level) -> None:
        """Goes on to the children of the splits of `level`, of which there must be some."""
        inner, goes_left = level.code >= 0, self._goes_left(level)
        side = np.zeros(self.targets.size, dtype=np.int8)
        side[self.rows] = (2 - goes_left) * np.repeat(inner.astype(np.int8), self.sizes)
        left = np.add.reduceat(goes_left, self.starts, dtype=np.int64)
        sizes = np.concatenate([left[inner], (self.sizes - left)[inner]])
        middle = int(sizes[: sizes.size // 2].sum())
        descended = np.empty((len(self.order), int(sizes.sum())), dtype=np.int64)
        for block in self._blocks():
            order = self.order[block]
            sides, flat = side.take(order).ravel(), order.ravel()
            descended[block, :middle] = flat.take((sides == 1).nonzero()[0]).reshape(len(order), middle)
            descended[block, middle:] = flat.take((sides == 2).nonzero()[0]).reshape(len(order), -1)
        self.order = descended
        self._measure(sizes)
