"""FactorVAE: sizes, objective, update order, permutation and representations, against the paper and its codes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs

from models import losses
from models.factor_vae import (
    FactorVAE,
    FactorVAEOptions,
    joint_log_odds,
    negative_log_softmax,
    permute_columns,
)
from models.noise import Noise
from models.optimizers import AdamOptions
from training.configuration import load
from training.runtime import mirrored_strategy

SIZES: dict[str, Any] = {"latent_size": 3, "discriminator_units": 8}
TINY = FactorVAEOptions(**SIZES)
KIM_MNIH = FactorVAEOptions(**SIZES, variant="kim_mnih")
COMMUNITY = FactorVAEOptions(**SIZES, variant="community")
SHAPE = (16, 16, 1)

TABLE = {
    1: {"factor_vae": 0.79, "dci_random_forest_ibgan": 0.67, "sap": 0.47, "explicitness": 0.78, "modularity": 0.79,
        "mig": 0.27, "beta_vae": 0.79},
    10: {"factor_vae": 0.83, "dci_random_forest_ibgan": 0.70, "sap": 0.57, "explicitness": 0.79, "modularity": 0.79,
         "mig": 0.40, "beta_vae": 0.83},
    20: {"factor_vae": 0.83, "dci_random_forest_ibgan": 0.72, "sap": 0.57, "explicitness": 0.79, "modularity": 0.79,
         "mig": 0.40, "beta_vae": 0.85},
    40: {"factor_vae": 0.82, "dci_random_forest_ibgan": 0.74, "sap": 0.56, "explicitness": 0.79, "modularity": 0.77,
         "mig": 0.43, "beta_vae": 0.84},
}  # fmt: skip
"""Table 1 of InfoGAN-CR, the rows of FactorVAE by gamma."""


def build(options: FactorVAEOptions = TINY, seed: int = 0, shape: tuple[int, ...] = SHAPE, **changes: Any) -> FactorVAE:
    model = dataclasses.replace(options, **changes).build(shape, seed)
    model.configure()
    return model


@pytest.fixture(scope="module")
def tiny() -> Iterator[FactorVAE]:
    """A model whose weights tests leave as they find them."""
    model = helpers.rouse(build())
    before = model.fingerprint()
    yield model
    assert model.fingerprint() == before


def test_step() -> None:
    scalars = helpers.run_step_test(build(shape=(32, 32, 3)))
    kl = [scalars[f"kl/z{index}"] for index in range(3)]
    assert sum(kl) == pytest.approx(scalars["vae/divergence"], rel=1e-5)
    total = scalars["vae/reconstruction"] + scalars["vae/divergence"] + 40 * scalars["total_correlation/estimate"]
    assert total == pytest.approx(scalars["vae/loss"], rel=1e-5)
    assert scalars["total_correlation/weight"] == 40
    # Untrained: every pixel and every z is undecided.
    assert scalars["vae/reconstruction"] == pytest.approx(32 * 32 * 3 * math.log(2), rel=0.01)
    assert scalars["discriminator/loss"] == pytest.approx(math.log(2), rel=0.2)


@pytest.mark.parametrize("options", [TINY, KIM_MNIH], ids=lambda options: options.variant)
def test_each_player_alone(options: FactorVAEOptions) -> None:
    helpers.run_players_test(build(options))


def test_saving(tmp_path: Path) -> None:
    model = build()
    model.train_step(helpers.images_for(model))
    helpers.run_saving_test(model, tmp_path)


@pytest.mark.parametrize(("options", "eager"), [(TINY, False), (KIM_MNIH, True)], ids=["infogan_cr", "kim_mnih, eager"])
def test_two_replicas(options: FactorVAEOptions, eager: bool) -> None:
    helpers.run_two_replica_test(lambda: helpers.rouse(build(options, gamma=2.0)), eager=eager)


def test_resume(tmp_path: Path) -> None:
    helpers.run_resume_test(build, tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed=seed))


def test_fit() -> None:
    helpers.run_fit_test(build())


def test_inference_changes_nothing() -> None:
    helpers.run_batch_statistics_test(build())


# Sizes: the table of the published architecture.


@pytest.mark.parametrize(("channels", "encoder", "decoder"), [(1, 249_172, 248_833), (3, 250_196, 249_859)])
def test_parameters(channels: int, encoder: int, decoder: int) -> None:
    described = FactorVAEOptions(weight_initialization="pytorch").build((64, 64, channels), 0).describe()
    counts = {name: network["trainable_parameters"] for name, network in described["networks"].items()}
    assert counts == {"encoder": encoder, "decoder": decoder, "discriminator": 4_017_002}


def shapes(model: FactorVAE, network: str, kind: str) -> list[list[int]]:
    return [layer["output_shape"] for layer in model.describe()["networks"][network]["layers"] if kind in layer["name"]]


def activations(model: FactorVAE, network: str) -> list[str]:
    """Kinds of the layers in their order, without reshaping."""
    kinds = [layer["kind"] for layer in model.describe()["networks"][network]["layers"]]
    return [kind for kind in kinds if kind != "Reshape"]


def test_layers() -> None:
    model = FactorVAEOptions(discriminator_units=8).build((64, 64, 1), 0)
    assert shapes(model, "encoder", "_conv") == [[32, 32, 32], [16, 16, 32], [8, 8, 64], [4, 4, 64]]
    assert shapes(model, "encoder", "_dense") == [[128], [20]]
    # No activation after the linear layer of 128.
    assert activations(model, "encoder") == ["Conv2D", "ReLU"] * 4 + ["Dense", "Dense"]
    assert shapes(model, "decoder", "_dense") == [[128], [1024]]
    assert shapes(model, "decoder", "_deconv") == [[8, 8, 64], [16, 16, 32], [32, 32, 32], [64, 64, 1]]
    assert activations(model, "decoder") == ["Dense", "ReLU"] * 2 + ["Conv2DTranspose", "ReLU"] * 3 + [
        "Conv2DTranspose"
    ]
    assert activations(model, "discriminator") == ["Dense", "LeakyReLU"] * 5 + ["Dense"]
    slopes = [layer.negative_slope for layer in model.discriminator.layers if "leaky" in layer.name]
    assert slopes == pytest.approx([0.2] * 5)


def test_layers_of_the_community_code() -> None:
    model = FactorVAEOptions(discriminator_units=8, variant="community").build((64, 64, 1), 0)
    assert shapes(model, "decoder", "_deconv") == [[8, 8, 64], [16, 16, 64], [32, 32, 32], [64, 64, 1]]
    assert activations(model, "discriminator") == ["Dense", "LeakyReLU"] * 6 + ["Dense"]


@pytest.mark.parametrize("side", [16, 32, 128])
def test_other_sides(side: int) -> None:
    model = TINY.build((side, side, 3), 0)
    assert shapes(model, "encoder", "_conv")[-2:] == [[8, 8, 64], [4, 4, 64]]
    assert shapes(model, "decoder", "_deconv")[-1] == [side, side, 3]
    assert model.generate(tf.zeros([2, 3])).shape == (2, side, side, 3)
    assert model.encode(tf.zeros([2, side, side, 3])).shape == (2, 3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (48, 48, 1), (64, 32, 1), (60, 60, 3)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square images whose side is a power of two, 16 or more"):
        TINY.build(shape, 0)


# Initialization.


def kernels(model: FactorVAE, kind: str) -> list[np.ndarray]:
    return [
        layer.kernel.numpy()
        for network in model.networks.values()
        for layer in network.layers
        if f"_{kind}" in layer.name and hasattr(layer, "kernel")
    ]


def test_published_initialization() -> None:
    model = FactorVAEOptions(discriminator_units=64).build((64, 64, 1), 0)
    for kind in ("conv", "deconv", "dense"):
        for kernel in kernels(model, kind):
            assert kernel.std() == pytest.approx(0.0176 if kind == "conv" else 0.02, rel=0.15), kind
    assert max(np.abs(kernel).max() for kernel in kernels(model, "conv")) <= 0.04
    assert max(np.abs(kernel).max() for kernel in kernels(model, "deconv")) > 0.04
    assert all(not v.numpy().any() for v in model.trainable_variables if v.path.endswith("bias"))


def test_initialization_of_the_community_code() -> None:
    model = FactorVAEOptions(discriminator_units=64, variant="community").build((64, 64, 1), 0)
    for kernel in kernels(model, "conv") + kernels(model, "deconv") + kernels(model, "dense"):
        # Whichever axis is which: the sum of both fans is the same.
        area = int(np.prod(kernel.shape[:-2]))
        bound = math.sqrt(6.0 / (area * (kernel.shape[-1] + kernel.shape[-2])))
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / math.sqrt(3.0), rel=0.15)


# Losses, worked by hand.


def test_reconstruction_sums_over_pixels() -> None:
    rng = np.random.default_rng(0)
    logits, images = rng.normal(0, 3, [4, 2, 2, 3]), rng.random([4, 2, 2, 3])
    p = 1 / (1 + np.exp(-logits))
    expected = -(images * np.log(p) + (1 - images) * np.log(1 - p)).reshape(4, -1).sum(1)
    found = losses.bernoulli_reconstruction(tf.constant(logits, tf.float32), tf.constant(images, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    undecided = losses.bernoulli_reconstruction(tf.zeros([1, 64, 64, 1]), tf.ones([1, 64, 64, 1]))
    assert float(undecided[0]) == pytest.approx(4096 * math.log(2), rel=1e-4)


def test_total_correlation_is_positive_where_z_looks_jointly_drawn() -> None:
    np.testing.assert_allclose(joint_log_odds(tf.constant([[3.0, 1.0], [-2.0, 0.5]])), [2.0, -2.5])


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 0.1])
def test_loss_of_the_discriminator(epsilon: float) -> None:
    logits = np.array([[0.0, 0.0], [2.0, -1.0], [-30.0, 40.0]])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for index in (0, 1):
        found = negative_log_softmax(tf.constant(logits, tf.float32), index, epsilon)
        np.testing.assert_allclose(found, -np.log(p[:, index] + epsilon), rtol=1e-5, atol=1e-7)


def test_the_logarithm_ends_at_its_epsilon() -> None:
    hopeless = tf.constant([[-200.0, 200.0]])
    assert float(negative_log_softmax(hopeless, 0, 1e-8)[0]) == pytest.approx(-math.log(1e-8))
    assert float(negative_log_softmax(hopeless, 0, 0.0)[0]) == pytest.approx(400.0)


# The training step against the objective written down once more.


def forward(model: FactorVAE, images: tf.Tensor, stream: str, noise: Noise) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """z, mean and log variance from the encoder's raw outputs."""
    outputs = model.encoder(images, training=True)
    size = model.options.latent_size
    mean, log_variance = outputs[:, :size], outputs[:, size:]
    return mean + tf.exp(log_variance / 2) * noise.normal(stream, [images.shape[0], size]), mean, log_variance


