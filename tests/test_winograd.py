"""Winograd's filtering gives the numbers and gradients of plain convolutions; the layers use it in training only."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import Conv2D, Conv2DTranspose
from models.winograd import Axis, Filtering, algorithm, axis, doubled, filtering_of, halved

WIDE, NARROW = (64, 64), (16, 8)
KINDS: dict[str, tuple[Any, Any]] = {
    "convolution": (Conv2D, keras.layers.Conv2D),
    "transposed": (Conv2DTranspose, keras.layers.Conv2DTranspose),
}
SIDES = [(4, 4), (8, 4), (7, 12), (3, 6)]
"""Rows and columns of features: one tile, several along one or both axes, tiles of unequal parts."""


def normal(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng([seed, *shape]).normal(size=shape))


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
def test_an_algorithm_filters_with_one_product_per_input(outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    values, taps = rng.normal(size=outputs + 1), rng.normal(size=2)
    rule = algorithm(outputs)
    products = (rule.kernel @ taps) * (rule.pixels @ values)
    assert products.shape == (outputs + 1,)
    np.testing.assert_allclose(rule.features.T @ products, np.convolve(values, taps[::-1], "valid"), atol=1e-12)


@pytest.mark.parametrize(
    ("outputs", "tiles"),
    [
        (3, Axis((3,), 1)),
        (4, Axis((4,), 1)),
        (6, Axis((3, 3), 1)),
        (7, Axis((4, 3), 1)),
        (8, Axis((4,), 2)),
        (64, Axis((4,), 16)),
        *((outputs, None) for outputs in (1, 2, 5, 9, 15)),
    ],
)
def test_how_outputs_are_cut_into_tiles(outputs: int, tiles: Axis | None) -> None:
    assert axis(outputs) == tiles
    assert tiles is None or tiles.outputs == outputs
    assert (filtering_of(outputs, 4) is None) == (tiles is None)


@pytest.mark.parametrize("sides", SIDES)
def test_convolutions_in_double_precision(sides: tuple[int, int]) -> None:
    filtering = filtering_of(*sides)
    assert filtering is not None
    pixels = normal(2, 2 * sides[0], 2 * sides[1], 3)
    features, kernel = normal(2, *sides, 5), normal(4, 4, 3, 5)
    np.testing.assert_allclose(
        halved(pixels, kernel, filtering), tf.nn.conv2d(pixels, kernel, 2, "SAME"), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        doubled(features, kernel, filtering),
        tf.nn.conv2d_transpose(features, kernel, pixels.shape, 2, "SAME"),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("sides", SIDES)
def test_transforms_have_their_transposes(sides: tuple[int, int]) -> None:
    filtering = filtering_of(*sides)
    assert isinstance(filtering, Filtering)
    pairs = [
        (normal(2, 2 * sides[0], 2 * sides[1], 3), filtering.of_pixels, filtering.to_pixels),
        (normal(2, *sides, 5), filtering.of_features, filtering.to_features),
        (normal(4, 4, 3, 5), filtering.of_kernel, filtering.to_kernel),
    ]
    for source, there, back in pairs:
        values = there(source)
        others = normal(*values.shape, seed=1)
        assert back(others).shape == source.shape
        np.testing.assert_allclose(tf.reduce_sum(values * others), tf.reduce_sum(source * back(others)), atol=1e-10)


def results(layer: keras.layers.Layer, inputs: tf.Tensor, training: bool) -> tuple[list[np.ndarray], set[str]]:
    """Outputs, and gradients of the kernel, the bias and the inputs; and the operations that made them."""
    arguments = {"training": training} if isinstance(layer, Conv2D | Conv2DTranspose) else {}

    @tf.function(autograph=False)
    def run(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, **arguments)
            # A sum would send the same gradient back from everywhere.
            loss = tf.reduce_sum(tf.sin(outputs))
        return [outputs, *tape.gradient(loss, [*(v.value for v in layer.trainable_variables), inputs])]

    operations = {operation.type for operation in run.get_concrete_function(inputs).graph.get_operations()}
    return [value.numpy() for value in run(inputs)], operations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [WIDE, NARROW])
@pytest.mark.parametrize("training", [True, False])
def test_layers_compute_what_keras_computes(kind: str, channels: tuple[int, int], training: bool) -> None:
    sides = (14, 8) if kind == "convolution" else (7, 4)
    inputs = tf.cast(normal(3, *sides, channels[0]), tf.float32)
    found: list[list[np.ndarray]] = []
    used: list[set[str]] = []
    for build in KINDS[kind]:
        layer = build(channels[1], 4, 2, padding="same", activation="tanh")
        layer.build(inputs.shape)
        layer.set_weights([0.05 * np.random.default_rng(1).normal(size=w.shape) for w in layer.get_weights()])
        values, operations = results(layer, inputs, training)
        found.append(values)
        used.append(operations)
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, atol=3e-5 * float(np.abs(plain).max()))
    convolutions = [{name for name in operations if name.startswith("Conv2D")} for operations in used]
    assert convolutions[1] == {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"}
    assert convolutions[0] == (set() if channels == WIDE and training else convolutions[1])


def test_other_sides_kernels_and_types_are_left_to_keras() -> None:
    for layer, shape in (
        (Conv2D(64, 4, 2, padding="same"), [2, 7, 7, 64]),
        (Conv2D(64, 4, 2, padding="same"), [2, 10, 10, 64]),
        (Conv2D(64, 3, 2, padding="same"), [2, 8, 8, 64]),
        (Conv2D(64, 4, 2, padding="same", dtype="float64"), [2, 8, 8, 64]),
    ):
        _, operations = results(layer, tf.cast(normal(*shape), layer.dtype), True)
        assert "Conv2DBackpropFilter" in operations


def test_gradients_have_gradients() -> None:
    layer = Conv2D(64, 4, 2, padding="same", use_bias=False)
    inputs = tf.cast(normal(1, 8, 8, 64), tf.float32)
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            loss = tf.reduce_sum(layer(inputs, training=True) ** 2) / 2.0
        norm = tf.reduce_sum(inner.gradient(loss, layer.kernel.value) ** 2) / 2.0
    found = outer.gradient(norm, inputs)
    step = tf.cast(normal(*inputs.shape, seed=1), tf.float32)

    def norm_at(size: float) -> float:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs + size * step, training=True) ** 2) / 2.0
        return float(tf.reduce_sum(tape.gradient(loss, layer.kernel.value) ** 2) / 2.0)

    slope = (norm_at(1e-2) - norm_at(-1e-2)) / 2e-2
    np.testing.assert_allclose(float(tf.reduce_sum(found * step)), slope, rtol=1e-2)
