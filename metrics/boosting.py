"""Gradient-boosted classification trees as scikit-learn's `GradientBoostingClassifier` grows them by default, faster.

One hundred rounds; in each round one regression tree of depth 3 for every class, fitted to what the probabilities of
that class still lack, with a Newton step in each leaf and a learning rate of 0.1 (Friedman, Annals of Statistics 29,
2001, algorithm 6). The importance of a code is its share of the squared error that all splits of all trees remove.
That is scikit-learn since 0.21. Version 0.20, the newest when disentanglement_lib appeared, began at the shares of the
classes instead of their logarithms, and let the trees of one round see each other's steps; that is not followed here.

`exact` looks at every threshold, as scikit-learn does, from which it differs in rounding and in who wins a tie.
`histogram` sorts each code into at most 64 bins of equal numbers of rows first and then grows the trees of all classes
together: splits are the best ones between bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from metrics.arrays import FloatArray, IntArray
from metrics.forest import TIE, SortedCodes, grow_tree

ROUNDS = 100
LEARNING_RATE = 0.1
DEPTH = 3
BINS = 64
# scikit-learn's guard: a leaf with less curvature than this does not move.
_LEAST_CURVATURE = 1e-150


@dataclasses.dataclass(frozen=True, eq=False)
class Boosted:
    """What a boosted classifier tells.

    Args:
        importances: `[D]` shares of the codes, which sum to 1; all 0 if no split gains anything.
        train_accuracy: share of the rows it was fitted on that it gets right.
        test_accuracy: share of the held-out rows that it gets right.
    """

    importances: FloatArray
    train_accuracy: float
    test_accuracy: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Tree:
    """One tree: what each code gains, and the leaf numbers of the fitted and the held-out rows."""

    gains: FloatArray
    train_leaf: IntArray
    test_leaf: IntArray


class _Forester(Protocol):
    """Grows the trees of one round."""

    def grow(self, gradient: FloatArray) -> Iterator[_Tree]:
        """A tree for each of the K rows of `[K, N]`."""


def exact(
    train_codes: FloatArray, train_labels: IntArray, test_codes: FloatArray, test_labels: IntArray, seed: int = 0
) -> Boosted:
    """Fits boosted trees that look at every threshold.

    Args:
        train_codes: `[N, D]` codes; they are rounded to float32, as scikit-learn does.
        train_labels: `[N]` classes, two or more different ones.
        test_codes: `[M, D]` codes that are not fitted.
        test_labels: `[M]` their classes.
        seed: decides between codes that split equally well.
    """
    return _boost(_Exact(train_codes, test_codes, seed), train_labels, test_labels)


def histogram(
    train_codes: FloatArray, train_labels: IntArray, test_codes: FloatArray, test_labels: IntArray, seed: int = 0
) -> Boosted:
    """Fits boosted trees that split between bins; the arguments are those of `exact`."""
    return _boost(_Histogram(train_codes, test_codes, seed), train_labels, test_labels)


def _boost(forester: _Forester, train_labels: IntArray, test_labels: IntArray) -> Boosted:
    classes, train_class = np.unique(train_labels, return_inverse=True)
    share = np.bincount(train_class) / train_class.size
    # Two classes need one tree: what one gains, the other loses.
    num_trees = 1 if classes.size == 2 else classes.size
    hit = (train_class == np.arange(classes.size)[-num_trees:, None]).astype(np.float64)
    start = np.log(share) if num_trees > 1 else np.log(share[1:] / share[0])
    train, test = np.tile(start[:, None], train_class.size), np.tile(start[:, None], test_labels.size)
    newton = (classes.size - 1) / classes.size if num_trees > 1 else 1.0
    gains: FloatArray | float = 0.0
    for _ in range(ROUNDS):
        chance = _probabilities(train)
        gradient = hit - chance
        curvature = chance * (1 - chance)
        for number, tree in enumerate(forester.grow(gradient)):
            gains = gains + tree.gains
            steep = np.bincount(tree.train_leaf, gradient[number])
            curved = np.bincount(tree.train_leaf, curvature[number])
            step = np.divide(newton * steep, curved, out=np.zeros_like(steep), where=curved > _LEAST_CURVATURE)
            step *= LEARNING_RATE
            train[number] += step.take(tree.train_leaf, mode="clip")
            test[number] += step.take(tree.test_leaf, mode="clip")
    importances = np.asarray(gains)
    total = importances.sum()
    return Boosted(
        importances / total if total > 0 else importances,
        float(np.mean(classes[_choose(train)] == train_labels)),
        float(np.mean(classes[_choose(test)] == test_labels)),
    )


def _probabilities(raw: FloatArray) -> FloatArray:
    if len(raw) == 1:
        # Not 1 / (1 + exp(-raw)), which would overflow.
        return 0.5 * (1 + np.tanh(0.5 * raw))
    chance = np.exp(raw - raw.max(axis=0))
    chance /= chance.sum(axis=0)
    return chance


def _choose(raw: FloatArray) -> IntArray:
    """The number of the class with the largest value."""
    return (raw[0] >= 0).astype(np.int64) if len(raw) == 1 else raw.argmax(axis=0)


class _Exact:
    """Trees that look at every threshold, one after the other."""

    def __init__(self, train_codes: FloatArray, test_codes: FloatArray, seed: int) -> None:
        self._table = SortedCodes.of(train_codes)
        self._test = np.ascontiguousarray(test_codes.T, dtype=np.float32)
        self._once = np.ones(len(train_codes), dtype=np.int64)
        self._rng = np.random.default_rng(seed)

    def grow(self, gradient: FloatArray) -> Iterator[_Tree]:
        """A tree for each of the K rows of `[K, N]`."""
        for row in gradient:
            tree = grow_tree(self._table, row, self._once, DEPTH, self._rng)
            yield _Tree(tree.gains.sum(axis=0), tree.leaf_numbers(self._table.values), tree.leaf_numbers(self._test))


class _Histogram:
    """Trees that split between bins, those of all classes together.

    A sparse matrix with a row for each bin of each code turns the gradients `[N, K]` into sums per bin for all classes
    at once. Of two children only the left one is summed; the right one is what remains.
    """

    def __init__(self, train_codes: FloatArray, test_codes: FloatArray, seed: int) -> None:
        from scipy import sparse

        train, test = train_codes.astype(np.float32), test_codes.astype(np.float32)
        edges = [_edges(column) for column in train.T]
        self._train = np.stack([np.searchsorted(e, c).astype(np.uint8) for e, c in zip(edges, train.T, strict=True)])
        self._test = np.stack([np.searchsorted(e, c).astype(np.uint8) for e, c in zip(edges, test.T, strict=True)])
        self._bins = int(self._train.max()) + 1
        num_codes, rows = self._train.shape
        order = np.argsort(self._train, axis=1, kind="stable")
        sizes = np.stack([np.bincount(bins, minlength=self._bins) for bins in self._train])
        ends = np.concatenate([[0], sizes.ravel().cumsum()])
        ones = np.ones(num_codes * rows, dtype=np.float32)
        self._members = sparse.csr_array((ones, order.ravel(), ends), shape=(num_codes * self._bins, rows))
        self._rng = np.random.default_rng(seed)

    def grow(self, gradient: FloatArray) -> Iterator[_Tree]:
        """A tree for each of the K rows of `[K, N]`."""
        num_trees = len(gradient)
        slope = np.ascontiguousarray(gradient.T, dtype=np.float32)
        sums = [self._sums(slope)]
        counts = [np.broadcast_to(self._sums(np.ones_like(slope[:, :1])), sums[0].shape)]
        train = np.zeros((num_trees, self._train.shape[1]), dtype=np.uint8)
        test = np.zeros((num_trees, self._test.shape[1]), dtype=np.uint8)
        gains = np.zeros((num_trees, len(self._train)))
        for depth in range(DEPTH):
            splits = [self._split(s, c, gains) for s, c in zip(sums, counts, strict=True)]
            train = 2 * train + _goes_right(self._train, splits, train)
            test = 2 * test + _goes_right(self._test, splits, test)
            if depth + 1 < DEPTH:
                sums, counts = self._children(slope, train, sums, counts)
        for number in range(num_trees):
            yield _Tree(gains[number], train[number].astype(np.int64), test[number].astype(np.int64))

    def _sums(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`[D, B, K]`: the sums of `[N, K]` in each bin of each code."""
        return (self._members @ values).reshape(len(self._train), self._bins, values.shape[1])

    def _children(
        self,
        slope: npt.NDArray[np.float32],
        node: npt.NDArray[np.uint8],
        sums: list[npt.NDArray[np.float32]],
        counts: list[npt.NDArray[np.float32]],
    ) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
        """The sums and counts of the children of each node, left and right in turn."""
        next_sums, next_counts = [], []
        for number, (whole, count) in enumerate(zip(sums, counts, strict=True)):
            inside = np.ascontiguousarray((node == 2 * number).T).astype(np.float32)
            left, left_count = self._sums(slope * inside), self._sums(inside)
            next_sums += [left, whole - left]
            next_counts += [left_count, count - left_count]
        return next_sums, next_counts

    def _split(
        self, sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32], gains: FloatArray
    ) -> tuple[IntArray, IntArray]:
        """For a node of every tree the code and the last bin that goes left; adds what this gains to `gains`."""
        below, left = sums.cumsum(axis=1, dtype=np.float64), counts.cumsum(axis=1, dtype=np.float64)
        whole = left[:1, -1:]
        below -= left * (below[:1, -1:] / np.maximum(whole, 1))
        both = left * (whole - left)
        score = np.divide(below * below, both, out=np.zeros_like(both), where=both > 0.5)
        best_of = score.max(axis=1)
        best = best_of.max(axis=0)
        tied = best_of >= best * (1 - TIE)
        code = np.where(tied, self._rng.random(best_of.shape), -1.0).argmax(axis=0)
        trees = np.arange(code.size)
        gains[trees, code] += best * whole.ravel()
        return code, score[code, :, trees].argmax(axis=1)


def _goes_right(
    bins: npt.NDArray[np.uint8], splits: list[tuple[IntArray, IntArray]], node: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Whether each row with bins `[D, n]`, now in a node `[K, n]`, goes right in the tree of each class."""
    result = np.zeros(node.shape, dtype=bool)
    for number, (codes, last) in enumerate(splits):
        for tree, (code, bin_number) in enumerate(zip(codes, last, strict=True)):
            result[tree] |= (node[tree] == number) & (bins[code] > bin_number)
    return result


def _edges(column: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The largest value of each bin but the last: distinct values if there are few, else quantiles."""
    values = np.unique(column)
    if values.size > BINS:
        values = np.unique(np.quantile(column, np.arange(1, BINS + 1) / BINS, method="lower"))
    return values[:-1]