@pytest.mark.parametrize("options", [TINY, KIM_MNIH, COMMUNITY], ids=lambda options: options.variant)
def test_step_follows_the_objective_and_the_order(options: FactorVAEOptions) -> None:
    model, rate = helpers.rouse(build(options, gamma=3.0)), 0.01
    twin = helpers.rouse(build(options, gamma=3.0))
    model.configure(helpers.descent(model, rate))
    data, noise = helpers.images_for(model), Noise(0, 0)
    first, other = (data, data) if options is TINY else (data[0::2], data[1::2])
    with tf.GradientTape() as tape:
        z, mean, log_variance = forward(twin, first, "z", noise)
        logits = twin.decoder(z, training=True)
        recon = tf.reduce_mean(tf.reduce_sum(tf.nn.softplus(logits) - first * logits, axis=[1, 2, 3]))
        kl = tf.reduce_mean(tf.reduce_sum(0.5 * (-1 - log_variance + mean**2 + tf.exp(log_variance)), axis=1))
        both = twin.discriminator(z, training=True)
        total = recon + kl + 3.0 * tf.reduce_mean(both[:, 0] - both[:, 1])
    variables = twin.encoder.trainable_variables + twin.decoder.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        variable.assign_sub(rate * gradient)

    # From here on with the updated encoder, and fresh noise.
    drawn, _, _ = forward(twin, other, "discriminator/z", noise)
    joint = z if options is KIM_MNIH else drawn
    order = noise.permutations("permutation", drawn.shape[0], 3).numpy()
    permuted = np.stack([drawn.numpy()[order[:, column], column] for column in range(3)], axis=1)
    variables = twin.discriminator.trainable_variables
    with tf.GradientTape() as tape:
        p_joint = tf.nn.softmax(twin.discriminator(joint))[:, 0]
        p_permuted = tf.nn.softmax(twin.discriminator(permuted))[:, 1]
        d_loss = -0.5 * tf.reduce_mean(tf.math.log(p_joint)) - 0.5 * tf.reduce_mean(tf.math.log(p_permuted))
    for variable, gradient in zip(variables, tape.gradient(d_loss, variables), strict=True):
        variable.assign_sub(rate * gradient)

    scalars = model.train_step(data)
    for name, value in {
        "vae/loss": total,
        "vae/reconstruction": recon,
        "vae/divergence": kl,
        "discriminator/loss": d_loss,
        "discriminator/probability_joint": tf.reduce_mean(p_joint),
        "discriminator/probability_permuted": tf.reduce_mean(p_permuted),
    }.items():
        assert float(scalars[name]) == pytest.approx(float(value), rel=1e-4), name
    for found, expected in zip(model.trainable_variables, twin.trainable_variables, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=found.path)


