"""Each layer computes what its plain Keras counterpart computes, whatever kernels it uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import (
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DoublingConv2D,
    WholeMapConv2D,
    batch_parts,
    batch_statistics,
    deferred_moving_statistics,
)
from training.runtime import mirrored_strategy

Builder = Callable[[], keras.layers.Layer]
BATCH = 6


def batch_norm(**arguments: Any) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **arguments)


class Upsampled(keras.layers.Conv2D):
    """Upsampling and then the convolution, one after the other."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return super().call(tf.repeat(tf.repeat(inputs, 2, axis=1), 2, axis=2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = input_shape
        return super().compute_output_shape((batch, height and 2 * height, width and 2 * width, channels))


# name: (ours, plain Keras, shape of one input)
CASES: dict[str, tuple[Builder, Builder, tuple[int, ...]]] = {
    "halving, 1 channel": (
        lambda: Conv2D(5, 4, 2, padding="same", activation="tanh"),
        lambda: keras.layers.Conv2D(5, 4, 2, padding="same", activation="tanh"),
        (8, 10, 1),
    ),
    "halving, 3 channels, no bias": (
        lambda: Conv2D(5, 4, 2, padding="same", use_bias=False),
        lambda: keras.layers.Conv2D(5, 4, 2, padding="same", use_bias=False),
        (8, 8, 3),
    ),
    "halving, 5 channels": (
        lambda: Conv2D(3, 4, 2, padding="same"),
        lambda: keras.layers.Conv2D(3, 4, 2, padding="same"),
        (8, 8, 5),
    ),
    "odd sides": (
        lambda: Conv2D(3, 4, 2, padding="same"),
        lambda: keras.layers.Conv2D(3, 4, 2, padding="same"),
        (7, 9, 1),
    ),
    "convolution 3 x 3": (
        lambda: Conv2D(3, 3, 1, padding="same"),
        lambda: keras.layers.Conv2D(3, 3, 1, padding="same"),
        (8, 8, 2),
    ),
    "doubling to 1 channel": (
        lambda: Conv2DTranspose(1, 4, 2, padding="same", activation="tanh"),
        lambda: keras.layers.Conv2DTranspose(1, 4, 2, padding="same", activation="tanh"),
        (4, 5, 6),
    ),
    "doubling to 3 channels, no bias": (
        lambda: Conv2DTranspose(3, 4, 2, padding="same", use_bias=False),
        lambda: keras.layers.Conv2DTranspose(3, 4, 2, padding="same", use_bias=False),
        (4, 4, 6),
    ),
    "doubling to 7 channels": (
        lambda: Conv2DTranspose(7, 4, 2, padding="same"),
        lambda: keras.layers.Conv2DTranspose(7, 4, 2, padding="same"),
        (4, 4, 6),
    ),
    "transposed 3 x 3": (
        lambda: Conv2DTranspose(4, 3, 1, padding="same", activation="tanh"),
        lambda: keras.layers.Conv2DTranspose(4, 3, 1, padding="same", activation="tanh"),
        (4, 5, 6),
    ),
    "transposed 2 x 2": (
        lambda: Conv2DTranspose(4, 2, 1, padding="same"),
        lambda: keras.layers.Conv2DTranspose(4, 2, 1, padding="same"),
        (4, 5, 6),
    ),
    "upsampling and 3 x 3": (
        lambda: DoublingConv2D(4, 3, padding="same", activation="tanh"),
        lambda: Upsampled(4, 3, padding="same", activation="tanh"),
        (4, 5, 3),
    ),
    "upsampling of one pixel, no bias": (
        lambda: DoublingConv2D(2, 3, padding="same", use_bias=False),
        lambda: Upsampled(2, 3, padding="same", use_bias=False),
        (1, 1, 3),
    ),
    "whole map": (
        lambda: WholeMapConv2D(4, 8, padding="valid", use_bias=False),
        lambda: keras.layers.Conv2D(4, 8, padding="valid", use_bias=False),
        (8, 8, 3),
    ),
    "whole map of 3 x 5": (
        lambda: WholeMapConv2D(4, (3, 5), padding="valid", activation="tanh"),
        lambda: keras.layers.Conv2D(4, (3, 5), padding="valid", activation="tanh"),
        (3, 5, 2),
    ),
    "batch norm of maps": (BatchNormalization, batch_norm, (4, 4, 5)),
    "batch norm of vectors": (BatchNormalization, batch_norm, (5,)),
}


