"""VGAN: sizes, objective, bottleneck, beta, moving average and growing, against paper, authors' and community code."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from models.initializers import WeightInitialization
from models.networks import vgan as networks
from models.noise import Noise
from models.vgan import VGAN, VGANOptions, code_divergence
from models.vgan_growing import grow
from training.configuration import load

SIZES: dict[str, Any] = {"z_dim": 6, "traversed": 2, "width": 2, "max_width": 4}
SHAPE, LARGER = (4, 4, 3), (8, 8, 3)
VARIANTS = ("official", "community", "paper")
STILL: dict[str, Any] = {"flip": False, "dequantization": 0.0}


def build(seed: int = 0, shape: tuple[int, ...] = SHAPE, **changes: Any) -> VGAN:
    model = VGANOptions(**{**SIZES, **changes}).build(shape, seed)
    model.configure()
    return model


def halt(model: VGAN) -> VGAN:
    """Players that do not learn, so that a step can be worked out by hand."""
    model.configure(helpers.descent(model, 0.0))
    return model


# What all models have.


@pytest.mark.parametrize("variant", VARIANTS)
def test_step(variant: str) -> None:
    model = build(variant=variant, shape=LARGER)
    scalars = helpers.run_step_test(model)
    assert scalars["bottleneck/kl"] == pytest.approx(
        0.5 * (scalars["bottleneck/kl_real"] + scalars["bottleneck/kl_fake"]), rel=1e-5
    )
    target = 0.2 if variant == "community" else 0.1
    assert scalars["bottleneck/violation"] == pytest.approx(scalars["bottleneck/kl"] - target, abs=1e-6)
    parts = scalars["discriminator/loss_real"] + scalars["discriminator/loss_fake"]
    parts += scalars["bottleneck/beta"] * (scalars["bottleneck/kl"] - (0.0 if variant == "official" else target))
    parts += 10.0 * scalars.get("discriminator/gradient_penalty", 0.0)
    assert scalars["discriminator/loss"] == pytest.approx(parts, rel=1e-5)
    assert ("discriminator/gradient_norm" in scalars) == (variant == "community")


@pytest.mark.parametrize("bottleneck", ["instance_noise", "none"])
def test_step_without_divergence(bottleneck: str) -> None:
    model = build(bottleneck=bottleneck)
    scalars = helpers.run_step_test(model)
    assert not any(name.startswith("bottleneck/") for name in scalars)
    assert float(model.beta.numpy()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("loss", "penalty"),
    [("hinge", "none"), ("relativistic_hinge", "fake"), ("least_squares", "wasserstein"), ("wasserstein", "real")],
)
def test_losses_go_with_penalties(loss: str, penalty: str) -> None:
    helpers.run_step_test(build(shape=(4, 4, 1), adversarial_loss=loss, gradient_penalty=penalty))


@pytest.mark.parametrize("variant", ["official", "community"])
def test_each_player_alone(variant: str) -> None:
    helpers.run_players_test(build(variant=variant, shape=LARGER))


def test_saving(tmp_path: Path) -> None:
    model = build(beta_step=1.0)
    model.train_step(helpers.images_for(model))
    assert float(model.beta.numpy()) != pytest.approx(0.1)
    helpers.run_saving_test(model, tmp_path)


@pytest.mark.parametrize(
    ("changes", "eager"),
    [
        ({"gradient_penalty": "real", "beta_step": 0.1}, False),
        (
            {
                "variant": "community",
                "adversarial_loss": "relativistic_hinge",
                "beta_step": 0.1,
                "squares_of_means": True,
            },
            True,
        ),
    ],
    ids=["official, R1", "community, relativistic, WGAN-GP, eager"],
)
def test_two_replicas(changes: dict[str, Any], eager: bool) -> None:
    helpers.run_two_replica_test(lambda: helpers.rouse(build(**changes)), steps=2, eager=eager)


def test_resume(tmp_path: Path) -> None:
    helpers.run_resume_test(lambda: build(beta_step=1.0), tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed=seed))


def test_fit() -> None:
    helpers.run_fit_test(build())


def test_inference_changes_nothing() -> None:
    helpers.run_batch_statistics_test(build())


def test_xla_gives_the_same_step() -> None:
    """Also of the second-order gradients of a penalty."""
    changes: dict[str, Any] = {"shape": (4, 4, 1), "gradient_penalty": "real", **STILL}
    plain, compiled = (helpers.rouse(build(**changes)) for _ in range(2))
    for model in (plain, compiled):
        model.configure(helpers.descent(model, 0.01))
    data = helpers.images_for(plain)
    expected = plain.train_step(data)
    scalars = tf.function(compiled.train_step, jit_compile=True, autograph=False)(data)
    for name, value in expected.items():
        np.testing.assert_allclose(scalars[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for found, variable in zip(compiled.variables, plain.variables, strict=True):
        np.testing.assert_allclose(found.numpy(), variable.numpy(), atol=1e-5, err_msg=variable.path)


# Networks.


def residual(before: int, after: int) -> int:
    """Parameters of a residual block."""
    hidden = min(before, after)
    return (before * after if before != after else 0) + 9 * before * hidden + hidden + 9 * hidden * after + after


def counts(side: int, width: int, most: int, inputs: int, vector: bool, channels: int = 3) -> tuple[int, int]:
    """Parameters of generator and discriminator, by the published tables."""
    halvings = int(math.log2(side // 4))
    widths = [min(most, width * 2**level) for level in range(halvings + 1)]
    blocks = [(widths[level + 1], widths[level]) for level in range(halvings)]
    last = widths[-1]
    generator = (inputs + 1) * 16 * last + sum(residual(*pair) for pair in blocks)
    generator += residual(width, width) + (9 * width + 1) * channels
    discriminator = (9 * channels + 1) * width + residual(width, width)
    discriminator += sum(residual(after, before) for before, after in blocks)
    if vector:
        discriminator += (16 * last + 1) * last + last // 2 + 1
    else:
        discriminator += 2 * (last + 1) * most + 16 * most + 1
    return generator, discriminator


LARGE = {
    "vgan_celeba_community.gin": (37_455_555, 45_830_337),
    # One of the generator's is the embedding of the only label.
    "vgan_celeba_official.gin": (33_277_636, 31_167_169),
}


@pytest.mark.parametrize("name", LARGE)
def test_parameters_of_large_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawing them would take most of the time.
    monkeypatch.setattr(WeightInitialization, "_uniform", lambda *_: keras.initializers.Zeros())
    options = load([f"gin/{name}"])[0].experiment.model
    assert isinstance(options, VGANOptions)
    model = dataclasses.replace(options, average_decay=0.0).build((128, 128, 3), 0)
    found = {network: described["trainable_parameters"] for network, described in model.describe()["networks"].items()}
    assert (found["generator"], found["encoder"] + found["judge"]) == LARGE[name]


def test_parameters_of_the_default() -> None:
    found = VGANOptions().build((32, 32, 3), 0).describe()["networks"]
    discriminator = found["encoder"]["trainable_parameters"] + found["judge"]["trainable_parameters"]
    assert (found["generator"]["trainable_parameters"], discriminator) == (1_700_196, 779_361)
    assert found["generator_average"]["trainable_parameters"] == 0


@pytest.mark.parametrize("side", [4, 8, 16, 64, 1024])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_power_of_two(side: int, channels: int) -> None:
    for variant, vector in (("community", True), ("official", False)):
        model = VGANOptions(**{**SIZES, "variant": variant, "average_decay": 0.0}).build((side, side, channels), 0)
        found = {name: network["trainable_parameters"] for name, network in model.describe()["networks"].items()}
        generator, discriminator = counts(side, 2, 4, 6 if vector else 7, vector, channels)
        assert found["generator"] == generator + (0 if vector else 1)
        assert found["encoder"] + found["judge"] == discriminator
        assert model.generator.output_shape == (None, side, side, channels)


@pytest.mark.parametrize("shape", [(8, 16, 3), (24, 24, 3), (2, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="VGAN takes square"):
        build(shape=shape)


def small_stack(tensor: keras.KerasTensor) -> networks._Stack:
    stack = networks._Stack("net", tensor, WeightInitialization("pytorch", 0))
    stack.at("place")
    return stack


def test_pooling_divides_by_nine_everywhere() -> None:
    inputs = keras.Input([4, 4, 1])
    stack = small_stack(inputs)
    stack.halve()
    pooled = stack.model(inputs)(tf.ones([1, 4, 4, 1])).numpy()[0, :, :, 0]
    np.testing.assert_allclose(pooled * 9, [[4, 6], [6, 9]], rtol=1e-6)


def test_doubling_repeats_pixels() -> None:
    image = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    doubled = networks.Doubling()(tf.constant(image))
    np.testing.assert_array_equal(doubled, image.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 4), (4, 2)])
def test_residual_block(before: int, after: int) -> None:
    """`shortcut + 0.1 * conv(lrelu(conv(lrelu(x))))`, worked out with 1 x 1 images, of which only the center counts."""
    inputs = keras.Input([1, 1, before])
    stack = small_stack(inputs)
    stack.block(after)
    network = stack.model(inputs)
    x = np.array([1.0, -2.0, 0.5, 3.0])[:before]
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    first, second = (layer for layer in layers if layer.kernel.shape[0] == 3)
    shortcut = [layer for layer in layers if layer.kernel.shape[0] == 1]
    assert [layer.use_bias for layer in shortcut] == ([] if before == after else [False])

    def leaky(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, 0.2 * values)

    hidden = leaky(x) @ first.kernel.numpy()[1, 1] + first.bias.numpy()
    branch = leaky(hidden) @ second.kernel.numpy()[1, 1] + second.bias.numpy()
    straight = x @ shortcut[0].kernel.numpy()[0, 0] if shortcut else x
    found = network(tf.constant(x, tf.float32)[None, None, None]).numpy().ravel()
    np.testing.assert_allclose(found, straight + 0.1 * branch, atol=1e-6)


def test_label_embedding() -> None:
    model = build(label_embedding=1)
    assert model.generator.input_shape == (None, 6)
    layer = next(layer for layer in model.generator.layers if "label" in layer.name)
    assert abs(layer(tf.zeros([2, 6])).numpy()[:, 6]).tolist() == [1.0, 1.0]
    before = layer.embedding.numpy()
    model.train_step(helpers.images_for(model))
    assert np.array_equal(layer.embedding.numpy(), before), "a sign has no gradient"
    longer = networks.LabelEmbedding(3)(tf.zeros([2, 6])).numpy()[:, 6:]
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), [1.0, 1.0], rtol=1e-6)


# The step, by hand.


def test_divergence() -> None:
    mean, deviation = np.array([[1.0, -2.0], [0.0, 0.0]]), np.array([[0.5, 2.0], [1.0, 1.0]])
    by_hand = 0.5 * (1 + 0.25 - math.log(0.25) - 1) + 0.5 * (4 + 4 - math.log(4) - 1)
    np.testing.assert_allclose(code_divergence(mean, tf.constant(deviation)), [by_hand, 0.0], atol=1e-6)
    maps = [tf.constant(np.tile(values[:, None, None], (1, 4, 4, 1))) for values in (mean, deviation)]
    np.testing.assert_allclose(code_divergence(*maps), [by_hand, 0.0], atol=1e-6)
    # Of one position out of sixteen, a sixteenth.
    single = maps[0].numpy()
    single[1, 2, 3] = (3.0, 0.0)
    assert float(code_divergence(tf.constant(single), maps[1])[1]) == pytest.approx(4.5 / 16)
    collapsed = code_divergence(tf.zeros([1, 1]), tf.zeros([1, 1]), 1e-8)
    assert float(collapsed[0]) == pytest.approx(0.5 * (-math.log(1e-8) - 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_posterior(variant: str) -> None:
    model = helpers.rouse(build(variant=variant, shape=LARGER))
    images = 2.0 * helpers.images_for(model) - 1.0
    mean, deviation, divergence = model.posterior(images, training=False)
    mean, deviation, raw = (np.array(mean), np.array(deviation), np.array(model.encoder(images)))
    assert mean.shape == ((8, 4, 4, 4) if variant == "official" else (8, 2))
    np.testing.assert_allclose(mean, raw[..., : raw.shape[-1] // 2])
    raw = raw[..., raw.shape[-1] // 2 :]
    expected = 1 / (1 + np.exp(-raw)) if variant == "community" else np.exp(raw)
    np.testing.assert_allclose(deviation, expected, rtol=1e-5)
    terms = (0.5 * (mean**2 + deviation**2 - np.log(deviation**2) - 1)).sum(axis=-1)
    np.testing.assert_allclose(divergence, terms.reshape(8, -1).mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(model.encode(helpers.images_for(model)), mean.reshape(8, -1), atol=1e-6)
    pooled = mean if mean.ndim == 2 else mean.mean(axis=(1, 2))
    np.testing.assert_allclose(model.encode_pooled(helpers.images_for(model)), pooled, atol=1e-6)


def scores_by_hand(model: VGAN, images: Any, noise: Noise | None, stream: str) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation, divergence = model.posterior(images, training=False)
    if noise is not None:
        mean += deviation * noise.normal(f"bottleneck/{stream}", list(mean.shape))
    return model.judge(mean).numpy().ravel(), np.array(divergence)


def softplus(values: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(values))


@pytest.mark.parametrize(("variant", "sees"), [("official", "sample"), ("paper", "mean"), ("paper", "sample")])
def test_a_step_by_hand(variant: str, sees: str) -> None:
    """D and G draw their own z; D judges samples, G what the option says; the divergence is of reals and fakes."""
    model = halt(helpers.rouse(build(shape=LARGER, variant=variant, generator_sees=sees, beta=0.3, **STILL)))
    model.train_step(helpers.images_for(model))
    scalars = model.train_step(helpers.images_for(model, seed=1))
    # Two draws a step, of which these are the third and the fourth.
    first, second = Noise(0, 2), Noise(0, 3)
    reals = 2.0 * helpers.images_for(model, seed=1) - 1.0
    real, real_kl = scores_by_hand(model, reals, first, "real")
    fake, fake_kl = scores_by_hand(model, model.generator(model.sample_latents(8, first)), first, "fake")
    kl = 0.5 * (real_kl.mean() + fake_kl.mean())
    beta = float(scalars["bottleneck/beta"])
    expected = softplus(-real).mean() + softplus(fake).mean() + beta * (kl - (0.1 if variant == "paper" else 0.0))
    assert float(scalars["discriminator/loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(scalars["discriminator/accuracy_real"]) == (real > 0).mean()
    assert float(scalars["discriminator/accuracy_fake"]) == (fake < 0).mean()
    fakes = model.generator(model.sample_latents(8, second))
    found, _ = scores_by_hand(model, fakes, second if sees == "sample" else None, "fake")
    assert float(scalars["generator/loss"]) == pytest.approx(softplus(-found).mean(), rel=1e-4)


def test_generator_gradient_norm() -> None:
    """Of the loss of one image with respect to that image, the mean over the images."""
    model = halt(helpers.rouse(build(variant="paper", **STILL)))
    scalars = model.train_step(helpers.images_for(model))
    fakes = model.generator(model.sample_latents(8, Noise(0, 1)))
    norms = []
    for fake in tf.unstack(fakes):
        with tf.GradientTape() as tape:
            tape.watch(fake)
            score = model.judge(model.posterior(fake[None], training=False)[0])
            loss = tf.nn.softplus(-score)
        norms.append(np.linalg.norm(tape.gradient(loss, fake)))
    assert float(scalars["generator/gradient_norm"]) == pytest.approx(np.mean(norms), rel=1e-4)


@pytest.mark.parametrize(("variant", "per_pixel"), [("official", False), ("community", False), ("community", True)])
def test_penalty_of_the_networks(variant: str, per_pixel: bool) -> None:
    """The gradients behind a step's penalty, against differences of scores."""
    kind, stream = ("real", "real") if variant == "official" else ("wasserstein", "interpolates")
    changes: dict[str, Any] = {"variant": variant, "gradient_penalty": kind, "per_pixel_penalty": per_pixel, **STILL}
    model = halt(helpers.rouse(build(shape=(4, 4, 2), **changes)))
    scalars = model.train_step(helpers.images_for(model))
    noise = Noise(0, 0)
    images = 2.0 * helpers.images_for(model) - 1.0
    if kind == "wasserstein":
        weights = noise.uniform("interpolates", [8])[:, None, None, None]
        images = weights * images + (1.0 - weights) * model.generator(model.sample_latents(8, noise))
    drawn = noise.normal(f"bottleneck/{stream}", [8, *model.judge.input_shape[1:]])

    def scores(shifted: np.ndarray) -> np.ndarray:
        """Of `[shifts, 8, ...]`, all with the noise of the step."""
        mean, deviation, _ = model.posterior(tf.reshape(shifted, [-1, 4, 4, 2]), training=False)
        tiled = tf.tile(drawn, [len(shifted), *[1] * (len(drawn.shape) - 1)])
        return model.judge(mean + deviation * tiled).numpy().reshape(-1, 8)

    shifts = 1e-2 * np.eye(32, dtype=np.float32).reshape(32, 1, 4, 4, 2)
    gradients = ((scores(images + shifts) - scores(images - shifts)) / 2e-2).T.reshape(8, 16, 2)
    norms = np.sqrt((gradients**2).sum(axis=(1, 2)))
    expected = (norms**2).mean()
    if kind == "wasserstein":
        used = np.sqrt((gradients**2).sum(axis=-1)) if per_pixel else norms
        expected = ((used - 1) ** 2).mean()
    assert float(scalars["discriminator/gradient_penalty"]) == pytest.approx(expected, rel=0.02)
    assert float(scalars["discriminator/gradient_norm"]) == pytest.approx(norms.mean(), rel=0.02)


