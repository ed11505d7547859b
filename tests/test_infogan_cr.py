"""InfoGAN-CR: sizes, objective, pairs, order of updates, restarts and schedules, against the paper and its code."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from models import losses
from models.infogan_cr import InfoGANCR, InfoGANCROptions
from models.layers import BatchNormalization
from models.networks import infogan_cr as networks
from models.noise import Noise
from models.restart import restart_when

SIDE = 16
TINY = InfoGANCROptions(codes=3, noise_size=2, information_weight=0.3, contrastive_steps=(2,))
PUBLISHED = dict(networks.PLANS)


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Networks of the published kinds, but few and narrow layers; not for tests that take `published_sizes`."""
    if "published_sizes" in request.fixturenames:
        return
    for name, plan in PUBLISHED.items():
        small = dataclasses.replace(
            plan,
            side=SIDE,
            stem=6,
            map_shape=(4, 4, 4),
            deconvolutions=(5,),
            convolutions=(4, 5),
            features=None if plan.features is None else 7,
        )
        monkeypatch.setitem(networks.PLANS, name, small)


@pytest.fixture
def published_sizes() -> None:
    """For tests of the published sizes."""


def build(options: InfoGANCROptions = TINY, seed: int = 0, channels: int = 1, **changes: Any) -> InfoGANCR:
    model = dataclasses.replace(options, **changes).build((SIDE, SIDE, channels), seed)
    model.configure()
    return model


TEAPOT: dict[str, Any] = {"network": "teapot", "gaps": (1.9, 0.0), "gap_steps": (3,)}
KINDS: dict[str, dict[str, Any]] = {"dsprites": {}, "teapot": TEAPOT, "celeba": {"network": "celeba"}}
ALWAYS: dict[str, Any] = {"contrastive_weights": (2.0,), "contrastive_steps": ()}
NEVER: dict[str, Any] = {"contrastive_weights": (0.0,), "contrastive_steps": ()}


def switched(model: InfoGANCR, step: int = 3) -> InfoGANCR:
    """The model at a later step."""
    model.step.assign(step)
    return model


# What all models share.


@pytest.mark.parametrize("changes", [*KINDS.values(), ALWAYS, NEVER], ids=[*KINDS, "always", "never"])
def test_step(changes: dict[str, Any]) -> None:
    scalars = helpers.run_step_test(build(**changes))
    assert scalars["discriminator/loss"] == pytest.approx(
        scalars["discriminator/loss_real"] + scalars["discriminator/loss_fake"]
    )
    codes = sum(scalars[f"information/c{index}"] for index in range(TINY.codes))
    assert scalars["information/lower_bound"] == pytest.approx(codes, rel=1e-4)
    assert scalars["information/lower_bound"] == pytest.approx(
        TINY.codes * math.log(2) - scalars["information/loss"], rel=1e-4
    )
    assert ("contrastive/loss" in scalars) == (changes is not NEVER)


@pytest.mark.parametrize("changes", [{}, ALWAYS, NEVER], ids=["before the switch", "always", "never"])
def test_each_player_alone(changes: dict[str, Any]) -> None:
    helpers.run_players_test(build(**changes))


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_saving(changes: dict[str, Any], tmp_path: Path) -> None:
    model = build(**changes)
    model.train_step(helpers.images_for(model))
    helpers.run_saving_test(model, tmp_path)


@pytest.mark.parametrize(
    ("changes", "eager"),
    [({}, False), ({**TEAPOT, "contrastive_steps": (1,)}, True)],
    ids=["dsprites, graph", "teapot, eager"],
)
def test_two_replicas_also_after_the_switch(changes: dict[str, Any], eager: bool) -> None:
    """The switch and a restart come before the third step; for the teapot also before the second and the fourth."""
    helpers.run_two_replica_test(lambda: build(**changes), steps=4, eager=eager)


def test_resume_across_a_restart(tmp_path: Path) -> None:
    """Restarts before the steps 2 and 3: the run resumes at step 2."""
    helpers.run_resume_test(lambda: build(**TEAPOT), tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed=seed, contrastive_steps=(1,)))


def test_fit() -> None:
    helpers.run_fit_test(build())


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_batch_statistics(changes: dict[str, Any]) -> None:
    helpers.run_batch_statistics_test(build(**changes))


