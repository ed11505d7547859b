"""Wide convolutions give the numbers and gradients of Keras' layers, by products in place of oneDNN's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.wide_convolutions import WideConv2D, WideConv2DTranspose

WIDE, NARROW = (64, 128), (16, 8)
KINDS: dict[str, tuple[Any, Any]] = {
    "convolution": (WideConv2D, keras.layers.Conv2D),
    "transposed": (WideConv2DTranspose, keras.layers.Conv2DTranspose),
}


def results(layer: keras.layers.Layer, inputs: tf.Tensor) -> tuple[list[np.ndarray], set[str]]:
    """Outputs, and gradients of the kernel, the bias and the inputs; and the operations that made them."""

    @tf.function(autograph=False)
    def run(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            # A sum would send the same gradient back from everywhere.
            loss = tf.reduce_sum(tf.sin(outputs))
        return [outputs, *tape.gradient(loss, [*(v.value for v in layer.trainable_variables), inputs])]

    operations = {operation.type for operation in run.get_concrete_function(inputs).graph.get_operations()}
    return [value.numpy() for value in run(inputs)], operations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [WIDE, NARROW])
@pytest.mark.parametrize("sides", [(8, 4), (2, 6)])
def test_same_numbers(kind: str, channels: tuple[int, int], sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(3, *sides, channels[0])).astype(np.float32))
    found: list[list[np.ndarray]] = []
    used: list[set[str]] = []
    builders: list[Callable[..., keras.layers.Layer]] = list(KINDS[kind])
    for build in builders:
        layer = build(channels[1], 4, 2, padding="same", activation="tanh")
        layer.build(inputs.shape)
        layer.set_weights([0.05 * np.random.default_rng(1).normal(size=w.shape) for w in layer.get_weights()])
        values, operations = results(layer, inputs)
        found.append(values)
        used.append(operations)
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-5 * float(np.abs(plain).max()))
    assert ("Conv2DBackpropFilter" in used[0]) == (channels == NARROW)
    assert "Conv2DBackpropFilter" in used[1]


def test_odd_sides_and_other_kernels_are_left_to_keras() -> None:
    for layer, sides in ((WideConv2D(128, 4, 2, padding="same"), 7), (WideConv2D(128, 3, 2, padding="same"), 8)):
        _, operations = results(layer, tf.random.stateless_normal([2, sides, sides, 64], [0, 0]))
        assert "Conv2DBackpropFilter" in operations


def test_gradients_have_gradients() -> None:
    layer = WideConv2D(128, 4, 2, padding="same", use_bias=False)
    inputs = tf.random.stateless_normal([1, 4, 4, 64], [0, 0])
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            loss = tf.reduce_sum(layer(inputs) ** 2) / 2.0
        norm = tf.reduce_sum(inner.gradient(loss, layer.kernel.value) ** 2) / 2.0
    found = outer.gradient(norm, inputs)
    step = tf.random.stateless_normal(inputs.shape, [1, 1])

    def norm_at(size: float) -> float:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs + size * step) ** 2) / 2.0
        return float(tf.reduce_sum(tape.gradient(loss, layer.kernel.value) ** 2) / 2.0)

    slope = (norm_at(1e-2) - norm_at(-1e-2)) / 2e-2
    np.testing.assert_allclose(float(tf.reduce_sum(found * step)), slope, rtol=1e-2)