def test_instance_noise_is_never_switched_off() -> None:
    model = halt(helpers.rouse(build(bottleneck="instance_noise", generator_sees="mean", **STILL)))
    scalars = model.train_step(helpers.images_for(model))
    noise = Noise(0, 1)
    code = model.encoder(model.generator(model.sample_latents(8, noise)))
    noisy = model.judge(code + noise.normal("bottleneck/fake", list(code.shape))).numpy().ravel()
    assert float(scalars["generator/loss"]) == pytest.approx(softplus(-noisy).mean(), rel=1e-5)


def test_augmentation() -> None:
    model = build()
    images = helpers.images_for(model, 64)
    reals = model._augmented(images, Noise(0, 0)).numpy()
    plain = 2.0 * images.numpy() - 1.0
    mirrored = np.array([abs(a - b).max() > 1 / 64 for a, b in zip(reals, plain, strict=True)])
    assert 16 < mirrored.sum() < 48
    plain[mirrored] = plain[mirrored, :, ::-1]
    added = reals - plain
    assert added.min() >= -1e-6
    assert added.max() <= 1 / 128 + 1e-6
    assert added.mean() == pytest.approx(1 / 256, rel=0.05)
    assert np.array_equal(build(**STILL)._augmented(images, Noise(0, 0)), 2.0 * images.numpy() - 1.0)