# Sizes: the table of the architectures.


@pytest.mark.usefixtures("published_sizes")
@pytest.mark.parametrize(
    ("network", "shape", "noise", "codes", "generator", "judges", "contrastive"),
    [
        ("dsprites", (64, 64, 1), 5, 5, 251_393, 263_878, 247_749),
        ("teapot", (64, 64, 3), 5, 5, 252_419, 264_902, 250_373),
        ("celeba", (32, 32, 3), 100, 5, 5_346_563, 4_318_854, 4_323_397),
        ("dsprites", (64, 64, 1), 5, 2, 251_393 - 3 * 128, 263_878 - 3 * 129, 247_749 - 3 * 129),
    ],
    ids=["dsprites", "teapot", "celeba", "circular dsprites"],
)
def test_parameters(
    network: Any, shape: tuple[int, ...], noise: int, codes: int, generator: int, judges: int, contrastive: int
) -> None:
    model = InfoGANCROptions(network=network, noise_size=noise, codes=codes).build(shape, 0)
    described = model.describe()
    counts = {name: network["trainable_parameters"] for name, network in described["networks"].items()}
    assert counts["generator"] == generator
    assert counts["front"] + counts["discriminator"] + counts["recognition"] == judges
    assert counts["contrastive"] == contrastive
    assert described["trainable_parameters"] == generator + judges + contrastive


def kinds_of_layers(network: keras.Model) -> list[str]:
    short = {"BatchNormalization": "norm", "LeakyReLU": "leaky", "Conv2DTranspose": "deconv", "Conv2D": "conv"}
    return [short.get(type(layer).__name__, type(layer).__name__.lower()) for layer in network.layers[1:]]