def build_pair(case: str) -> tuple[keras.layers.Layer, keras.layers.Layer, tf.Tensor]:
    """Our layer and the plain one with the same, random weights, and inputs."""
    ours, plain, shape = CASES[case]
    rng = np.random.default_rng(0)
    layers = ours(), plain()
    for layer in layers:
        layer.build((None, *shape))
    weights = [rng.uniform(0.1, 0.3, weight.shape) * rng.choice([-1, 1], weight.shape) for weight in layers[0].weights]
    if "batch norm" in case:
        weights[-1] = abs(weights[-1])
    for layer in layers:
        layer.set_weights(weights)
    return *layers, tf.constant(rng.normal(0.5, 2.0, [BATCH, *shape]), tf.float32)


def call(layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer(inputs, training=True)
    return layer(inputs)


def close(actual: Any, expected: Any, tolerance: float = 2e-5) -> None:
    scale = float(np.max(np.abs(expected))) if np.size(expected) else 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(scale, 1.0))


def first_order(layer: keras.layers.Layer, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Outputs, and the gradients of a curved function of them with respect to inputs and weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = call(layer, inputs)
        loss = tf.reduce_sum(tf.sin(outputs))
    return outputs, tape.gradient(loss, [inputs, *layer.trainable_weights])


def gradient_penalty(layer: keras.layers.Layer, inputs: tf.Tensor) -> list[tf.Tensor]:
    """The gradients of a gradient penalty with respect to inputs and weights."""
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            loss = tf.reduce_sum(tf.sin(call(layer, inputs)))
        penalty = tf.reduce_sum(tf.square(inner.gradient(loss, inputs)))
    return outer.gradient(penalty, [inputs, *layer.trainable_weights], unconnected_gradients="zero")


@pytest.mark.parametrize("case", CASES)
def test_equals_keras(case: str) -> None:
    ours, plain, inputs = build_pair(case)
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in plain.weights]
    outputs, gradients = tf.function(first_order)(ours, inputs)
    expected_outputs, expected = tf.function(first_order)(plain, inputs)
    assert outputs.shape == expected_outputs.shape
    close(outputs, expected_outputs)
    for gradient, right in zip(gradients, expected, strict=True):
        close(gradient, right, 1e-4)
    for ours_weight, plain_weight in zip(ours.weights, plain.weights, strict=True):
        close(ours_weight.numpy(), plain_weight.numpy())


@pytest.mark.parametrize("case", CASES)
def test_second_order_equals_keras(case: str) -> None:
    ours, plain, inputs = build_pair(case)
    for gradient, right in zip(gradient_penalty(ours, inputs), gradient_penalty(plain, inputs), strict=True):
        close(gradient, right, 2e-4)


@pytest.mark.parametrize("case", CASES)
def test_unknown_batch_size(case: str) -> None:
    ours, plain, inputs = build_pair(case)
    signature = [tf.TensorSpec([None, *inputs.shape[1:]])]
    outputs = tf.function(lambda images: call(ours, images), input_signature=signature)(inputs)
    close(outputs, call(plain, inputs))


@pytest.mark.parametrize(
    "case", ["halving, 1 channel", "doubling to 1 channel", "transposed 3 x 3", "whole map", "batch norm of maps"]
)
def test_xla(case: str) -> None:
    ours, _, inputs = build_pair(case)
    weights = ours.get_weights()
    outputs, gradients = tf.function(first_order)(ours, inputs)
    ours.set_weights(weights)
    compiled_outputs, compiled = tf.function(first_order, jit_compile=True)(ours, inputs)
    close(compiled_outputs, outputs)
    for gradient, right in zip(compiled, gradients, strict=True):
        close(gradient, right, 1e-4)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16(case: str) -> None:
    ours, _, inputs = build_pair(case)
    exact, _ = first_order(ours, inputs)
    weights = ours.get_weights()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    half, _, _ = build_pair(case)
    half.set_weights(weights)
    outputs, gradients = tf.function(first_order)(half, tf.cast(inputs, tf.bfloat16))
    assert outputs.dtype == tf.bfloat16
    assert all(weight.dtype == "float32" for weight in half.weights)
    assert all(gradient.dtype == tf.float32 for gradient in gradients[1:])
    assert all(bool(tf.reduce_all(tf.math.is_finite(gradient))) for gradient in gradients)
    close(tf.cast(outputs, tf.float32), exact, 0.05)