@pytest.mark.parametrize(
    ("distribution", "low", "mean", "deviation"),
    [("uniform", -1.0, 0.0, 3**-0.5), ("unit_uniform", 0.0, 0.5, 12**-0.5), ("normal", -9.0, 0.0, 1.0)],
)
def test_latents(distribution: str, low: float, mean: float, deviation: float) -> None:
    model = build(latent_distribution=distribution)
    drawn = model.sample_latents(2000, Noise(0, 0)).numpy()
    assert drawn.shape == (2000, 6)
    assert drawn.min() >= low
    assert (drawn.mean(axis=0), drawn.std(axis=0)) == (
        pytest.approx([mean] * 6, abs=0.1),
        pytest.approx([deviation] * 6, rel=0.1),
    )
    assert [move.label for move in model.latent_space.traversals()] == ["z0", "z1"]


def test_all_of_z_may_be_traversed() -> None:
    assert len(build(traversed=6).latent_space.traversals()) == 6
    with pytest.raises(ValueError, match="traversed is 7; allowed: 1 to 6"):
        build(traversed=7)


def test_several_updates_of_the_discriminator() -> None:
    """Each on its own part of the batch and with its own noise."""
    model = build(discriminator_updates=2)
    scalars = helpers.run_step_test(model)
    assert int(model.players["discriminator"].optimizer.iterations.numpy()) == 2
    assert int(model.players["generator"].optimizer.iterations.numpy()) == 1
    once = build()
    assert scalars["discriminator/loss"] != float(once.train_step(helpers.images_for(once))["discriminator/loss"])
    with pytest.raises(ValueError, match="batch of 8 images cannot be cut into 3"):
        build(discriminator_updates=3).train_step(helpers.images_for(model))


