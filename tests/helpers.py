"""What the tests of every model share: a new model's test file calls these with its own builder.

`build` is always a function without arguments that returns a configured model; models are tiny, and steps run eagerly
where tracing them would take longer.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.base import DisentanglementModel, Optimizer
from models.optimizers import SGDOptions
from models.pairs import PairModel
from training.checkpoints import Checkpoints
from training.runtime import mirrored_strategy

Build = Callable[[], DisentanglementModel]
AnyModel = TypeVar("AnyModel", bound=DisentanglementModel)

BATCH = 8


def images_for(model: DisentanglementModel, batch: int = BATCH, seed: int = 0) -> tf.Tensor:
    """Random images in [0, 1] of the model's shape."""
    rng = np.random.default_rng(seed)
    return tf.constant(rng.random((batch, *model.image_shape)), tf.float32)


def data_for(model: DisentanglementModel, batch: int = BATCH, seed: int = 0) -> Any:
    """What a training step of the model takes: images, or of a model of pairs a tuple of those of both domains."""
    images = images_for(model, batch, seed)
    return (images, images_for(model, batch, seed + 1000)) if isinstance(model, PairModel) else images


def values_of(variables: list[keras.Variable]) -> dict[str, np.ndarray]:
    """Copies of the values, by the variable's path."""
    values = {variable.path: np.array(variable.numpy()) for variable in variables}
    assert len(values) == len(variables), "two variables have the same path"
    return values


