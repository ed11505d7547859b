"""Noise that is a pure function of (seed, step, stream, replica): nothing to save, nothing to drift."""

from __future__ import annotations

import math
import zlib

import tensorflow as tf

from models.distribution import replica_count, replica_index


class Noise:
    """Stateless noise of one training step, the same however the global batch is split over replicas.

    TensorFlow's default algorithm differs between XLA and plain graphs, so it is fixed to Philox. So does the way from
    Philox' bits to floating-point numbers, so it is taken here: integers are the same to the last bit, uniform and
    normal numbers up to rounding.

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

    def _bits(self, stream: str, shape: list[int | tf.Tensor]) -> tf.Tensor:
        """Uniform int32 over the whole range."""
        return tf.random.stateless_uniform(shape, self._stream(stream), None, None, tf.int32, alg="philox")

    def normal(self, stream: str, shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...]) -> tf.Tensor:
        """Standard normal noise.

        Args:
            stream: the name of the noise; equal names give equal noise.
            shape: shape on this replica, the batch first.

        Returns:
            float32 of that shape: this replica's rows of the global batch's noise.

        Source: Box and Muller 1958; twice as fast on a CPU as `tf.random.stateless_normal`.
        """
        rows, *rest = shape
        whole = [rows * replica_count(), *rest]
        size = tf.reduce_prod(whole)
        first, second = tf.unstack(_unit(self._bits(stream, [2, (size + 1) // 2])))
        radius, angle = tf.sqrt(-2.0 * tf.math.log(1.0 - first)), (2.0 * math.pi) * second
        values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)[:size]
        return self._local_rows(tf.reshape(values, whole), rows)

    def uniform(
        self,
        stream: str,
        shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...],
        low: float = 0.0,
        high: float = 1.0,
    ) -> tf.Tensor:
        """Uniform noise in `[low, high)`; arguments and result as in `normal`."""
        rows, *rest = shape
        values = _unit(self._bits(stream, [rows * replica_count(), *rest]))
        return self._local_rows(low + (high - low) * values, rows)

    def chance(
        self, stream: str, shape: list[int | tf.Tensor] | tuple[int | tf.Tensor, ...], probability: float
    ) -> tf.Tensor:
        """True with this probability, to 2 ** -32; arguments otherwise, and result's rows, as in `normal`.

        Raises:
            ValueError: no probability above 0 and up to 1.
        """
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"probability is {probability}; it must be above 0 and at most 1")
        rows, *rest = shape
        least = round((1.0 - probability) * 2.0**32) - 2**31
        return self._local_rows(self._bits(stream, [rows * replica_count(), *rest]) >= least, rows)

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

    def common_normal(self, stream: str, shape: list[int] | tuple[int, ...], cut: float = float("inf")) -> tf.Tensor:
        """Standard normal noise that is the same on all replicas, such as fresh weights.

        Args:
            stream: the name of the noise.
            shape: shape of the result.
            cut: values beyond this many deviations are drawn again (in effect: the distribution function is inverted).
                Default: none, which leaves values of -5.42 to 5.29.

        Returns:
            float32 of that shape.
        """
        tail = 0.5 * math.erfc(cut / math.sqrt(2.0))
        # Half of the last bit keeps 0 out, whose quantile is infinite; below 1 it is rounded away, or up to 1.
        inner = tf.minimum(_unit(self._bits(stream, list(shape))) + 2.0**-25, 1.0 - 2.0**-24)
        return tf.math.ndtri(tail + (1.0 - 2.0 * tail) * inner)

    def permutations(self, stream: str, rows: int | tf.Tensor, columns: int) -> tf.Tensor:
        """One random permutation of the global batch's rows for each column.

        Args:
            stream: the name of the noise.
            rows: rows on this replica.
            columns: number of columns.

        Returns:
            int32 `[rows, columns]`: this replica's rows; values are numbers of rows of the global batch.
        """
        order = tf.argsort(self._bits(stream, [columns, rows * replica_count()]), axis=1)
        return self._local_rows(tf.transpose(order), rows)


def content_normal(images: tf.Tensor, size: int, seed: int) -> tf.Tensor:
    """Standard normal noise that is a function of an image's content and of nothing else.

    Equal images have equal noise, in any batch and any order, up to the last bits of the logarithm and the cosine; the
    noise of images that differ is independent.

    Args:
        images: float32 `[batch, ...]`, compared bit by bit.
        size: how many numbers for each image.
        seed: another one gives other noise.

    Returns:
        float32 `[batch, size]`.

    Source: multilinear hashing (Carter and Wegman 1979); SplitMix (Steele, Lea and Flood 2014); Box and Muller 1958.
    """
    pixels = tf.reshape(tf.cast(images, tf.float32), [tf.shape(images)[0], math.prod(images.shape[1:])])
    bits = tf.cast(tf.bitcast(pixels, tf.int32), tf.int64)
    places = _mixed(_GOLDEN * tf.range(1, bits.shape[1] + 1, dtype=tf.int64))
    # The low bits of a product are poor, and those of black and white pixels are all 0.
    content = tf.reduce_sum(_folded(bits * tf.bitwise.bitwise_or(places, 1), 32), axis=1)
    counters = _GOLDEN * tf.range(1, size + 1, dtype=tf.int64)
    key = _mixed(tf.constant(seed, tf.int64) + _GOLDEN)
    drawn = _mixed(_mixed(content + key)[:, tf.newaxis] + counters)
    low, high = (_unit(tf.cast(part, tf.int32)) for part in (drawn, tf.bitwise.right_shift(drawn, 32)))
    return tf.sqrt(-2.0 * tf.math.log(1.0 - low)) * tf.cos((2.0 * math.pi) * high)


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def _folded(values: tf.Tensor, shift: int) -> tf.Tensor:
    """Int64 values xor themselves shifted to the right, as if without a sign."""
    upper = tf.bitwise.bitwise_and(tf.bitwise.right_shift(values, shift), 2 ** (64 - shift) - 1)
    return tf.bitwise.bitwise_xor(values, upper)


def _mixed(values: tf.Tensor) -> tf.Tensor:
    """SplitMix's permutation of the int64: every bit that goes in changes half of those that come out."""
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        values = _folded(values, shift) * multiplier
    return _folded(values, 31)


def _unit(bits: tf.Tensor) -> tf.Tensor:
    """Float32 in [0, 1) of the upper 24 bits of int32; every operation is exact."""
    return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24 + 0.5