# Beta.


@pytest.mark.parametrize(
    ("beta", "rate", "constraint", "kind"), [(0.1, 0.5, 0.0, "rises"), (0.1, 0.05, 2.0, "ends at 0")]
)
def test_path_of_beta(beta: float, rate: float, constraint: float, kind: str, tmp_path: Path) -> None:
    """beta <- max(0, beta + step * (KL - I_c)), once a step, also over a restart."""

    def make() -> VGAN:
        return build(beta=beta, beta_step=rate, information_constraint=constraint)

    model, by_hand = make(), beta
    for step in range(4):
        if step == 2:
            helpers.Checkpoints(tmp_path, model, keep=1).save()
            model = make()
            assert helpers.Checkpoints(tmp_path, model, keep=1).restore() == 2
        scalars = model.train_step(helpers.images_for(model, seed=step))
        assert float(scalars["bottleneck/beta"]) == pytest.approx(by_hand, rel=1e-6)
        assert float(scalars["bottleneck/target"]) == pytest.approx(constraint)
        by_hand = max(0.0, by_hand + rate * (float(scalars["bottleneck/kl"]) - constraint))
        assert float(model.beta.numpy()) == pytest.approx(by_hand, rel=1e-6)
    assert (by_hand > 0.1) if kind == "rises" else (by_hand == 0.0)


