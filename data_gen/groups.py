"""Groups of images that share the value of one factor, for data sets that bring such groups along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.factors import check_indices


class ImageGroups:
    """Groups of images in each of which one factor keeps its value, while all others vary.

    Args:
        images: uint8 of shape (groups, images of a group, height, width, channels), 0 to 255; may be memory-mapped.
        labels: which factor keeps its value, its column in `Dataset.factor_names`; int64 of shape (groups,).
        values: the factors of all images, float64 of shape (groups, images of a group, factors); `None` if they are
            not known.

    Raises:
        ValueError: for shapes or types that do not fit.
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], values: NDArray[np.float64] | None = None
    ) -> None:
        if images.ndim != 5 or images.dtype != np.uint8 or not images.size:
            raise ValueError(f"groups are {images.dtype} of shape {images.shape}; expected uint8 of 5 dimensions")
        if labels.shape != images.shape[:1] or (values is not None and values.shape[:2] != images.shape[:2]):
            raise ValueError(
                f"{len(images)} groups of {images.shape[1]} images have labels of shape {labels.shape} and values of "
                f"shape {None if values is None else values.shape}"
            )
        self._images = images
        self.labels = labels
        self.values = values

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return len(self._images)

    @property
    def group_size(self) -> int:
        """How many images a group has."""
        return self._images.shape[1]

    def first(self, count: int) -> ImageGroups:
        """The first groups, at least one; nothing is copied."""
        return ImageGroups(
            self._images[:count], self.labels[:count], None if self.values is None else self.values[:count]
        )

    def images_at(self, groups: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """The images of these groups.

        Args:
            groups: integers of shape (m,), each in `0 .. num_groups - 1`.

        Returns:
            uint8 of shape (m, images of a group, height, width, channels).

        Raises:
            ValueError: for a group that is not there.
        """
        return self._images[check_indices(groups, self.num_groups)]
