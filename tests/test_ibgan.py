"""IB-GAN: sizes, objective, schedules, update order and initialization, against the paper and its two codes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from models import losses
from models.ibgan import IBGAN, IBGANOptions
from models.noise import Noise
from training.configuration import load

TINY = IBGANOptions(z_dim=5, r_dim=3, generator_width=2, discriminator_width=2)
SHARED = dataclasses.replace(TINY, towers="shared", encoder_size="large", label_smoothing=True)
CELEBA = {"z_dim": 64, "r_dim": 15, "generator_width": 64, "discriminator_width": 64}
CHAIRS = {"z_dim": 64, "r_dim": 10, "generator_width": 32, "discriminator_width": 16}
LARGE: dict[str, Any] = {"encoder_size": "large", "towers": "shared"}


def build(options: IBGANOptions = TINY, seed: int = 0, channels: int = 1, **changes: Any) -> IBGAN:
    model = dataclasses.replace(options, **changes).build((64, 64, channels), seed)
    model.configure()
    return model


def community(**changes: Any) -> IBGANOptions:
    """TINY as the community code has it; `replace` would keep what the official variant has already set."""
    sizes = {name: getattr(TINY, name) for name in ("z_dim", "r_dim", "generator_width", "discriminator_width")}
    return IBGANOptions(**{**sizes, **changes}, variant="community")


@pytest.fixture(scope="module")
def tiny() -> IBGAN:
    """A model whose weights tests leave as they find them."""
    return build()


def test_step() -> None:
    scalars = helpers.run_step_test(build())
    assert scalars["discriminator/loss"] == pytest.approx(
        scalars["discriminator/loss_real"] + scalars["discriminator/loss_fake"]
    )
    kl = [value for name, value in scalars.items() if name.startswith("kl/")]
    assert len(kl) == TINY.r_dim
    assert sum(kl) == pytest.approx(scalars["information/upper_bound"], rel=1e-5, abs=1e-7)


def test_step_with_a_shared_front_on_color_images() -> None:
    helpers.run_step_test(build(SHARED, channels=3))


@pytest.mark.parametrize("options", [TINY, SHARED, community()], ids=["separate", "shared", "community"])
def test_each_player_alone(options: IBGANOptions) -> None:
    helpers.run_players_test(build(options))


@pytest.mark.parametrize("options", [TINY, SHARED], ids=["separate", "shared"])
def test_saving(options: IBGANOptions, tmp_path: Path) -> None:
    model = build(options)
    model.train_step(helpers.images_for(model))
    helpers.run_saving_test(model, tmp_path)


def test_two_replicas() -> None:
    helpers.run_two_replica_test(build)


def test_two_eager_replicas_of_the_community_code_with_a_shared_front() -> None:
    options = community(towers="shared", encoder_size="large", label_smoothing=True)
    helpers.run_two_replica_test(lambda: build(options), steps=2, eager=True)


def test_resume(tmp_path: Path) -> None:
    helpers.run_resume_test(build, tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed=seed))


def test_fit() -> None:
    helpers.run_fit_test(build())


@pytest.mark.parametrize("options", [TINY, SHARED], ids=["separate", "shared"])
def test_batch_statistics(options: IBGANOptions) -> None:
    helpers.run_batch_statistics_test(build(options))


# Sizes: the table of parameter counts, computed from the published architectures.


def parameters(options: dict[str, Any], channels: int = 1) -> dict[str, int]:
    model = IBGANOptions(**options, weight_initialization="pytorch").build((64, 64, channels), 0)
    described = model.describe()
    counts = {name: network["trainable_parameters"] for name, network in described["networks"].items()}
    layers = described["networks"]["generator"]["layers"]
    reshape = next(index for index, layer in enumerate(layers) if layer["kind"] == "Reshape")
    counts["generator/linear"] = sum(layer["trainable_parameters"] for layer in layers[:reshape])
    counts["generator/deconvolutions"] = sum(layer["trainable_parameters"] for layer in layers[reshape:])
    assert described["trainable_parameters"] == sum(counts[name] for name in described["networks"])
    return counts


def test_parameters_of_dsprites() -> None:
    counts = parameters({})
    assert counts["encoder"] == 2_260
    assert counts["generator/linear"] == 1_064_192
    assert counts["generator/deconvolutions"] == 115_297
    assert counts["encoder"] + counts["generator"] == 1_181_749
    assert counts["reconstructor"] == 2_283_488
    assert counts["discriminator"] == 2_213_329


@pytest.mark.parametrize(
    ("options", "channels", "generator", "judges"),
    [
        (CELEBA, 3, 18_696_001, 36_645_761),
        (CHAIRS, 1, 4_696_885, 2_304_273),
        ({**CHAIRS, "discriminator_width": 32}, 1, 4_696_885, 9_179_617),
    ],
    ids=["celeba", "chairs", "chairs with ndf 32"],
)
def test_parameters_with_a_shared_front(options: dict[str, Any], channels: int, generator: int, judges: int) -> None:
    counts = parameters({**options, **LARGE}, channels)
    assert counts["encoder"] + counts["generator"] == generator
    assert counts["front"] + counts["reconstructor"] + counts["discriminator"] == judges
    if options is CELEBA:
        assert counts["encoder"] == 11_710
        assert counts["generator/linear"] == 16_844_800
        assert counts["generator/deconvolutions"] == 1_839_491


@pytest.mark.parametrize(("name", "sizes"), [("celeba", CELEBA), ("chairs3d", CHAIRS)])
def test_shipped_networks_have_the_sizes_that_were_counted(name: str, sizes: dict[str, Any]) -> None:
    options = load([f"gin/ibgan_{name}.gin"])[0].experiment.model
    wanted = {**sizes, **LARGE}
    assert {option: getattr(options, option) for option in wanted} == wanted


# Losses, worked by hand.


def test_divergence_from_the_standard_normal() -> None:
    mean = tf.constant([[0.0, 1.0, 0.0, -2.0]])
    log_variance = tf.constant([[0.0, 0.0, math.log(4.0), math.log(0.25)]])
    expected = [[0.0, 0.5, 0.5 * (4 - 1 - math.log(4)), 0.5 * (4 + 0.25 - 1 + math.log(4))]]
    np.testing.assert_allclose(losses.standard_normal_divergence(mean, log_variance), expected, rtol=1e-6)


def test_divergence_equals_a_monte_carlo_estimate() -> None:
    mean, log_variance = 0.7, -0.9
    draws = mean + math.exp(0.5 * log_variance) * np.random.default_rng(0).normal(size=400_000)
    log_e = -0.5 * ((draws - mean) ** 2 / math.exp(log_variance) + log_variance)
    estimate = float(np.mean(log_e + 0.5 * draws**2))
    exact = losses.standard_normal_divergence(tf.constant([[mean]]), tf.constant([[log_variance]]))
    assert float(exact[0, 0]) == pytest.approx(estimate, abs=0.01)


def test_lower_bound_of_the_information() -> None:
    z = tf.constant([[1.0, 2.0], [0.0, -3.0]])
    lower = losses.gaussian_information_lower_bound
    np.testing.assert_allclose(lower(z, tf.zeros([2, 2])), [0, 0])
    np.testing.assert_allclose(lower(z, z), [2.5, 4.5])
    np.testing.assert_allclose(lower(z, 2 * z), [0, 0])
    np.testing.assert_allclose(lower(z, tf.constant([[0.5, 0.0], [1.0, 1.0]])), [0.375, -4.0])


def test_cross_entropy_with_labels_above_one() -> None:
    logits = tf.constant([[0.0], [2.0], [-100.0]])
    softplus = np.log1p(np.exp([0.0, 2.0]))
    np.testing.assert_allclose(
        losses.sigmoid_cross_entropy(logits, 1.0), [math.log(2), softplus[1] - 2, 100], rtol=1e-6
    )
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(logits, 0.0), [math.log(2), softplus[1], 0], atol=1e-6)
    smoothed = losses.sigmoid_cross_entropy(logits, tf.constant([0.7, 1.2, 1.0]))
    np.testing.assert_allclose(smoothed, [math.log(2), softplus[1] - 2 * 1.2, 100], rtol=1e-6)


def test_least_squares() -> None:
    np.testing.assert_allclose(losses.least_squares(tf.constant([[0.0], [3.0]]), 1.0), [0.5, 2.0])


# The training step against the objective written down once more.


@pytest.mark.parametrize("options", [TINY, SHARED], ids=["separate", "shared"])
def test_gradients_are_those_of_the_objective(options: IBGANOptions) -> None:
    model, rate = build(options, noise_start=0.3, beta=0.2, lambda_information=0.9, gan_weight=1.1), 0.05
    data = helpers.images_for(model)
    noise = Noise(0, 0)
    labels = noise.uniform("labels", [helpers.BATCH], 0.7, 1.2) if options.label_smoothing else tf.ones([helpers.BATCH])

    def noisy(images: tf.Tensor, stream: str) -> tf.Tensor:
        return tf.clip_by_value(images + 0.3 * noise.normal(f"instance/{stream}", images.shape), -1.0, 1.0)

    def features(images: tf.Tensor) -> tf.Tensor:
        return images if model.front is None else model.front(images, training=True)

    with tf.GradientTape(persistent=True) as tape:
        z = noise.normal("z", [helpers.BATCH, options.z_dim])
        mean, log_variance = tf.split(model.encoder(z, training=True), 2, axis=1)
        r = mean + tf.exp(log_variance / 2) * noise.normal("r", mean.shape)
        fakes = features(noisy(model.generator(r, training=True), "fake"))
        fake, real = (
            model.discriminator(seen, training=True)[:, 0] for seen in (fakes, features(noisy(2 * data - 1, "real")))
        )
        zhat = model.reconstructor(fakes, training=True)
        d_loss = tf.reduce_mean(tf.nn.softplus(real) - labels * real) + tf.reduce_mean(tf.nn.softplus(fake))
        lower = tf.reduce_mean(tf.reduce_sum(z**2 - (z - zhat) ** 2, axis=1)) / 2
        upper = tf.reduce_mean(tf.reduce_sum(mean**2 + tf.exp(log_variance) - 1 - log_variance, axis=1)) / 2
        g_loss = tf.reduce_mean(tf.nn.softplus(-fake))
        total = 1.1 * g_loss - 0.9 * lower + 0.2 * upper
    expected: dict[str, np.ndarray] = {}
    for name, variables in model.player_variables().items():
        gradients = tape.gradient(d_loss if name == "discriminator" else total, variables)
        expected |= {v.path: v.numpy() - rate * g.numpy() for v, g in zip(variables, gradients, strict=True)}

    model.configure(helpers.descent(model, rate))
    scalars = model.train_step(data)
    for path, value in helpers.values_of(model.trainable_variables).items():
        np.testing.assert_allclose(value, expected[path], atol=2e-6, rtol=1e-4, err_msg=path)
    found = [scalars[f"information/{bound}"] for bound in ("lower_bound", "upper_bound")]
    np.testing.assert_allclose(found, [lower, upper], rtol=1e-4, atol=1e-6)
    assert float(scalars["discriminator/loss"]) == pytest.approx(float(d_loss), rel=1e-5)
    assert float(scalars["generator/loss"]) == pytest.approx(float(total), rel=1e-4)
    assert float(scalars["generator/loss_adversarial"]) == pytest.approx(float(g_loss), rel=1e-5)


def step_from(
    model: IBGAN, weights: list[np.ndarray], **changes: Any
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """One step from given weights with some options changed: its scalars, and the trainable weights after it."""
    before = model.options
    model.options = dataclasses.replace(before, **changes)
    try:
        for variable, value in zip(model.variables, weights, strict=True):
            variable.assign(value)
        scalars = model.train_step(helpers.images_for(model))
    finally:
        model.options = before
    return {name: float(value) for name, value in scalars.items()}, helpers.values_of(model.trainable_variables)


def test_update_orders_agree_if_the_discriminator_stands_still_and_differ_in_the_generator_if_not() -> None:
    model = build(noise_start=0.0)
    weights = [variable.numpy() for variable in model.variables]
    for rate in (0.0, 0.5):
        model.configure(helpers.descent(model, 0.05, discriminator=rate))
        _, simultaneous = step_from(model, weights, update_order="simultaneous")
        _, sequential = step_from(model, weights, update_order="sequential")
        for path, value in simultaneous.items():
            if rate and path.startswith(("generator", "encoder")):
                continue
            np.testing.assert_allclose(sequential[path], value, atol=1e-6, err_msg=path)
        last = [path for path in simultaneous if path.startswith("generator")][-2]
        assert np.allclose(sequential[last], simultaneous[last], rtol=0, atol=1e-7) == (rate == 0.0)


def test_label_smoothing_reaches_the_generator_only_where_asked() -> None:
    model = build(noise_start=0.0)
    weights = [variable.numpy() for variable in model.variables]
    plain, _ = step_from(model, weights, label_smoothing=False)
    official, _ = step_from(model, weights, label_smoothing=True, smooth_generator_labels=False)
    both, _ = step_from(model, weights, label_smoothing=True, smooth_generator_labels=True)
    assert official["discriminator/loss_real"] != plain["discriminator/loss_real"]
    assert official["discriminator/loss_fake"] == plain["discriminator/loss_fake"]
    assert official["generator/loss_adversarial"] == plain["generator/loss_adversarial"]
    assert both["discriminator/loss_real"] == official["discriminator/loss_real"]
    assert both["generator/loss_adversarial"] != plain["generator/loss_adversarial"]
    assert IBGANOptions().smooth_generator_labels is False
    assert IBGANOptions(variant="community").smooth_generator_labels is True


@pytest.mark.parametrize(
    ("rule", "beta", "below", "above"),
    [
        ("constant", 0.3, 0.3, 0.3),
        ("constant", 0.0, 0.0, 0.0),
        ("official", 0.3, 0.3, 0.3),
        ("official", 0.0, 0.0, 100.0),
        ("community", 0.3, 0.3, 100.0),
        ("community", 0.0, 0.0, 100.0),
    ],
)
def test_weight_of_the_upper_bound(tiny: IBGAN, rule: str, beta: float, below: float, above: float) -> None:
    weights = [variable.numpy() for variable in tiny.variables]
    last = max(i for i, variable in enumerate(tiny.variables) if variable.path.startswith("encoder"))
    assert weights[last].shape == (2 * TINY.r_dim,)
    expected = {19.9: below, 20.1: above}
    for nats, weight in expected.items():
        # Of one code the mean is so large that KL = mean^2 / 2; all weights before it are 0.
        zeros = [0 * w if v.path.startswith("encoder") else w for v, w in zip(tiny.variables, weights, strict=True)]
        zeros[last] = np.eye(2 * TINY.r_dim, dtype=np.float32)[0] * math.sqrt(2 * nats)
        scalars, _ = step_from(tiny, zeros, kl_rule=rule, beta=beta)
        assert scalars["information/upper_bound"] == pytest.approx(nats, rel=1e-5)
        assert scalars["information/kl_weight"] == pytest.approx(weight)
        loss = scalars["generator/loss_adversarial"] - scalars["information/lower_bound"] + weight * nats
        assert scalars["generator/loss"] == pytest.approx(loss, rel=1e-4)
    for variable, value in zip(tiny.variables, weights, strict=True):
        variable.assign(value)


# Schedules.


def deviation(step: int, **options: Any) -> float:
    settings = IBGANOptions(**options)
    return float(IBGAN.noise_deviation(SimpleNamespace(options=settings), tf.constant(step, tf.int64)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "sigma"), [(0, 1.0), (1, 1 - 1 / 99_999), (49_999, 1 - 49_999 / 99_999), (99_999, 0.0), (150_000, 0.0)]
)
def test_official_noise_on_dsprites_counts_from_one_and_ends_at_its_last_step(step: int, sigma: float) -> None:
    assert deviation(step) == pytest.approx(sigma, abs=1e-6)


def test_official_noise_stays_at_its_end() -> None:
    celeba = {"noise_start": 0.5, "noise_end": 0.01, "noise_steps": 1000}
    assert deviation(0, **celeba) == pytest.approx(0.5)
    assert deviation(999, **celeba) == pytest.approx(0.01)
    assert deviation(5000, **celeba) == pytest.approx(0.01)


def test_community_noise_counts_from_zero_and_runs_on_down_to_zero() -> None:
    ramp: dict[str, Any] = {"noise_start": 0.5, "noise_end": 0.1, "noise_steps": 1000, "variant": "community"}
    assert deviation(0, **ramp) == pytest.approx(0.5)
    assert deviation(500, **ramp) == pytest.approx(0.3)
    assert deviation(1000, **ramp) == pytest.approx(0.1)
    assert deviation(1125, **ramp) == pytest.approx(0.05)
    assert deviation(2000, **ramp) == 0


def test_noise_can_be_switched_off() -> None:
    assert deviation(0, instance_noise=False) == 0
    assert deviation(0, noise_start=0.0, noise_end=0.0) == 0


# Initialization.


def kernels(network: keras.Model, prefix: str) -> list[np.ndarray]:
    return [layer.kernel.numpy() for layer in network.layers if layer.name.startswith(prefix)]


def is_normal(kernel: np.ndarray) -> bool:
    """N(0, 0.02): the spread fits, and there are values beyond 1.8 deviations, as no uniform distribution has them."""
    return abs(kernel.std() / 0.02 - 1) < 0.2 and bool(np.abs(kernel).max() > 1.8 * 0.02)


def is_pytorch_default(kernel: np.ndarray, fan_in: int) -> bool:
    bound = 1 / math.sqrt(fan_in)
    return bool(np.abs(kernel).max() <= bound) and abs(kernel.std() * math.sqrt(3) / bound - 1) < 0.2


@pytest.fixture(scope="module")
def community_model() -> IBGAN:
    return IBGANOptions(variant="community", generator_width=8, discriminator_width=8).build((64, 64, 1), 0)


def test_official_initialization_is_normal_everywhere() -> None:
    model = IBGANOptions(generator_width=8, discriminator_width=8).build((64, 64, 1), 0)
    for network in model.networks.values():
        for layer in network.layers:
            if hasattr(layer, "kernel"):
                assert is_normal(layer.kernel.numpy()), layer.name
            if getattr(layer, "bias", None) is not None:
                assert not layer.bias.numpy().any(), layer.name


def test_community_initialization_of_the_generator_skips_the_deconvolutions(community_model: IBGAN) -> None:
    for kernel in [
        *kernels(community_model.encoder, "encoder_dense"),
        *kernels(community_model.generator, "generator_dense"),
    ]:
        assert is_normal(kernel)
    deconvolutions = kernels(community_model.generator, "generator_deconv")
    assert len(deconvolutions) == 5
    for kernel in deconvolutions:
        height, width, filters, _ = kernel.shape
        assert is_pytorch_default(kernel, filters * height * width)
        assert not is_normal(kernel)


@pytest.mark.parametrize("name", ["reconstructor", "discriminator"])
def test_community_initialization_of_a_tower_stops_at_the_first_convolution_without_a_bias(
    community_model: IBGAN, name: str
) -> None:
    network = community_model.networks[name]
    first, second, *rest = kernels(network, f"{name}_conv")
    assert is_normal(first)
    assert is_normal(second)
    assert len(rest) == (5 if name == "reconstructor" else 4)
    for kernel in rest:
        assert is_pytorch_default(kernel, math.prod(kernel.shape[:-1]))
    assert np.abs(network.layers[-2].bias.numpy()).max() > 0


def test_community_scope_with_other_schemes_skips_the_deconvolutions_only() -> None:
    model = community(weight_initialization="kaiming", discriminator_width=4).build((64, 64, 1), 0)
    for kernel in kernels(model.discriminator, "discriminator_conv"):
        assert kernel.std() == pytest.approx(math.sqrt(2 / math.prod(kernel.shape[:-1])), rel=0.4)
    for kernel in kernels(model.generator, "generator_deconv"):
        assert np.abs(kernel).max() <= 1 / math.sqrt(kernel.shape[2] * kernel.shape[0] ** 2)


def test_orthogonal_initialization_has_orthonormal_columns() -> None:
    model = dataclasses.replace(TINY, weight_initialization="orthogonal").build((64, 64, 1), 0)
    kernel = model.discriminator.layers[-2].kernel.numpy()
    matrix = kernel.reshape(-1, kernel.shape[-1])
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(1), atol=1e-5)


# Structure.


def test_reconstructor_slope_is_the_width_in_the_community_code() -> None:
    assert IBGANOptions().reconstructor_slope == 0.2
    assert IBGANOptions(variant="community").reconstructor_slope == 256
    model = community().build((64, 64, 1), 0)
    slopes = [layer.negative_slope for layer in model.reconstructor.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert slopes == pytest.approx([0.2] * 5 + [32.0])
    official = TINY.build((64, 64, 1), 0)
    slopes = [
        layer.negative_slope for layer in official.reconstructor.layers if isinstance(layer, keras.layers.LeakyReLU)
    ]
    assert slopes == pytest.approx([0.2] * 6)


def test_variants_set_only_what_is_left_open() -> None:
    options = IBGANOptions(variant="community", kl_rule="constant", reconstructor_slope=0.2)
    assert (options.kl_rule, options.reconstructor_slope) == ("constant", 0.2)
    assert (options.update_order, options.noise_ramp) == ("sequential", "community")
    assert options.initialization_scope == "community"
    official = IBGANOptions()
    assert (official.kl_rule, official.update_order, official.noise_ramp) == ("official", "simultaneous", "official")
    assert official.initialization_scope == "all"


def test_a_shared_front_is_trained_by_the_discriminator_only() -> None:
    model = build(SHARED)
    assert model.front is not None
    front = {variable.path for variable in model.front.trainable_variables}
    owners = {
        name
        for name, variables in model.player_variables().items()
        if front & {variable.path for variable in variables}
    }
    assert owners == {"discriminator"}
    weights = [variable.numpy() for variable in model.variables]
    model.configure(helpers.descent(model, 0.05))
    _, with_reconstruction = step_from(model, weights, lambda_information=1.0)
    _, without = step_from(model, weights, lambda_information=0.0)
    for path in front:
        assert np.array_equal(with_reconstruction[path], without[path])
    moved = [
        p
        for p in without
        if not p.startswith(("front", "discriminator")) and (without[p] != with_reconstruction[p]).any()
    ]
    assert moved


def test_the_representation_is_the_mean_of_e_after_q(tiny: IBGAN) -> None:
    data = helpers.images_for(tiny)
    zhat = tiny.reconstructor(data * 2 - 1, training=False)
    np.testing.assert_allclose(tiny.encode(data), tiny.encoder(zhat)[:, : TINY.r_dim], atol=1e-6)
    assert tiny.encode(data).shape == (helpers.BATCH, TINY.r_dim)


def test_generated_images_are_in_the_unit_interval(tiny: IBGAN) -> None:
    images = tiny.generate(3.0 * tf.random.stateless_normal([4, TINY.r_dim], [0, 0])).numpy()
    assert images.shape == (4, 64, 64, 1)
    assert images.min() >= 0
    assert images.max() <= 1


def test_latents_and_bases_are_drawn_through_the_encoder(tiny: IBGAN) -> None:
    noise = Noise(5, 0)
    bases = tiny.traversal_bases(6, noise)
    mean, _ = tiny.encode_noise(noise.normal("z", [6, TINY.z_dim]), training=False)
    np.testing.assert_allclose(bases["zfixed"], mean)
    assert set(bases) == {"zfixed", "rfixed"}
    assert tiny.sample_latents(7, noise).shape == (7, TINY.r_dim)
    assert [move.label for move in tiny.latent_space.traversals()] == ["r0", "r1", "r2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variant": "seed"}, "variant is 'seed'; allowed: 'official', 'community'"),
        ({"towers": "joined"}, "towers is 'joined'; allowed: 'separate', 'shared'"),
        ({"encoder_size": "huge"}, "allowed: 'small', 'large'"),
        ({"kl_rule": "none"}, "allowed: 'constant', 'official', 'community'"),
        ({"update_order": "any"}, "allowed: 'simultaneous', 'sequential'"),
        ({"noise_ramp": "any"}, "allowed: 'official', 'community'"),
        ({"initialization_scope": "any"}, "allowed: 'all', 'community'"),
        ({"adversarial_loss": "wasserstein"}, "allowed: 'cross_entropy', 'least_squares'"),
        ({"weight_initialization": "zeros"}, "allowed: 'normal', 'xavier', 'kaiming', 'orthogonal', 'pytorch'"),
        ({"z_dim": 0}, "z_dim is 0; allowed: 1 or more"),
        ({"discriminator_width": -2}, "discriminator_width is -2; allowed: 1 or more"),
        ({"beta": -0.1}, "beta is -0.1; allowed: 0 or more"),
        ({"noise_start": float("nan")}, "noise_start is nan; allowed: 0 or more"),
        ({"reconstructor_slope": -1.0}, "reconstructor_slope is -1.0; allowed: 0 or more"),
        ({"beta": float("inf")}, "beta is inf"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IBGANOptions(**change)


@pytest.mark.parametrize("shape", [(32, 32, 1), (64, 32, 3), (128, 128, 3)])
def test_images_of_another_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="64 x 64 images only"):
        TINY.build(shape, 0)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 0), (64, 64, 1, 1)])
def test_shapes_that_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TINY.build(shape, 0)


def test_players_that_do_not_exist(tiny: IBGAN) -> None:
    with pytest.raises(ValueError, match="unknown players"):
        tiny.configure({"teacher": helpers.SGDOptions()})
    tiny.configure()


def test_training_needs_optimizers() -> None:
    model = TINY.build((64, 64, 1), 0)
    with pytest.raises(RuntimeError, match="configure"):
        model.train_step(helpers.images_for(model))
