"""Tests that sums of gradients do not depend on which of TensorFlow's buffers happens to be free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from training.fixed_order import fix_order_of_sums

LARGE = 1e8
"""Next to it, 1 is less than half a unit in the last place of a float32."""


@pytest.fixture(autouse=True)
def fixed_order() -> None:
    fix_order_of_sums()


def with_held(sum_of: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]) -> float:
    """A sum of 1e8 and -1e8, which are held by another reader, and a 1 whose buffer `AddN` could add into."""

    @tf.function(autograph=False)
    def graph(one: tf.Tensor) -> Any:
        large, negative = one * LARGE, one * -LARGE
        return sum_of(large, negative, tf.exp(one - 1.0)), large, negative

    return float(graph(tf.constant(1.0))[0])


@tf.custom_gradient
def with_gradient(inputs: tf.Tensor, gradient: tf.Tensor) -> Any:
    return tf.identity(inputs), lambda upstream: (gradient, None)


def uses(large: tf.Tensor, negative: tf.Tensor, one: tf.Tensor) -> tf.Tensor:
    """The gradient of a tensor used three times; a tape adds what the last use gives first."""
    source = tf.ones([])
    with tf.GradientTape() as tape:
        tape.watch(source)
        outputs = [with_gradient(source, gradient) for gradient in (one, negative, large)]
    return tape.gradient(outputs, source)


def test_tensorflow_adds_into_a_free_buffer_first() -> None:
    assert with_held(lambda *values: tf.add_n(values)) == 0.0


def test_additions_of_a_graph_stay_in_their_order() -> None:
    assert with_held(lambda large, negative, one: (large + negative) + one) == 1.0
    assert with_held(lambda large, negative, one: large + (negative + one)) == 0.0


def test_gradients_are_added_in_the_order_of_the_tape() -> None:
    assert with_held(uses) == 1.0


def test_sums_of_two_and_of_sparse_gradients_are_what_they_were() -> None:
    table = tf.Variable(tf.ones([4, 2]))
    with tf.GradientTape() as tape:
        rows = [tf.gather(table, [0, 1]), tf.gather(table, [1]), tf.gather(table, [3])]
        total = tf.add_n([tf.reduce_sum(row) for row in rows])
    gradient = tape.gradient(total, table)
    assert isinstance(gradient, tf.IndexedSlices)
    assert tf.convert_to_tensor(gradient)[:, 0].numpy().tolist() == [1.0, 2.0, 0.0, 1.0]
    square = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(square)
        product = square * square
    assert float(tape.gradient(product, square)) == 6.0