def step_with_vae_rate(rate: float, **changes: Any) -> tuple[dict[str, float], FactorVAE]:
    model = helpers.rouse(build(**changes))
    model.configure(helpers.descent(model, 0.05, vae=rate))
    scalars = model.train_step(helpers.images_for(model))
    return {name: float(value) for name, value in scalars.items()}, model


def test_the_discriminator_sees_the_updated_encoder() -> None:
    still, _ = step_with_vae_rate(0.0)
    moved, _ = step_with_vae_rate(1e-3)
    # The VAE's losses were taken before any update, the discriminator's after the encoder's.
    for name in ("vae/loss", "total_correlation/estimate"):
        assert moved[name] == still[name]
    for name in ("discriminator/loss", "discriminator/probability_joint"):
        assert moved[name] != still[name]


def test_the_discriminators_loss_does_not_reach_the_encoder() -> None:
    model = helpers.rouse(build())
    model.configure(helpers.descent(model, 0.05, vae=0.0))
    before = helpers.values_of(model.encoder.variables)
    with tf.GradientTape(persistent=True) as tape:
        scalars = model.train_step(helpers.images_for(model))
    variables = model.encoder.trainable_variables
    assert all(gradient is None for gradient in tape.gradient(scalars["discriminator/loss"], variables))
    assert all(gradient is not None for gradient in tape.gradient(scalars["vae/loss"], variables))
    assert helpers.equal_bitwise(before, helpers.values_of(model.encoder.variables))