def test_transposed_convolution_by_hand() -> None:
    layer = Conv2DTranspose(1, 4, 2, padding="same", use_bias=False)
    layer.build((None, 2, 2, 1))
    layer.set_weights([np.arange(16.0).reshape(4, 4, 1, 1)])
    inputs = np.zeros([1, 2, 2, 1], np.float32)
    inputs[0, 0, 1, 0] = 1.0
    # Position (0, 1) reaches rows -1..2 and columns 1..4; what lies outside the 4 x 4 image is cut off.
    expected = [[0, 4, 5, 6], [0, 8, 9, 10], [0, 12, 13, 14], [0, 0, 0, 0]]
    np.testing.assert_array_equal(layer(inputs)[0, :, :, 0], expected)


def test_batch_norm_by_hand() -> None:
    layer = BatchNormalization(momentum=0.75, epsilon=0.0)
    outputs = layer(tf.constant([[1.0], [3.0]]), training=True)
    np.testing.assert_allclose(outputs, [[-1.0], [1.0]], atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.5])  # 0.75 * 0 + 0.25 * 2
    np.testing.assert_allclose(layer.moving_variance, [1.0])  # 0.75 * 1 + 0.25 * 1: the biased variance


def test_moving_statistics_move_in_training_only() -> None:
    ours, plain, inputs = build_pair("batch norm of maps")
    before = ours.get_weights()
    evaluated = ours(inputs, training=False)
    for weight, value in zip(ours.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    close(evaluated, plain(inputs, training=False))
    ours(inputs, training=True)
    moved = [not np.array_equal(weight, value) for weight, value in zip(ours.weights, before, strict=True)]
    assert moved == [False, False, True, True]


@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics_leave_moving_ones_alone(training: bool) -> None:
    ours, plain, inputs = build_pair("batch norm of maps")
    before = ours.get_weights()
    with batch_statistics():
        outputs = ours(inputs, training=training)
    for weight, value in zip(ours.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    close(outputs, plain(inputs, training=True))
    close(ours(inputs, training=False), ours(inputs, training=False))
    assert not np.allclose(outputs, ours(inputs, training=False))


def test_batch_norm_synchronized() -> None:
    """Two replicas normalize by the statistics of the global batch, and share its gradients."""
    strategy = mirrored_strategy(("CPU:0", "CPU:1"))
    ours, _, inputs = build_pair("batch norm of maps")
    weights = ours.get_weights()
    expected_outputs, expected = first_order(ours, inputs)
    with strategy.scope():
        shared = BatchNormalization()
        shared.build(inputs.shape)
    shared.set_weights(weights)
    parts = strategy.experimental_distribute_values_from_function(
        lambda context: tf.split(inputs, 2)[context.replica_id_in_sync_group]
    )
    run = tf.function(lambda values: strategy.run(lambda part: first_order(shared, part), args=(values,)))
    outputs, gradients = run(parts)
    close(tf.concat(strategy.experimental_local_results(outputs), 0), expected_outputs)
    close(tf.concat(strategy.experimental_local_results(gradients[0]), 0), expected[0], 1e-4)
    for gradient, right in zip(gradients[1:], expected[1:], strict=True):
        close(strategy.reduce("SUM", gradient, axis=None), right, 1e-4)
    for weight, right in zip(shared.weights, ours.weights, strict=True):
        close(weight.numpy(), right.numpy())


def test_whole_map_refuses_what_it_cannot_compute() -> None:
    with pytest.raises(ValueError, match="needs padding 'valid'"):
        WholeMapConv2D(4, 3, padding="valid").build((None, 4, 4, 2))
    with pytest.raises(ValueError, match="needs padding 'valid'"):
        WholeMapConv2D(4, 4, padding="same").build((None, 4, 4, 2))


@pytest.mark.parametrize("arguments", [{"padding": "valid"}, {"padding": "same", "strides": 2}, {"padding": "same"}])
def test_upsampling_refuses_what_it_cannot_compute(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kernel 3, stride 1, padding 'same'"):
        DoublingConv2D(2, 3 if len(arguments) == 2 else 5, **arguments).build((None, 4, 4, 2))


@pytest.mark.parametrize(
    "case", ["halving, 1 channel", "upsampling and 3 x 3", "doubling to 1 channel", "whole map", "batch norm of maps"]
)
def test_saving(case: str, tmp_path: Path) -> None:
    ours, _, inputs = build_pair(case)
    symbol = keras.Input(inputs.shape[1:])
    model = keras.Model(symbol, ours(symbol))
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras")
    assert type(loaded.layers[1]) is type(ours)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_deferred_moving_statistics_move_as_often_as_they_are_applied() -> None:
    deferred, plain = BatchNormalization(name="deferred"), BatchNormalization(name="plain")
    first = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, [16, 5]), tf.float32)
    second = first * 0.5 - 1.0
    with deferred_moving_statistics() as notes:
        outputs = [deferred(first, training=True), deferred(second, training=True)]
        assert np.array_equal(deferred.moving_mean.numpy(), np.zeros(5))
    for note in (notes[0], notes[1], notes[0]):
        note.apply()
    expected = [plain(images, training=True) for images in (first, second, first)]
    assert np.array_equal(outputs[0], expected[0])
    assert np.array_equal(outputs[1], expected[1])
    assert np.array_equal(deferred.moving_mean.numpy(), plain.moving_mean.numpy())
    assert np.array_equal(deferred.moving_variance.numpy(), plain.moving_variance.numpy())


@pytest.mark.parametrize("unbiased", [False, True])
def test_parts_of_a_batch_are_normalized_apart(unbiased: bool) -> None:
    together, apart = BatchNormalization(unbiased=unbiased), BatchNormalization(unbiased=unbiased)
    first = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, [4, 3, 3, 5]), tf.float32)
    both = tf.concat([first, first * first], axis=0)
    with batch_parts(2):
        outputs = together(both, training=True)
        inferred = together(both, training=False)
    np.testing.assert_array_equal(outputs[:4], apart(first, training=True))
    np.testing.assert_array_equal(outputs[4:], apart(first * first, training=True))
    for ours, right in zip(together.weights, apart.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), right.numpy())
    np.testing.assert_array_equal(inferred, apart(both, training=False))
    assert np.abs(outputs - together(both, training=True)).max() > 0.1


