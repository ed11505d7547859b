"""Which images each published protocol looks at.

A protocol draws numbers of images (`draw`); `metrics.encoding` turns those of all protocols of a call into arrays under
the same names as in the files of `python -m metrics --codes`: `codes`, `factors`, `group_codes`, `group_labels`, and
the same with `test_` before them for what is held out.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from metrics.arrays import IntArray

_IBGAN_GROUP_SIZE = 200


class FactorGrid(Protocol):
    """What a protocol needs to know of a full grid of factors; `data_gen.factors.FactorSpace` is one."""

    @property
    def names(self) -> Sequence[str]:
        """The factors' names."""

    @property
    def sizes(self) -> Sequence[int]:
        """How many values each factor has."""

    @property
    def size(self) -> int:
        """How many combinations there are."""

    def index_of(self, classes: IntArray, /) -> IntArray:
        """The images `[n]` that show these classes `[n, F]`."""


class FactorColumn(Protocol):
    """One factor; `data_gen.factors.Factor` is one."""

    @property
    def name(self) -> str:
        """What varies."""

    @property
    def kind(self) -> str:
        """`discrete`, `continuous` or `periodic`."""

    @property
    def size(self) -> int | None:
        """How many levels there are; `None` if the factor takes real values."""


class StoredGroups(Protocol):
    """Groups of images with one fixed factor that belong to a data set; `data_gen.groups.ImageGroups` is one."""

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Which factor is fixed in each group: `[M]` integers."""

    @property
    def group_size(self) -> int:
        """How many images a group has."""

    def images_at(self, groups: IntArray, /) -> npt.NDArray[np.uint8]:
        """The images `[n, L, H, W, C]` of these groups `[n]`."""


class FactorData(Protocol):
    """What a protocol needs of a data set; `data_gen.dataset.Dataset` is one."""

    @property
    def name(self) -> str:
        """The data set's name, for messages."""

    @property
    def num_examples(self) -> int:
        """How many images there are."""

    @property
    def factor_space(self) -> FactorGrid | None:
        """The grid that the images fill, or `None` if they fill none."""

    @property
    def factors(self) -> Sequence[FactorColumn]:
        """The columns of `values_at`; empty if no factors are known."""

    @property
    def metric_groups(self) -> StoredGroups | None:
        """Groups of images with one fixed factor, or `None` if it has none of its own."""

    def images_at(self, indices: IntArray, /) -> npt.NDArray[np.uint8]:
        """The images `[n, H, W, C]` at these indices `[n]`."""

    def values_at(self, indices: IntArray, /) -> npt.NDArray[np.floating[Any]]:
        """The values `[n, F]` of the factors of these images."""


def held_out_of(data: FactorData) -> FactorData:
    """The images of the same kind that a data set holds out, such as the test images of MNIST.

    Raises:
        UserError: if it has none.
    """
    # Not a part of `FactorData`: whoever brings a data set of their own need not have it.
    held_out = getattr(data, "held_out", None)
    if held_out is None:
        raise UserError(
            f"{data.name} holds no images out, on which this metric counts errors; choose a data set with a test set, "
            "such as mnist, or give arrays with test_codes and test_factors"
        )
    return held_out


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """The images that one protocol looks at, before anything is encoded.

    Args:
        images: per array of codes the numbers of its images, of any shape; the codes get that shape and one axis
            more. Numbers from `num_examples` on are those of stored groups, one group after the other.
        arrays: arrays that need no encoding, such as `group_labels`.
        notes: how the samples differ from the published protocol.
        held_out: as `images`, but numbers of the images that the data set holds out.
    """

    images: Mapping[str, IntArray]
    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    held_out: Mapping[str, IntArray] = dataclasses.field(default_factory=dict)