def test_the_total_correlation_reaches_the_encoder_but_not_the_decoder() -> None:
    _, without = step_with_vae_rate(1e-3, gamma=0.0)
    _, with_it = step_with_vae_rate(1e-3, gamma=5.0)
    encoders = [helpers.values_of(model.encoder.variables) for model in (without, with_it)]
    decoders = [helpers.values_of(model.decoder.variables) for model in (without, with_it)]
    assert not helpers.equal_bitwise(*encoders)
    assert helpers.equal_bitwise(*decoders)


@pytest.mark.parametrize("permutation", ["in_batch", "second_batch", "separate_batch"])
def test_rows_that_the_vae_and_the_discriminator_see(permutation: Any) -> None:
    rows = 4
    seen: dict[str, set[int]] = {"vae/loss": set(), "discriminator/loss": set()}
    model = helpers.rouse(build(permutation=permutation))
    model.configure(helpers.descent(model, 0.0))
    data = helpers.images_for(model, rows)
    plain = model.train_step(data)
    for row in range(rows):
        changed = tf.tensor_scatter_nd_update(data, [[row]], [1.0 - data[row]])
        model.step.assign(0)
        scalars = model.train_step(changed)
        for name, found in seen.items():
            if float(scalars[name]) != float(plain[name]):
                found.add(row)
    everything, even, odd = {0, 1, 2, 3}, {0, 2}, {1, 3}
    assert seen["vae/loss"] == (everything if permutation == "in_batch" else even)
    assert seen["discriminator/loss"] == (odd if permutation == "separate_batch" else everything)


def test_two_batches_need_an_even_one() -> None:
    model = build(KIM_MNIH)
    with pytest.raises(ValueError, match="a batch of 7 images is not even"):
        model.train_step(helpers.images_for(model, 7))
    helpers.run_step_test(build(), helpers.images_for(model, 7))


