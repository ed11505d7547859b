"""InfoGAN: sizes, objective, order of updates, statistics, representation and sheets, against paper and codes."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from infogan_models import CODES, REAL, VARIANTS, build, tiny_networks

from models import losses
from models.infogan import Belief, InfoGAN, InfoGANOptions
from models.layers import deferred_moving_statistics
from models.networks.infogan import PLANS, Builder
from models.noise import Noise

each_variant = pytest.mark.parametrize("name", VARIANTS)
__all__ = ["tiny_networks"]


@each_variant
def test_step(name: str) -> None:
    model = build(**VARIANTS[name])
    scalars = helpers.run_step_test(model)
    codes = [value for key, value in scalars.items() if key.startswith("information/c")]
    assert len(codes) == sum(block.is_code for block in model.latent_space.blocks)
    assert sum(codes) == pytest.approx(scalars["information/lower_bound"], abs=1e-5)
    if name in ("community", "slips"):
        losses_of_d = scalars["discriminator/loss_real"] + scalars["discriminator/loss_fake"]
        assert scalars["discriminator/loss"] == pytest.approx(losses_of_d, rel=1e-5)
        parts = [scalars[f"information/loss_{kind}"] for kind in ("categorical", "continuous")]
        total = scalars["generator/loss_adversarial"] + sum(parts)
        assert scalars["generator/loss"] == pytest.approx(total, rel=1e-5)


@each_variant
def test_each_player_alone(name: str) -> None:
    helpers.run_players_test(build(**VARIANTS[name]))


@pytest.mark.parametrize("name", ["community", "color", "slips"])
def test_saving(name: str, tmp_path: Path) -> None:
    model = build(**VARIANTS[name])
    model.train_step(helpers.images_for(model))
    helpers.run_saving_test(model, tmp_path)


@pytest.mark.parametrize(("name", "eager"), [("community", True), ("official", False)])
def test_two_replicas(name: str, eager: bool) -> None:
    def sturdy() -> InfoGAN:
        """With weights so large that batch normalization does not divide rounding by a tiny deviation."""
        model = build(**VARIANTS[name])
        for network in model.networks.values():
            for layer in network.layers:
                if "conv" in layer.name:
                    layer.kernel.assign(layer.kernel * 10.0)
        return model

    helpers.run_two_replica_test(sturdy, steps=3, eager=eager)


def test_resume(tmp_path: Path) -> None:
    helpers.run_resume_test(lambda: build(**VARIANTS["official"]), tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed, **CODES))


def test_fit() -> None:
    helpers.run_fit_test(build(**CODES))


@pytest.mark.parametrize("name", ["community", "official", "color", "faces"])
def test_batch_statistics(name: str) -> None:
    helpers.run_batch_statistics_test(build(**VARIANTS[name]))


# Sizes, from the tables of the paper's appendix and the community's code.


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + bias * outputs


def convolution(inputs: int, outputs: int) -> int:
    return 16 * inputs * outputs + outputs


def parameters(network: str, channels: int, latents: int) -> tuple[int, int, int | None]:
    builder = Builder(REAL[network], channels, 0.1, 0)
    trunk = builder.trunk()
    recognition = builder.recognition(trunk.output_shape[-1])
    hidden = None if recognition is None else trainable(recognition)
    return trainable(builder.generator(latents)), trainable(trunk), hidden


def trainable(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


_MNIST_TRUNK = convolution(1, 64) + convolution(64, 128) + 2 * 128 + linear(6272, 1024) + 2 * 1024
_MNIST_IMAGE = convolution(128, 64) + 2 * 64 + convolution(64, 1)
_COLOR_IMAGE = convolution(448, 256) + 2 * 256 + convolution(256, 128) + convolution(128, 64) + convolution(64, 3)
_COLOR_TRUNK = convolution(3, 64) + convolution(64, 128) + 2 * 128 + convolution(128, 256) + 2 * 256
_COLOR_Q = linear(4 * 4 * 256, 128) + 2 * 128


@pytest.mark.parametrize(
    ("network", "channels", "latents", "generator", "trunk", "recognition"),
    [
        ("mnist_community", 1, 74, 6_645_185, 6_558_144, 131_456),
        (
            "mnist_small",
            1,
            74,
            74 * 256 + 2 * 256 + 256 * 3136 + 2 * 3136 + convolution(64, 32) + 2 * 32 + convolution(32, 1),
            convolution(1, 32) + convolution(32, 64) + 2 * 64 + linear(3136, 256) + 2 * 256,
            linear(256, 128) + 2 * 128,
        ),
        (
            "mnist_official",
            1,
            74,
            linear(74, 1024) + 2 * 1024 + linear(1024, 6272) + 2 * 6272 + _MNIST_IMAGE,
            _MNIST_TRUNK,
            linear(1024, 128) + 2 * 128,
        ),
        ("svhn", 3, 168, linear(168, 1792) + 2 * 1792 + _COLOR_IMAGE, _COLOR_TRUNK, _COLOR_Q),
        ("celeba", 3, 228, linear(228, 1792) + 2 * 1792 + _COLOR_IMAGE, _COLOR_TRUNK, _COLOR_Q),
        (
            "faces",
            1,
            133,
            linear(133, 1024) + 2 * 1024 + linear(1024, 8192) + 2 * 8192 + _MNIST_IMAGE,
            convolution(1, 64) + convolution(64, 128) + 2 * 128 + linear(8192, 1024) + 2 * 1024,
            None,
        ),
        (
            "chairs",
            1,
            189,
            linear(189, 1024) + 2 * 1024 + linear(1024, 16384) + 2 * 16384
            + 2 * (convolution(256, 256) + 2 * 256) + convolution(256, 128) + 2 * 128 + _MNIST_IMAGE,
            convolution(1, 64) + convolution(64, 128) + 2 * 128 + convolution(128, 256) + 2 * 256
            + 2 * (convolution(256, 256) + 2 * 256) + linear(16384, 1024) + 2 * 1024,
            None,
        ),
    ],
)  # fmt: skip
def test_parameters(
    network: str, channels: int, latents: int, generator: int, trunk: int, recognition: int | None
) -> None:
    assert parameters(network, channels, latents) == (generator, trunk, recognition)


def test_the_community_model_has_the_parameters_of_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _MNIST_TRUNK == 6_558_144
    monkeypatch.setitem(PLANS, "mnist_community", REAL["mnist_community"])
    networks = InfoGANOptions().build((28, 28, 1), 0).describe()["networks"]
    counts = {name: network["trainable_parameters"] for name, network in networks.items()}
    heads = {"discriminator": 1_025, "categorical": 1_290, "mean": 258, "log_variance": 258}
    assert counts == {"generator": 6_645_185, "trunk": 6_558_144, "recognition": 131_456, **heads}
    assert sum(counts.values()) - counts["generator"] == 6_692_431


@pytest.mark.parametrize(
    ("network", "latents"), [("mnist_community", 74), ("svhn", 168), ("faces", 133), ("chairs", 189)]
)
def test_generators_make_images_of_the_size_that_trunks_take(network: str, latents: int) -> None:
    builder = Builder(REAL[network], 1, 0.1, 0)
    assert builder.generator(latents).output_shape[1:] == builder.trunk().input_shape[1:]


# Losses and bounds, worked by hand.


def test_log_likelihoods() -> None:
    logits = tf.constant([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    one_hot = tf.constant([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    expected = [2 - math.log(math.exp(2) + 1 + math.exp(-1)), -math.log(3)]
    np.testing.assert_allclose(losses.categorical_log_likelihood(one_hot, logits), expected, rtol=1e-6)
    values, mean, log_variance = np.array([0.5, -1.0]), np.array([0.0, 1.0]), np.array([math.log(0.25), 0.0])
    variance = np.exp(log_variance)
    expected = -((values - mean) ** 2) / (2 * variance) - 0.5 * np.log(2 * np.pi * variance)
    found = losses.gaussian_log_likelihood(*(tf.constant(part, tf.float32) for part in (values, mean, log_variance)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    slipped = losses.gaussian_log_likelihood(tf.constant(0.1), tf.constant(0.0), tf.constant(-100.0), 1e-6)
    assert float(slipped) == pytest.approx(-0.01 / 1e-6 - 0.5 * math.log(1e-6), rel=1e-5)
    assert losses.categorical_entropy(10) == pytest.approx(2.302585)
    assert losses.uniform_entropy(-1.0, 1.0) == pytest.approx(math.log(2))


def belief_of(latents: np.ndarray, scale: float, log_variance: float | None) -> Belief:
    """What a Q of ten categories and two continuous codes says that knows the latents; `scale` 0: knows nothing."""
    variance = None if log_variance is None else tf.fill([len(latents), 2], log_variance)
    logits, mean = latents[:, 1:11] * scale, latents[:, 11:] * float(scale > 0)
    return Belief((tf.constant(logits, tf.float32),), tf.constant(mean, tf.float32), variance)


def terms_of(scale: float, log_variance: float | None, **options: Any) -> dict[str, tuple[float, float]]:
    model = build(noise_size=1, **options)
    latents = model.latent_space.sample(4000, Noise(1, 0)).numpy()
    terms = model.information(tf.constant(latents), belief_of(latents, scale, log_variance))
    return {name: (float(np.mean(loss)), float(np.mean(bound))) for name, (loss, bound) in terms.items()}


def test_bounds_of_a_perfect_and_of_a_blank_recognition() -> None:
    perfect = terms_of(60.0, -3.0)
    assert perfect["c1"] == (pytest.approx(0.0, abs=1e-6), pytest.approx(math.log(10), rel=1e-6))
    bound = math.log(2) - 0.5 * math.log(2 * math.pi * math.exp(-3))
    assert perfect["c2"][1] == perfect["c3"][1] == pytest.approx(bound, rel=1e-4)
    blank = terms_of(0.0, 0.0)
    assert blank["c1"] == (pytest.approx(math.log(10)), pytest.approx(0.0, abs=1e-6))
    # A Gaussian of variance 1 around 0 for a code of variance 1/3.
    expected = math.log(2) - 0.5 * math.log(2 * math.pi) - 1 / 6
    assert blank["c2"][1] == pytest.approx(expected, abs=0.01)
    assert blank["c2"][0] == pytest.approx(math.log(2) - blank["c2"][1], rel=1e-4)


def test_the_bound_of_a_continuous_code_is_never_above_what_the_least_variance_allows() -> None:
    limited, open_ended = terms_of(60.0, -50.0), terms_of(60.0, -50.0, least_log_variance=-20.0)
    assert limited["c2"][1] == pytest.approx(math.log(2) - 0.5 * math.log(2 * math.pi) + 3.0, rel=1e-4)
    assert open_ended["c2"][1] > limited["c2"][1] + 1


def test_double_softmax_has_a_floor_and_its_bound_is_the_proper_one() -> None:
    slipped = terms_of(60.0, 0.0, double_softmax=True)
    assert slipped["c1"][0] == pytest.approx(math.log(math.e + 9) - 1, rel=1e-5)
    assert slipped["c1"][0] == pytest.approx(1.4612, abs=1e-4)
    assert slipped["c1"][1] == pytest.approx(math.log(10), rel=1e-6)
    assert terms_of(0.0, 0.0, double_softmax=True)["c1"][0] == pytest.approx(math.log(10), rel=1e-6)


def test_continuous_losses_without_a_variance_head() -> None:
    fixed = terms_of(0.0, None, continuous_loss="fixed_variance")["c2"]
    squared = terms_of(0.0, None, continuous_loss="squared_error")["c2"]
    assert squared[0] == pytest.approx(1 / 3, abs=0.02)
    assert fixed[0] == pytest.approx(squared[0] / 2 + 0.5 * math.log(2 * math.pi), rel=1e-4)
    assert fixed[1] == pytest.approx(math.log(2) - fixed[0], rel=1e-4)
    assert squared[1] == pytest.approx(math.log(2) - squared[0] - 0.5 * math.log(math.pi), rel=1e-4)


# The step against the objective written down once more.


def by_hand(model: InfoGAN, data: tf.Tensor, rate: float) -> dict[str, np.ndarray]:
    """The trainable weights after a step of plain gradient descent; the model is left as it was found."""
    o, before = model.options, [variable.numpy() for variable in model.variables]
    reals = data * 2 - 1 if o.network == "svhn" else data
    epsilon = float(o.log_epsilon or 0.0)

    def log(logits: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.sigmoid(logits) + epsilon)

    def believe(features: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        if model.recognition is not None:
            features = model.recognition(features, training=True)
        total, column = tf.constant(0.0), o.noise_size
        if o.categorical_codes:
            logits = model.heads["categorical"](features)
            for size in o.categorical_codes:
                codes, part = latents[:, column : column + size], logits[:, :size]
                part = tf.nn.softmax(part) if o.double_softmax else part
                total -= o.lambda_categorical * tf.reduce_mean(tf.reduce_sum(codes * tf.nn.log_softmax(part), axis=1))
                logits, column = logits[:, size:], column + size
        if o.continuous_codes:
            square = (latents[:, column:] - model.heads["mean"](features)) ** 2
            if o.continuous_loss == "learned_variance":
                v = tf.exp(tf.maximum(model.heads["log_variance"](features), o.least_log_variance))
                square = square / (2 * v + 1e-6) + 0.5 * tf.math.log(2 * math.pi * v + 1e-6)
            elif o.continuous_loss == "fixed_variance":
                square = square / 2
            total += float(o.lambda_continuous or 0.0) * tf.reduce_mean(tf.reduce_sum(square, axis=1))
        return total

    def descend(player: str, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        variables = model.player_variables()[player]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(rate * gradient)

    latents = model.latent_space.sample(len(data), Noise(0, 0))
    with tf.GradientTape() as tape:
        features = model.trunk(model.generator(latents, training=True), training=True)
        loss = -tf.reduce_mean(log(model.discriminator(model.trunk(reals, training=True))))
        loss -= tf.reduce_mean(log(-model.discriminator(features)))
        if o.information_updates_trunk:
            loss += believe(features, latents)
        elif o.information_player == "discriminator":
            loss += believe(tf.stop_gradient(features), latents)
    descend("discriminator", tape, loss)
    if o.fresh_latents:
        latents = model.latent_space.sample(len(data), Noise(0, -1))
    with tf.GradientTape() as tape:
        features = model.trunk(model.generator(latents, training=True), training=True)
        loss = -tf.reduce_mean(log(model.discriminator(features)))
        if not o.auxiliary_q:
            loss += believe(features, latents)
        elif o.information_player == "generator":
            loss += believe(tf.stop_gradient(features), latents)
    descend("generator", tape, loss)
    after = helpers.values_of(model.trainable_variables)
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    return after


@each_variant
def test_a_step_descends_on_the_objective(name: str) -> None:
    model, rate = helpers.rouse(build(**VARIANTS[name])), 0.1
    model.configure(helpers.descent(model, rate))
    data = helpers.images_for(model)
    expected, before = by_hand(model, data, rate), helpers.values_of(model.trainable_variables)
    model.train_step(data)
    moved = 0
    for path, value in helpers.values_of(model.trainable_variables).items():
        length = np.linalg.norm(expected[path] - before[path])
        # A bias before a batch normalization has no effect: its gradient is rounding, hence the constant.
        assert np.linalg.norm(value - expected[path]) < 1e-3 * length + 1e-5, path
        moved += int(length > 1e-4)
    assert moved > len(expected) / 3


def updated(model: InfoGAN, weights: list[np.ndarray], **rates: float) -> dict[str, np.ndarray]:
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)
    model.configure(helpers.descent(model, 0.0, **rates))
    model.train_step(helpers.images_for(model))
    return helpers.values_of(model.trainable_variables)


def test_g_and_q_learn_from_the_discriminator_that_has_just_learned() -> None:
    model = build(**CODES)
    weights = [variable.numpy() for variable in model.variables]
    old = updated(model, weights, generator=0.5)
    new = updated(model, weights, generator=0.5, discriminator=0.5)
    for network in ("generator_deconv", "categorical", "mean"):
        paths = [path for path in old if path.startswith(network)]
        assert paths
        assert any(np.abs(old[path] - new[path]).max() > 1e-5 for path in paths)


def test_who_learns_from_the_information() -> None:
    def difference(**options: Any) -> set[str]:
        """The networks on which the weight of the information has an influence."""
        results = []
        for weight in (0.0, 3.0):
            model = build(**{**CODES, "lambda_categorical": weight, "lambda_continuous": weight, **options})
            model.configure(helpers.descent(model, 0.2))
            model.train_step(helpers.images_for(model))
            results.append(helpers.values_of(model.trainable_variables))
        changed = {path for path in results[0] if np.abs(results[0][path] - results[1][path]).max() > 1e-6}
        return {path.split("_dense")[0].split("_conv")[0].split("_deconv")[0].split("_batch")[0] for path in changed}

    own = {"recognition", "categorical", "mean", "log_variance"}
    assert difference() == {"generator", *own}
    assert difference(information_updates_trunk=True) == {"generator", "trunk", *own}
    assert difference(auxiliary_q=True) == own
    assert difference(variant="official") >= {"trunk", "generator", "recognition", "categorical", "mean"}


def test_the_official_log_has_its_epsilon_and_saturates() -> None:
    model = build(**VARIANTS["official"])
    logits = tf.constant([[0.0], [-40.0], [40.0]])
    np.testing.assert_allclose(model._adversarial(logits, 1.0), [math.log(2), -math.log(1e-8), 0.0], atol=1e-5)
    np.testing.assert_allclose(model._adversarial(logits, 0.0), [math.log(2), 0.0, -math.log(1e-8)], atol=1e-5)
    stable = build(**CODES)
    np.testing.assert_allclose(stable._adversarial(logits, 1.0), [math.log(2), 40.0, 0.0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("community", {"generator": 1, "trunk": 3, "recognition": 3}),
        ("official", {"generator": 2, "trunk": 3, "recognition": 2}),
        ("color", {"generator": 1, "trunk": 3, "recognition": 3}),
    ],
)
def test_moving_statistics_move_as_often_as_in_the_reference(name: str, moves: dict[str, int]) -> None:
    model = build(**VARIANTS[name])
    with deferred_moving_statistics() as notes:
        model.train_step(helpers.images_for(model))
    counts = collections.Counter(note.layer.name for note in notes)
    assert {layer.split("_")[0] for layer in counts} == set(moves)
    for layer, count in counts.items():
        assert count == moves[layer.split("_")[0]], layer


def test_real_and_fake_images_are_normalized_each_by_their_own_statistics() -> None:
    model = build(**CODES)
    data = helpers.images_for(model)
    layer = next(layer for layer in model.trunk.layers if "batch_norm" in layer.name)
    with deferred_moving_statistics() as notes:
        model.train_step(data)
    first = next(note for note in notes if note.layer is layer)
    with deferred_moving_statistics() as alone:
        build(**CODES).trunk(data, training=True)
    np.testing.assert_allclose(first.mean, alone[0].mean, rtol=1e-4, atol=1e-6)
    assert layer.unbiased
    assert not any(layer.unbiased for layer in build(**VARIANTS["official"]).trunk.layers if "batch_norm" in layer.name)


def test_a_frozen_variance_head_belongs_to_nobody_and_stays() -> None:
    model = build(**VARIANTS["slips"])
    head = helpers.values_of(model.heads["log_variance"].variables)
    assert len(head) == 2
    model.train_step(helpers.images_for(model))
    assert helpers.equal_bitwise(head, helpers.values_of(model.heads["log_variance"].variables))
    owned = {variable.path for variables in model.player_variables().values() for variable in variables}
    assert not owned & set(head)


# Weights, latents, representation.


def test_initialization_of_the_community_code() -> None:
    builder = Builder(REAL["mnist_community"], 1, 0.1, 0)
    trunk, generator = builder.trunk(), builder.generator(74)
    kernels = [layer.kernel.numpy() for layer in (*trunk.layers, *generator.layers) if "conv" in layer.name]
    assert len(kernels) == 4
    for kernel in kernels:
        assert kernel.std() == pytest.approx(0.02, rel=0.1)
        assert np.abs(kernel).max() > 0.06
    dense = next(layer for layer in trunk.layers if "dense" in layer.name)
    bound = 1 / math.sqrt(6272)
    assert np.abs(dense.kernel.numpy()).max() <= bound
    assert np.abs(dense.bias.numpy()).max() > 0.5 * bound
    assert not any(layer.use_bias for layer in generator.layers if "dense" in layer.name)
    gamma = next(layer for layer in generator.layers if "batch_norm" in layer.name).gamma.numpy()
    assert gamma.mean() == pytest.approx(1.0, abs=0.01)
    assert gamma.std() == pytest.approx(0.02, rel=0.2)


def test_slopes() -> None:
    def slopes(**options: Any) -> set[float]:
        model = build(**{**CODES, **options})
        layers = [*model.trunk.layers, *model.recognition.layers]  # type: ignore[union-attr]
        return {round(layer.negative_slope, 6) for layer in layers if isinstance(layer, keras.layers.LeakyReLU)}

    assert slopes() == {0.1}
    assert slopes(variant="official") == {0.01}
    assert slopes(leaky_slope=0.3) == {0.3}


def test_variants_set_only_what_is_left_open() -> None:
    official = InfoGANOptions(variant="official", noise_distribution="normal", lambda_continuous=0.3)
    assert (official.noise_distribution, official.lambda_continuous) == ("normal", 0.3)
    assert (official.network, official.information_player, official.continuous_loss) == (
        "mnist_official",
        "discriminator",
        "fixed_variance",
    )
    assert (official.fresh_latents, official.information_updates_trunk, official.log_epsilon) == (True, True, 1e-8)
    community = InfoGANOptions()
    assert (community.network, community.noise_distribution, community.lambda_continuous) == (
        "mnist_community",
        "normal",
        0.1,
    )
    assert (community.fresh_latents, community.information_updates_trunk, community.log_epsilon) == (False, False, 0.0)


def test_latents_are_noise_then_categories_then_values() -> None:
    space = InfoGANOptions(noise_size=5, categorical_codes=(3, 4), continuous_codes=2).latent_space()
    assert [(block.name, block.size, block.is_code) for block in space.blocks] == [
        ("z", 5, False),
        ("c1", 3, True),
        ("c2", 4, True),
        ("c3", 1, True),
        ("c4", 1, True),
    ]
    assert [move.label for move in space.traversals()] == ["c1", "c2", "c3", "c4"]
    assert space.categorical_columns() == [range(3), range(3, 7)]
    drawn = space.sample(2000, Noise(0, 0)).numpy()
    assert drawn[:, :5].std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(drawn[:, 5:8].sum(axis=1), 1)
    assert drawn[:, 5:8].mean(axis=0) == pytest.approx(1 / 3, abs=0.04)
    assert -1 <= drawn[:, 12:].min() < -0.99 < 0.99 < drawn[:, 12:].max() <= 1
    uniform = InfoGANOptions(variant="official").latent_space().sample(2000, Noise(0, 0)).numpy()
    assert np.abs(uniform[:, :62]).max() <= 1


def test_the_representation_is_probabilities_then_means() -> None:
    model = build(noise_size=4, categorical_codes=(3, 4), continuous_codes=2)
    data = helpers.images_for(model)
    codes = model.encode(data).numpy()
    assert codes.shape == (helpers.BATCH, 9)
    np.testing.assert_allclose(codes[:, :3].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(codes[:, 3:7].sum(axis=1), 1, rtol=1e-5)
    features = model.recognition(model.trunk(data, training=False), training=False)  # type: ignore[misc]
    np.testing.assert_allclose(codes[:, 7:], model.heads["mean"](features), atol=1e-6)
    np.testing.assert_array_equal(model.classify(data), codes[:, :3].argmax(axis=1))
    np.testing.assert_array_equal(model.classify(data, code=1), codes[:, 3:7].argmax(axis=1))
    for code in (2, -1):
        with pytest.raises(ValueError, match=f"code is {code}; this model has 2 categorical codes"):
            model.classify(data, code=code)


def test_images_in_color_are_scaled_to_the_range_of_the_networks() -> None:
    model = build(**VARIANTS["color"])
    latents = model.latent_space.sample(4, Noise(0, 0))
    images = model.generate(latents).numpy()
    assert images.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(images * 2 - 1, model.generator(latents, training=False), atol=1e-6)
    data = helpers.images_for(model)
    features = model.recognition(model.trunk(data * 2 - 1, training=False), training=False)  # type: ignore[misc]
    np.testing.assert_allclose(
        model.encode(data)[:, :3], tf.nn.softmax(model.heads["categorical"](features)[:, :3]), atol=1e-6
    )
    gray = build(**CODES)
    latents = gray.latent_space.sample(4, Noise(0, 0))
    np.testing.assert_array_equal(gray.generate(latents), gray.generator(latents, training=False))


def test_step_in_bfloat16() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(**CODES)
    helpers.run_step_test(model)
    assert model.generate(tf.zeros([2, model.latent_space.size])).dtype == tf.float32
    assert model.encode(helpers.images_for(model)).dtype == tf.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variant": "seed"}, "variant is 'seed'; allowed: 'community', 'official'"),
        ({"network": "mnist"}, "network is 'mnist'; allowed: 'mnist_community', 'mnist_small'"),
        ({"noise_distribution": "beta"}, "allowed: 'normal', 'uniform'"),
        ({"information_player": "both"}, "allowed: 'generator', 'discriminator'"),
        ({"continuous_loss": "l1"}, "allowed: 'learned_variance', 'fixed_variance', 'squared_error'"),
        ({"recognition_statistics": "reals"}, "allowed: 'all', 'fakes'"),
        ({"noise_size": 0}, "noise_size is 0; allowed: 1 or more"),
        ({"categorical_codes": (10, 1)}, "categorical_codes is 1; allowed: 2 or more"),
        ({"categorical_codes": (), "continuous_codes": 0}, "give at least one code"),
        ({"lambda_continuous": -0.1}, "lambda_continuous is -0.1; allowed: 0 or more"),
        ({"least_log_variance": 1.0}, "least_log_variance is 1.0; allowed: -100 to 0"),
        ({"frozen_variance_head": True, "variant": "official"}, "there is no variance head"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InfoGANOptions(**change)


def test_images_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"network 'mnist_community' takes 8 x 8 images, not \(16, 16, 3\)"):
        InfoGANOptions(**CODES).build((16, 16, 3), 0)
    with pytest.raises(ValueError, match="networks of that size: svhn"):
        InfoGANOptions(**CODES).build((16, 16, 3), 0)