def test_unbiased_moving_variance() -> None:
    values = np.random.default_rng(0).normal(size=[4, 3]).astype(np.float32)
    for unbiased in (False, True):
        layer = BatchNormalization(momentum=0.0, unbiased=unbiased)
        layer(tf.constant(values), training=True)
        np.testing.assert_allclose(layer.moving_variance.numpy(), values.var(axis=0, ddof=int(unbiased)), rtol=1e-5)
        assert BatchNormalization.from_config(layer.get_config()).unbiased is unbiased


def test_the_moving_variance_of_one_example_is_zero() -> None:
    layer = BatchNormalization(momentum=0.0, unbiased=True)
    layer(tf.constant([[1.0, 2.0]]), training=True)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), [0.0, 0.0])


@pytest.mark.parametrize("units", [512, 100])
def test_linear_layer_of_many_features_equals_keras(units: int) -> None:
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(6, 4096)), tf.float32)
    ours, theirs = Dense(units), keras.layers.Dense(units)
    results = []
    for layer in (ours, theirs):
        layer.build(features.shape)
        layer.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in layer.get_weights()])
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features)
            loss = tf.reduce_sum(outputs * tf.cos(outputs / 50))
        results.append([outputs, *tape.gradient(loss, [features, *layer.trainable_variables])])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-3)
