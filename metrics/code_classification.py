"""A categorical code as a classifier: each category stands for a class, and is wrong wherever the class is another.

InfoGAN (NIPS 2016) reports 5 % for c1 on MNIST, "by matching each category in c1 to a digit type", and says neither how
they are matched nor on which images. Here the training images decide, and the held-out images count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from metrics.arrays import IntArray, code_table, integer_labels, listed
from metrics.results import MetricResult

Matching = Literal["majority", "hungarian"]
UNMATCHED = -1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CodeErrorResult(MetricResult):
    """The share of held-out images whose category stands for another class; 0 is best.

    Args:
        training_error: the same of the images that decided what a category stands for.
        accuracy: 1 minus the score.
        mapping: `[K]` the class of each category, as a position in `classes`; -1 for one that stands for none.
        classes: `[C]` the labels that occur.
        confusion: `[K, C]` how many held-out images of each class fell into each category.
        training_confusion: likewise those that decided.
    """

    training_error: float
    accuracy: float
    mapping: IntArray
    classes: IntArray
    confusion: IntArray
    training_confusion: IntArray


def code_error(
    codes: npt.ArrayLike,
    labels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    matching: Matching = "majority",
    columns: npt.ArrayLike | None = None,
) -> CodeErrorResult:
    """The error of the classifier that a categorical code is.

    Args:
        codes: `[N, D]` probabilities of the categories, or any scores; the highest one is an image's category.
        labels: `[N]` integers, the classes of the same images.
        test_codes, test_labels: `[T, D]` and `[T]`, those held out.
        matching: `majority` (default): a category stands for the class that most of its images have, of equals the
            lowest, and several may stand for one. `hungarian`: no two categories stand for the same class, and as many
            images as possible are right.
        columns: which columns of the codes are the categories. Default: all.

    Returns:
        the score in [0, 1] with its parts. Categories without an image to decide on stand for no class by `majority`,
        and so do those for which no class is left by `hungarian`; images that fall into one count as wrong.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: if shapes do not fit, codes are not finite, or there are no images.

    Source: InfoGAN (NIPS 2016), section 7.2; the matching on training images is our reading.
    """
    if matching not in get_args(Matching):
        raise ValueError(f"matching is {matching!r}; allowed: {', '.join(get_args(Matching))}")
    trained, tested = (
        _categories(name, table, columns) for name, table in (("codes", codes), ("test_codes", test_codes))
    )
    if trained.count != tested.count:
        raise ValueError(f"codes have {trained.count} categories and test_codes {tested.count}; give as many in both")
    train_labels = integer_labels("labels", labels, len(trained.chosen))
    held_out = integer_labels("test_labels", test_labels, len(tested.chosen))
    classes = np.unique(np.concatenate([train_labels, held_out]))
    confusions = [
        _confusion(part.chosen, part.count, np.searchsorted(classes, values), len(classes))
        for part, values in ((trained, train_labels), (tested, held_out))
    ]
    mapping = _majority(confusions[0]) if matching == "majority" else _one_to_one(confusions[0])
    errors = [1.0 - _right(confusion, mapping) / confusion.sum() for confusion in confusions]
    return CodeErrorResult(
        score=errors[1],
        training_error=errors[0],
        accuracy=1.0 - errors[1],
        mapping=mapping,
        classes=classes,
        confusion=confusions[1],
        training_confusion=confusions[0],
        degenerate=_degenerate(confusions[0], mapping, classes),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Categories:
    """The category of each image, and how many there are."""

    chosen: IntArray
    count: int


def _categories(name: str, codes: npt.ArrayLike, columns: npt.ArrayLike | None) -> _Categories:
    table = code_table(name, codes)
    if columns is not None:
        places = np.asarray(columns)
        if places.ndim != 1 or not places.size or places.dtype.kind not in "iu":
            raise ValueError(f"columns must be a list of column numbers, not {places.dtype} of shape {places.shape}")
        if len(np.unique(places)) < places.size or places.min() < 0 or places.max() >= table.shape[1]:
            raise ValueError(
                f"columns are {listed(places)}; {name} has the columns 0 to {table.shape[1] - 1}, each once"
            )
        table = table[:, places]
    if table.shape[1] < 2:
        raise ValueError(f"{name} has one column of categories; a categorical code has two or more")
    return _Categories(np.argmax(table, axis=1), table.shape[1])


def _confusion(categories: IntArray, count: int, positions: IntArray, classes: int) -> IntArray:
    return np.bincount(categories * classes + positions, minlength=count * classes).reshape(count, classes)


def _majority(confusion: IntArray) -> IntArray:
    return np.where(confusion.sum(axis=1) > 0, np.argmax(confusion, axis=1), UNMATCHED)


def _one_to_one(confusion: IntArray) -> IntArray:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(confusion, maximize=True)
    mapping = np.full(len(confusion), UNMATCHED, np.int64)
    mapping[rows] = columns
    return mapping


def _right(confusion: IntArray, mapping: IntArray) -> int:
    matched = np.flatnonzero(mapping != UNMATCHED)
    return int(confusion[matched, mapping[matched]].sum())


def _degenerate(confusion: IntArray, mapping: IntArray, classes: IntArray) -> tuple[str, ...]:
    said = []
    empty = np.flatnonzero(confusion.sum(axis=1) == 0)
    if empty.size:
        said.append(f"{empty.size} of {len(confusion)} categories have no image to decide on ({listed(empty)})")
    left = np.setdiff1d(np.flatnonzero(mapping == UNMATCHED), empty)
    if left.size:
        said.append(f"no class is left for {left.size} of {len(confusion)} categories ({listed(left)})")
    named = np.unique(mapping[mapping != UNMATCHED])
    missing: Sequence[int] = [int(label) for position, label in enumerate(classes) if position not in named]
    if missing:
        said.append(f"no category stands for {len(missing)} of {len(classes)} classes ({listed(missing)})")
    return tuple(said)
