"""What every data set is to the rest of the suite, and the kinds that hold their images in memory."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from data_gen.factors import Factor, FactorSpace, check_indices, equal_width_bins
from data_gen.groups import ImageGroups
from data_gen.order import batches_per_epoch, indices_at

if TYPE_CHECKING:
    import tensorflow as tf

    Lookup = Callable[[tf.Tensor], tf.Tensor]

RESIDENT_LIMIT_BYTES = 4 << 30
"""Data sets above this size are not kept whole on the training device."""


UNIT = np.float32(1.0 / 255.0)
"""What brings 0..255 to [0, 1]: a factor, because graphs turn a division into another last bit than eager calls."""

_BLOCK_IMAGES = 4096


class Dataset(abc.ABC):
    """Images, with known factors where there are some.

    Args:
        name: what the data are; reconstructed or synthetic data say so here.
        source: where they come from, for reports, for example `official` or `synthetic`.
        image_shape: height, width, channels.
        num_examples: number of images, at least 1.
        factor_space: the grid of factors that the images fill, image `i` being combination `i`; `None` if the
            images fill no grid.
        description: one or two sentences for people.
        factors: the columns of `factors_at`, for images whose levels are known but fill no grid, or of `values_at`
            alone, for factors of real values. Default: those of `factor_space`.
    """

    metric_groups: ImageGroups | None = None
    """Groups of images with one fixed factor that belong to the data set; `None` if it has none."""

    is_mapped: bool = False
    """Whether the images are mapped from a file, so that they take no memory of their own on the host."""

    held_out: Dataset | None = None
    """Images of the same kind that are not to be trained on, such as those to test on; `None` if there are none."""

    def __init__(
        self,
        *,
        name: str,
        source: str,
        image_shape: tuple[int, int, int],
        num_examples: int,
        factor_space: FactorSpace | None = None,
        description: str = "",
        factors: Sequence[Factor] = (),
    ) -> None:
        if num_examples < 1:
            raise ValueError(f"{name} has {num_examples} images; it must have at least 1")
        if factor_space is not None and factor_space.size != num_examples:
            raise ValueError(f"{name} has {num_examples} images but {factor_space.size} combinations of factors")
        self.name = name
        self.source = source
        self.image_shape = image_shape
        self.num_examples = num_examples
        self.factor_space = factor_space
        self.description = description
        self.factors = factor_space.factors if factor_space is not None else tuple(factors)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.num_examples:,} images {self.image_shape}, source {self.source}>"

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the columns of `factors_at` and `values_at`; empty if no factors are known."""
        return tuple(factor.name for factor in self.factors)

    @property
    def has_real_factors(self) -> bool:
        """Whether its factors take real values: they have no levels then, only `values_at`."""
        return any(factor.is_real for factor in self.factors)

    @abc.abstractmethod
    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """The images of these numbers.

        Args:
            indices: integers of shape (n,), each in `0 .. num_examples - 1`.

        Returns:
            uint8 of shape (n, height, width, channels), 0 to 255.

        Raises:
            ValueError: for a number that the data set does not have.
        """

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        """The levels of the factors of these images.

        Args:
            indices: integers of shape (n,).

        Returns:
            int64 of shape (n, number of factors), columns as in `factor_names`.

        Raises:
            UserError: if the data set has no known factors, or their values are real numbers.
            ValueError: for a number that the data set does not have.
        """
        if self.has_real_factors:
            raise UserError(
                f"the factors of {self.name} are real numbers and have no levels; take their values (values_at), or "
                "cut these into classes (binned_values_at)"
            )
        if self.factor_space is None:
            raise UserError(f"{self.name} has no known factors; choose a data set with factors, such as dsprites")
        return self.factor_space.classes_of(indices)

    def files_at(self, indices: NDArray[Any] | Sequence[int]) -> list[str] | None:
        """The names of the files that these images were, in their archive or folder; `None` if none is known."""
        del indices
        return None

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.floating[Any]]:
        """The values of the factors of these images, such as an angle; the levels where nothing else is known.

        Args:
            indices: integers of shape (n,).

        Returns:
            float32 of shape (n, number of factors), columns as in `factor_names`; float64 for factors of real values.

        Raises:
            UserError: if the data set has no known factors.
        """
        return self.factors_at(indices).astype(np.float32)

    def binned_values_at(self, indices: NDArray[Any] | Sequence[int], bins: int = 20) -> NDArray[np.int64]:
        """Classes made of the factors' values: bins of equal width over the range that these images span.

        The classes are relative to the images asked for: the same image may be in another bin among others.

        Args:
            indices: integers of shape (n,), n at least 1.
            bins: how many for each factor. Default: 20, as in the evaluation of InfoGAN-CR.

        Returns:
            int64 of shape (n, number of factors), 0 to `bins - 1`.

        Raises:
            UserError: if the data set has no known factors.
        """
        return equal_width_bins(self.values_at(indices), bins)

    @property
    def grid(self) -> FactorSpace:
        """`factor_space`, for callers that cannot do without; `UserError` if the images fill no grid."""
        if self.factor_space is None:
            raise UserError(
                f"{self.name} ({self.source}) is no full grid of factors, so images with chosen factors cannot be "
                "drawn; choose a full data set, such as dsprites without a limit"
            )
        return self.factor_space

    def sample(
        self, rng: np.random.Generator, n: int, fixed: Mapping[str, int] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Draws images with uniformly random factors, with replacement.

        Args:
            rng: where the randomness comes from.
            n: how many, at least 0.
            fixed: factors that all images share: name to level. Default: none.

        Returns:
            images, uint8 of shape (n, height, width, channels), and levels, int64 of shape (n, number of factors).

        Raises:
            UserError: if the images do not fill a grid of factors.
        """
        classes = self.grid.sample(rng, n, fixed)
        return self.images_at(self.grid.index_of(classes)), classes

    def subset(self, indices: NDArray[np.int64], name: str) -> Dataset:
        """The data set of these images only, in this order; it fills no grid of factors but knows its levels."""
        return Subset(self, indices, name)

    def limited(self, limit: int | None) -> Dataset:
        """At most `limit` of the images, see `limited_indices`; the data set itself if it is not larger.

        What it holds out stays as it is.
        """
        if limit is None or limit >= self.num_examples:
            return self
        kept = self.subset(limited_indices(self.num_examples, limit), f"{self.name}_limit{limit}")
        kept.held_out = self.held_out
        return kept

    def fingerprint(self) -> str:
        """A SHA-256 of all images and levels, in hexadecimal; equal data have equal fingerprints."""
        digest = hashlib.sha256(repr((self.image_shape, self.num_examples, self.factors)).encode())
        for start in range(0, self.num_examples, _BLOCK_IMAGES):
            block = np.arange(start, min(start + _BLOCK_IMAGES, self.num_examples))
            digest.update(self._stored_at(block).tobytes())
            if self.factors:
                digest.update((self.values_at if self.has_real_factors else self.factors_at)(block).tobytes())
        return digest.hexdigest()

    def _stored_at(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """What `fingerprint` reads: the images, or another form that determines them."""
        return self.images_at(indices)

    def resident_bytes(self) -> int | None:
        """Bytes that the data take when kept whole on a device; `None` if they cannot be."""
        return None

    @property
    def fits_device(self) -> bool:
        """Whether the data are kept whole on the training device; nothing is placed to find out.

        They are if they are not too large, and, where they are mapped from a file, if the device is a GPU: on the host
        they would be copied into memory without need.
        """
        size = self.resident_bytes()
        return size is not None and size <= RESIDENT_LIMIT_BYTES and (not self.is_mapped or _has_gpu())

    def resident_lookup(self) -> Lookup | None:
        """A function that finds images inside the graph, from data kept on the training device.

        Call it eagerly, and under the scope of the distribution strategy if there is one: every device then
        gets its own copy.

        Returns:
            a function from image numbers, int64 of shape (n,), to images, float32 of shape (n, height, width,
            channels) in [0, 1]; `None` if the data are too large for that.
        """
        return self._lookup(_on_device) if self.fits_device else None

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        """Builds the function of `resident_lookup`; `place` puts an array where the graph finds it."""
        raise NotImplementedError

    def batch_source(self, global_batch: int, seed: int) -> BatchSource:
        """The training batches as a function inside the graph.

        Args:
            global_batch: images per step over all replicas, from 1 to `num_examples`.
            seed: determines the order, see `data_gen.order`.

        Raises:
            UserError: if the batch does not fit the data set, or the data set does not fit the device.
        """
        batches_per_epoch(global_batch, self.num_examples)
        lookup = self.resident_lookup()
        if lookup is None:
            why = "is mapped from a file and not kept" if self.is_mapped else "is too large to be kept"
            raise UserError(f"{self.name} {why} on the training device; use its training pipeline instead")
        return BatchSource(lookup, self.num_examples, global_batch, seed)

    def training_pipeline(self, global_batch: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """The training batches as an endless `tf.data` pipeline: the same images in the same order as `batch_source`.

        Args:
            global_batch: images per step over all replicas, from 1 to `num_examples`.
            seed: determines the order, see `data_gen.order`.
            start_step: the step whose batch comes first. Default: 0.

        Returns:
            a data set of float32 batches of shape (global_batch, height, width, channels) in [0, 1].

        Raises:
            UserError: if the batch does not fit the data set.
        """
        import tensorflow as tf

        batches_per_epoch(global_batch, self.num_examples)
        lookup = self._lookup(_on_host) if self.fits_device and not self.is_mapped else self._host_lookup()

        def batch(step: tf.Tensor) -> tf.Tensor:
            images = lookup(indices_at(step, global_batch, self.num_examples, seed))
            return tf.ensure_shape(images, (global_batch, *self.image_shape))

        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        pipeline = tf.data.Dataset.counter(start_step).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
        # A fixed buffer such as prefetch(2) can make the end of an iterator hang for many seconds.
        return pipeline.prefetch(tf.data.AUTOTUNE).with_options(options)

    def _host_lookup(self) -> Lookup:
        import tensorflow as tf

        def lookup(indices: tf.Tensor) -> tf.Tensor:
            images = tf.numpy_function(self.images_at, [indices], tf.uint8, stateful=False)
            return tf.cast(tf.ensure_shape(images, (None, *self.image_shape)), tf.float32) * UNIT

        return lookup


class BatchSource:
    """Training batches as a pure function of the step, inside the graph.

    Args:
        lookup: finds images by number, see `Dataset.resident_lookup`.
        num_examples: images in the data set.
        global_batch: images per step over all replicas, from 1 to `num_examples`.
        seed: determines the order, see `data_gen.order`.
    """

    def __init__(self, lookup: Lookup, num_examples: int, global_batch: int, seed: int) -> None:
        self.lookup = lookup
        self.num_examples = num_examples
        self.global_batch = global_batch
        self.seed = seed

    def __call__(self, step: tf.Tensor | int, replica: tf.Tensor | int = 0, replicas: int = 1) -> tf.Tensor:
        """One replica's part of the batch of one step; only its own images are looked up.

        Args:
            step: the training step from 0.
            replica: which replica, from 0 to `replicas - 1`. Default: 0.
            replicas: how many replicas share the batch. Default: 1.

        Returns:
            float32 of shape (global_batch / replicas, height, width, channels) in [0, 1].

        Raises:
            UserError: if the batch cannot be divided evenly.
        """
        if self.global_batch % replicas:
            raise UserError(
                f"a batch of {self.global_batch} images cannot be divided evenly among {replicas} replicas; "
                f"choose a multiple of {replicas}"
            )
        share = self.global_batch // replicas
        indices = indices_at(step, self.global_batch, self.num_examples, self.seed, start=replica * share, count=share)
        return self.lookup(indices)


class ArrayDataset(Dataset):
    """A data set whose images are one array.

    Args:
        images: uint8 of shape (n, height, width, channels), 0 to 255; may be memory-mapped.
        classes: levels of known factors, int64 of shape (n, number of factors), for images that fill no grid.
            Default: those of `factor_space`, if there is one.
        values: values of known factors, floats of shape (n, number of factors). Default: the levels.
        **about: `name`, `source`, `factor_space`, `description` and `factors` of `Dataset`.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        *,
        classes: NDArray[np.int64] | None = None,
        values: NDArray[np.floating[Any]] | None = None,
        **about: Any,
    ) -> None:
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}; expected uint8 of 4 dimensions")
        super().__init__(image_shape=images.shape[1:], num_examples=len(images), **about)
        if values is not None and values.shape != (len(images), len(self.factors)):
            raise ValueError(f"values have shape {values.shape}; expected {(len(images), len(self.factors))}")
        if values is None and self.has_real_factors:
            raise ValueError(f"{self.name} has factors of real values; give their values")
        self.is_mapped = isinstance(images, np.memmap)
        self._images = images
        self._classes = classes
        self._values = values

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        return self._images[check_indices(indices, self.num_examples)]

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        if self._classes is None:
            return super().factors_at(indices)
        return self._classes[check_indices(indices, self.num_examples)]

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.floating[Any]]:
        if self._values is None:
            return super().values_at(indices)
        return self._values[check_indices(indices, self.num_examples)]

    def resident_bytes(self) -> int:
        return self._images.nbytes

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        # Words of 8 bytes, because on a GPU bytes can be gathered from a variable but not from a tensor (which is what
        # a variable mirrored to several devices is read as).
        size = math.prod(self.image_shape)
        width = -(-size // 8) * 8
        rows = np.ascontiguousarray(self._images).reshape(self.num_examples, size)
        if width != size:
            # Otherwise nothing is copied: an array that is mapped from a file may be larger than the memory.
            rows = np.pad(rows, ((0, 0), (0, width - size)))
        words = place(rows.view(np.int64))

        def lookup(indices: tf.Tensor) -> tf.Tensor:
            pixels = tf.reshape(tf.bitcast(tf.gather(words, indices), tf.uint8), (-1, width))[:, :size]
            return tf.cast(tf.reshape(pixels, (-1, *self.image_shape)), tf.float32) * UNIT

        return lookup


class PackedDataset(Dataset):
    """A data set of binary images, kept as one bit for a pixel.

    Args:
        packed: uint8 of shape (n, height * width / 8), rows as `numpy.packbits` makes them; may be memory-mapped.
        image_shape: height, width and 1; height * width must be a multiple of 64.
        classes: levels of known factors, int64 of shape (n, number of factors), for images that fill no grid.
            Default: those of `factor_space`, if there is one.
        **about: `name`, `source`, `factor_space`, `description` and `factors` of `Dataset`.
    """

    def __init__(
        self,
        packed: NDArray[np.uint8],
        *,
        image_shape: tuple[int, int, int] = (64, 64, 1),
        classes: NDArray[np.int64] | None = None,
        **about: Any,
    ) -> None:
        pixels = image_shape[0] * image_shape[1]
        if image_shape[2] != 1 or pixels % 64 or packed.shape[1:] != (pixels // 8,) or packed.dtype != np.uint8:
            raise ValueError(
                f"packed images are {packed.dtype} of shape {packed.shape}, which does not fit {image_shape}"
            )
        super().__init__(image_shape=image_shape, num_examples=len(packed), **about)
        self._packed = packed
        self._classes = classes

    def bits_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """The images of these numbers as uint8 of shape (n, height, width, 1), each pixel 0 or 1."""
        rows = self._packed[check_indices(indices, self.num_examples)]
        return np.unpackbits(rows, axis=1).reshape(len(rows), *self.image_shape)

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        return self.bits_at(indices) * np.uint8(255)

    def _stored_at(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._packed[indices]

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        if self._classes is None:
            return super().factors_at(indices)
        return self._classes[check_indices(indices, self.num_examples)]

    def subset(self, indices: NDArray[np.int64], name: str) -> PackedDataset:
        return PackedDataset(
            np.array(self._packed[check_indices(indices, self.num_examples)]),
            image_shape=self.image_shape,
            classes=self.factors_at(indices) if self.factors else None,
            name=name,
            source=self.source,
            description=self.description,
            factors=self.factors,
        )

    def resident_bytes(self) -> int:
        return self._packed.size

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        bits = self.bits_lookup(place)
        return lambda indices: tf.reshape(bits(indices), (-1, *self.image_shape))

    def bits_lookup(self, place: Callable[[NDArray[Any]], Any], repeats: int = 1) -> Lookup:
        """A function that finds pixels inside the graph.

        Args:
            place: puts an array where the graph finds it.
            repeats: how often each pixel is repeated, for that many equal channels. Default: 1.

        Returns:
            a function from image numbers, int64 of shape (n,), to float32 of shape (n, words, 64 * repeats), 0 or 1,
            where a word is 64 pixels in a row.
        """
        import tensorflow as tf

        # Words of 64 bits, for the reason given at `ArrayDataset`. Each pixel is shifted to where the sign is.
        words = place(self._packed.view(">i8").astype(np.int64))
        shifts = np.repeat(np.arange(64, dtype=np.int64), repeats)

        def lookup(indices: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.bitwise.left_shift(tf.gather(words, indices)[:, :, None], shifts) < 0, tf.float32)

        return lookup


class Subset(Dataset):
    """Some images of another data set.

    Args:
        base: the data set they come from.
        indices: their numbers in `base`, int64 of shape (n,).
        name: what the subset is called.
    """

    def __init__(self, base: Dataset, indices: NDArray[np.int64], name: str) -> None:
        super().__init__(
            name=name,
            source=base.source,
            image_shape=base.image_shape,
            num_examples=len(indices),
            description=base.description,
            factors=base.factors,
        )
        self.is_mapped = base.is_mapped
        self._base = base
        self._indices = check_indices(indices, base.num_examples)

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        return self._base.images_at(self._indices[check_indices(indices, self.num_examples)])

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        return self._base.factors_at(self._indices[check_indices(indices, self.num_examples)])

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.floating[Any]]:
        return self._base.values_at(self._indices[check_indices(indices, self.num_examples)])

    def files_at(self, indices: NDArray[Any] | Sequence[int]) -> list[str] | None:
        return self._base.files_at(self._indices[check_indices(indices, self.num_examples)])

    def resident_bytes(self) -> int | None:
        size = self._base.resident_bytes()
        return None if size is None else size + self._indices.nbytes

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        base = self._base._lookup(place)
        numbers = place(self._indices)
        return lambda indices: base(tf.gather(numbers, indices))


def limited_indices(num_examples: int, limit: int) -> NDArray[np.int64]:
    """The numbers of the images that a limit keeps: spread at random, always the same ones, ascending."""
    chosen = np.random.default_rng(0).choice(num_examples, size=limit, replace=False, shuffle=False)
    return np.sort(chosen).astype(np.int64)


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def _on_device(array: NDArray[Any]) -> tf.Variable:
    """A variable: unlike a constant it is no part of the graph, and a strategy mirrors it to every device."""
    import tensorflow as tf

    return tf.Variable(array, trainable=False, name="resident_data")


def _on_host(array: NDArray[Any]) -> tf.Tensor:
    """A tensor in main memory, which pipelines capture without a copy."""
    import tensorflow as tf

    with tf.device("/device:CPU:0"):
        return tf.convert_to_tensor(array)
