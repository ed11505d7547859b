"""The order in which training sees the images: a pure function of (seed, step), computed inside the graph.

Epoch `e` goes through a pseudo-random permutation of all images that is keyed by (seed, e), in `num_examples //
global_batch` whole batches; what is left over is dropped. No state is kept: a run that starts again at step k sees
what it would have seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

# `tf.random.experimental.index_shuffle` fixes 4 rounds of its cipher, which is too few: on 737,280 images neighbors
# correlate by 0.18, consecutive epochs by 0.70, and batches are far too even (a class that fills a third of the data
# varies over batches of 64 with a variance of 5.4 where a fair shuffle has 14.2). From 8 rounds on nothing is left.
SHUFFLE_ROUNDS = 12


def batches_per_epoch(global_batch: int, num_examples: int) -> int:
    """How many whole batches one pass over the data has; `UserError` if not even one."""
    if global_batch < 1:
        raise UserError(f"the batch size is {global_batch}; give at least 1")
    if global_batch > num_examples:
        raise UserError(
            f"a batch of {global_batch} images does not fit a data set of {num_examples}; "
            f"give a batch size of at most {num_examples}"
        )
    return num_examples // global_batch


def indices_at(
    step: tf.Tensor | int,
    global_batch: int,
    num_examples: int,
    seed: int,
    *,
    start: tf.Tensor | int = 0,
    count: int | None = None,
) -> tf.Tensor:
    """The numbers of the images of one training step.

    Works eagerly and in graphs, but not inside a function compiled by XLA: TensorFlow has no XLA kernel for the
    shuffle, so call it outside and pass the images in.

    Args:
        step: the training step from 0, an integer or an integer scalar tensor.
        global_batch: images per step over all replicas, from 1 to `num_examples`.
        num_examples: images in the data set.
        seed: any integer of up to 64 bits.
        start: position in the global batch from which on numbers are wanted. Default: 0.
        count: how many of them. Default: all from `start` on, if `start` is an integer.

    Returns:
        image numbers, int64 of shape (count,).

    Raises:
        UserError: if the batch is below 1 or larger than the data set.
    """
    import tensorflow as tf

    per_epoch = batches_per_epoch(global_batch, num_examples)
    if count is None:
        count = global_batch - int(start)
    # The shuffle has a CPU kernel only, and so few integers are not worth a trip to another device.
    with tf.device("/device:CPU:0"):
        step = tf.cast(step, tf.int64)
        epoch = step // per_epoch
        first = (step % per_epoch) * global_batch + tf.cast(start, tf.int64)
        positions = first + tf.range(count, dtype=tf.int64)
        # Of each word the shuffle reads the low 32 bits only, so a seed takes two.
        key = tf.stack(
            [tf.constant(seed & 0xFFFFFFFF, tf.int64), tf.constant(seed >> 32 & 0xFFFFFFFF, tf.int64), epoch]
        )
        return tf.raw_ops.RandomIndexShuffle(
            index=positions,
            seed=key,
            max_index=tf.constant(num_examples - 1, tf.int64),
            rounds=SHUFFLE_ROUNDS,
        )


def signed_seed(seed: int) -> int:
    """The low 64 bits of a seed as the signed integer that a tensor can hold."""
    low = seed & 0xFFFFFFFFFFFFFFFF
    return low - (1 << 64) if low >> 63 else low
