"""Pairs to choose the best checkpoint by, which must not be those that the result is measured on."""

from __future__ import annotations

import numpy as np

import data_gen
from common.errors import UserError
from common.output import say
from data_gen.dataset import Dataset, limited_indices
from data_gen.pairs import PairedDataset
from training.options import DataOptions

LARGEST_SHARE = 5
"""At most one pair in so many is taken away from the pairs to train on."""


def with_validation(dataset: Dataset, options: DataOptions) -> tuple[Dataset, PairedDataset | None]:
    """The data to train on, and the pairs for validation, if the configuration asks for some.

    Args:
        dataset: all data to train on.
        options: `data.validation` and `data.validation_split` say how many pairs, and where from.

    Returns:
        the data to train on, without the pairs that were taken away from them; the pairs for validation.

    Raises:
        UserError: data that are no pairs, too few of them, or a split that the data set does not have.
    """
    count, split = options.validation, options.validation_split
    if not count:
        return dataset, None
    if not isinstance(dataset, PairedDataset) or not dataset.is_paired:
        raise UserError(
            f"data.validation is {count}, but {dataset.name} has no pairs of images to keep for validation; set "
            "data.validation = 0"
        )
    if split == "train":
        return _taken_away(dataset, count)
    if split == "trained_on":
        return dataset, _first(dataset, count, f"{dataset.name}_first{min(count, dataset.num_examples)}")
    loaded = data_gen.load(options.name, source=options.source, **{**options.options, "split": split})
    if not isinstance(loaded, PairedDataset) or loaded.x_shape != dataset.x_shape:
        raise UserError(f"data.validation_split is {split!r}, whose images are not like those of {dataset.name}")
    return dataset, _first(loaded, count, f"{loaded.name}_first{count}")


def _taken_away(dataset: PairedDataset, wanted: int) -> tuple[Dataset, PairedDataset]:
    count = min(wanted, dataset.num_examples // LARGEST_SHARE)
    if not count:
        raise UserError(
            f"data.validation is {wanted}, but {dataset.name} has only {dataset.num_examples} pairs, and at most a "
            "fifth of them is kept for validation; set data.validation = 0"
        )
    if count < wanted:
        say(f"note: {count:,} pairs for validation, a fifth of {dataset.name}, where data.validation is {wanted:,}")
    chosen = limited_indices(dataset.num_examples, count)
    rest = np.setdiff1d(np.arange(dataset.num_examples), chosen)
    training = dataset.subset(rest, f"{dataset.name}_without{count}")
    training.held_out = dataset.held_out
    return training, dataset.subset(chosen, f"{dataset.name}_validation{count}")


def _first(dataset: PairedDataset, count: int, name: str) -> PairedDataset:
    return dataset if count >= dataset.num_examples else dataset.subset(np.arange(count), name)
