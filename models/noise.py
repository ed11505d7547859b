"""Noise that is a pure function of (seed, step, stream, replica): nothing to save, nothing to drift."""

from __future__ import annotations

import zlib

import tensorflow as tf

from models.distribution import replica_count, replica_index


class Noise:
    """Stateless noise of one training step, the same however the global batch is split over replicas.

    The algorithm is fixed to Philox: TensorFlow's default differs between XLA and plain graphs.

    Args:
        seed: the run's seed.
        step: the training step, a scalar integer tensor or an int.
    """

    def __init__(self, seed: int, step: tf.Tensor | int) -> None:
        self._key = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])

    def _stream(self, stream: str) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(self._key, zlib.crc32(stream.encode()), alg="philox")

    def _local_rows(self, values: tf.Tensor, batch: int | tf.Tensor) -> tf.Tensor:
        if replica_count() == 1:
            return values
        start = replica_index() * batch
        return values[start : start + batch]

    def normal(self, stream: str, shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...]) -> tf.Tensor:
        """Standard normal noise.

        Args:
            stream: the name of the noise; equal names give equal noise.
            shape: shape on this replica, the batch first.

        Returns:
            float32 of that shape: this replica's rows of the global batch's noise.
        """
        rows, *rest = shape
        values = tf.random.stateless_normal([rows * replica_count(), *rest], self._stream(stream), alg="philox")
        return self._local_rows(values, rows)

    def uniform(
        self,
        stream: str,
        shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...],
        low: float = 0.0,
        high: float = 1.0,
    ) -> tf.Tensor:
        """Uniform noise in `[low, high)`; arguments and result as in `normal`."""
        rows, *rest = shape
        values = tf.random.stateless_uniform(
            [rows * replica_count(), *rest], self._stream(stream), minval=low, maxval=high, alg="philox"
        )
        return self._local_rows(values, rows)

    def integers(self, stream: str, shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...], high: int) -> tf.Tensor:
        """Uniform int32 in `[0, high)`; arguments otherwise as in `normal`."""
        rows, *rest = shape
        values = tf.random.stateless_uniform(
            [rows * replica_count(), *rest],
            self._stream(stream),
            minval=0,
            maxval=high,
            dtype=tf.int32,
            alg="philox",
        )
        return self._local_rows(values, rows)