def equal_bitwise(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of values are the same."""
    return before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def rouse(model: AnyModel, biases: bool = True) -> AnyModel:
    """Gives a model weights that keep the size of what passes: with published deviations tiny networks say nothing.

    Args:
        model: changed in place, and returned.
        biases: whether vectors get numbers too, of deviation 0.1.
    """
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if biases or len(variable.shape) > 1:
            fan_in = int(np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 100
            variable.assign(rng.normal(0.0, 1.0 / math.sqrt(fan_in), variable.shape))
    return model


def descent(model: DisentanglementModel, rate: float = 0.05, **rates: float) -> dict[str, Optimizer]:
    """Plain gradient descent for all players, `rates` for single ones: an optimizer that does not enlarge rounding."""
    return {name: SGDOptions(learning_rate=rates.get(name, rate), momentum=0.0) for name in model.player_variables()}


def run_step_test(model: DisentanglementModel, data: tf.Tensor | None = None) -> dict[str, float]:
    """A step runs, counts itself, moves weights of every player; its scalars, which it returns, are finite."""
    before = {name: values_of(variables) for name, variables in model.player_variables().items()}
    step = int(model.step.numpy())
    scalars = model.train_step(data_for(model) if data is None else data)
    assert int(model.step.numpy()) == step + 1
    for name, value in scalars.items():
        assert tf.convert_to_tensor(value).shape == (), name
        assert np.isfinite(float(value)), name
    for name, variables in model.player_variables().items():
        assert not equal_bitwise(before[name], values_of(variables)), f"player {name} did not move"
    assert set(model.headline) <= set(scalars)
    return {name: float(value) for name, value in scalars.items()}


def run_players_test(model: DisentanglementModel) -> None:
    """One player at a time learns: the weights of all others stay bitwise as they are."""
    data = data_for(model)
    for mover in model.player_variables():
        model.configure(descent(model, 0.0, **{mover: 0.1}))
        before = {name: values_of(variables) for name, variables in model.player_variables().items()}
        model.train_step(data)
        moved = {
            name
            for name, variables in model.player_variables().items()
            if not equal_bitwise(before[name], values_of(variables))
        }
        assert moved == {mover}


def run_saving_test(model: DisentanglementModel, folder: Path) -> None:
    """`.keras`, weights file and configuration give an equal model again, without a warning."""
    data, latents = images_for(model), tf.constant(np.random.default_rng(1).normal(size=(4, model.latent_space.size)))
    latents = tf.cast(latents, tf.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Keras' own use of NumPy.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
        loaded = keras.saving.load_model(folder / "model.keras")
        twin = type(model).from_config(json.loads(json.dumps(model.get_config())))
        twin.load_weights(folder / "model.weights.h5")
    assert twin.get_config() == model.get_config() == loaded.get_config()
    for other in (loaded, twin):
        assert type(other) is type(model)
        assert other.fingerprint() == model.fingerprint()
        assert np.array_equal(other.encode(data), model.encode(data))
        assert np.array_equal(other(data), model.encode(data))
        assert np.array_equal(other.generate(latents), model.generate(latents))
    loaded.configure()
    run_step_test(loaded)


@contextlib.contextmanager
def unoptimized_graphs() -> Iterator[None]:
    """TensorFlow runs graphs as they are; rewriting a large one takes longer than a few steps of it."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


@functools.cache
def _eager_strategy() -> tf.distribute.Strategy:
    """Two replicas that need no graph: sums are taken on one of them."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())


def run_two_replica_test(build: Build, steps: int = 5, eager: bool = False) -> None:
    """Two replicas do what one device does with the same global batch: every loss term, and the weights.

    They run a graph, with the strategy and the collective operations of a real run. `eager` replicas do without both,
    in a third of the time: for further options of a model whose graph another test runs.
    """
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one logical CPU device")
    one = build()
    one.configure(descent(one, 0.001))
    strategy = _eager_strategy() if eager else mirrored_strategy(("CPU:0", "CPU:1"))
    with strategy.scope():
        two = build()
        two.configure(descent(two, 0.001))

    def run_both(parts: Any) -> Any:
        return strategy.run(two.train_step, args=(parts,))

    if not eager:
        # The collective operations of eager replicas, which are threads, may meet in another order.
        run_both = tf.function(run_both, autograph=False)
    assert two.fingerprint() == one.fingerprint()
    half = BATCH // 2
    for step in range(steps):
        data = data_for(one, seed=step)

        def part(context: Any, data: Any = data) -> Any:
            start = context.replica_id_in_sync_group * half
            return tf.nest.map_structure(lambda images: images[start:][:half], data)

        parts = strategy.experimental_distribute_values_from_function(part)
        expected = one.train_step(data)
        with unoptimized_graphs():
            scalars = run_both(parts)
        for name, value in expected.items():
            mean = strategy.reduce(tf.distribute.ReduceOp.MEAN, scalars[name], axis=None)
            np.testing.assert_allclose(mean, value, rtol=1e-4, atol=1e-5, err_msg=f"{name} at step {step}")
    for alone, shared in zip(one.variables, two.variables, strict=True):
        np.testing.assert_allclose(shared.numpy(), alone.numpy(), atol=1e-5, err_msg=alone.path)


def run_resume_test(build: Build, folder: Path) -> None:
    """Save, restore into a new model and go on: bitwise what an uninterrupted run gives, optimizers included."""

    def run(model: DisentanglementModel, first: int, last: int) -> None:
        for step in range(first, last):
            model.train_step(data_for(model, seed=step))

    whole = build()
    run(whole, 0, 2)
    Checkpoints(folder, whole, keep=1).save()
    run(whole, 2, 4)
    resumed = build()
    # Whatever the checkpoint does not hold would stay as it is.
    of_optimizers = [variable for player in resumed.players.values() for variable in player.optimizer.variables]
    for variable in (*resumed.variables, *of_optimizers):
        variable.assign(tf.cast(tf.fill(variable.shape, 3), variable.dtype))
    assert Checkpoints(folder, resumed, keep=1).restore() == 2
    run(resumed, 2, 4)
    assert resumed.fingerprint() == whole.fingerprint()
    for name, player in whole.players.items():
        expected, found = player.optimizer.variables, resumed.players[name].optimizer.variables
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(expected, found, strict=True)), name


def run_determinism_test(build_with_seed: Callable[[int], DisentanglementModel]) -> None:
    """Equal seeds give equal weights before and after training, another seed others."""
    first, second, other = (build_with_seed(seed) for seed in (3, 3, 4))
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    for model in (first, second):
        model.train_step(data_for(model))
        model.train_step(data_for(model, seed=1))
    assert first.fingerprint() == second.fingerprint()


def run_fit_test(model: DisentanglementModel) -> None:
    """Plain `model.fit` trains, with a `tf.data` set and with an array."""
    data = data_for(model, 2 * BATCH)
    history = model.fit(tf.data.Dataset.from_tensor_slices(data).batch(BATCH), epochs=1, shuffle=False, verbose=0)
    assert set(model.headline) <= set(history.history)
    assert int(model.step.numpy()) == 2
    arrays = [part.numpy() for part in tf.nest.flatten(data)]
    model.fit(*arrays, batch_size=BATCH, epochs=1, verbose=0)
    assert int(model.step.numpy()) == 4
    assert np.isfinite(history.history[model.headline[0]]).all()


def run_batch_statistics_test(model: DisentanglementModel) -> None:
    """Inference changes nothing; a training step moves every moving statistic of batch normalization."""
    before = values_of(model.variables)
    latents = tf.zeros([4, model.latent_space.size])
    codes, pictures = model.encode(images_for(model)), model.generate(latents)
    assert equal_bitwise(before, values_of(model.variables))
    assert np.array_equal(model.encode(images_for(model)), codes)
    assert np.array_equal(model.generate(latents), pictures)
    model.train_step(data_for(model))
    after = values_of(model.variables)
    moving = [path for path in before if path.endswith(("moving_mean", "moving_variance"))]
    unmoved = [path for path in moving if np.array_equal(before[path], after[path])]
    assert not unmoved
