"""Data sets of pairs: an image x of one domain and an image y of another, which show the same thing in two ways.

A `PairedDataset` is two data sets of equally large images, `x` and `y`. Pair number i is image i of both. It is a data
set itself, of images side by side, x on the left, as such sets are published: what shows images needs to know nothing
of pairs. Models of pairs are trained from `pair_source` or `pair_pipeline`, which give tuples (x, y).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_gen.command import as_text, plan_of
from data_gen.dataset import BatchSource, Dataset
from data_gen.factors import check_indices
from data_gen.order import signed_seed
from data_gen.png import encode_png
from data_gen.tfrecord import Example, Feature, Plan, Split

if TYPE_CHECKING:
    import tensorflow as tf

    from data_gen.dataset import Lookup

    Pair = tuple[tf.Tensor, tf.Tensor]

PAIRS_PER_SHARD = 5_000

_BLOCK_PAIRS = 64
# Makes of a seed two others: of the order of y where it is independent, and of random changes.
_ORDER_OF_Y = 0x5851F42D4C957F2D
_CHANGES = 0x14057B7EF767814F
_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: a function of the images and of uniform random numbers, with no state.

    The numbers of a pair are a pure function of (seed, step, place in the global batch), so that a run that starts
    again sees the same changes, on however many devices.

    Args:
        numbers: how many random numbers each pair needs.
        apply: makes of x, y, both float32 of shape (n, height, width, channels), and of the numbers, float32 of shape
            (n, numbers) in [0, 1), the changed x and y, of the same shape.
    """

    numbers: int
    apply: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Pair]

    def __call__(self, pair: Pair, step: tf.Tensor | int, start: tf.Tensor | int, global_batch: int, seed: int) -> Pair:
        """Changes a part of the batch of a step, that from place `start` on."""
        import tensorflow as tf

        x, y = pair
        key = tf.stack([tf.constant(signed_seed(seed ^ _CHANGES), tf.int64), tf.cast(step, tf.int64)])
        numbers = tf.random.stateless_uniform((global_batch, self.numbers), key, alg="philox")
        x_new, y_new = self.apply(x, y, numbers[start : start + tf.shape(x)[0]])
        return tf.ensure_shape(x_new, x.shape), tf.ensure_shape(y_new, y.shape)


def random_flips(together: bool) -> Augmentation:
    """Turns left and right around in half of the images.

    Args:
        together: x and y of a pair alike, for pairs that show the same place; else each by itself.
    """

    def apply(x: tf.Tensor, y: tf.Tensor, numbers: tf.Tensor) -> Pair:
        import tensorflow as tf

        flip = numbers[:, :, None, None, None] < 0.5
        return tf.where(flip[:, 0], x[:, :, ::-1], x), tf.where(flip[:, -1], y[:, :, ::-1], y)

    return Augmentation(1 if together else 2, apply)


