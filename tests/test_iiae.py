"""IIAE: sizes, objective, weights, statistics of two domains, inference, and what its codes are worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from metrics.retrieval import recall_at_k
from models.iiae import IIAE, Gaussian, IIAEOptions, Weights, community_divergence, gaussian_divergence
from models.layers import batch_statistics
from models.networks.iiae import DomainBatchNormalization, Dropout, domains, dropout_noise
from models.noise import Noise
from models.optimizers import AdamOptions
from training.configuration import load

SIZES: dict[str, Any] = {"width": 2, "exclusive_size": 3, "shared_size": 4}
TINY = IIAEOptions(**SIZES)
COMMUNITY = IIAEOptions(**SIZES, variant="community")
MLP = IIAEOptions(**SIZES, network="mlp", classes=4)
ALL = [TINY, IIAEOptions(**SIZES, network="flat"), COMMUNITY, MLP]
SHAPE = (32, 32, 3)
TERMS = [
    "reconstruction/error_x",
    "reconstruction/error_y",
    "divergence/exclusive_x",
    "divergence/exclusive_y",
    "divergence/shared",
    "divergence/shared_x",
    "divergence/shared_y",
]


def name_of(options: IIAEOptions) -> str:
    return str(options.network)


def build(options: IIAEOptions = TINY, seed: int = 0, shape: tuple[int, ...] = SHAPE, **changes: Any) -> IIAE:
    options = dataclasses.replace(options, **changes)
    model = options.build((10,) if options.network == "mlp" else shape, seed)
    model.configure()
    return model


def gentle(options: IIAEOptions) -> IIAEOptions:
    """The same with weights at which plain gradient descent does not leap."""
    if options.beta is None:
        return dataclasses.replace(
            options, reconstruction_weight=2.0, exclusive_weight=0.1, shared_weight=0.1, interaction_weight=0.1
        )
    return dataclasses.replace(options, lambda_weight=0.1, beta=0.05, l1_weight=10.0, annealing_steps=10)


@pytest.fixture(scope="module")
def tiny() -> Iterator[IIAE]:
    """A model whose weights tests leave as they find them."""
    model = helpers.rouse(build(), biases=False)
    before = model.fingerprint()
    yield model
    assert model.fingerprint() == before


# What all models of the house do.


@pytest.mark.parametrize("options", ALL, ids=name_of)
def test_step(options: IIAEOptions) -> None:
    scalars = helpers.run_step_test(build(options))
    more = ["classification"] if options.classes else []
    assert set(scalars) == {"loss", "annealing", *TERMS, *more}


def test_the_player() -> None:
    helpers.run_players_test(build())


@pytest.mark.parametrize("options", [COMMUNITY, MLP], ids=name_of)
def test_saving(options: IIAEOptions, tmp_path: Path) -> None:
    model = build(options)
    model.train_step(helpers.data_for(model))
    helpers.run_saving_test(model, tmp_path)


@pytest.mark.parametrize(
    ("options", "eager"), [(COMMUNITY, True), (MLP, False)], ids=["community, eager", "mlp, graph"]
)
def test_two_replicas(options: IIAEOptions, eager: bool) -> None:
    chosen = dataclasses.replace(gentle(options), classification_weight=0.5 if options.classes else 0.0)
    helpers.run_two_replica_test(lambda: helpers.rouse(build(chosen), biases=False), steps=2, eager=eager)


def test_resume(tmp_path: Path) -> None:
    helpers.run_resume_test(lambda: build(COMMUNITY), tmp_path)


def test_determinism() -> None:
    helpers.run_determinism_test(lambda seed: build(seed=seed, width=1))


def test_fit() -> None:
    helpers.run_fit_test(build(MLP))


@pytest.mark.parametrize("options", ALL, ids=name_of)
def test_inference_changes_nothing(options: IIAEOptions) -> None:
    helpers.run_batch_statistics_test(build(options))


# Sizes: the counts of the four published models.

PUBLISHED = {
    "community": (84_271_238, 20_120_832, 11_507_523, 691_104 + 2 * 18_482_432),
    "spatial": (16_801_830, 2_097_408, 3_872_579, 2 * 1_739_936),
    "flat": (46_952_230, 8_455_168, 11_507_523, 2 * 6_001_312),
    "mlp": (2_477_284, 591_488, 82_816, 2 * 428_416),
}


@pytest.mark.parametrize("network", PUBLISHED)
def test_parameters(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Values do not matter here, and drawing 84 million takes long.
    for name in ("RandomNormal", "RandomUniform"):
        monkeypatch.setattr(f"keras.initializers.{name}", lambda *_, **__: keras.initializers.Zeros())
    options = IIAEOptions(network=network, classes=100 if network == "mlp" else 0)
    described = options.build((512,) if network == "mlp" else (256, 256, 3), 0).describe()
    counts = {name: found["trainable_parameters"] for name, found in described["networks"].items()}
    shared = sum(count for name, count in counts.items() if name.startswith(("trunk", "shared")))
    found = (described["trainable_parameters"], counts["joint"], counts["decoder_x"], shared)
    assert found == PUBLISHED[network]
    assert counts["decoder_y"] == counts["decoder_x"]
    assert counts["exclusive_x"] == counts["exclusive_y"] == (428_416 if network == "mlp" else 1_739_696)
    assert counts.get("classifier", 0) == (6_500 if network == "mlp" else 0)


@pytest.mark.parametrize(("side", "network", "size"), [(64, "spatial", 4 * 4), (64, "community", 4), (96, "flat", 4)])
def test_other_sides(side: int, network: Any, size: int) -> None:
    model = build(network=network, shape=(side, side, 1))
    images = tf.zeros([2, side, side, 1])
    assert model.encode(images).shape == (2, size)
    assert model.generate(tf.zeros([2, size + 6])).shape == (2, side, 2 * side, 1)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        ("spatial", (48, 48, 3), "multiple of 32"),
        ("spatial", (32, 64, 3), "multiple of 32"),
        ("flat", (512,), "'mlp' takes vectors"),
        ("mlp", SHAPE, "takes vectors, not images"),
    ],
)
def test_shapes_that_do_not_fit(network: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IIAEOptions(**SIZES, network=network).build(shape, 0)


def layers_of(model: IIAE, network: str) -> list[str]:
    kinds = [layer["kind"] for layer in model.describe()["networks"][network]["layers"]]
    short = {"BatchNormalization": "N", "DomainBatchNormalization": "NN", "LeakyReLU": "L", "ReLU": "R", "Dropout": "%"}
    return [short.get(kind, kind.removeprefix("Wide")) for kind in kinds if kind != "Reshape"]


def test_layers_of_the_official_networks() -> None:
    halving, doubling = ["Conv2D", "N", "L"], ["Conv2DTranspose", "N", "R"]
    wet = ["Conv2DTranspose", "N", "%", "R"]
    spatial, flat = build(), build(network="flat")
    assert layers_of(spatial, "exclusive_x") == halving * 4 + ["Dense"]
    assert layers_of(spatial, "shared_y") == layers_of(spatial, "joint") == ["Conv2D"]
    tail = wet * 2 + doubling * 2 + ["Conv2DTranspose", "Activation"]
    assert layers_of(spatial, "decoder_x") == ["UpSampling2D", "Concatenate", *tail]
    assert layers_of(flat, "trunk_x") == halving * 5
    assert layers_of(flat, "shared_x") == layers_of(flat, "joint") == ["Dense", "N", "L", "Dense"]
    assert layers_of(flat, "decoder_y") == ["Concatenate", "Dense", "N", "%", "R", *tail]
    assert {layer.negative_slope for layer in spatial.networks["trunk_x"].layers if "leaky" in layer.name} == {0.2}


def test_layers_of_the_community_networks() -> None:
    model = build(COMMUNITY)
    assert layers_of(model, "trunk") == ["Conv2D", "NN", "L"] * 4
    assert layers_of(model, "shared_x") == layers_of(model, "joint") == ["Conv2D", "N", "L", "Dense", "Dense"]
    assert layers_of(model, "decoder_x")[:5] == ["Concatenate", "Dense", "N", "R", "Conv2DTranspose"]
    slopes = {layer.negative_slope for layer in model.networks["trunk"].layers if "leaky" in layer.name}
    assert slopes == {0.02}
    kernels = [layer.kernel_size for layer in model.networks["joint"].layers if hasattr(layer, "kernel_size")]
    assert kernels == [(5, 5)]


def test_initial_weights() -> None:
    official, community = build(width=8), build(COMMUNITY, width=8)
    conv = official.networks["trunk_x"].layers[-3]
    assert float(np.std(conv.kernel)) == pytest.approx(0.02, rel=0.05)
    assert float(np.abs(conv.kernel).max()) > 0.05, "not cut off"
    gammas = np.concatenate([v.numpy() for v in official.trainable_variables if v.path.endswith("gamma")])
    assert (float(gammas.mean()), float(gammas.std())) == pytest.approx((1.0, 0.02), abs=0.004)
    dense = official.networks["exclusive_x"].layers[-1]
    assert float(np.abs(dense.kernel).max()) == pytest.approx(math.sqrt(6 / sum(dense.kernel.shape)), rel=0.02)
    head = community.networks["joint"].layers[-2]
    assert float(np.std(head.kernel)) == pytest.approx(math.sqrt(2 / head.kernel.shape[0]), rel=0.05)
    first = next(layer for layer in community.networks["decoder_x"].layers if hasattr(layer, "units"))
    assert float(np.abs(first.kernel).max()) == pytest.approx(1 / math.sqrt(7), rel=0.02)
    assert float(np.abs(first.bias).max()) > 0.1
    assert float(np.abs(head.bias).max()) == 0.0


# The objective.


def test_divergences_of_hand_worked_gaussians() -> None:
    def gaussian(mean: float, variance: float) -> Gaussian:
        return Gaussian(tf.constant(mean), tf.constant(math.log(variance)))

    q, r = gaussian(1.0, 2.0), gaussian(3.0, 4.0)
    # (ln 2 - 1 + (2 + 2^2) / 4) / 2, and (ln 2 - 1 + 2^2 + 2 / 4) / 2.
    assert float(gaussian_divergence(q, r)) == pytest.approx(0.5 * (math.log(2) + 0.5), rel=1e-6)
    assert float(community_divergence(q, r)) == pytest.approx(0.5 * (math.log(2) + 3.5), rel=1e-6)
    for form in (gaussian_divergence, community_divergence):
        assert float(form(q, q)) == pytest.approx(0.0, abs=1e-6)
        assert float(form(r, gaussian(0.0, 1.0))) == pytest.approx(0.5 * (9 + 4 - 1 - math.log(4)), rel=1e-6)


def moments(outputs: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    mean, log_variance = np.split(np.asarray(outputs, np.float64), 2, axis=-1)
    return mean.reshape(len(mean), -1), log_variance.reshape(len(mean), -1)


def divergence(q: tuple[np.ndarray, np.ndarray], r: tuple[np.ndarray, np.ndarray], exact: bool = True) -> float:
    (m0, v0), (m1, v1) = q, r
    distance = (m0 - m1) ** 2 / (np.exp(v1) if exact else 1.0)
    return float((0.5 * (v1 - v0 - 1 + distance + np.exp(v0 - v1))).sum(axis=1).mean())


@pytest.mark.parametrize("options", [TINY, COMMUNITY, MLP], ids=name_of)
@pytest.mark.parametrize("form", ["exact", "community"])
def test_each_term_against_numpy(options: IIAEOptions, form: Any) -> None:
    model = helpers.rouse(build(options, divergence=form, dropout=0.0), biases=False)
    x, y = helpers.data_for(model)
    scale = (lambda v: v) if options.network == "mlp" else (lambda v: 2 * v - 1)
    inputs = {"x": scale(x), "y": scale(y)}
    with batch_statistics():
        features = {d: model.networks["trunk" if options is COMMUNITY else f"trunk_{d}"](inputs[d]) for d in "xy"}
        outputs = {f"exclusive_{d}": model.networks[f"exclusive_{d}"](inputs[d]) for d in "xy"}
        outputs |= {f"shared_{d}": model.networks[f"shared_{d}"](features[d]) for d in "xy"}
        outputs["shared"] = model.networks["joint"](tf.concat([features["x"], features["y"]], -1))
        found = {name: moments(values) for name, values in outputs.items()}
        noise, codes = Noise(0, 0), {}
        for name, stream in (("exclusive_x", "z_x"), ("exclusive_y", "z_y"), ("shared", "z_s")):
            mean, log_variance = np.split(np.asarray(outputs[name]), 2, axis=-1)
            codes[name] = mean + np.exp(log_variance / 2) * noise.normal(stream, list(mean.shape)).numpy()
        again = {d: model.networks[f"decoder_{d}"]([codes["shared"], codes[f"exclusive_{d}"]]).numpy() for d in "xy"}
    prior = (np.zeros(1), np.zeros(1))
    expected = {
        f"divergence/{name}": divergence(found[name], prior) for name in ("exclusive_x", "exclusive_y", "shared")
    }
    for d in "xy":
        error = again[d] - inputs[d].numpy()
        expected[f"reconstruction/error_{d}"] = float((error**2 if options.network == "mlp" else np.abs(error)).mean())
        expected[f"divergence/shared_{d}"] = divergence(found["shared"], found[f"shared_{d}"], form == "exact")
    scalars = {name: float(value) for name, value in model.train_step((x, y)).items()}
    assert {name: scalars[name] for name in TERMS} == pytest.approx(expected, rel=2e-4)
    assert max(expected.values()) > 0.1
    weights, anneal = model.options.weights, scalars["annealing"]
    assert anneal == pytest.approx(1 - math.exp(-1 / (model.options.annealing_steps or 1)), rel=1e-3)
    kl = weights.interaction * (expected["divergence/shared_x"] + expected["divergence/shared_y"])
    kl += weights.exclusive * anneal * (expected["divergence/exclusive_x"] + expected["divergence/exclusive_y"])
    kl += weights.shared * anneal * expected["divergence/shared"]
    if options is COMMUNITY:
        kl *= helpers.BATCH / 60_000
    total = weights.reconstruction * (expected["reconstruction/error_x"] + expected["reconstruction/error_y"]) + kl
    assert scalars["loss"] == pytest.approx(total, rel=2e-4)


def test_both_parametrizations_of_the_weights() -> None:
    assert IIAEOptions().weights == pytest.approx(Weights(1200.0, 1.2, 0.2, 1.0))
    assert IIAEOptions(beta=0.001).weights == pytest.approx(Weights(1001.0, 1.001, 0.001, 1.0))
    assert IIAEOptions(beta=0.02, l1_weight=20_000.0).weights == pytest.approx(Weights(20_400.0, 1.02, 0.02, 1.0))
    assert IIAEOptions(network="flat").weights == pytest.approx(Weights(1020.0, 1.02, 0.02, 1.0))
    assert IIAEOptions(network="mlp").weights == pytest.approx(Weights(15.0, 1.5, 0.5, 1.0))
    community = IIAEOptions(variant="community")
    assert community.weights == Weights(100.02, 5.02, 0.02, 5.0)
    assert community.divergence_examples == 60_000
    # 5.02 = lambda + beta, 0.02 = beta, 5 = lambda: the same objective by the other names.
    same = IIAEOptions(variant="community", lambda_weight=5.0, beta=0.02, l1_weight=100.02 / 5.02)
    assert same.weights == pytest.approx(community.weights)


def test_the_effective_weights_of_the_community() -> None:
    """With 60,000 pairs: 1.339e-3, 5.33e-6 and 1.333e-3 against 100.02 of the reconstruction."""
    weights, factor = IIAEOptions(variant="community").weights, 16 / 60_000
    found = (weights.exclusive * factor, weights.shared * factor, weights.interaction * factor)
    assert found == pytest.approx((1.339e-3, 5.33e-6, 1.333e-3), rel=1e-3)
    cars = 16 / 2028
    assert (cars * 5.02, cars * 0.02) == pytest.approx((3.96e-2, 1.58e-4), rel=1e-2)


@pytest.mark.parametrize("form", ["exact", "community"])
def test_options_survive_a_round_trip(form: Any) -> None:
    for options in (TINY, COMMUNITY, MLP, IIAEOptions(divergence=form)):
        assert IIAEOptions(**options.as_dict()) == options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0.1, "shared_weight": 1.0}, "two parametrizations"),
        ({"network": "resnet"}, "network is 'resnet'"),
        ({"divergence": "reverse"}, "divergence is 'reverse'"),
        ({"width": 0}, "width is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"classes": 10}, "only network 'mlp' has a classifier"),
        ({"classification_weight": 1.0}, "there is no classifier"),
        ({"rectified_decoder": True}, "rectified_decoder"),
        ({"l1_weight": -1.0}, "l1_weight is -1.0"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IIAEOptions(**changes)


def test_log_variances_are_cut_off() -> None:
    outputs = tf.constant([0.0, 100.0])
    assert float(build()._gaussian(outputs).log_variance[0]) == pytest.approx(math.log(1e4))
    assert float(build(COMMUNITY)._gaussian(outputs).log_variance[0]) == 100.0


def test_annealing_and_learning_rate_follow_the_step() -> None:
    model = build(MLP, annealing_steps=3)
    model.configure({"autoencoder": AdamOptions(learning_rate=1e-3, milestones=(2, 4), decay_factor=0.5)})
    data, rates, annealing = helpers.data_for(model, 2), [], []
    for _ in range(5):
        rates.append(model.players["autoencoder"].learning_rate)
        annealing.append(float(model.train_step(data)["annealing"]))
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4])
    assert annealing == pytest.approx([1 - math.exp(-t / 3) for t in range(1, 6)], rel=1e-5)
    published = IIAEOptions(variant="community", **SIZES).build(SHAPE, 0).default_optimizers()["autoencoder"]
    assert published == AdamOptions(learning_rate=2e-5, beta_1=0.9, milestones=(10_000, 30_000), decay_factor=0.5)


def test_the_classifier_reads_classes_off_the_rows() -> None:
    model = build(MLP)
    x, y = helpers.data_for(model)
    unused = float(model.train_step((x, y))["classification"])
    assert unused == pytest.approx(math.log(4), rel=0.5)
    kernel = model.networks["classifier"].trainable_variables[0]
    before = kernel.numpy()
    model.train_step((x, y))
    assert np.array_equal(kernel.numpy(), before), "of weight 0"
    used = build(MLP, classification_weight=1.0)
    before = used.networks["classifier"].trainable_variables[0].numpy()
    used.train_step((x, y))
    assert not np.array_equal(used.networks["classifier"].trainable_variables[0].numpy(), before)


# What happens in a step, and to the statistics of batch normalization.


def test_pairs_come_in_tuples_or_side_by_side() -> None:
    one, other = build(), build()
    x, y = helpers.data_for(one)
    one.train_step((x, y))
    other.train_step(tf.concat([x, y], axis=2))
    assert one.fingerprint() == other.fingerprint()
    swapped = build()
    swapped.train_step((y, x))
    assert swapped.fingerprint() != one.fingerprint()
    for wrong in ((x,), (x, y, x), (x, y[:, :16]), x):
        with pytest.raises(ValueError, match=r"a batch of pairs is|the model takes"):
            one.train_step(wrong)


@pytest.mark.parametrize("options", [TINY, COMMUNITY], ids=name_of)
def test_statistics_move_once_and_before_the_update(options: IIAEOptions) -> None:
    """Those of the first layer are known: they are those of the convolution of the inputs by the old weights."""
    model = build(options)
    x, y = helpers.data_for(model)
    seen = {}
    for domain, images in (("x", x), ("y", y)):
        trunk = model.networks["trunk" if options is COMMUNITY else f"trunk_{domain}"]
        outputs = trunk.layers[1](2 * images - 1).numpy()
        seen[domain] = trunk, outputs.reshape(-1, outputs.shape[-1])
    model.train_step((x, y))
    for domain, (trunk, rows) in seen.items():
        variance = rows.var(axis=0, ddof=1 if options is COMMUNITY else 0)
        prefix = "y_" if options is COMMUNITY and domain == "y" else ""
        moved = {v.name: v.numpy() for v in trunk.layers[2].non_trainable_variables}
        np.testing.assert_allclose(moved[f"{prefix}moving_mean"], 0.1 * rows.mean(axis=0), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(moved[f"{prefix}moving_variance"], 0.9 + 0.1 * variance, rtol=1e-4)


def test_normalization_of_two_domains() -> None:
    rng = np.random.default_rng(0)
    x, y = (tf.constant(rng.normal(m, s, (6, 4, 4, 2)), tf.float32) for m, s in ((3.0, 1.0), (-5.0, 4.0)))
    own, common = DomainBatchNormalization(True), DomainBatchNormalization(False)
    for _ in range(200):
        for layer in (own, common):
            with domains("x", "y"):
                both = layer(tf.concat([x, y], axis=0), training=True)
    for half in tf.split(both, 2):
        np.testing.assert_allclose(tf.reduce_mean(half, [0, 1, 2]), 0.0, atol=1e-4)
        np.testing.assert_allclose(tf.math.reduce_std(half, [0, 1, 2]), 1.0, atol=1e-3)
    spread = {}
    for name, layer in (("own", own), ("common", common)):
        for domain, values in (("x", x), ("y", y)):
            with domains(domain):  # type: ignore[arg-type]
                normalized = layer(values, training=False)
            spread[f"{name} {domain}"] = float(tf.abs(tf.reduce_mean(normalized)))
            with domains(domain), batch_statistics():  # type: ignore[arg-type]
                assert float(tf.abs(tf.reduce_mean(layer(values, training=False)))) < 1e-4
    assert spread["own x"] < 1e-3
    assert spread["own y"] < 1e-3
    # One set of statistics for two domains fits neither.
    assert spread["common x"] > 0.3
    with domains("x", "y"):
        together = own(tf.concat([x, y], axis=0), training=False)
    with domains("y"):
        np.testing.assert_allclose(together[6:], own(y, training=False), atol=1e-6)


def test_common_statistics_move_by_x_and_then_by_y() -> None:
    layer = DomainBatchNormalization(False, momentum=0.9)
    x, y = tf.fill([2, 2, 2, 1], 1.0), tf.fill([2, 2, 2, 1], 5.0)
    with domains("x", "y"):
        layer(tf.concat([x, y], axis=0), training=True)
    assert float(layer.moving_mean[0]) == pytest.approx(0.9 * 0.1 * 1.0 + 0.1 * 5.0)


def test_dropout() -> None:
    layer, ones = Dropout(0.25, name="wet"), tf.ones([50, 10, 10])
    assert np.array_equal(layer(ones), ones)
    with dropout_noise(Noise(0, 0)):
        first, again = layer(ones).numpy(), layer(ones).numpy()
    with dropout_noise(Noise(0, 1)):
        other = layer(ones).numpy()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(np.unique(first)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert first.mean() == pytest.approx(1.0, abs=0.03)
    with pytest.raises(ValueError, match="probability is 0"):
        Noise(0, 0).chance("none", [2], 0.0)
    assert np.all(Noise(0, 0).chance("all", [1000], 1.0))


def test_training_drops_out_and_inference_does_not() -> None:
    wet, dry = build(dropout=0.5), build(dropout=0.0)
    data = helpers.data_for(wet)
    assert np.array_equal(wet.reconstruct(*data)[0], dry.reconstruct(*data)[0])
    errors = [float(model.train_step(data)["reconstruction/error_x"]) for model in (wet, dry)]
    assert errors[0] != errors[1]


# Inference.


def test_the_modes_of_inference_are_their_formulae(tiny: IIAE) -> None:
    x, y = helpers.data_for(tiny)
    with_domain = {"x": x, "y": y}
    shared = {d: tiny.shared_code(with_domain[d], d) for d in ("x", "y")}  # type: ignore[arg-type]
    own = {d: tiny.exclusive_code(with_domain[d], d) for d in ("x", "y")}  # type: ignore[arg-type]
    assert shared["x"].shape == (8, 4)
    assert own["y"].shape == (8, 3)
    assert np.array_equal(tiny.translate(x, "x", own["y"]), tiny.decode(shared["x"], own["y"], "y"))
    assert np.array_equal(tiny.translate(y, "y", own["x"]), tiny.decode(shared["y"], own["x"], "x"))
    assert np.array_equal(tiny.recombine(x, x, "x"), tiny.decode(shared["x"], own["x"], "x"))
    partner = tf.reverse(x, [0])
    assert np.array_equal(
        tiny.recombine(x, partner, "x"), tiny.decode(shared["x"], tiny.exclusive_code(partner, "x"), "x")
    )
    found = tiny.posteriors(x, y)
    again = tiny.reconstruct(x, y)
    flat = tf.reshape(found.shared.mean, [8, -1])
    np.testing.assert_allclose(again[0], tiny.decode(flat, own["x"], "x"), atol=1e-6)
    np.testing.assert_allclose(again[1], tiny.decode(flat, own["y"], "y"), atol=1e-6)
    drawn = tiny.reconstruct(x, y, Noise(1, 0))
    assert not np.array_equal(drawn[0], again[0])
    assert np.array_equal(drawn[0], tiny.reconstruct(x, y, Noise(1, 0))[0])
    latents = tiny.sample_latents(4, Noise(0, 0))
    pair = tiny.generate(latents)
    blocks = tiny.latent_space.split(latents)
    assert np.array_equal(pair[:, :, :32], tiny.decode(blocks["z_s"], blocks["z_x"], "x"))
    assert np.array_equal(pair[:, :, 32:], tiny.decode(blocks["z_s"], blocks["z_y"], "y"))
    assert 0.0 <= float(tf.reduce_min(pair)) <= float(tf.reduce_max(pair)) <= 1.0
    assert list(tiny.representations) == ["shared_x", "shared_y", "exclusive_x", "exclusive_y"]
    assert np.array_equal(tiny.encode(x), tiny.representations["shared_x"](x))


def test_the_trunk_of_both_domains_knows_which_one() -> None:
    model = helpers.rouse(build(COMMUNITY), biases=False)
    x = helpers.images_for(model)
    for step in range(3):
        model.train_step((x, 0.2 * helpers.images_for(model, seed=step)))
    np.testing.assert_allclose(model.posteriors(x, x).shared_x.mean, model.shared_code(x, "x"), atol=1e-5)
    trunk = model.networks["trunk"]
    with domains("x"):
        by_x = trunk(2 * x - 1, training=False)
    with domains("y"):
        by_y = trunk(2 * x - 1, training=False)
    assert float(tf.reduce_max(tf.abs(by_x - by_y))) > 1e-3


def test_drawing_as_trained(tiny: IIAE) -> None:
    x, y = helpers.data_for(tiny)
    calm = tiny.translate(x, "x", tiny.exclusive_code(y, "y"))
    with tiny.drawn_as_trained(Noise(0, 0)):
        styled = tiny.translate(x, "x", tiny.exclusive_code(y, "y"))
        fewer = tiny.translate(x[:4], "x", tiny.exclusive_code(y[:4], "y"))
    assert not np.allclose(styled, calm, atol=1e-3)
    assert not np.allclose(styled[:4], fewer, atol=1e-3), "the batch decides"
    assert np.array_equal(calm, tiny.translate(x, "x", tiny.exclusive_code(y, "y")))


@pytest.mark.parametrize("reverse", [False, True])
def test_retrieval_of_codes(reverse: bool) -> None:
    """Equal encoders of equal images find every partner; a code that says nothing finds them by chance."""
    model = helpers.rouse(build(), biases=False)
    for kind in ("trunk", "shared"):
        model.networks[f"{kind}_y"].set_weights(model.networks[f"{kind}_x"].get_weights())
    blank = model.networks["exclusive_y"].layers[-1]
    blank.kernel.assign(tf.zeros_like(blank.kernel))
    x = helpers.images_for(model, 20)
    order = slice(None, None, -1) if reverse else slice(None)
    shared = recall_at_k(np.asarray(model.shared_code(x, "x")), np.asarray(model.shared_code(x, "y"))[order], (1,))
    assert shared.score == (0.0 if reverse else 1.0)
    exclusive = recall_at_k(
        np.asarray(model.exclusive_code(x, "x")), np.asarray(model.exclusive_code(x, "y"))[order], (1,)
    )
    assert exclusive.x_to_y[1] == pytest.approx(1 / 20)


# The shipped experiments.


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("mnist_cdcb", (1200.0, 1.2, 0.2, 1.0)),
        ("facades", (1001.0, 1.001, 0.001, 1.0)),
        ("maps", (20_400.0, 1.02, 0.02, 1.0)),
        ("cars", (1020.0, 1.02, 0.02, 1.0)),
        ("sketchy", (15.0, 1.5, 0.5, 1.0)),
        ("mnist_cdcb_community", (100.02, 5.02, 0.02, 5.0)),
        ("afhq", (100.0, 5.0, 5.0, 5.0)),
    ],
)
def test_published_settings(name: str, weights: tuple[float, ...]) -> None:
    configuration, _ = load([f"gin/iiae_{name}.gin"])
    options = configuration.experiment.model
    assert isinstance(options, IIAEOptions)
    assert options.weights == pytest.approx(weights)
    community = name in ("mnist_cdcb_community", "afhq")
    network = {"cars": "flat", "sketchy": "mlp"}.get(name, "community" if community else "spatial")
    assert (options.network, options.variant) == (network, "community" if community else "official")
    assert options.annealing_steps == {"cars": 100, "sketchy": 2_000}.get(name, 25_000)
    assert options.width == (128 if name == "sketchy" else 32)
    assert configuration.experiment.global_batch == {"sketchy": 100, "mnist_cdcb_community": 16}.get(name, 8)
    adam = configuration.experiment.optimizers["autoencoder"]
    milestones = (10_000, 30_000) if name == "mnist_cdcb_community" else ()
    rate, beta_1 = (2e-5, 0.9) if community else (2e-4, 0.5)
    assert adam == AdamOptions(learning_rate=rate, beta_1=beta_1, milestones=milestones)
    assert configuration.data.augmentation == ("crops_and_flips" if name == "afhq" else None)
