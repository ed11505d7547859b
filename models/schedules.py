"""Schedules as functions of the step: nothing to save, nothing to resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def linear_ramp(step: tf.Tensor, start: float, end: float, first_step: int, last_step: int) -> tf.Tensor:
    """A straight line from `start` at `first_step` to `end` at `last_step`, not clamped.

    Args:
        step: the training step, an integer tensor.
        start, end: values at the two ends.
        first_step, last_step: the two ends; when equal, the value is `end`.

    Returns:
        scalar float32.
    """
    if last_step <= first_step:
        return tf.constant(end, tf.float32)
    progress = tf.cast(step - first_step, tf.float32) / float(last_step - first_step)
    return start + (end - start) * progress


def piecewise_constant(step: tf.Tensor, values: Sequence[float], steps: Sequence[int]) -> tf.Tensor:
    """A value that jumps.

    Args:
        step: the training step, an integer tensor.
        values: the value before the first jump, and that from each jump on.
        steps: the steps, rising, at which it jumps: one fewer than values.

    Returns:
        scalar float32.
    """
    return tf.gather(tf.constant(values, tf.float32), _passed(step, steps))


def _passed(step: tf.Tensor, steps: Sequence[int]) -> tf.Tensor:
    """How many of these steps are reached, a scalar int32."""
    return tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) >= tf.constant(steps, tf.int64), tf.int32))


@keras.saving.register_keras_serializable(package="spout")
class MultiStepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Multiplies the learning rate by `gamma` at each milestone (PyTorch's `MultiStepLR`, counted in steps).

    Args:
        learning_rate: the rate before the first milestone.
        milestones: steps at which the rate falls, rising.
        gamma: the factor.
    """

    def __init__(self, learning_rate: float, milestones: Sequence[int], gamma: float = 0.5) -> None:
        super().__init__()
        if list(milestones) != sorted(set(milestones)) or any(step < 1 for step in milestones):
            raise ValueError(f"milestones are {list(milestones)}; they must be positive and rising")
        self.learning_rate = learning_rate
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self.learning_rate * tf.pow(self.gamma, tf.cast(_passed(step, self.milestones), tf.float32))

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "milestones": list(self.milestones), "gamma": self.gamma}
