"""Images of known classes in parts to train on and to test on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.dataset import ArrayDataset
from data_gen.factors import Factor


@dataclasses.dataclass(frozen=True)
class Part:
    """Images and their classes.

    Args:
        images: uint8 of shape (n, height, width, channels), 0 to 255.
        labels: integers of shape (n,), from 0 to the number of classes less one.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __add__(self, other: Part) -> Part:
        """The images of both."""
        return Part(np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels]))


class LabeledDataset(ArrayDataset):
    """Images whose class is their only known factor.

    Args:
        part: images and classes.
        factor: the name of the factor.
        class_names: what the classes are called.
        **about: `name`, `source` and `description` of `Dataset`.
    """

    def __init__(self, part: Part, factor: str, class_names: tuple[str, ...], **about: Any) -> None:
        factors = (Factor(factor, len(class_names), "discrete"),)
        super().__init__(part.images, classes=part.labels[:, None], factors=factors, **about)
        self.class_names = class_names
