"""Noise is a pure function of (seed, step, stream), whatever the devices and the compiler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.noise import Noise
from training.runtime import mirrored_strategy

Draw = Callable[[Noise, str, list[int]], tf.Tensor]

BITS = 2 ** tf.range(16)

DRAWS: dict[str, Draw] = {
    "normal": lambda noise, stream, shape: noise.normal(stream, shape),
    "uniform": lambda noise, stream, shape: noise.uniform(stream, shape, -2.0, 3.0),
    "integers": lambda noise, stream, shape: noise.integers(stream, shape, 1000),
    # Sixteen tosses of a coin are a number.
    "chance": lambda noise, stream, shape: tf.reduce_sum(
        tf.where(noise.chance(stream, [*shape, 16], 0.5), BITS, 0), axis=-1
    ),
}
SHAPE = [4, 3, 2]

pytestmark = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def test_pure(draw: Draw) -> None:
    first = draw(Noise(1, 2), "z", SHAPE)
    assert first.shape == SHAPE
    np.testing.assert_array_equal(first, draw(Noise(1, tf.constant(2, tf.int64)), "z", SHAPE))
    noise = Noise(1, 2)
    draw(noise, "other", SHAPE)
    np.testing.assert_array_equal(first, draw(noise, "z", SHAPE))


def test_every_argument_matters(draw: Draw) -> None:
    drawn = [
        draw(Noise(seed, step), stream, SHAPE).numpy()
        for seed, step, stream in ((1, 2, "z"), (2, 2, "z"), (1, 3, "z"), (1, 2, "r"), (2, 1, "z"), (1, 2**40, "z"))
    ]
    for index, values in enumerate(drawn):
        assert all(np.mean(values == other) < 0.2 for other in drawn[:index])


def test_same_in_graph_and_loop(draw: Draw) -> None:
    @tf.function
    def loop(steps: tf.Tensor) -> tf.Tensor:
        drawn = tf.TensorArray(draw(Noise(0, 0), "z", SHAPE).dtype, size=steps)
        for step in tf.range(steps):
            drawn = drawn.write(step, draw(Noise(7, step), "z", SHAPE))
        return drawn.stack()

    expected = np.stack([draw(Noise(7, step), "z", SHAPE) for step in range(3)])
    np.testing.assert_array_equal(loop(tf.constant(3)), expected)


def test_same_under_xla(draw: Draw) -> None:
    shape = [16, 5, 5]
    plain = tf.function(lambda step: draw(Noise(3, step), "z", shape))
    compiled = tf.function(lambda step: draw(Noise(3, step), "z", shape), jit_compile=True)
    tolerance = {"integers": 0.0, "chance": 0.0, "uniform": 1e-6, "normal": 2e-6}
    name = next(name for name, candidate in DRAWS.items() if candidate is draw)
    for step in range(3):
        drawn = plain(tf.constant(step)), compiled(tf.constant(step))
        np.testing.assert_allclose(*drawn, rtol=0, atol=tolerance[name])


def test_replicas_share_the_global_noise(draw: Draw) -> None:
    """The rows of all replicas together are those of one device; so no two replicas draw the same."""
    strategy = mirrored_strategy(("CPU:0", "CPU:1"))
    run = tf.function(lambda: strategy.run(lambda: draw(Noise(5, 6), "z", [2, 3, 2])))
    parts = strategy.experimental_local_results(run())
    np.testing.assert_array_equal(np.concatenate(parts), draw(Noise(5, 6), "z", SHAPE))


def test_dynamic_batch(draw: Draw) -> None:
    run = tf.function(lambda images: draw(Noise(5, 6), "z", [tf.shape(images)[0], 3, 2]))
    batches = run.get_concrete_function(tf.TensorSpec([None, 1]))
    np.testing.assert_array_equal(batches(tf.zeros([4, 1])), draw(Noise(5, 6), "z", SHAPE))


def test_odd_sizes(draw: Draw) -> None:
    assert draw(Noise(5, 6), "z", [3, 1, 5]).shape == [3, 1, 5]
    assert draw(Noise(5, 6), "z", [1]).shape == [1]
    assert draw(Noise(5, 6), "z", [0, 4]).shape == [0, 4]


def test_distribution(draw: Draw) -> None:
    values = np.asarray(draw(Noise(0, 0), "z", [20_000]), np.float64)
    if draw is DRAWS["normal"]:
        mean, deviation, low, high = 0.0, 1.0, -6.0, 6.0
    elif draw is DRAWS["uniform"]:
        mean, deviation, low, high = 0.5, 5 / 12**0.5, -2.0, 3.0
    elif draw is DRAWS["chance"]:
        mean, deviation, low, high = 2**15 - 0.5, 2**16 / 12**0.5, 0.0, 2.0**16 - 1
    else:
        mean, deviation, low, high = 499.5, 1000 / 12**0.5, 0.0, 999.0
    assert values.mean() == pytest.approx(mean, abs=4 * deviation / len(values) ** 0.5)
    assert values.std() == pytest.approx(deviation, rel=0.03)
    assert values.min() >= low
    assert values.max() <= high
    if draw is DRAWS["normal"]:
        assert abs(np.mean(values**3)) < 0.1
        assert np.mean(values**4) == pytest.approx(3.0, abs=0.2)
        cosine, sine = np.split(values, 2)  # the coordinates of the same points
        assert abs(np.mean(cosine * sine)) < 0.05
        assert abs(np.mean((cosine**2 - 1) * (sine**2 - 1))) < 0.1
