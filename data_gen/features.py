"""Data sets of vectors of two domains with known classes, such as features of sketches and of photos."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from data_gen.order import signed_seed
from data_gen.tfrecord import Example, Feature, Plan, Split

if TYPE_CHECKING:
    import tensorflow as tf

    Batch = tuple[tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Features:
    """One domain: vectors in the order of their classes.

    Args:
        vectors: float32 of shape (n, dimensions).
        labels: int64 of shape (n,), ascending: places in `FeatureDataset.class_names`.
        names: of each what its file is called.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """How many vectors each class has."""
        return np.bincount(self.labels, minlength=num_classes).astype(np.int64)

    def subset(self, rows: NDArray[np.int64]) -> Features:
        """The vectors of these rows, in ascending order."""
        return Features(self.vectors[rows], self.labels[rows], tuple(self.names[row] for row in rows.tolist()))


class FeatureDataset:
    """Vectors of two domains with known classes: no images, but trained on in the same way as `PairedDataset`.

    Args:
        x: one domain, here sketches.
        y: the other, here photos.
        class_names: what the classes are called, sorted; each has vectors in both domains.
        name: what the data are.
        source: where they come from, for reports.
        description: one or two sentences for people.
        held_out: vectors of other classes, to test on; `None` if there are none.
    """

    is_paired = False
    """Vectors of a batch have the same class, but do not belong together otherwise."""

    def __init__(
        self,
        x: Features,
        y: Features,
        *,
        class_names: Sequence[str],
        name: str,
        source: str,
        description: str = "",
        held_out: FeatureDataset | None = None,
    ) -> None:
        for side in (x, y):
            if (side.counts(len(class_names)) == 0).any() or (np.diff(side.labels) < 0).any():
                raise ValueError(f"{name} has classes without vectors, or not in order")
        if x.vectors.shape[1] != y.vectors.shape[1]:
            raise ValueError(f"{name} has vectors of {x.vectors.shape[1]} and of {y.vectors.shape[1]} numbers")
        self.x, self.y = x, y
        self.class_names = tuple(class_names)
        self.name, self.source, self.description = name, source, description
        self.held_out = held_out

    def __repr__(self) -> str:
        return (
            f"<{self.name}: {len(self.x.vectors):,} + {len(self.y.vectors):,} vectors of {self.x_shape[0]}, "
            f"{self.num_classes} classes, source {self.source}>"
        )

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def num_examples(self) -> int:
        """How many vectors there are in both domains."""
        return len(self.x.vectors) + len(self.y.vectors)

    @property
    def x_shape(self) -> tuple[int]:
        """The shape of a vector of x."""
        return (self.x.vectors.shape[1],)

    @property
    def y_shape(self) -> tuple[int]:
        """The shape of a vector of y."""
        return (self.y.vectors.shape[1],)

    @property
    def fits_device(self) -> bool:
        """Whether the data are kept on the training device: they always are, they are small."""
        return True

    def limited(self, limit: int | None) -> FeatureDataset:
        """At most so many vectors, but at least one, of each domain and class alike.

        What is held out stays as it is.
        """
        if limit is None or limit >= self.num_examples:
            return self
        most = max(1, limit // (2 * self.num_classes))
        sides = []
        for side in (self.x, self.y):
            counts = side.counts(self.num_classes)
            place = np.arange(len(side.labels)) - np.repeat(np.cumsum(counts) - counts, counts)
            sides.append(side.subset(np.flatnonzero(place < most)))
        return FeatureDataset(
            sides[0],
            sides[1],
            class_names=self.class_names,
            name=f"{self.name}_limit{limit}",
            source=self.source,
            description=self.description,
            held_out=self.held_out,
        )

    def fingerprint(self) -> str:
        """A SHA-256 of all vectors and classes, in hexadecimal."""
        digest = hashlib.sha256(repr((self.class_names, self.x.names, self.y.names)).encode())
        for side in (self.x, self.y):
            digest.update(np.ascontiguousarray(side.vectors).tobytes())
            digest.update(side.labels.tobytes())
        return digest.hexdigest()

    def batch_source(self, global_batch: int, seed: int) -> FeatureSource:
        """The training batches as a function inside the graph; call it under the scope of the strategy.

        Args:
            global_batch: vectors of each domain per step, a multiple of the number of classes.
            seed: determines which ones.

        Raises:
            UserError: if the batch is no such multiple.
        """
        import tensorflow as tf

        return self._source(global_batch, seed, lambda array: tf.Variable(array, trainable=False, name="resident_data"))

    def training_pipeline(self, global_batch: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """The training batches as an endless `tf.data` pipeline, the same as those of `batch_source`.

        Args:
            global_batch: vectors of each domain per step, a multiple of the number of classes.
            seed: determines which ones.
            start_step: the step whose batch comes first. Default: 0.

        Returns:
            a data set of tuples (x, y), each float32 of shape (global_batch, dimensions). Row r of both is of class
            `r % num_classes`.

        Raises:
            UserError: if the batch is no such multiple.
        """
        import tensorflow as tf

        source = self._source(global_batch, seed, tf.convert_to_tensor)
        return tf.data.Dataset.counter(start_step).map(source, num_parallel_calls=tf.data.AUTOTUNE)

    def _source(self, global_batch: int, seed: int, place: Callable[[NDArray[Any]], Any]) -> FeatureSource:
        if global_batch < 1 or global_batch % self.num_classes:
            raise UserError(
                f"a batch of {global_batch} cannot have as many vectors of each of {self.num_classes} classes; give a "
                f"multiple of {self.num_classes}"
            )
        return FeatureSource(self, global_batch, seed, place)


class FeatureSource:
    """Class-balanced batches as a pure function of the step: for each class random vectors of both domains.

    Args:
        dataset: where they are drawn from, with replacement.
        global_batch: vectors of each domain per step over all replicas, a multiple of the number of classes.
        seed: determines which ones.
        place: puts an array where the graph finds it.
    """

    def __init__(
        self, dataset: FeatureDataset, global_batch: int, seed: int, place: Callable[[NDArray[Any]], Any]
    ) -> None:
        repeats = global_batch // dataset.num_classes
        self._sides = []
        for side in (dataset.x, dataset.y):
            counts = side.counts(dataset.num_classes)
            first = np.cumsum(counts) - counts
            self._sides.append((place(side.vectors), np.tile(first, repeats), np.tile(counts, repeats)))
        self.global_batch = global_batch
        self.seed = seed

    def __call__(self, step: tf.Tensor | int, replica: tf.Tensor | int = 0, replicas: int = 1) -> Batch:
        """One replica's part of the batch of one step.

        Args:
            step: the training step from 0.
            replica: which replica, from 0 to `replicas - 1`. Default: 0.
            replicas: how many replicas share the batch. Default: 1.

        Returns:
            x and y, float32 of shape (global_batch / replicas, dimensions).

        Raises:
            UserError: if the batch cannot be divided evenly.
        """
        import tensorflow as tf

        if self.global_batch % replicas:
            raise UserError(
                f"a batch of {self.global_batch} vectors cannot be divided evenly among {replicas} replicas; "
                f"choose a multiple of {replicas}"
            )
        share = self.global_batch // replicas
        key = tf.stack([tf.constant(signed_seed(self.seed), tf.int64), tf.cast(step, tf.int64)])
        numbers = tf.random.stateless_uniform((2, self.global_batch), key, dtype=tf.float64, alg="philox")
        chosen = []
        for row, (vectors, first, counts) in enumerate(self._sides):
            places = first + tf.cast(numbers[row] * counts, tf.int64)
            own = tf.reshape(places[replica * share : (replica + 1) * share], (share,))
            chosen.append(tf.gather(vectors, own))
        return chosen[0], chosen[1]


def plan_of_features(dataset: Any, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """How features are written: `id`, `features`, `label` and `class_name`, in splits such as `train_sketch`.

    Args:
        dataset: a `FeatureDataset`.
        version: the version of the schema.
        homepage: where the published data are. Default: none.
        shards: over how many files each of the splits to train on is spread. Default: see `Split`.
    """
    parts: dict[str, FeatureDataset] = {"train": dataset}
    if dataset.held_out is not None:
        parts["test"] = dataset.held_out
    all_names = sorted({name for part in parts.values() for name in part.class_names})
    splits = tuple(
        Split(
            f"{name}_{domain}",
            len(side.vectors),
            _examples_of(side, part.class_names, all_names),
            shards if name == "train" else None,
        )
        for name, part in parts.items()
        for domain, side in (("sketch", part.x), ("photo", part.y))
    )
    features = {
        "id": Feature("text"),
        "features": Feature("floats", shape=dataset.x_shape),
        "label": Feature("label", num_classes=len(all_names)),
        "class_name": Feature("text"),
    }
    contents = {name: part.fingerprint() for name, part in parts.items()}
    description = f"{dataset.description} Source: {dataset.source}."
    return Plan(dataset.name, version, features, splits, contents, description, homepage)


def _examples_of(
    side: Features, class_names: Sequence[str], all_names: Sequence[str]
) -> Callable[[int, int], Iterator[Example]]:
    def examples(start: int, stop: int) -> Iterator[Example]:
        for row in range(start, stop):
            name = class_names[side.labels[row]]
            yield {
                "id": side.names[row],
                "features": side.vectors[row],
                "label": all_names.index(name),
                "class_name": name,
            }

    return examples
