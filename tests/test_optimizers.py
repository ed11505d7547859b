"""Optimizers with the semantics of PyTorch: against numbers worked by hand, and its formulas written out in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.optimizers import (
    OPTIMIZERS,
    AdadeltaOptions,
    AdagradOptions,
    AdamOptions,
    OptimizerOptions,
    RMSpropOptions,
    SGDOptions,
)
from training.runtime import mirrored_strategy

STEPS = 7
SHAPES = ((3, 4), (5,))


def gradients_for(steps: int = STEPS) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    # Over many orders of magnitude, because the place of epsilon shows in small gradients only.
    return [[rng.normal(size=shape) * 10.0 ** rng.integers(-9, 1, shape) for shape in SHAPES] for _ in range(steps)]


def starting_values() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.normal(size=shape) for shape in SHAPES]


def run(options: OptimizerOptions, in_graph: bool = False) -> list[np.ndarray]:
    """The variables after all steps, by our optimizer."""
    optimizer = options.build()
    variables = [keras.Variable(value, dtype="float32") for value in starting_values()]
    optimizer.build(variables)

    def apply(*gradients: tf.Tensor) -> None:
        optimizer.apply(list(gradients), variables)

    apply_now = tf.function(apply) if in_graph else apply
    for gradients in gradients_for():
        apply_now(*[tf.constant(gradient, tf.float32) for gradient in gradients])
    return [variable.numpy() for variable in variables]


def torch_rmsprop(options: RMSpropOptions) -> list[np.ndarray]:
    """torch.optim.RMSprop, not centered, with MultiStepLR stepped after every update."""
    values = starting_values()
    averages = [np.zeros_like(value) for value in values]
    buffers = [np.zeros_like(value) for value in values]
    for step, gradients in enumerate(gradients_for()):
        rate = options.learning_rate * options.decay_factor ** sum(step >= mile for mile in options.milestones)
        for index, gradient in enumerate(gradients):
            gradient = gradient + options.weight_decay * values[index]
            averages[index] = options.rho * averages[index] + (1 - options.rho) * gradient**2
            direction = gradient / (np.sqrt(averages[index]) + options.epsilon)
            if options.momentum:
                buffers[index] = options.momentum * buffers[index] + direction
                direction = buffers[index]
            values[index] = values[index] - rate * direction
    return values


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(
    "options",
    [
        RMSpropOptions(learning_rate=0.01),
        RMSpropOptions(learning_rate=0.01, momentum=0.9),
        RMSpropOptions(learning_rate=0.01, momentum=0.5, weight_decay=0.1, rho=0.9, epsilon=1e-3),
        RMSpropOptions(learning_rate=0.01, momentum=0.9, milestones=(2, 5), decay_factor=0.1),
        RMSpropOptions(learning_rate=0.01, weight_decay=0.1, milestones=(1,)),
    ],
    ids=["plain", "momentum", "weight decay", "milestones", "no momentum"],
)
def test_rmsprop_equals_torch(options: RMSpropOptions, in_graph: bool) -> None:
    for actual, expected in zip(run(options, in_graph), torch_rmsprop(options), strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_rmsprop_by_hand() -> None:
    """One variable 1, gradients 3 then 4, rate 0.1, rho 0.75, momentum 0.5, epsilon 0.5, weight decay 1."""
    options = RMSpropOptions(learning_rate=0.1, rho=0.75, momentum=0.5, epsilon=0.5, weight_decay=1.0)
    optimizer = options.build()
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    optimizer.apply([tf.constant([3.0])], [variable])
    # Gradient 3 + 1 = 4; average 0.25 * 16 = 4; direction 4 / (2 + 0.5) = 1.6; buffer 1.6.
    np.testing.assert_allclose(variable.numpy(), [1.0 - 0.16], rtol=1e-6)
    optimizer.apply([tf.constant([4.0])], [variable])
    # Gradient 4.84; average 0.75 * 4 + 0.25 * 23.4256 = 8.8564; direction 4.84 / (2.97597...+ 0.5); buffer 0.8 + that.
    np.testing.assert_allclose(variable.numpy(), [0.84 - 0.1 * (0.8 + 4.84 / (8.8564**0.5 + 0.5))], rtol=1e-6)


def test_sgd_by_hand() -> None:
    """Rate 0.1, momentum 0.5, weight decay 1, variable 1, gradients 1 and 1: coupled decay passes through momentum."""
    optimizer = SGDOptions(learning_rate=0.1, momentum=0.5, weight_decay=1.0).build()
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    for expected in (0.8, 0.8 - 0.1 * (0.5 * 2.0 + 1.8)):
        optimizer.apply([tf.constant([1.0])], [variable])
        np.testing.assert_allclose(variable.numpy(), [expected], rtol=1e-6)


def test_adam_by_hand() -> None:
    """The first update of Adam is the rate times the sign of the gradient, decay included."""
    optimizer = AdamOptions(learning_rate=0.1, weight_decay=1.0).build()
    variable = keras.Variable([1.0, -1.0])
    optimizer.build([variable])
    optimizer.apply([tf.constant([-0.5, 1.5])], [variable])  # with decay: 0.5, 0.5
    np.testing.assert_allclose(variable.numpy(), [0.9, -1.1], rtol=1e-5)


def test_adam_equals_that_of_keras() -> None:
    rng = np.random.default_rng(0)
    ours = AdamOptions(learning_rate=0.01, beta_1=0.5, beta_2=0.9).build()
    theirs = keras.optimizers.Adam(learning_rate=0.01, beta_1=0.5, beta_2=0.9, epsilon=1e-8)
    start = rng.normal(size=[3, 4])
    variables = [keras.Variable(start, dtype="float32") for _ in range(2)]
    for optimizer, variable in zip((ours, theirs), variables, strict=True):
        optimizer.build([variable])
    for _ in range(5):
        gradient = tf.constant(rng.normal(size=[3, 4]), tf.float32)
        for optimizer, variable in zip((ours, theirs), variables, strict=True):
            optimizer.apply([gradient], [variable])
    np.testing.assert_allclose(variables[0].numpy(), variables[1].numpy(), rtol=1e-5)
    assert not np.allclose(variables[0].numpy(), start)


def test_adagrad_by_hand() -> None:
    optimizer = AdagradOptions(learning_rate=0.1).build()
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    for expected in (0.9, 0.9 - 0.1 * 4.0 / 5.0):
        optimizer.apply([tf.constant([3.0 if expected == 0.9 else 4.0])], [variable])
        np.testing.assert_allclose(variable.numpy(), [expected], rtol=1e-5)


def test_adadelta_by_hand() -> None:
    optimizer = AdadeltaOptions(learning_rate=1.0, rho=0.75, epsilon=1e-2).build()
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    optimizer.apply([tf.constant([2.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [1.0 - (1e-2 / 1.01) ** 0.5 * 2.0], rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_build_and_round_trip(name: str) -> None:
    options = OPTIMIZERS[name](learning_rate=0.5, weight_decay=0.25, milestones=(1, 3), decay_factor=0.1)
    first = options.build()
    assert first is not options.build()
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(first))
    assert type(restored) is type(first)
    assert restored.get_config() == first.get_config()
    variable = keras.Variable([1.0])
    restored.build([variable])
    rates = []
    for _ in range(5):
        rates.append(float(restored.learning_rate))
        restored.apply([tf.constant([1.0])], [variable])
    np.testing.assert_allclose(rates, [0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-5)


def test_rmsprop_resumes_exactly(tmp_path: Path) -> None:
    """Its slots are saved and restored: steps after a restored checkpoint give the same to the last bit."""

    def build() -> tuple[keras.Variable, keras.optimizers.Optimizer, tf.train.Checkpoint]:
        variable = keras.Variable(starting_values()[0], dtype="float32")
        optimizer = RMSpropOptions(learning_rate=0.01, momentum=0.9).build()
        optimizer.build([variable])
        return variable, optimizer, tf.train.Checkpoint(variable=variable.value, optimizer=optimizer)

    gradients = [tf.constant(pair[0], tf.float32) for pair in gradients_for()]
    variable, optimizer, checkpoint = build()
    for gradient in gradients[:4]:
        optimizer.apply([gradient], [variable])
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    again, restored, reader = build()
    reader.read(path).assert_consumed()
    for gradient in gradients[4:]:
        optimizer.apply([gradient], [variable])
        restored.apply([gradient], [again])
    np.testing.assert_array_equal(again.numpy(), variable.numpy())


def test_rmsprop_on_two_replicas_in_a_loop() -> None:
    """Replicas add their gradients up; both copies of variable and slots stay the same, inside a compiled loop too."""
    options = RMSpropOptions(learning_rate=0.01, momentum=0.9, weight_decay=0.1)
    strategy = mirrored_strategy(("CPU:0", "CPU:1"))
    with strategy.scope():
        variable = keras.Variable(starting_values()[0], dtype="float32")
        optimizer = options.build()
        optimizer.build([variable])
    gradients = tf.constant(np.stack([pair[0] for pair in gradients_for()]), tf.float32)

    def update(gradient: tf.Tensor) -> None:
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        optimizer.apply([gradient * (0.25 + 0.5 * replica)], [variable])

    @tf.function
    def loop() -> tf.Tensor:
        for index in tf.range(STEPS):
            strategy.run(update, args=(gradients[index],))
        return tf.constant(0)

    loop()
    expected = torch_rmsprop(options)[0]
    for copy in strategy.experimental_local_results(variable.value):
        np.testing.assert_allclose(copy.numpy(), expected, atol=2e-6)


def test_rmsprop_under_xla() -> None:
    options = RMSpropOptions(learning_rate=0.01, momentum=0.9)
    optimizer = options.build()
    variable = keras.Variable(starting_values()[0], dtype="float32")
    optimizer.build([variable])
    apply = tf.function(lambda gradient: optimizer.apply([gradient], [variable]), jit_compile=True)
    for pair in gradients_for():
        apply(tf.constant(pair[0], tf.float32))
    np.testing.assert_allclose(variable.numpy(), torch_rmsprop(options)[0], atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": -1.0},
        {"weight_decay": -0.1},
        {"decay_factor": float("nan")},
        {"learning_rate": float("inf")},
        {"milestones": (3, 2)},
        {"milestones": (0,)},
        {"rho": 1.5},
        {"momentum": -2.0},
        {"epsilon": -1e-8},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allowed|must be"):
        RMSpropOptions(**options)
