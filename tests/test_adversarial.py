"""Objectives of GANs and gradient penalties against hand-worked numbers, alone and on two replicas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models import gradient_penalties as penalties
from models.adversarial import AdversarialOptions, discriminator_parts, generator_parts, needs_real
from models.distribution import global_mean
from training.runtime import mirrored_strategy

REAL, FAKE = (2.0, -1.0), (0.5, -3.0)


def softplus(value: float) -> float:
    return math.log(1.0 + math.exp(value))


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def standard(real: tuple[float, ...], fake: tuple[float, ...]) -> tuple[float, float, float]:
    reals = sum(softplus(-score) for score in real) / 2
    return reals, sum(softplus(score) for score in fake) / 2, sum(softplus(-score) for score in fake) / 2


STANDARD = standard(REAL, FAKE)
TWICE = standard(tuple(map(sigmoid, REAL)), tuple(map(sigmoid, FAKE)))

# Options, then the discriminator's parts of reals and fakes, then the generator's objective.
CASES: dict[str, tuple[dict[str, Any], float, float, float]] = {
    "official": ({"kind": "standard"}, *STANDARD),
    "community": (
        {"kind": "standard", "discriminator_scale": 0.5},
        0.5 * STANDARD[0],
        0.5 * STANDARD[1],
        STANDARD[2],
    ),
    "double sigmoid": ({"kind": "standard", "double_sigmoid": True}, *TWICE),
    "hinge": ({"kind": "hinge"}, (0.0 + 2.0) / 2, (1.5 + 0.0) / 2, 1.25),
    # Reals against -1.25, fakes against 0.5: 3.25 and 0.25; 0 and -3.5.
    "relativistic": (
        {"kind": "relativistic_hinge"},
        (0.0 + 0.75) / 2,
        (1.0 + 0.0) / 2,
        (4.25 + 1.25) / 2 + (1.0 + 4.5) / 2,
    ),
    "least squares": (
        {"kind": "least_squares"},
        0.5 * (1.0 + 4.0) / 2,
        0.5 * (0.25 + 9.0) / 2,
        0.5 * (0.25 + 16.0) / 2,
    ),
    "squares of means": (
        {"kind": "least_squares", "squares_of_means": True},
        0.5 * 0.5**2,
        0.5 * 1.25**2,
        0.5 * 2.25**2,
    ),
    "wasserstein": ({"kind": "wasserstein"}, -0.5, -1.25, 1.25),
    "drift": ({"kind": "wasserstein", "drift": 0.001}, -0.5 + 0.001 * 2.5, -1.25, 1.25),
}


@pytest.mark.parametrize("name", CASES)
def test_objective(name: str) -> None:
    chosen, of_reals, of_fakes, of_generator = CASES[name]
    options, real, fake = AdversarialOptions(**chosen), tf.constant(REAL), tf.constant(FAKE)
    found = [float(global_mean(part)) for part in discriminator_parts(options, real, fake)]
    assert found == pytest.approx([of_reals, of_fakes], rel=1e-6)
    parts = generator_parts(options, real if needs_real(options) else None, fake)
    assert sum(float(global_mean(part)) for part in parts) == pytest.approx(of_generator, rel=1e-6)


def test_known_numbers() -> None:
    assert pytest.approx((0.720095, 0.511332, 1.761332), abs=1e-6) == STANDARD


def test_only_the_relativistic_generator_needs_reals() -> None:
    needing = [name for name, (chosen, *_) in CASES.items() if needs_real(AdversarialOptions(**chosen))]
    assert needing == ["relativistic"]
    with pytest.raises(ValueError, match="scores of reals"):
        generator_parts(AdversarialOptions("relativistic_hinge"), None, tf.constant(FAKE))


@pytest.mark.parametrize("name", ["relativistic", "squares of means", "drift"])
def test_two_replicas_share_the_means(name: str) -> None:
    """Losses and gradients of halves of a batch, added up, are those of the whole."""
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one logical CPU device")
    options = AdversarialOptions(**CASES[name][0])
    rng = np.random.default_rng(0)
    real, fake = (tf.constant(rng.normal(size=8), tf.float32) for _ in range(2))

    def loss_and_gradients(real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch([real, fake])
            parts = discriminator_parts(options, real, fake) + generator_parts(options, real, fake)
            loss = tf.add_n([global_mean(part) for part in parts])
        gradients = tape.gradient(loss, [real, fake])
        return loss, *gradients

    strategy = mirrored_strategy(("CPU:0", "CPU:1"))

    def halves(values: tf.Tensor) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: values[4 * context.replica_id_in_sync_group :][:4]
        )

    run = tf.function(lambda *parts: strategy.run(loss_and_gradients, args=parts))
    expected = loss_and_gradients(real, fake)
    loss, *gradients = run(halves(real), halves(fake))
    np.testing.assert_allclose(sum(strategy.experimental_local_results(loss)), expected[0], rtol=1e-5)
    for found, whole in zip(gradients, expected[1:], strict=True):
        np.testing.assert_allclose(
            np.concatenate([np.array(part) for part in strategy.experimental_local_results(found)]), whole, atol=1e-6
        )


# Penalties, on a linear critic: its gradient is its weights.

WEIGHTS = np.array([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]], np.float32)
NORM = math.sqrt(9 + 16 + 1 + 4)


def linear_slopes(weights: tf.Tensor, batch: int = 3) -> tf.Tensor:
    images = tf.constant(np.random.default_rng(0).random((batch, 2, 2, 2)), tf.float32)
    return penalties.slopes(lambda x: tf.reduce_sum(weights * x, axis=[1, 2, 3]), images)


def test_norms_of_a_linear_critic() -> None:
    gradients = linear_slopes(tf.constant(WEIGHTS))
    np.testing.assert_allclose(gradients, np.broadcast_to(WEIGHTS, (3, 2, 2, 2)))
    np.testing.assert_allclose(penalties.gradient_norms(gradients), [NORM] * 3, rtol=1e-6)
    np.testing.assert_allclose(penalties.gradient_norms(gradients, True)[0], [[5, 0], [1, 2]], atol=1e-6)
    np.testing.assert_allclose(penalties.two_sided(gradients), [(NORM - 1) ** 2] * 3, rtol=1e-6)
    np.testing.assert_allclose(penalties.two_sided(gradients, True), [(16 + 1 + 0 + 1) / 4] * 3, rtol=1e-6)
    np.testing.assert_allclose(penalties.zero_centered(gradients), [30.0] * 3, rtol=1e-6)


def test_penalties_reach_the_weights() -> None:
    """The gradient of second order: 2 (|w| - 1) w / |w|, and 2 w; where w is 0 it is 0 and not undefined."""
    weights = tf.Variable(WEIGHTS)
    for penalty, expected in (
        (penalties.two_sided, 2 * (NORM - 1) * WEIGHTS / NORM),
        (penalties.zero_centered, 2 * WEIGHTS),
    ):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(penalty(linear_slopes(weights)))
        np.testing.assert_allclose(tape.gradient(value, weights), expected, rtol=1e-5, atol=1e-6)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(penalties.two_sided(linear_slopes(weights), per_pixel=True))
    gradient = tape.gradient(value, weights).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[0, 1] == 0).all()


def test_interpolates() -> None:
    reals, fakes = tf.ones([2, 1, 1, 1]), -tf.ones([2, 1, 1, 1])
    mixed = penalties.interpolates(reals, fakes, tf.constant([0.25, 1.0]))
    assert mixed.numpy().ravel().tolist() == [-0.5, 1.0]
