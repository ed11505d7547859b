"""What a step needs to know of the replicas it runs on, and the one way to average over a global batch."""

from __future__ import annotations

import tensorflow as tf


def replica_count() -> int:
    """The number of replicas in sync; 1 outside any strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_index() -> tf.Tensor | int:
    """The index of the replica that runs this code; 0 outside any strategy."""
    context = tf.distribute.get_replica_context()
    if context is None or replica_count() == 1:
        return 0
    return context.replica_id_in_sync_group


def global_mean(per_example: tf.Tensor) -> tf.Tensor:
    """One replica's share of the mean over the global batch.

    Optimizers add the gradients of the replicas up, so the shares of all replicas must sum to the mean.

    Args:
        per_example: loss of each example of this replica, `[batch]`, in any float type.

    Returns:
        scalar float32: `sum(per_example) / (batch * replicas)`.
    """
    return tf.reduce_mean(tf.cast(per_example, tf.float32)) / replica_count()


def all_replicas_mean(value: tf.Tensor) -> tf.Tensor:
    """The mean of `value` over all replicas, the same on each; differentiable."""
    if replica_count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)


def all_replicas_rows(values: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, `[batch * replicas, ...]`, the same on each: the global batch in its order."""
    if replica_count() == 1:
        return values
    return tf.distribute.get_replica_context().all_gather(values, axis=0)