def test_beta_may_stay() -> None:
    model = build(adaptive_beta=False, beta_step=1.0)
    model.train_step(helpers.images_for(model))
    assert float(model.beta.numpy()) == pytest.approx(0.1)


def test_the_constraint_in_the_loss_has_no_gradient() -> None:
    inside, outside = (
        helpers.rouse(build(constraint_in_loss=within, information_constraint=3.0)) for within in (True, False)
    )
    losses = [float(model.train_step(helpers.images_for(model))["discriminator/loss"]) for model in (inside, outside)]
    assert losses[1] - losses[0] == pytest.approx(0.1 * 3.0, rel=1e-4)
    for first, second in zip(inside.trainable_variables, outside.trainable_variables, strict=True):
        np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-6)


# The moving average.


def test_moving_average() -> None:
    model = build(average_decay=0.75)
    assert model.average is not None
    by_hand = [variable.numpy() for variable in model.generator.variables]
    for found, start in zip(model.average.variables, by_hand, strict=True):
        assert np.array_equal(found.numpy(), start)
    for step in range(3):
        model.train_step(helpers.images_for(model, seed=step))
        now = [variable.numpy() for variable in model.generator.variables]
        by_hand = [0.75 * average + 0.25 * present for average, present in zip(by_hand, now, strict=True)]
    for found, expected in zip(model.average.variables, by_hand, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)
    latents = model.sample_latents(4, Noise(0, 0))
    averaged, last = (0.5 * (network(latents).numpy() + 1.0) for network in (model.average, model.generator))
    assert not np.array_equal(averaged, last)
    np.testing.assert_allclose(model.generate(latents), averaged, atol=1e-6)