# The permutation.


def test_every_column_is_permuted_on_its_own() -> None:
    rows, columns = 64, 5
    z = tf.reshape(tf.range(rows * columns, dtype=tf.float32), [rows, columns])
    permuted = permute_columns(z, Noise(0, 0)).numpy()
    np.testing.assert_array_equal(np.sort(permuted, axis=0), z)
    order = (permuted // columns).astype(int)
    for column in range(columns):
        fixed = np.mean(order[:, column] == np.arange(rows))
        assert fixed < 0.1
        for other in range(column):
            assert np.mean(order[:, column] == order[:, other]) < 0.1
    assert not np.array_equal(permuted, permute_columns(z, Noise(0, 1)))
    np.testing.assert_array_equal(permuted, permute_columns(z, Noise(0, 0)))


def test_all_permutations_are_equally_likely() -> None:
    orders = Noise(0, 0).permutations("x", 3, 6000).numpy().T
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 150


def test_permutation_breaks_dependence_and_keeps_marginals() -> None:
    first = np.random.default_rng(0).normal(size=(2000, 1))
    z = np.concatenate([first, first, -first], axis=1).astype(np.float32)
    permuted = permute_columns(tf.constant(z), Noise(0, 0)).numpy()
    correlations = np.corrcoef(permuted.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.1
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(z, axis=0))


def test_permutation_of_two_replicas_is_that_of_the_global_batch() -> None:
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one logical CPU device")
    z = tf.constant(np.random.default_rng(0).normal(size=(8, 3)), tf.float32)
    strategy = mirrored_strategy(("CPU:0", "CPU:1"))
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: z[context.replica_id_in_sync_group * 4 :][:4]
    )
    run = tf.function(lambda values: strategy.run(lambda part: permute_columns(part, Noise(0, 0)), args=(values,)))
    found = tf.concat(strategy.experimental_local_results(run(halves)), axis=0)
    np.testing.assert_array_equal(found, permute_columns(z, Noise(0, 0)))


# Representations.


def test_the_published_representation_is_sampled_and_the_mean_is_there_too(tiny: FactorVAE) -> None:
    data = helpers.images_for(tiny, 400)
    assert list(tiny.representations) == ["sampled", "mean"]
    outputs = tiny.encoder(data, training=False).numpy()
    mean, deviation = outputs[:, :3], np.exp(outputs[:, 3:] / 2)
    np.testing.assert_allclose(tiny.representations["mean"](data), mean, atol=1e-6)
    sampled = tiny.representations["sampled"](data).numpy()
    np.testing.assert_array_equal(sampled, tiny.encode(data))
    noise = (sampled - mean) / deviation
    assert np.abs(noise.mean(axis=0)).max() < 0.2
    assert np.abs(noise.std(axis=0) - 1).max() < 0.15


def test_encode_is_a_function_of_the_image_alone(tiny: FactorVAE) -> None:
    data = helpers.images_for(tiny, 6)
    codes = tiny.encode(data).numpy()
    np.testing.assert_array_equal(codes, tiny.encode(data))
    np.testing.assert_allclose(tiny.encode(data[::-1])[::-1], codes, atol=1e-5)
    np.testing.assert_allclose(tf.concat([tiny.encode(data[i : i + 1]) for i in range(6)], 0), codes, atol=1e-5)
    np.testing.assert_allclose(tf.function(tiny.encode)(data), codes, atol=1e-5)
    other = tiny.options.build(SHAPE, 1)
    other.set_weights(tiny.get_weights())
    assert np.abs(other.encode(data) - codes).min() > 1e-4


def test_generated_images_are_the_means_of_the_pixels(tiny: FactorVAE) -> None:
    z = 2.0 * tf.random.stateless_normal([4, 3], [0, 0])
    images = tiny.generate(z).numpy()
    np.testing.assert_allclose(images, 1 / (1 + np.exp(-tiny.decoder(z).numpy())), rtol=1e-5)
    assert images.shape == (4, *SHAPE)
    assert 0 <= images.min() <= images.max() <= 1