def random_crops_and_flips(
    area: tuple[float, float] = (0.8, 1.0), ratio: tuple[float, float] = (0.9, 1.1), share: float = 0.5
) -> Augmentation:
    """Crops some of the images, scaled back to their size, and turns left and right around in half of them.

    x and y are changed independently of each other. The window is drawn as by PyTorch's `RandomResizedCrop`: up to ten
    times, until it lies within the image. The images have their final size already, where the community code of IIAE
    crops larger ones.

    Args:
        area: least and largest share of the image that a window covers. Default: 0.8 to 1.
        ratio: least and largest width of a window divided by its height. Default: 0.9 to 1.1.
        share: of the images that are cropped. Default: 0.5.

    Source: the community code of IIAE, for AFHQ.
    """

    def change(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        tries = tf.reshape(numbers[:, : 2 * _TRIES], (-1, _TRIES, 2))
        boxes = _windows(images.shape[1], images.shape[2], tries, numbers[:, 2 * _TRIES :], area, ratio)
        whole = tf.constant([[0.0, 0.0, 1.0, 1.0]])
        boxes = tf.where(numbers[:, -2:-1] < share, boxes, whole)
        cropped = tf.image.crop_and_resize(images, boxes, tf.range(tf.shape(images)[0]), images.shape[1:3])
        cropped = tf.clip_by_value(cropped, 0.0, 1.0)
        return tf.where(numbers[:, -1, None, None, None] < 0.5, cropped[:, :, ::-1], cropped)

    count = 2 * _TRIES + 4

    def apply(x: tf.Tensor, y: tf.Tensor, numbers: tf.Tensor) -> Pair:
        return change(x, numbers[:, :count]), change(y, numbers[:, count:])

    return Augmentation(2 * count, apply)


def _windows(
    height: int,
    width: int,
    tries: tf.Tensor,
    places: tf.Tensor,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tf.Tensor:
    """Windows `[n, 4]` (top, left, bottom, right as shares of the distance of the outermost pixels) of random numbers.

    Args:
        height, width: of the images.
        tries: `[n, tries, 2]`: the first window that lies within the image counts; the whole image if none does.
        places: `[n, 2 or more]`: where it lies.
        area, ratio: see `random_crops_and_flips`.
    """
    import tensorflow as tf

    size = (area[0] + (area[1] - area[0]) * tries[..., 0]) * float(height * width)
    low, high = np.log(ratio[0]), np.log(ratio[1])
    shape = tf.exp(low + (high - low) * tries[..., 1])
    rows, columns = tf.round(tf.sqrt(size / shape)), tf.round(tf.sqrt(size * shape))
    fits = (rows <= height) & (columns <= width) & (rows >= 1) & (columns >= 1)
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1, output_type=tf.int32)
    any_fits = tf.reduce_any(fits, axis=1)
    edges = []
    for whole, sides, place in ((height, rows, places[:, 0]), (width, columns, places[:, 1])):
        side = tf.where(any_fits, tf.gather(sides, first, batch_dims=1), float(whole))
        start = tf.floor(place * (whole - side + 1.0))
        # The centers of the outermost pixels of the result, at most half a pixel outside; there the border goes on.
        margin = 0.5 * side / whole - 0.5
        corners = tf.stack([start + margin, start + side - 1.0 - margin])
        edges.append(tf.clip_by_value(corners / max(whole - 1, 1), 0, 1))
    return tf.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], axis=1)


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "flips": lambda: random_flips(together=False),
    "flips_together": lambda: random_flips(together=True),
    "crops_and_flips": random_crops_and_flips,
}
"""Random changes by name, as configurations call them."""