@pytest.mark.usefixtures("published_sizes")
def test_order_of_layers() -> None:
    dsprites = InfoGANCROptions().build((64, 64, 1), 0)
    hidden = ["dense", "relu", "norm"]
    assert kinds_of_layers(dsprites.generator) == [
        *hidden, *hidden, "reshape", *["deconv", "leaky", "norm"] * 3, "deconv", "activation"
    ]  # fmt: skip
    trunk = [*["spectralconv2d", "leaky"] * 4, "reshape", "spectraldense", "leaky"]
    assert kinds_of_layers(dsprites.front) == trunk
    assert kinds_of_layers(dsprites.discriminator) == ["spectraldense"]
    assert kinds_of_layers(dsprites.recognition) == ["spectraldense", "leaky", "spectraldense"]
    assert kinds_of_layers(dsprites.contrastive) == [*trunk, "dense"]
    teapot = InfoGANCROptions(network="teapot").build((64, 64, 3), 0)
    assert kinds_of_layers(teapot.contrastive) == [
        "conv", "leaky", *["conv", "leaky", "norm"] * 3, "reshape", "dense", "leaky", "norm", "dense"
    ]  # fmt: skip
    celeba = InfoGANCROptions(network="celeba").build((32, 32, 3), 0)
    assert kinds_of_layers(celeba.generator) == [
        *["dense", "norm", "relu"] * 2, "reshape", *["deconv", "norm", "relu"] * 2, "deconv", "activation"
    ]  # fmt: skip
    assert kinds_of_layers(celeba.front) == [*["spectralconv2d", "leaky"] * 4, "reshape"]
    assert kinds_of_layers(celeba.recognition) == ["spectraldense"]
    assert kinds_of_layers(celeba.contrastive) == [
        "conv", "leaky", *["conv", "norm", "leaky"] * 3, "reshape", "dense"
    ]  # fmt: skip
    norms = [layer for layer in dsprites.generator.layers if isinstance(layer, BatchNormalization)]
    assert {(norm.momentum, norm.epsilon, norm.unbiased) for norm in norms} == {(0.9, 1.001e-5, True)}
    slopes = [layer.negative_slope for layer in dsprites.front.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert slopes == pytest.approx([0.2] * 5)


@pytest.mark.usefixtures("published_sizes")
def test_initial_weights() -> None:
    model = InfoGANCROptions().build((64, 64, 1), 0)
    for network in model.networks.values():
        for layer in network.layers:
            if not hasattr(layer, "kernel"):
                continue
            kernel = layer.kernel.numpy()
            is_cut = kernel.ndim == 4 and "deconv" not in layer.name
            # Cut off at two deviations, a normal distribution has 0.88 of its deviation.
            assert kernel.std() == pytest.approx(0.02 * (0.88 if is_cut else 1.0), rel=0.2), layer.name
            if kernel.size > 1000:
                assert (np.abs(kernel).max() <= 0.04) == is_cut, layer.name
            assert not layer.bias.numpy().any(), layer.name
    vectors = np.concatenate([v.numpy().ravel() for v in model.front.variables if v.name == "u"])
    assert vectors.std() == pytest.approx(0.88, rel=0.1)
    assert np.abs(vectors).max() <= 2


# The objective, by hand.


def test_adversarial_loss_by_hand() -> None:
    logits = tf.constant([[0.0], [2.0], [-30.0]])
    probability = 1 / (1 + np.exp(-logits.numpy()[:, 0].astype(np.float64)))
    np.testing.assert_allclose(losses.guarded_cross_entropy(logits, real=True), -np.log(probability + 1e-8), rtol=1e-5)
    np.testing.assert_allclose(
        losses.guarded_cross_entropy(logits, real=False), -np.log(1 - probability + 1e-8), rtol=1e-5, atol=2e-8
    )


def test_information_loss_of_no_and_of_perfect_knowledge() -> None:
    model = build(codes=5)
    latents = tf.random.stateless_uniform([20_000, 7], [1, 2], -1.0, 1.0)
    for name, mean, expected in (("no", tf.zeros([20_000, 5]), 5.428), ("perfect", latents[:, :5], 4.595)):
        model.recognition = lambda features, training, mean=mean: mean
        loss, per_code = model._information_loss(tf.zeros([20_000, 1]), latents)
        assert float(tf.reduce_mean(loss)) == pytest.approx(expected, abs=0.01), name
        np.testing.assert_allclose(tf.reduce_sum(per_code, axis=1), loss, rtol=1e-5)


@pytest.mark.usefixtures("published_sizes")
def test_untrained_networks_know_nothing() -> None:
    model = InfoGANCROptions().build((64, 64, 1), 0)
    model.configure(helpers.descent(model, 0.0))
    scalars = {name: float(value) for name, value in model.train_step(helpers.images_for(model, 32)).items()}
    assert scalars["contrastive/loss"] == pytest.approx(math.log(5), abs=0.01)
    assert scalars["discriminator/loss"] == pytest.approx(2 * math.log(2), abs=0.05)
    assert scalars["information/loss"] == pytest.approx(5.428, abs=0.3)
    assert (scalars["contrastive/weight"], scalars["contrastive/gap"]) == (0.0, 0.0)


# Pairs.


@pytest.mark.parametrize("gap", [0.0, 0.7, 1.9, 2.0])
def test_pairs(gap: float) -> None:
    model = build(codes=4)
    pairs = model.sample_pairs(4000, Noise(3, 7), tf.constant(gap))
    first, second, fixed = pairs.first.numpy(), pairs.second.numpy(), pairs.fixed.numpy()
    assert first.shape == second.shape == (4000, 6)
    assert np.array_equal(first[:, 4:], second[:, 4:])
    assert np.bincount(fixed, minlength=4).tolist() == pytest.approx([1000] * 4, abs=110)
    same = np.eye(4, dtype=bool)[fixed]
    assert np.array_equal(first[:, :4][same], second[:, :4][same])
    one, other = first[:, :4][~same], second[:, :4][~same]
    distance = np.abs(one - other)
    assert distance.min() >= gap - 1e-5
    for values in (first[:, :4][same], first[:, 4:].ravel()):
        assert abs(values.mean()) < 0.04
        assert values.var() == pytest.approx(1 / 3, rel=0.05)
    assert max(np.abs(first).max(), np.abs(second).max()) <= 1 + 1e-6
    # Each lies in the law's range: |u| <= 1 - g/2 shifted by g/2; on either side equally often.
    half = gap / 2
    inner = np.where(one > other, one - half, one + half)
    assert np.abs(inner).max() <= 1 - half + 1e-6
    assert inner.var() == pytest.approx((1 - half) ** 2 / 3, rel=0.05, abs=1e-9)
    if gap < 2:
        assert (one > other).mean() == pytest.approx(0.5, abs=0.02)
    # Two independent uniform values differ by (1 - g/2) * 2/3 on average, and the gap comes on top.
    assert distance.mean() == pytest.approx(gap + (1 - half) * 2 / 3, rel=0.03)


def test_pairs_without_a_gap_are_independent_uniform_draws() -> None:
    pairs = build(codes=2).sample_pairs(20_000, Noise(0, 0), 0.0)
    differing = pairs.fixed.numpy() == 1
    one, other = pairs.first.numpy()[differing, 0], pairs.second.numpy()[differing, 0]
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    for values in (one, other):
        assert values.var() == pytest.approx(1 / 3, rel=0.03)


def test_pairs_are_not_the_latents_of_the_fakes() -> None:
    model, noise = build(), Noise(0, 0)
    pairs, latents = model.sample_pairs(50, noise, 0.0), model.latent_space.sample(50, noise).numpy()
    for values in (pairs.first.numpy(), pairs.second.numpy()):
        assert not np.isin(values, latents).any()


# One step beside a plain statement of the reference, which shares no pass.


def reference_step(model: InfoGANCR, data: tf.Tensor) -> None:
    """H, D with Q, G and G again, each with passes of its own; then the spectral vectors."""
    options, noise = model.options, Noise(model.seed, model.step)
    step = int(model.step.numpy())
    alpha = options.contrastive_weights[sum(step >= s for s in options.contrastive_steps)]
    gap = options.gaps[sum(step >= s for s in options.gap_steps)]
    reals = data * 2.0 - 1.0 if options.network == "celeba" else data
    latents = model.latent_space.sample(len(data), noise)
    codes = latents[:, : options.codes]

    def contrastive_loss() -> tf.Tensor:
        pairs = model.sample_pairs(len(data), noise, gap)
        images = [model.generator(part, training=alpha > 1e-8) for part in (pairs.first, pairs.second)]
        logits = model.networks["contrastive"](tf.concat(images, axis=3), training=True)
        return tf.reduce_mean(
            -tf.reduce_sum(tf.one_hot(pairs.fixed, options.codes) * tf.nn.log_softmax(logits), axis=1)
        )

    def judge(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = model.front(images, training=True)
        q = model.recognition(features, training=True)
        gaussian = tf.reduce_sum((codes - q) ** 2 / 2 + 0.5 * math.log(2 * math.pi), axis=1)
        return tf.sigmoid(model.discriminator(features, training=True)), tf.reduce_mean(gaussian)

    def discriminator_loss() -> tf.Tensor:
        real, _ = judge(reals)
        fake, information = judge(model.generator(latents, training=True))
        adversarial = -tf.reduce_mean(tf.math.log(real + 1e-8)) - tf.reduce_mean(tf.math.log(1 - fake + 1e-8))
        return adversarial + options.information_weight * information

    def generator_loss() -> tf.Tensor:
        fake, information = judge(model.generator(latents, training=True))
        loss = -tf.reduce_mean(tf.math.log(fake + 1e-8)) + options.information_weight * information
        return loss if model.contrastive is None else loss + alpha * contrastive_loss()

    def update(name: str, loss: Callable[[], tf.Tensor]) -> None:
        with tf.GradientTape() as tape:
            value = loss()
        player = model.players[name]
        player.update(tape.gradient(value, player.variables))

    if model.contrastive is not None:
        update("contrastive", contrastive_loss)
    update("discriminator", discriminator_loss)
    for _ in range(options.generator_updates):
        update("generator", generator_loss)
    for network in model.networks.values():
        for layer in network.layers:
            if hasattr(layer, "u"):
                matrix = layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1])
                left = layer.u.numpy() @ matrix.T
                left /= np.linalg.norm(left)
                right = left @ matrix
                layer.u.assign(right / np.linalg.norm(right))
    model.step.assign_add(1)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, 1),
        ({**TEAPOT, "gap_steps": (9,)}, 3),
        ({"network": "celeba"}, 0),
        (NEVER, 0),
        ({**ALWAYS, "generator_updates": 3}, 0),
    ],
    ids=["dsprites across the switch", "teapot after it", "celeba before it", "never", "always, three updates of G"],
)
def test_sharing_passes_keeps_the_numbers(changes: dict[str, Any], start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps: every weight, spectral vector and moving statistic. That graphs do the same, two replicas show."""
    monkeypatch.setattr("models.infogan_cr.restart_when", lambda *_: None)
    shared, plain = (switched(build(**changes), start) for _ in range(2))
    for model in (shared, plain):
        model.configure(helpers.descent(model, 0.02))
    for seed in range(2):
        data = helpers.images_for(shared, seed=seed)
        shared.train_step(data)
        reference_step(plain, data)
    for one, other in zip(shared.variables, plain.variables, strict=True):
        if one.path.startswith("contrastive") and "moving" in one.path:
            continue  # Nothing uses them; the reference moves them in the updates of G too.
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-5, rtol=2e-4, err_msg=one.path)


def test_judges_see_the_new_weights_and_h_the_old_images() -> None:
    """What each update of a step sees, by freezing all players but one after the other."""
    model = switched(build())
    seen: dict[str, list[np.ndarray]] = {"generator": [], "discriminator": [], "contrastive": []}
    for name, player in model.players.items():

        def spy(gradients: Any, variables: Any, name: str = name, player: Any = player) -> None:
            seen[name].append(np.concatenate([np.ravel(v) for v in model.generator.get_weights()]))
            order.append(name)
            type(player.optimizer).apply(player.optimizer, gradients, variables)

        player.optimizer.apply = spy  # type: ignore[method-assign]
    order: list[str] = []
    model.train_step(helpers.images_for(model))
    assert order == ["contrastive", "discriminator", "generator", "generator"]
    before = seen["contrastive"][0]
    assert np.array_equal(before, seen["discriminator"][0])
    assert np.array_equal(before, seen["generator"][0])
    assert not np.array_equal(before, seen["generator"][1])


def test_moving_statistics_move_three_times_before_the_switch_and_nine_times_after() -> None:
    for start, times in ((0, 3), (3, 9)):
        model = switched(build(), start)
        norm = next(layer for layer in model.generator.layers if isinstance(layer, BatchNormalization))
        # Batch statistics are far below 1000, so what is left of it counts the moves.
        norm.moving_mean.assign(tf.fill(norm.moving_mean.shape, 1e6))
        model.train_step(helpers.images_for(model))
        np.testing.assert_allclose(norm.moving_mean.numpy() / 1e6, 0.9**times, rtol=1e-4)


def test_before_the_switch_h_sees_images_of_the_moving_statistics_and_teaches_nothing() -> None:
    moved = {}
    for scale in (1.0, 3.0):
        model = build()
        model.configure(helpers.descent(model, 0.05))
        for layer in model.generator.layers:
            if isinstance(layer, BatchNormalization):
                layer.moving_variance.assign(scale * layer.moving_variance)
        model.train_step(helpers.images_for(model))
        moved[scale] = {name: helpers.values_of(v) for name, v in model.player_variables().items()}
    assert not helpers.equal_bitwise(moved[1.0]["contrastive"], moved[3.0]["contrastive"])
    for name in ("generator", "discriminator"):
        assert helpers.equal_bitwise(moved[1.0][name], moved[3.0][name])


# Restarts.


def optimizer_state(model: InfoGANCR, name: str) -> list[np.ndarray]:
    return [v.numpy() for v in model.players[name].optimizer.variables if v.name != "learning_rate"]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_a_restart_draws_h_anew_and_empties_its_optimizer(compiled: bool) -> None:
    model = build(network="teapot")
    data = helpers.images_for(model)
    for _ in range(2):
        model.train_step(data)
    assert model.contrastive is not None
    before, others = helpers.values_of(model.contrastive.variables), helpers.values_of(model.generator.variables)
    state = optimizer_state(model, "discriminator")
    player = model.players["contrastive"]
    assert int(player.optimizer.iterations.numpy()) == 2
    rate = player.learning_rate

    def restart(due: tf.Tensor) -> None:
        restart_when(due, player, model.contrastive, Noise(0, model.step))  # type: ignore[arg-type]

    run = tf.function(restart) if compiled else restart
    run(tf.constant(False))
    assert helpers.equal_bitwise(before, helpers.values_of(model.contrastive.variables))
    run(tf.constant(True))
    after = helpers.values_of(model.contrastive.variables)
    trainable = {variable.path for variable in model.contrastive.trainable_variables}
    for path, value in after.items():
        assert np.array_equal(value, before[path]) == (path not in trainable), path
    for layer in model.contrastive.layers:
        if hasattr(layer, "kernel"):
            assert layer.kernel.numpy().std() == pytest.approx(0.02, rel=0.4)
            assert not layer.bias.numpy().any()
        if isinstance(layer, BatchNormalization):
            assert (layer.gamma.numpy() == 1).all()
            assert not layer.beta.numpy().any()
    assert not any(value.any() for value in optimizer_state(model, "contrastive"))
    assert player.learning_rate == rate
    assert helpers.equal_bitwise(others, helpers.values_of(model.generator.variables))
    assert all(map(np.array_equal, state, optimizer_state(model, "discriminator")))


def test_restarts_come_before_the_steps_of_the_schedule() -> None:
    model = build(**{**TEAPOT, "contrastive_steps": (1,)})
    assert model.options.restarts == (1, 3)
    counts, scalars = [], []
    for _ in range(5):
        scalars.append(model.train_step(helpers.images_for(model)))
        counts.append(int(model.players["contrastive"].optimizer.iterations.numpy()))
    assert counts == [1, 1, 2, 1, 2]
    assert [float(s["contrastive/weight"]) for s in scalars] == [0, 2, 2, 2, 2]
    assert [float(s["contrastive/gap"]) for s in scalars] == pytest.approx([1.9, 1.9, 1.9, 0, 0])
    assert int(model.players["generator"].optimizer.iterations.numpy()) == 10


def test_fresh_weights_follow_from_seed_and_step() -> None:
    shape = (200, 50)
    values = {key: Noise(*key).common_normal("w", shape, 2.0).numpy() for key in ((0, 5), (0, 6), (1, 5))}
    assert np.array_equal(values[0, 5], Noise(0, 5).common_normal("w", shape, 2.0))
    assert abs(np.corrcoef(values[0, 5].ravel(), values[0, 6].ravel())[0, 1]) < 0.05
    assert not np.array_equal(values[0, 5], values[1, 5])
    assert np.abs(values[0, 5]).max() <= 2.0
    assert values[0, 5].std() == pytest.approx(0.88, rel=0.02)
    uncut = Noise(0, 5).common_normal("w", shape).numpy()
    assert uncut.std() == pytest.approx(1.0, rel=0.02)
    assert np.abs(uncut).max() > 3


@pytest.mark.parametrize("cut", [2.0, float("inf")])
def test_fresh_weights_are_finite_for_all_bits(cut: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of 16 million has the highest bits, another one the lowest."""
    bits = tf.constant([-(2**31), 2**31 - 1, 0], tf.int32)
    monkeypatch.setattr(Noise, "_bits", lambda *_: bits)
    low, high, middle = Noise(0, 0).common_normal("w", [3], cut).numpy()
    assert (low, high) == pytest.approx((-2.0, 2.0) if cut == 2.0 else (-5.42, 5.29), abs=0.01)
    assert middle == pytest.approx(0.0, abs=1e-6)


# Structure.


@pytest.mark.usefixtures("published_sizes")
def test_images_of_another_size() -> None:
    with pytest.raises(ValueError, match="takes 64 x 64 images only"):
        InfoGANCROptions().build((32, 32, 1), 0)
    with pytest.raises(ValueError, match="takes 32 x 32 images only"):
        InfoGANCROptions(network="celeba").build((64, 64, 3), 0)


@pytest.mark.parametrize("network", ["dsprites", "celeba"])
def test_images_and_codes(network: Any) -> None:
    model = build(network=network)
    latents = 3.0 * tf.random.stateless_normal([4, 5], [0, 0])
    images = model.generate(latents).numpy()
    assert images.shape == (4, SIDE, SIDE, 1)
    assert 0 <= images.min() < images.max() <= 1
    raw = model.generator(latents, training=False).numpy()
    np.testing.assert_allclose(images, raw if network == "dsprites" else (raw + 1) / 2, atol=1e-6)
    seen = images if network == "dsprites" else images * 2 - 1
    np.testing.assert_allclose(model.encode(images), model.recognition(model.front(seen)), atol=1e-6)
    assert model.encode(images).shape == (4, 3)
    assert [move.label for move in model.latent_space.traversals()] == ["c0", "c1", "c2"]
