"""Which images each published protocol looks at, and their codes: every distinct image is encoded once.

A protocol draws indices of images (`draw`); `encode_samples` turns those of all protocols of a call into arrays under
the same names as in the files of `python -m metrics --codes`: `group_codes`, `group_labels`, `codes`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from metrics.arrays import IntArray

Encode = Callable[[npt.NDArray[np.float32]], npt.ArrayLike]
"""Images `[batch, H, W, C]` float32 in [0, 1] -> codes `[batch, D]`; always called with the same batch size."""

Progress = Callable[[int, int], None]
"""Called with how many distinct images are encoded and how many there are, after every batch."""


_IBGAN_GROUP_SIZE = 200


class FactorGrid(Protocol):
    """What a protocol needs to know of the factors of a data set; `data_gen.factors.FactorSpace` is one."""

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
        """The factors, or `None` if they are not known."""

    def images_at(self, indices: IntArray, /) -> npt.NDArray[np.uint8]:
        """The images `[n, H, W, C]` at these indices `[n]`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """The images that one protocol looks at, before anything is encoded.

    Args:
        images: per array of codes the indices of its images, of any shape; the codes get that shape and one axis more.
        arrays: arrays that need no encoding, such as `group_labels`.
        notes: how the samples differ from the published protocol.
    """

    images: Mapping[str, IntArray]
    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


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
    uniform. The evaluator takes the spread of the codes over the groups' own images, so nothing else is drawn.

    Args:
        num_votes: number of groups, default 800: every score that the authors published is a multiple of 1/800.
        group_size: images in a group, default 200, the only number that the evaluator's source mentions; another one is
            noted in the result.
    """

    num_votes: int = 800
    group_size: int = _IBGAN_GROUP_SIZE

    def __post_init__(self) -> None:
        _check_counts(self.num_votes, self.group_size)

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The groups for this seed.

        Args:
            data: a data set with every combination of its factors.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known or not all combinations are there.
        """
        indices, labels = draw_groups(data, generator(seed, "ibgan groups"), self.num_votes, self.group_size)
        notes: tuple[str, ...] = ()
        if self.group_size != _IBGAN_GROUP_SIZE:
            notes = (f"groups of {self.group_size} images, where the published protocol has {_IBGAN_GROUP_SIZE}",)
        return Samples({"group_codes": indices}, {"group_labels": labels}, notes)


