"""The protocols of the metrics that look at images with their factors, and those of disentanglement_lib."""

from __future__ import annotations

import dataclasses

import numpy as np

from metrics.arrays import IntArray
from metrics.protocols import (
    FactorData,
    Samples,
    about_group_size,
    check_counts,
    full_grid,
    generator,
    held_out_of,
    random_images,
    stored_groups,
    unknown_factors,
    varying_factors,
)

_DLIB_GROUP_SIZE = 64


@dataclasses.dataclass(frozen=True)
class InfoganCrFactorProtocol:
    """Images with their factors, as InfoGAN-CR scores MIG, modularity, explicitness, SAP and DCI.

    Of a full grid of factors, combinations are drawn with replacement, one tenth as many as there are images; of other
    data, that many stored images without replacement (as of 3D Teapot).

    Args:
        limit: at most this many images; what it leaves out is noted in the result. Default: none.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        check_counts(limit=(self.limit, 2))

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The images for this seed.

        Args:
            data: a data set with known factors.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, or none varies.
        """
        published = max(2, data.num_examples // 10)
        count = published if self.limit is None else min(published, self.limit)
        drawn = draw_factors(data, generator(seed, "infogan_cr factors"), count)
        notes: tuple[str, ...] = drawn.notes
        if count != published:
            notes += (f"{count:,} images, where the published protocol has {published:,}",)
        return Samples(drawn.images, drawn.arrays, notes)


@dataclasses.dataclass(frozen=True)
class InfoganCrRandomProtocol:
    """Random images without their factors, drawn once without replacement, as InfoGAN-CR scores dHSIC.

    Args:
        num_images: how many, default 5,000; of smaller data sets all. The metric itself notes if they are fewer.
    """

    num_images: int = 5000

    def __post_init__(self) -> None:
        check_counts(num_images=(self.num_images, 2))

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The images for this seed."""
        count = min(self.num_images, data.num_examples)
        numbers = random_images(data, generator(seed, "infogan_cr random images"), count)
        return Samples({"codes": numbers}, {})


@dataclasses.dataclass(frozen=True)
class DlibFactorProtocol:
    """Images with their factors to fit to and others to test with, as in disentanglement_lib.

    Combinations of factors are drawn with replacement; of data that fill no grid, stored images are.

    Args:
        num_train: images to fit to, default 10,000.
        num_test: images held out, default 5,000.
    """

    num_train: int = 10_000
    num_test: int = 5_000

    def __post_init__(self) -> None:
        check_counts(num_train=(self.num_train, 2), num_test=(self.num_test, 2))

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The images for this seed.

        Args:
            data: a data set with known factors.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, or none varies.
        """
        both = draw_factors(data, generator(seed, "dlib factors"), self.num_train + self.num_test, replace=True)
        images = {
            "codes": both.images["codes"][: self.num_train],
            "test_codes": both.images["codes"][self.num_train :],
        }
        arrays = dict(both.arrays)
        for name in ("factors", "factor_levels"):
            if name in arrays:
                arrays[name], arrays[f"test_{name}"] = arrays[name][: self.num_train], arrays[name][self.num_train :]
        published = DlibFactorProtocol()
        notes = both.notes
        if self != published:
            notes += (
                f"{self.num_train:,} images to fit to and {self.num_test:,} held out, where the published protocol has "
                f"{published.num_train:,} and {published.num_test:,}",
            )
        return Samples(images, arrays, notes)


@dataclasses.dataclass(frozen=True)
class DlibGroupProtocol:
    """Groups of images with one fixed factor, some of them held out, as in disentanglement_lib.

    Which factor is fixed is drawn at random. In `pairs` images 0 and 1 of a group share its value, 2 and 3, and so on,
    each pair its own (BetaVAE); otherwise the whole group shares one (FactorVAE). Random images for the spread of the
    codes are drawn with replacement. A data set with groups of its own gives these: the first two thirds to fit to.

    Args:
        pairs: whether pairs share values.
        group_size: images in a group; published: 64, or 64 pairs.
        num_train: groups to fit to, default 10,000.
        num_test: groups held out, default 5,000.
        num_std_images: images for the spread, default 10,000; 0 for none.
    """

    pairs: bool
    group_size: int
    num_train: int = 10_000
    num_test: int = 5_000
    num_std_images: int = 10_000

    def __post_init__(self) -> None:
        check_counts(
            num_train=(self.num_train, 1), num_test=(self.num_test, 1), num_std_images=(self.num_std_images, 0)
        )
        if self.group_size < 2 or (self.pairs and self.group_size % 2):
            raise ValueError(f"group_size must be 2 or more, and even for pairs; not {self.group_size}")

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The groups for this seed, and the random images.

        Args:
            data: a data set with every combination of its factors, or with groups of its own.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, or not all combinations are there.
        """
        published = DlibGroupProtocol(self.pairs, 2 * _DLIB_GROUP_SIZE if self.pairs else _DLIB_GROUP_SIZE)
        total = self.num_train + self.num_test
        if data.metric_groups is not None:
            counts = (published.num_train + published.num_test, published.group_size)
            groups = stored_groups(data, data.metric_groups, counts)
            images, arrays, notes = dict(groups.images), dict(groups.arrays), groups.notes
        else:
            numbers, labels = self._draw_groups(data, generator(seed, f"dlib groups {self.pairs}"), total)
            images = {"group_codes": numbers[: self.num_train], "test_group_codes": numbers[self.num_train :]}
            arrays = {"group_labels": labels[: self.num_train], "test_group_labels": labels[self.num_train :]}
            notes = about_group_size(self.group_size, published.group_size)
            if (self.num_train, self.num_test) != (published.num_train, published.num_test):
                notes += (
                    f"{self.num_train:,} groups to fit to and {self.num_test:,} held out, where the published protocol "
                    f"has {published.num_train:,} and {published.num_test:,}",
                )
        if self.num_std_images:
            rng = generator(seed, "dlib spread")
            images["codes"] = rng.integers(0, data.num_examples, self.num_std_images, dtype=np.int64)
        return Samples(images, arrays, notes)

    def _draw_groups(self, data: FactorData, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
        grid = full_grid(data)
        sizes = np.asarray(grid.sizes, dtype=np.int64)
        varying = varying_factors(data.name, sizes)
        labels = varying[rng.integers(0, varying.size, count)].astype(np.int64)
        classes = rng.integers(0, sizes, size=(count, self.group_size, sizes.size))
        fixed = np.take_along_axis(classes, labels[:, None, None], axis=2)
        fixed = np.repeat(fixed[:, 0::2], 2, axis=1) if self.pairs else fixed[:, :1]
        np.put_along_axis(classes, labels[:, None, None], fixed, axis=2)
        indices = np.asarray(grid.index_of(classes.reshape(-1, sizes.size)), dtype=np.int64)
        return indices.reshape(count, self.group_size), labels


@dataclasses.dataclass(frozen=True)
class HeldOutProtocol:
    """The data set's own images to fit to, and those that it holds out to test with.

    Args:
        limit: at most this many of each, drawn without replacement; what it leaves out is noted in the result.
            Default: all.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        check_counts(limit=(self.limit, 2))

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The images for this seed.

        Args:
            data: a data set with known factors that holds images out.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, none varies, or it holds no images out.
        """
        train, notes = self._part(data, seed, "codes", "images")
        test, more = self._part(held_out_of(data), seed, "test_codes", "images held out")
        arrays = {**train.arrays, "test_factors": test.arrays["factors"]}
        return Samples(train.images, arrays, notes + more, test.images)

    def _part(self, data: FactorData, seed: int, name: str, what: str) -> tuple[Samples, tuple[str, ...]]:
        if not data.factors:
            raise unknown_factors(data)
        numbers = np.arange(data.num_examples, dtype=np.int64)
        notes: tuple[str, ...] = ()
        if self.limit is not None and self.limit < data.num_examples:
            numbers = np.sort(random_images(data, generator(seed, f"held out protocol {name}"), self.limit))
            notes = (f"{self.limit:,} of {data.num_examples:,} {what}",)
        return Samples({name: numbers}, _factor_arrays(data, numbers)), notes


def _factor_arrays(data: FactorData, numbers: IntArray) -> dict[str, np.ndarray]:
    """`factors` of these images, and what the columns are; factors with one level are left out."""
    sizes = np.array([2 if factor.size is None else factor.size for factor in data.factors], dtype=np.int64)
    varying = varying_factors(data.name, sizes)
    chosen = [data.factors[column] for column in varying]
    return {
        "factors": np.asarray(data.values_at(numbers), dtype=np.float64)[:, varying],
        "factor_names": np.array([factor.name for factor in chosen]),
        "discrete": np.array([factor.kind == "discrete" for factor in chosen]),
        "periodic": np.array([factor.kind == "periodic" for factor in chosen]),
    }


def draw_factors(data: FactorData, rng: np.random.Generator, count: int, replace: bool = False) -> Samples:
    """Draws images and tells their factors.

    Args:
        data: a data set with known factors.
        rng: where the random numbers come from.
        count: how many images.
        replace: whether stored images are drawn with replacement, for data that fill no grid. Combinations of a grid
            always are.

    Returns:
        `codes` to be encoded, and the arrays `factors`, `factor_names`, `discrete`, `periodic`, and `factor_levels`
        unless the factors take real values. Factors with one level are left out.

    Raises:
        UserError: if the factors are not known, or none varies.
    """
    if not data.factors:
        raise unknown_factors(data)
    sizes = np.array([2 if factor.size is None else factor.size for factor in data.factors], dtype=np.int64)
    varying = varying_factors(data.name, sizes)
    grid = data.factor_space
    arrays: dict[str, np.ndarray] = {}
    notes: tuple[str, ...] = ()
    if grid is not None:
        classes = rng.integers(0, sizes, size=(count, sizes.size))
        indices = np.asarray(grid.index_of(classes), dtype=np.int64)
        arrays["factor_levels"] = classes[:, varying]
    elif replace:
        indices = rng.integers(0, data.num_examples, count, dtype=np.int64)
    else:
        indices = random_images(data, rng, count)
    if grid is None and any(factor.size is not None for factor in data.factors):
        notes = ("stored images, where the published protocol draws every combination of the factors",)
    arrays.update(_factor_arrays(data, indices))
    return Samples({"codes": indices}, arrays, notes)
