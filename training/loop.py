"""The training loop: compiled chunks of steps around `strategy.run`; everything else happens between chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data_gen.dataset import Dataset
from data_gen.pairs import PairFeed
from models.base import DisentanglementModel
from models.distribution import replica_count, replica_index
from training.runtime import Runtime


class NotFinite(Exception):
    """A term of the objective is no longer a finite number."""


class RunningMeans(tf.train.experimental.PythonState):
    """Sums of the steps' scalars since the last record, as a part of the checkpoint: logs go on exactly."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._sums = np.zeros(0)
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        """Adds the values of some steps, `[steps, names]`, in their order."""
        if not self._count:
            self._sums = np.zeros(values.shape[1])
        for row in values.astype(np.float64):
            self._sums += row
        self._count += len(values)

    def take(self) -> dict[str, float]:
        """The means by name; begins anew."""
        count, self._count = self._count, 0
        return dict(zip(self.names, (self._sums / count).tolist(), strict=True)) if count else {}

    def serialize(self) -> str:
        """The state as text, exactly."""
        return json.dumps({"names": self.names, "sums": self._sums.tolist(), "count": self._count})

    def deserialize(self, string_value: str) -> None:
        """Takes the state that `serialize` gave."""
        state = json.loads(string_value)
        self.names, self._count = state["names"], state["count"]
        self._sums = np.array(state["sums"])


class TrainingLoop:
    """Runs training steps in compiled chunks and keeps the running means of what they return.

    Args:
        model: a configured model.
        runtime: strategy, XLA and chunk length.
        dataset: what to train on.
        global_batch: images per step over all replicas.
        seed: of the order of the data.
        resident: keep the data on the device; None: if they fit.
    """

    def __init__(
        self,
        model: DisentanglementModel,
        runtime: Runtime,
        dataset: Dataset | PairFeed,
        global_batch: int,
        seed: int,
        resident: bool | None = None,
    ) -> None:
        self.model = model
        self.runtime = runtime
        self.means = RunningMeans()
        self._dataset, self._global_batch, self._seed = dataset, global_batch, seed
        self._names: list[str] = []
        with runtime.strategy.scope():
            fits = dataset.fits_device if resident is None else resident
            self._source = dataset.batch_source(global_batch, seed) if fits else None
        self._iterator: Iterator[Any] | None = None
        self._step_function = (
            tf.function(model.train_step, jit_compile=True, autograph=False) if runtime.xla else model.train_step
        )
        self._chunk = tf.function(self._resident_chunk if self._source else self._streamed_chunk)

    @property
    def resident(self) -> bool:
        """Whether the data are kept on the training device."""
        return self._source is not None

    @property
    def step(self) -> int:
        """The number of steps done."""
        return int(self.model.step.numpy())

    def run(self, steps: int) -> float:
        """Runs training steps and waits until they are done.

        Args:
            steps: how many.

        Returns:
            seconds.

        Raises:
            NotFinite: a returned scalar was not finite; the message names the step and the term.
        """
        begin = time.perf_counter()
        first = self.step
        arguments = () if self.resident else (self._data_iterator(),)
        values = self._chunk(*arguments, tf.constant(steps, tf.int32)).numpy()
        self._refuse_not_finite(values, first)
        self.means.names = self._names
        self.means.add(values)
        return time.perf_counter() - begin

    def restart_data(self) -> None:
        """Lets the data go on from the model's step, after a checkpoint was restored."""
        self._iterator = None

    def _data_iterator(self) -> Iterator[Any]:
        if self._iterator is None:
            pipeline = self._dataset.training_pipeline(self._global_batch, self._seed, self.step)
            self._iterator = iter(self.runtime.strategy.experimental_distribute_dataset(pipeline))
        return self._iterator

    def _resident_chunk(self, steps: tf.Tensor) -> tf.Tensor:
        values = tf.TensorArray(tf.float32, size=steps)
        for index in tf.range(steps):
            values = values.write(index, self._mean(self.runtime.strategy.run(self._resident_step)))
        return values.stack()

    def _streamed_chunk(self, iterator: Iterator[Any], steps: tf.Tensor) -> tf.Tensor:
        values = tf.TensorArray(tf.float32, size=steps)
        for index in tf.range(steps):
            batch = next(iterator)
            values = values.write(index, self._mean(self.runtime.strategy.run(self._step, args=(batch,))))
        return values.stack()

    # AutoGraph looks through every line that a step runs, for many seconds, and finds no loop to convert.
    @tf.autograph.experimental.do_not_convert
    def _resident_step(self) -> tf.Tensor:
        images = self._source(tf.convert_to_tensor(self.model.step), replica_index(), replica_count())  # type: ignore[misc]
        return self._step(images)

    @tf.autograph.experimental.do_not_convert
    def _step(self, images: tf.Tensor) -> tf.Tensor:
        scalars = self._step_function(images)
        self._names = sorted(scalars)
        return tf.stack([tf.cast(scalars[name], tf.float32) for name in self._names])

    def _mean(self, replica_values: Any) -> tf.Tensor:
        return self.runtime.strategy.reduce(tf.distribute.ReduceOp.MEAN, replica_values, axis=None)

    def _refuse_not_finite(self, values: np.ndarray, first_step: int) -> None:
        steps, terms = np.nonzero(~np.isfinite(values))
        if steps.size:
            bad = [self._names[term] for step, term in zip(steps, terms, strict=True) if step == steps[0]]
            also = f" (and {', '.join(bad[1:])})" if bad[1:] else ""
            raise NotFinite(f"{bad[0]}{also} is no longer a finite number at step {first_step + int(steps[0]) + 1}")