@dataclasses.dataclass(frozen=True)
class FactorVaeProtocol:
    """Groups of images that share one factor, and random images for the spread of the codes, as in InfoGAN-CR.

    Group i fixes factor i mod F, F being the factors with two values or more, to one of its values; all others are
    uniform. The images for the spread are drawn without replacement.

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
        _check_counts(self.num_votes, self.group_size)
        for name in ("num_std_images", "std_image_limit"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise ValueError(f"{name} must be 2 or more, not {value}")

    def draw(self, data: FactorData, seed: int) -> Samples:
        """The groups and the random images for this seed.

        Args:
            data: a data set with every combination of its factors.
            seed: any integer from 0.

        Raises:
            UserError: if the data set's factors are not known, not all combinations are there, or it has fewer
                images than `num_std_images`.
        """
        indices, labels = draw_groups(data, generator(seed, "factor_vae groups"), self.num_votes, self.group_size)
        published = max(2, data.num_examples // 10)
        wanted = published if self.num_std_images is None else self.num_std_images
        count = wanted if self.std_image_limit is None else min(wanted, self.std_image_limit)
        if count > data.num_examples:
            raise UserError(
                f"{data.name} has {data.num_examples:,} images, fewer than the {count:,} asked for the spread of the "
                f"codes; ask for fewer, or for one tenth of the data (None)"
            )
        spread = generator(seed, "factor_vae spread").choice(data.num_examples, count, replace=False, shuffle=False)
        notes: tuple[str, ...] = ()
        if count != published:
            notes = (f"spread of the codes over {count:,} images, where the published protocol has {published:,}",)
        return Samples({"group_codes": indices, "codes": np.asarray(spread, np.int64)}, {"group_labels": labels}, notes)


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
    varying = np.flatnonzero(sizes > 1)
    if not varying.size:
        raise UserError(f"{data.name} has no factor with two values or more, so no metric of groups is defined on it")
    labels = varying[np.arange(num_votes) % varying.size].astype(np.int64)
    classes = rng.integers(0, sizes, size=(num_votes, group_size, sizes.size))
    values = rng.integers(0, sizes[labels])
    np.put_along_axis(classes, labels[:, None, None], values[:, None, None], axis=2)
    indices = np.asarray(factors.index_of(classes.reshape(-1, sizes.size)), dtype=np.int64)
    return indices.reshape(num_votes, group_size), labels


def full_grid(data: FactorData) -> FactorGrid:
    """The factors of a data set that has one image for every combination of them.

    Raises:
        UserError: if the factors are not known, or some combinations have no image.
    """
    factors = data.factor_space
    if factors is None and getattr(data, "factor_names", None):
        raise UserError(
            f"{data.name} has {data.num_examples:,} images that do not fill a grid of factors; these metrics need an "
            "image of every combination, so use the whole data set, without a limit"
        )
    if factors is None:
        raise UserError(
            f"{data.name} has no known factors, which these metrics need; choose a data set with factors, such as "
            "dsprites, or leave these metrics out"
        )
    if factors.size != data.num_examples:
        raise UserError(
            f"{data.name} has {data.num_examples:,} images of {factors.size:,} combinations of its factors; these "
            "metrics need an image of every combination, so use the whole data set, without a limit"
        )
    return factors


def encode_samples(
    data: FactorData,
    encode: Encode,
    samples: Sequence[Samples],
    batch_size: int = 256,
    progress: Progress | None = None,
) -> list[dict[str, np.ndarray]]:
    """Encodes the union of all images of all samples, each distinct image once.

    Args:
        data: where the images come from.
        encode: images `[batch_size, H, W, C]` float32 in [0, 1] -> codes `[batch_size, D]`. The last batch is filled
            up with images that are there already, so that a compiled function is traced once.
        samples: what the protocols have drawn.
        batch_size: images in a batch, default 256.
        progress: told after every batch how many distinct images are encoded, and of how many.

    Returns:
        per element of `samples` its arrays: codes (the shape of the indices and one axis of D) and those that needed
        no encoding.

    Raises:
        UserError: if codes are not finite, as those of a diverged model are.
        ValueError: if `encode` returns another shape, or the batch size is not positive.
    """
    wanted = [indices.ravel() for sample in samples for indices in sample.images.values()]
    if not wanted:
        return [dict(sample.arrays) for sample in samples]
    distinct, places = np.unique(np.concatenate(wanted), return_inverse=True)
    codes = encode_images(data, encode, distinct, batch_size, progress)
    results: list[dict[str, np.ndarray]] = []
    start = 0
    for sample in samples:
        arrays = dict(sample.arrays)
        for name, indices in sample.images.items():
            arrays[name] = codes[places[start : start + indices.size]].reshape(*indices.shape, -1)
            start += indices.size
        results.append(arrays)
    return results


def encode_images(
    data: FactorData,
    encode: Encode,
    indices: IntArray,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """The codes `[n, D]` of the images at `indices` `[n]`; see `encode_samples`, which calls it."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    codes: np.ndarray | None = None
    for start in range(0, indices.size, batch_size):
        batch = indices[start : start + batch_size]
        images = np.divide(data.images_at(batch), 255, dtype=np.float32)
        if batch.size < batch_size:
            images = images[np.arange(batch_size) % batch.size]
        part = np.asarray(encode(images))
        if part.ndim != 2 or part.shape[0] != batch_size or part.shape[1] == 0:
            raise ValueError(f"encode must return codes of shape ({batch_size}, D); it returned {part.shape}")
        # Half-precision codes (of mixed-precision models) become float32; numpy has no bfloat16 of its own.
        part = part[: batch.size].astype(np.float64 if part.dtype == np.float64 else np.float32)
        if not np.isfinite(part).all():
            raise UserError(
                "the encoder gives codes that are NaN or infinite; the model has probably diverged: look at its loss "
                "curves, and evaluate an earlier checkpoint"
            )
        if codes is None:
            codes = np.empty((indices.size, part.shape[1]), dtype=part.dtype)
        codes[start : start + batch.size] = part
        if progress is not None:
            progress(start + batch.size, indices.size)
    if codes is None:
        raise ValueError("there are no images to encode")
    return codes


def _check_counts(num_votes: int, group_size: int) -> None:
    if num_votes < 1:
        raise ValueError(f"num_votes must be 1 or more, not {num_votes}")
    if group_size < 2:
        raise ValueError(f"group_size must be 2 or more, not {group_size}")