class PairedDataset(Dataset):
    """Pairs of images of two domains.

    Args:
        x: the images of one domain.
        y: those of the other, of the same shape; as many, if they are paired.
        is_paired: whether image i of x belongs to image i of y. Without that the pairs mean nothing, and there are as
            many as the larger domain has images, the smaller one beginning anew. Default: they are paired.
        **about: `name`, `source` and `description` of `Dataset`. The factors are those of `x`, if they are paired.

    Raises:
        ValueError: if the domains do not fit together.
    """

    def __init__(self, x: Dataset, y: Dataset, *, is_paired: bool = True, **about: Any) -> None:
        if x.image_shape != y.image_shape:
            raise ValueError(f"x has images of {x.image_shape}, y of {y.image_shape}; they must be equally large")
        if is_paired and x.num_examples != y.num_examples:
            raise ValueError(f"x has {x.num_examples} images, y has {y.num_examples}; pairs need as many of both")
        height, width, channels = x.image_shape
        super().__init__(
            image_shape=(height, 2 * width, channels),
            num_examples=max(x.num_examples, y.num_examples),
            factors=x.factors if is_paired else (),
            **about,
        )
        self.x, self.y = x, y
        self.is_paired = is_paired
        self.is_mapped = x.is_mapped or y.is_mapped

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image of x."""
        return self.x.image_shape

    @property
    def y_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image of y."""
        return self.y.image_shape

    def x_images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """The images x of these pairs, uint8 of shape (n, height, width, channels)."""
        return self.x.images_at(check_indices(indices, self.num_examples) % self.x.num_examples)

    def y_images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """The images y of these pairs, uint8 of shape (n, height, width, channels)."""
        return self.y.images_at(check_indices(indices, self.num_examples) % self.y.num_examples)

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """These pairs side by side, uint8 of shape (n, height, 2 * width, channels), x on the left."""
        return np.concatenate([self.x_images_at(indices), self.y_images_at(indices)], axis=2)

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        return self.x.factors_at(indices) if self.factors else super().factors_at(indices)

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.floating[Any]]:
        return self.x.values_at(indices) if self.factors else super().values_at(indices)

    def files_at(self, indices: NDArray[Any] | Sequence[int]) -> list[str] | None:
        """The names of the files that hold these pairs, both sides in one; `None` if none is known."""
        return self.x.files_at(indices) if self.is_paired else None

    def subset(self, indices: NDArray[np.int64], name: str) -> PairedDataset:
        numbers = check_indices(indices, self.num_examples)
        return PairedDataset(
            self.x.subset(numbers % self.x.num_examples, f"{name}_x"),
            self.y.subset(numbers % self.y.num_examples, f"{name}_y"),
            is_paired=self.is_paired,
            name=name,
            source=self.source,
            description=self.description,
        )

    def _stored_at(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        sides = self.x._stored_at(indices % self.x.num_examples), self.y._stored_at(indices % self.y.num_examples)
        return np.concatenate([side.reshape(len(indices), -1) for side in sides], axis=1)

    def resident_bytes(self) -> int | None:
        sizes = self.x.resident_bytes(), self.y.resident_bytes()
        return None if sizes[0] is None or sizes[1] is None else sizes[0] + sizes[1]

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        x, y = self.x._lookup(place), self.y._lookup(place)
        sizes = self.x.num_examples, self.y.num_examples
        return lambda indices: tf.concat([x(indices % sizes[0]), y(indices % sizes[1])], axis=2)

    def pair_source(
        self, global_batch: int, seed: int, *, independent: bool | None = None, augment: Augmentation | None = None
    ) -> PairSource:
        """The training batches as a function inside the graph, for data that fit the device (`fits_device`).

        Args:
            global_batch: pairs per step over all replicas, from 1 to the number of images of the smaller domain.
            seed: determines the order, see `data_gen.order`, and the random changes.
            independent: whether x and y go in orders of their own. Default: if they are not paired.
            augment: random changes. Default: none.

        Raises:
            UserError: if the batch does not fit the data set, or the data set does not fit the device.
        """
        x_seed, y_seed = self._seeds(seed, independent)
        sources = self.x.batch_source(global_batch, x_seed), self.y.batch_source(global_batch, y_seed)
        return PairSource(*sources, seed, augment)

    def pair_pipeline(
        self,
        global_batch: int,
        seed: int,
        start_step: int = 0,
        *,
        independent: bool | None = None,
        augment: Augmentation | None = None,
    ) -> tf.data.Dataset:
        """The training batches as an endless `tf.data` pipeline: the same as those of `pair_source`.

        Args:
            global_batch: pairs per step over all replicas, from 1 to the number of images of the smaller domain.
            seed: determines the order, see `data_gen.order`, and the random changes.
            start_step: the step whose batch comes first. Default: 0.
            independent: whether x and y go in orders of their own. Default: if they are not paired.
            augment: random changes. Default: none.

        Returns:
            a data set of tuples (x, y), each float32 of shape (global_batch, height, width, channels) in [0, 1].

        Raises:
            UserError: if the batch does not fit the data set.
        """
        import tensorflow as tf

        x_seed, y_seed = self._seeds(seed, independent)
        x = self.x.training_pipeline(global_batch, x_seed, start_step)
        y = self.y.training_pipeline(global_batch, y_seed, start_step)
        if augment is None:
            return tf.data.Dataset.zip((x, y))
        steps = tf.data.Dataset.counter(start_step)
        return tf.data.Dataset.zip((steps, x, y)).map(
            lambda step, x, y: augment((x, y), step, 0, global_batch, seed), num_parallel_calls=tf.data.AUTOTUNE
        )

    def feed(self, *, independent: bool | None = None, augment: Augmentation | None = None) -> PairFeed:
        """The set as the training loop takes it, so that the batches of a step are tuples (x, y).

        Args:
            independent: whether x and y go in orders of their own. Default: if they are not paired.
            augment: random changes. Default: none.
        """
        return PairFeed(self, independent, augment)

    def _seeds(self, seed: int, independent: bool | None) -> tuple[int, int]:
        """What determines the orders of x and of y."""
        apart = not self.is_paired if independent is None else independent
        return seed, signed_seed(seed ^ _ORDER_OF_Y) if apart else seed


class PairSource:
    """Training batches of pairs as a pure function of the step, inside the graph.

    Args:
        x, y: the batches of both domains.
        seed: determines the random changes.
        augment: random changes; `None`: there are none.
    """

    def __init__(self, x: BatchSource, y: BatchSource, seed: int, augment: Augmentation | None) -> None:
        self.x, self.y = x, y
        self.seed = seed
        self.augment = augment

    def __call__(self, step: tf.Tensor | int, replica: tf.Tensor | int = 0, replicas: int = 1) -> Pair:
        """One replica's part of the batch of one step.

        Args:
            step: the training step from 0.
            replica: which replica, from 0 to `replicas - 1`. Default: 0.
            replicas: how many replicas share the batch. Default: 1.

        Returns:
            x and y, float32 of shape (global_batch / replicas, height, width, channels) in [0, 1].

        Raises:
            UserError: if the batch cannot be divided evenly.
        """
        pair = self.x(step, replica, replicas), self.y(step, replica, replicas)
        if self.augment is None:
            return pair
        start = replica * (self.x.global_batch // replicas)
        return self.augment(pair, step, start, self.x.global_batch, self.seed)


class PairFeed:
    """What a training loop asks of a data set, for pairs: see `Dataset` for the names.

    Args:
        dataset: the pairs.
        independent: whether x and y go in orders of their own; `None`: if they are not paired.
        augment: random changes; `None`: there are none.
    """

    def __init__(self, dataset: PairedDataset, independent: bool | None, augment: Augmentation | None) -> None:
        self.dataset = dataset
        self._options: dict[str, Any] = {"independent": independent, "augment": augment}

    @property
    def fits_device(self) -> bool:
        """Whether the data are kept whole on the training device."""
        return self.dataset.fits_device

    def batch_source(self, global_batch: int, seed: int) -> PairSource:
        """The batches inside the graph, see `PairedDataset.pair_source`."""
        return self.dataset.pair_source(global_batch, seed, **self._options)

    def training_pipeline(self, global_batch: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """The batches as a pipeline, see `PairedDataset.pair_pipeline`."""
        return self.dataset.pair_pipeline(global_batch, seed, start_step, **self._options)


def plan_of_pairs(dataset: Dataset, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """How pairs are written: `id`, `image_x`, `image_y` and the levels of known factors; what is held out as `test`.

    `file` is what the file with both sides was called, where that is known.

    Where x and y are not paired, their images are written one by one in splits of their own, such as `train_x`.

    Args:
        dataset: a `PairedDataset`.
        version: the version of the schema.
        homepage: where the published data are. Default: none.
        shards: over how many files the split to train on is spread. Default: one for every 5,000 pairs.

    Raises:
        ValueError: if the data set, or what it holds out, is not one of pairs.
    """
    parts: dict[str, PairedDataset] = {}
    for name, part in (("train", dataset), ("test", dataset.held_out)):
        if part is not None and not isinstance(part, PairedDataset):
            raise ValueError(f"{part.name} is no data set of pairs")
        if part is not None:
            parts[name] = part
    if parts["train"].is_paired:
        image = Feature("image", shape=parts["train"].x_shape)
        features = {"id": Feature("text"), "image_x": image, "image_y": image}
        for factor in parts["train"].factors:
            features[f"label_{factor.name}"] = Feature("label", num_classes=factor.size)
        if parts["train"].files_at([0]) is not None:
            features["file"] = Feature("text")
        splits = tuple(
            Split(name, part.num_examples, _examples_of(part), _shards(part, shards, name))
            for name, part in parts.items()
        )
        contents = {name: part.fingerprint() for name, part in parts.items()}
    else:
        sides = {f"{name}_{side}": getattr(part, side) for name, part in parts.items() for side in ("x", "y")}
        plans = {name: plan_of(side, version, shards=_shards(side, shards, name)) for name, side in sides.items()}
        features = dict(plans["train_x"].features)
        splits = tuple(dataclasses.replace(plan.splits[0], name=name) for name, plan in plans.items())
        contents = {name: str(plan.contents) for name, plan in plans.items()}
    description = f"{dataset.description} Source: {dataset.source}."
    return Plan(dataset.name, version, features, splits, contents, description, homepage)


def _shards(part: Dataset, shards: int | None, name: str) -> int:
    return shards if shards is not None and name.startswith("train") else -(-part.num_examples // PAIRS_PER_SHARD)


def _examples_of(part: PairedDataset) -> Callable[[int, int], Iterator[Example]]:
    def examples(start: int, stop: int) -> Iterator[Example]:
        for first in range(start, stop, _BLOCK_PAIRS):
            numbers = np.arange(first, min(first + _BLOCK_PAIRS, stop))
            x, y = part.x_images_at(numbers), part.y_images_at(numbers)
            labels = part.factors_at(numbers).tolist() if part.factors else [[]] * len(numbers)
            files = part.files_at(numbers)
            for row, number in enumerate(numbers.tolist()):
                example: dict[str, Any] = {"id": f"{number:06d}"}
                example["image_x"], example["image_y"] = encode_png(x[row], True), encode_png(y[row], True)
                example.update(
                    {f"label_{name}": level for name, level in zip(part.factor_names, labels[row], strict=True)}
                )
                if files is not None:
                    example["file"] = as_text(files[row])
                yield example

    return examples