def test_generate_from_the_last_weights() -> None:
    cases: list[dict[str, Any]] = [{"generate_from_average": False, "average_decay": 0.75}, {"average_decay": 0.0}]
    for changes in cases:
        model = build(**changes)
        model.train_step(helpers.images_for(model))
        latents = model.sample_latents(4, Noise(0, 0))
        np.testing.assert_allclose(model.generate(latents), 0.5 * (model.generator(latents) + 1.0), atol=1e-6)


# Growing.


def trained(side: int, **changes: Any) -> VGAN:
    model = helpers.rouse(build(shape=(side, side, 3), **{"max_width": 16, "bottleneck_size": 8, **changes}))
    model.train_step(helpers.images_for(model))
    return model


def values_at(network: keras.Model, place: str) -> list[np.ndarray]:
    return [variable.numpy() for variable in network.variables if f"_{place}_" in variable.path]


@pytest.mark.parametrize("variant", ["official", "community"])
def test_grow(variant: str) -> None:
    smaller = trained(16, variant=variant, width=4, beta=0.7)
    larger = trained(32, variant=variant, width=2, seed=1, **STILL)
    fresh = helpers.values_of(larger.variables)
    taken = grow(smaller, larger)
    blocks = [f"{name}/block{side}" for name in ("generator", "encoder") for side in (4, 8)]
    assert set(blocks) | {"generator/input", "encoder/bottleneck", "judge/score"} <= set(taken)
    assert ("generator_average/block8" in taken) == (variant == "official")
    assert not [place for place in taken if "image" in place or place.endswith("block16")]
    assert float(larger.beta.numpy()) == float(smaller.beta.numpy())
    for place in taken:
        name, _, part = place.partition("/")
        found, expected = (values_at(model.networks[name], part) for model in (larger, smaller))
        assert len(found) > 0
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), place
    kept = [path for path in fresh if re.search("block16|image32", path)]
    assert kept
    now = helpers.values_of(larger.variables)
    assert all(np.array_equal(now[path], fresh[path]) for path in kept)
    assert set(now) - {path for path in now if np.array_equal(now[path], fresh[path])}
    helpers.run_step_test(larger)