class SamplingProtocol(Protocol):
    """Draws what a metric needs. Protocols that compare equal are drawn and encoded once for all metrics."""

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The samples for this seed."""


def generator(seed: int, stream: str) -> np.random.Generator:
    """A Philox generator for one named stream of random numbers, independent of all other streams.

    Args:
        seed: any integer from 0.
        stream: what the numbers are for.
    """
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))
    return np.random.Generator(np.random.Philox(sequence))


@dataclasses.dataclass(frozen=True)
class IbganFactorVaeProtocol:
    """Groups of images that share one factor, as IB-GAN's evaluator has them on disk.

    Group i fixes factor i mod F, F being the factors with two values or more, to one of its values; all others are
    uniform. The evaluator takes the spread of the codes over the groups' own images, so nothing else is drawn. A data
    set with groups of its own gives these.

    Args:
        num_votes: number of groups, default 800: every score that the authors published is a multiple of 1/800.
        group_size: images in a group, default 200, the only number that the evaluator's source mentions; another one is
            noted in the result.
    """

    num_votes: int = 800
    group_size: int = _IBGAN_GROUP_SIZE

    def __post_init__(self) -> None:
        check_counts(num_votes=(self.num_votes, 1), group_size=(self.group_size, 2))

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The groups for this seed.

        Args:
            data: a data set with every combination of its factors, or with groups of its own.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known or not all combinations are there.
        """
        if data.metric_groups is not None:
            return stored_groups(data, data.metric_groups, (self.num_votes, self.group_size))
        indices, labels = draw_groups(data, generator(seed, "ibgan groups"), self.num_votes, self.group_size)
        notes = about_group_size(self.group_size, _IBGAN_GROUP_SIZE)
        return Samples({"group_codes": indices}, {"group_labels": labels}, notes)