def test_latents(tiny: FactorVAE) -> None:
    assert [move.label for move in tiny.latent_space.traversals()] == ["z0", "z1", "z2"]
    values = tiny.latent_space.traversals()[0].block.traversal_values(5)
    np.testing.assert_allclose(values, [-2, -1, 0, 1, 2])
    bases = tiny.traversal_bases(6, Noise(0, 0))
    assert set(bases) == {"prior"}
    np.testing.assert_array_equal(bases["prior"], tiny.sample_latents(6, Noise(0, 0)))


# Options and gin files.


def test_variants_set_only_what_is_left_open() -> None:
    options = FactorVAEOptions()
    found = (options.permutation, options.discriminator_layers, options.decoder_wide_layers, options.log_epsilon)
    assert found == ("in_batch", 5, 1, 1e-8)
    assert (options.latent_size, options.discriminator_units) == (10, 1000)
    assert options.weight_initialization == "dcgan_tensorflow"
    changed = FactorVAEOptions(variant="kim_mnih", permutation="in_batch", log_epsilon=1e-6)
    assert (changed.permutation, changed.log_epsilon, changed.discriminator_layers) == ("in_batch", 1e-6, 6)
    assert KIM_MNIH.permutation == "second_batch"
    assert COMMUNITY.permutation == "separate_batch"
    assert (KIM_MNIH.decoder_wide_layers, COMMUNITY.decoder_wide_layers) == (1, 2)
    assert KIM_MNIH.log_epsilon == COMMUNITY.log_epsilon == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variant": "official"}, "variant is 'official'; allowed: 'infogan_cr', 'kim_mnih', 'community'"),
        ({"permutation": "none"}, "allowed: 'in_batch', 'second_batch', 'separate_batch'"),
        ({"latent_size": 0}, "latent_size is 0; allowed: 1 or more"),
        ({"discriminator_layers": 0}, "discriminator_layers is 0; allowed: 1 or more"),
        ({"discriminator_units": 0}, "discriminator_units is 0; allowed: 1 or more"),
        ({"gamma": -1.0}, "gamma is -1.0; allowed: 0 or more"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"log_epsilon": -1e-8}, "log_epsilon is -1e-08"),
        ({"decoder_wide_layers": -1}, "decoder_wide_layers is -1"),
        ({"weight_initialization": "zeros"}, "weight_initialization is 'zeros'"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FactorVAEOptions(**change)


def test_published_optimizers() -> None:
    vae, discriminator = (build().default_optimizers()[name] for name in ("vae", "discriminator"))
    assert vae == AdamOptions(learning_rate=1e-4, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    assert discriminator == AdamOptions(learning_rate=1e-4, beta_1=0.5, beta_2=0.9, epsilon=1e-8)


PUBLISHED = sorted(
    path.name
    for path in (tiny_runs.ROOT / "gin").glob("factor_vae_*.gin")
    if "short" not in path.name and "kim_mnih" not in path.name
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gin_files_are_the_published_table(name: str) -> None:
    configuration, _ = load([f"gin/{name}"])
    experiment = configuration.experiment
    model = experiment.model
    assert isinstance(model, FactorVAEOptions)
    # Whatever a file repeats, and whatever gamma it takes, is the published default.
    assert dataclasses.replace(model, gamma=40.0) == FactorVAEOptions()
    assert model.gamma == (float(name.split("gamma")[1].split(".")[0]) if "gamma" in name else 40.0)
    assert dict(experiment.optimizers) == build().default_optimizers()
    assert experiment.global_batch == 64
    assert experiment.total_steps == experiment.paper_steps == (109_375 if "teapot" in name else 311_040)
    if "teapot" in name:
        assert configuration.data.name == "teapot"
        assert configuration.data.options == {"variant": name.removeprefix("factor_vae_teapot_").split(".")[0]}
    else:
        assert configuration.data.name == "dsprites"
        scores = {metric: score[0] for metric, score in experiment.paper_scores.items()}
        assert scores == TABLE[int(model.gamma)]
        assert set(scores) == set(configuration.evaluation.metrics)


def test_there_is_a_gin_file_for_every_published_experiment() -> None:
    assert len(PUBLISHED) == 4 + 3


def test_the_gin_file_with_two_batches_doubles_the_batch() -> None:
    configuration, _ = load(["gin/factor_vae_dsprites_kim_mnih.gin"])
    assert configuration.experiment.model == FactorVAEOptions(variant="kim_mnih", gamma=35.0)
    assert configuration.experiment.global_batch == 2 * 64
