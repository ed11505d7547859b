"""Spectral normalization: the estimate, its gradient through the power iteration, and who writes the vector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.spectral import SpectralConv2D, SpectralDense, update_spectral_vectors
from training.runtime import mirrored_strategy

LAYERS: dict[str, tuple[Callable[[], keras.layers.Layer], tuple[int, ...]]] = {
    "dense": (lambda: SpectralDense(4, u_seed=1), (3,)),
    "convolution of few channels": (lambda: SpectralConv2D(4, 4, 2, padding="same", u_seed=1), (8, 8, 2)),
    "convolution 5 x 5": (lambda: SpectralConv2D(3, 5, 2, padding="same", u_seed=1), (6, 6, 5)),
}


def make(name: str) -> tuple[keras.layers.Layer, np.ndarray]:
    builder, shape = LAYERS[name]
    layer = builder()
    layer.build((None, *shape))
    rng = np.random.default_rng(0)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    return layer, rng.normal(size=(2, *shape)).astype(np.float32)


def sigma_by_hand(kernel: np.ndarray, u: np.ndarray) -> tuple[float, np.ndarray]:
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = u @ matrix.T
    v = v / (np.sqrt((v**2).sum()) + 1e-12)
    new = v @ matrix
    new = new / (np.sqrt((new**2).sum()) + 1e-12)
    return float((v @ matrix @ new.T).item()), new


@pytest.mark.parametrize("name", LAYERS)
def test_sigma_by_hand(name: str) -> None:
    layer, inputs = make(name)
    kernel, u = layer.kernel.numpy().astype(np.float64), layer.u.numpy().astype(np.float64)
    sigma, new = sigma_by_hand(kernel, u)
    np.testing.assert_allclose(layer.normalized_kernel(), kernel / sigma, rtol=1e-4, atol=1e-6)
    if name == "dense":
        expected = inputs @ (kernel / sigma)
    else:
        expected = tf.nn.conv2d(inputs, tf.constant(kernel / sigma, tf.float32), 2, "SAME").numpy()
    np.testing.assert_allclose(layer(inputs), expected + layer.bias.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer(inputs, training=True) if name == "dense" else layer(inputs), layer(inputs))
    assert np.array_equal(layer.u.numpy(), u.astype(np.float32)), "a pass changed u"
    layer.update_u()
    np.testing.assert_allclose(layer.u, new, rtol=1e-4, atol=1e-6)
    assert np.array_equal(layer.kernel.numpy(), kernel.astype(np.float32)), "the raw kernel is kept"


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_flows_through_sigma_and_the_power_iteration(name: str) -> None:
    """Against differences of a function of the normalized kernel, computed in float64 by hand."""
    layer, _ = make(name)
    kernel, u = layer.kernel.numpy().astype(np.float64), layer.u.numpy().astype(np.float64)
    direction = np.random.default_rng(1).normal(size=kernel.shape)

    def function(kernel: np.ndarray) -> float:
        return float((direction * kernel / sigma_by_hand(kernel, u)[0]).sum())

    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.constant(direction, tf.float32) * layer.normalized_kernel())
    gradient = tape.gradient(value, layer.kernel).numpy()
    assert float(value) == pytest.approx(function(kernel), rel=1e-4)
    width = 1e-5
    for place in list(np.ndindex(*kernel.shape))[:: max(1, kernel.size // 12)]:
        step = np.zeros_like(kernel)
        step[place] = width
        slope = (function(kernel + step) - function(kernel - step)) / (2 * width)
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_stopping_the_gradient_would_give_another_one() -> None:
    """The check above can tell the two algorithms apart."""
    layer, _ = make("dense")
    kernel, u = layer.kernel.numpy(), layer.u.numpy()
    v = u @ kernel.T
    v /= np.linalg.norm(v)
    new = v @ kernel
    new /= np.linalg.norm(new)
    with tf.GradientTape(persistent=True) as tape:
        stopped = tf.reduce_sum(tf.matmul(v @ tf.convert_to_tensor(layer.kernel), new, transpose_b=True))
        full = tf.reduce_sum(layer.kernel / layer.normalized_kernel()) / kernel.size
    assert float(stopped) == pytest.approx(float(full), rel=1e-4)
    difference = tape.gradient(stopped, layer.kernel) - tape.gradient(full, layer.kernel)
    assert float(tf.reduce_max(tf.abs(difference))) > 1e-3


def test_updates_reach_the_largest_singular_value() -> None:
    layer, _ = make("dense")
    for _ in range(60):
        layer.update_u()
    largest = np.linalg.svd(layer.kernel.numpy(), compute_uv=False)[0]
    np.testing.assert_allclose(layer.normalized_kernel(), layer.kernel / largest, rtol=1e-4)


def test_the_first_vector() -> None:
    layer = SpectralDense(4000, u_seed=3)
    layer.build((None, 2))
    u = layer.u.numpy()
    assert u.shape == (1, 4000)
    assert np.abs(u).max() <= 2
    assert u.std() == pytest.approx(0.88, rel=0.05)
    assert [variable.name for variable in layer.non_trainable_variables] == ["u"]
    twin, other = SpectralDense(4000, u_seed=3), SpectralDense(4000, u_seed=4)
    for made in (twin, other):
        made.build((None, 2))
    assert np.array_equal(twin.u, u)
    assert not np.array_equal(other.u, u)


def network() -> keras.Model:
    inputs = keras.Input([8, 8, 1])
    hidden = keras.layers.Flatten()(SpectralConv2D(3, 4, 2, padding="same", activation="relu", u_seed=5)(inputs))
    return keras.Model(inputs, SpectralDense(2, u_seed=6)(hidden))


def test_saving_keeps_the_vectors(tmp_path: Path) -> None:
    model = network()
    update_spectral_vectors(model)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    twin = network()
    twin.load_weights(tmp_path / "model.weights.h5")
    for other in (loaded, twin):
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
    assert loaded.layers[-1].u_seed == 6


def test_bfloat16_estimates_in_float32() -> None:
    exact, inputs = make("dense")
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    half, _ = make("dense")
    with tf.GradientTape() as tape:
        outputs = half(inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), exact(inputs), rtol=0.03, atol=0.03)
    assert tape.gradient(loss, half.kernel).dtype == tf.float32
    half.update_u()
    exact.update_u()
    assert np.array_equal(half.u, exact.u)


def test_replicas_keep_one_vector() -> None:
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one logical CPU device")
    alone, _ = make("dense")
    strategy = mirrored_strategy(("CPU:0", "CPU:1"))
    with strategy.scope():
        shared, _ = make("dense")
    strategy.run(tf.function(shared.update_u))
    alone.update_u()
    for value in strategy.experimental_local_results(shared.u.value):
        np.testing.assert_allclose(value, alone.u, rtol=1e-6)