@dataclasses.dataclass(frozen=True)
class FactorVaeProtocol:
    """Groups of images that share one factor, and random images for the spread of the codes, as in InfoGAN-CR.

    Group i fixes factor i mod F, F being the factors with two values or more, to one of its values; all others are
    uniform. A data set with groups of its own gives these. The images for the spread are drawn without replacement.

    Args:
        num_votes: number of groups, default 500.
        group_size: images in a group, default 100.
        num_std_images: images for the spread; `None` (the default, as published) is one tenth of the data.
        std_image_limit: at most this many images for the spread; what it leaves out is noted in the result.
    """

    num_votes: int = 500
    group_size: int = 100
    num_std_images: int | None = None
    std_image_limit: int | None = None

    def __post_init__(self) -> None:
        check_counts(
            num_votes=(self.num_votes, 1),
            group_size=(self.group_size, 2),
            num_std_images=(self.num_std_images, 2),
            std_image_limit=(self.std_image_limit, 2),
        )

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The groups and the random images for this seed.

        Args:
            data: a data set with every combination of its factors, or with groups of its own.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, not all combinations are there, or it has fewer
                images than `num_std_images`.
        """
        if data.metric_groups is not None:
            groups = stored_groups(data, data.metric_groups, None)
        else:
            indices, labels = draw_groups(data, generator(seed, "factor_vae groups"), self.num_votes, self.group_size)
            groups = Samples({"group_codes": indices}, {"group_labels": labels})
        published = max(2, data.num_examples // 10)
        wanted = published if self.num_std_images is None else self.num_std_images
        count = wanted if self.std_image_limit is None else min(wanted, self.std_image_limit)
        spread = random_images(data, generator(seed, "factor_vae spread"), count)
        notes = groups.notes
        if count != published:
            notes += (f"spread of the codes over {count:,} images, where the published protocol has {published:,}",)
        return Samples({**groups.images, "codes": spread}, groups.arrays, notes)


def random_images(data: FactorData, rng: np.random.Generator, count: int) -> IntArray:
    """The numbers `[count]` of images drawn without replacement.

    Raises:
        UserError: if there are fewer.
    """
    if count > data.num_examples:
        raise UserError(
            f"{data.name} has {data.num_examples:,} images, fewer than the {count:,} asked for the spread of the "
            f"codes; ask for fewer, or for one tenth of the data (None)"
        )
    return np.asarray(rng.choice(data.num_examples, count, replace=False, shuffle=False), np.int64)


def draw_groups(
    data: FactorData, rng: np.random.Generator, num_votes: int, group_size: int
) -> tuple[IntArray, IntArray]:
    """Draws groups of images in each of which one factor keeps its value.

    Args:
        data: a data set with every combination of its factors.
        rng: where the random numbers come from.
        num_votes: number of groups M.
        group_size: images in a group L.

    Returns:
        indices of images `[M, L]`, and for each group the column `[M]` of the fixed factor; factors with one value
        only are left out.

    Raises:
        UserError: if the data set's factors are not known, or not all combinations are there.
    """
    factors = full_grid(data)
    sizes = np.asarray(factors.sizes, dtype=np.int64)
    varying = varying_factors(data.name, sizes)
    labels = varying[np.arange(num_votes) % varying.size].astype(np.int64)
    classes = rng.integers(0, sizes, size=(num_votes, group_size, sizes.size))
    values = rng.integers(0, sizes[labels])
    np.put_along_axis(classes, labels[:, None, None], values[:, None, None], axis=2)
    indices = np.asarray(factors.index_of(classes.reshape(-1, sizes.size)), dtype=np.int64)
    return indices.reshape(num_votes, group_size), labels


def varying_factors(name: str, sizes: IntArray) -> IntArray:
    """The factors with two levels or more.

    Raises:
        UserError: if there are none in the data set of this name.
    """
    varying = np.flatnonzero(sizes > 1)
    if not varying.size:
        raise UserError(f"{name} has no factor with two values or more, so no metric of factors is defined on it")
    return varying


def full_grid(data: FactorData) -> FactorGrid:
    """The factors of a data set that has one image for every combination of them.

    Raises:
        UserError: if the factors are not known, or some combinations have no image.
    """
    factors = data.factor_space
    if factors is None and data.factors:
        raise UserError(
            f"{data.name} has {data.num_examples:,} images that do not fill a grid of factors; these metrics need an "
            "image of every combination, so use the whole data set, without a limit"
        )
    if factors is None:
        raise unknown_factors(data)
    if factors.size != data.num_examples:
        raise UserError(
            f"{data.name} has {data.num_examples:,} images of {factors.size:,} combinations of its factors; these "
            "metrics need an image of every combination, so use the whole data set, without a limit"
        )
    return factors


def unknown_factors(data: FactorData) -> UserError:
    """What to tell somebody who wants factors of data that have none."""
    return UserError(
        f"{data.name} has no known factors, which these metrics need; choose a data set with factors, such as "
        "dsprites, or leave these metrics out"
    )


def stored_groups(data: FactorData, groups: StoredGroups, published: tuple[int, int] | None) -> Samples:
    """All groups of a data set that brings its own; `published` is how many there should be, and how large."""
    labels = np.asarray(groups.labels, dtype=np.int64)
    numbers = data.num_examples + np.arange(labels.size * groups.group_size, dtype=np.int64)
    notes: tuple[str, ...] = ()
    if published is not None and published != (labels.size, groups.group_size):
        notes = (
            f"the {labels.size:,} groups of {groups.group_size} images that belong to the data, where the published "
            f"protocol has {published[0]:,} of {published[1]}",
        )
    return Samples({"group_codes": numbers.reshape(labels.size, groups.group_size)}, {"group_labels": labels}, notes)


def about_group_size(size: int, published: int) -> tuple[str, ...]:
    """A note if drawn groups are of another size than published ones."""
    return () if size == published else (f"groups of {size} images, where the published protocol has {published}",)


def check_counts(**counts: tuple[int | None, int]) -> None:
    """`ValueError` if a count is below its least value."""
    for name, (value, least) in counts.items():
        if value is not None and value < least:
            raise ValueError(f"{name} must be {least} or more, not {value}")