def test_grow_to_the_same_size_is_a_copy() -> None:
    smaller, other = trained(8), trained(8, seed=1)
    grow(smaller, other)
    images = helpers.images_for(smaller)
    latents = smaller.sample_latents(4, Noise(0, 0))
    assert np.array_equal(other.encode(images), smaller.encode(images))
    assert np.array_equal(other.generate(latents), smaller.generate(latents))


def test_grow_with_equal_width_takes_what_fits() -> None:
    """Then only maps whose channels are at the limit agree."""
    taken = grow(trained(16, width=4), trained(32, width=4))
    assert "generator/input" in taken
    assert "generator/block8" not in taken


@pytest.mark.parametrize(
    ("smaller", "larger", "message"),
    [
        ({"side": 32}, {"side": 16}, "cannot grow from images of side 32 to side 16"),
        ({"side": 8}, {"side": 16, "z_dim": 7}, "generators of the two models have nothing in common"),
        ({"side": 8}, {"side": 16, "bottleneck_size": 9}, "judges of the two models have nothing in common"),
    ],
)
def test_grow_refuses(smaller: dict[str, Any], larger: dict[str, Any], message: str) -> None:
    sizes = [dict(smaller), dict(larger)]
    models = [build(shape=(side, side, 3), **rest) for rest in sizes for side in [rest.pop("side")]]
    before = models[1].fingerprint()
    with pytest.raises(ValueError, match=message):
        grow(*models)
    assert models[1].fingerprint() == before
