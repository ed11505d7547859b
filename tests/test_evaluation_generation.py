"""Scores of generated images: known answers, what is kept, what is refused before training."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
import tiny_runs

from common.errors import UserError
from metrics.features import from_keras_file
from metrics.generation import vgan_reals
from metrics.inception_score import inception_score
from metrics.shape_classifier import ShapeClassifier
from models.noise import Noise
from training import summary
from training.configuration import load
from training.evaluation import Evaluator, value_of
from training.experiment import Experiment, build
from training.options import Configuration
from training.train import train

COUNT = 300
SIZES = (
    f"evaluation.generated_images = {COUNT}",
    f"evaluation.generated_images_fast = {COUNT - 100}",
    "evaluation.batch = 100",
    "evaluation.seed = 3",
)
SMALL = ("data.source = 'synthetic'", "experiment.global_batch = 8", "vgan.width = 2", "vgan.max_width = 4", *SIZES)


def save_network(path: Path, shape: tuple[int, ...], outputs: int, softmax: bool = False) -> str:
    """A small network of fixed random weights; returns the option that names it."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    x = keras.layers.AveragePooling2D(shape[0] // 4)(inputs)
    activation = "softmax" if softmax else "tanh"
    x = keras.layers.Dense(outputs, activation=activation)(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(path)
    return f"evaluation.extractor = '{path}'"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "features": save_network(folder / "features.keras", (32, 32, 3), 6),
        "classes": save_network(folder / "classes.keras", (32, 32, 3), 4, softmax=True),
    }


def configured(*bindings: str) -> Configuration:
    return load(["gin/vgan_small.gin"], [*SMALL, "vgan.bottleneck_size = 4", *bindings])[0]


@functools.cache
def built() -> Experiment:
    return build(configured())


def vgan(*bindings: str) -> Experiment:
    """The same model and data with other options of the evaluation."""
    return dataclasses.replace(built(), configuration=configured(*bindings))


def generated(experiment: Experiment, count: int, seed: int = 3) -> np.ndarray:
    """The images that must have been looked at: of latents drawn 256 at a time."""
    parts = []
    for start in range(0, count, 256):
        latents = experiment.model.sample_latents(min(256, count - start), Noise(seed, start))
        parts.append(experiment.model.generate(latents).numpy())
    return np.concatenate(parts)


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
    means, covariances = zip(*((table.mean(0), np.cov(table, rowvar=False)) for table in (real, fake)), strict=True)
    # The trace of a square root is the sum of the roots of the eigenvalues.
    roots = np.sqrt(np.clip(scipy.linalg.eigvals(covariances[0] @ covariances[1]).real, 0, None))
    trace = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots.sum()
    return float(((means[0] - means[1]) ** 2).sum() + trace)


def test_fid_of_the_models_own_images(networks: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.generation.VGAN_FAKES", 300)
    monkeypatch.setattr("metrics.generation.VGAN_REALS", 500)
    experiment = vgan(networks["features"], "evaluation.metrics = ('fid', 'improved_precision', 'fid_vgan_compat')")
    evaluator = Evaluator(experiment)
    scores = evaluator.scores("paper")
    path = Path(networks["features"].split("'")[1])
    extractor = from_keras_file(path, (32, 32, 3))
    assert list(scores) == [
        *(f"{name}_{extractor.id}" for name in ("fid", "improved_precision")),
        f"fid_vgan_compat_{extractor.id}_vgan",
    ]
    fake = generated(experiment, COUNT)
    everything = np.arange(experiment.dataset.num_examples)
    real = experiment.dataset.images_at(everything).astype(np.float32) / 255
    expected = frechet(extractor(real), extractor(fake))
    result = scores[f"fid_{extractor.id}"]
    assert result["score"] == pytest.approx(expected, rel=1e-5)
    assert (result["fake_count"], result["real_count"]) == (COUNT, len(real))
    assert any("where 50,000 are usual" in note for note in result["notes"])
    assert value_of(scores, "fid") == result["score"] != value_of(scores, "fid_vgan_compat")
    fast = evaluator.scores("fast")[f"fid_{extractor.id}"]
    assert (fast["fake_count"], fast["real_count"]) == (COUNT - 100, COUNT - 100)
    assert any("(preset fast)" in note for note in fast["notes"])
    assert value_of(evaluator.scores("paper"), "fid") == result["score"]

    network = keras.models.load_model(path)
    compat = scores[f"fid_vgan_compat_{extractor.id}_vgan"]
    images = np.concatenate(list(vgan_reals(experiment.dataset, 3)))
    counterfeit = 2 * generated(experiment, 320) - 1
    expected = frechet(network.predict(images, verbose=0), network.predict(counterfeit, verbose=0))
    assert compat["score"] == pytest.approx(expected, rel=1e-4)
    assert (compat["fake_count"], compat["real_count"]) == (320, 448)


def test_classes_of_the_models_own_images(networks: dict[str, str]) -> None:
    metrics = ("inception_score", "confidence", "mode_kl")
    experiment = vgan(networks["classes"], f"evaluation.metrics = {metrics}")
    scores = Evaluator(experiment).scores("paper")
    probabilities = keras.models.load_model(Path(networks["classes"].split("'")[1])).predict(
        generated(experiment, COUNT), verbose=0
    )
    assert value_of(scores, "inception_score") == pytest.approx(inception_score(probabilities).score, rel=1e-6)
    assert value_of(scores, "confidence") == pytest.approx(float(probabilities.max(axis=1).mean()), rel=1e-6)
    assert value_of(scores, "mode_kl") is not None


def test_the_shipped_classifier_of_shapes() -> None:
    chosen = ("evaluation.extractor = 'shape_classifier'", "evaluation.metrics = ('mode_kl', 'fid')")
    configuration, _ = load(["gin/ibgan.gin"], [*tiny_runs.TINY, *SIZES, *chosen])
    experiment = build(configuration)
    scores = Evaluator(experiment).scores("paper")
    assert set(scores) == {"mode_kl_dsprites_shape_7d5707d9", "fid_dsprites_shape_7d5707d9_features"}
    assert sum(scores["mode_kl_dsprites_shape_7d5707d9"]["counts"]) == COUNT
    network = ShapeClassifier()
    numbers = np.arange(experiment.dataset.num_examples)
    images = generated(experiment, COUNT), experiment.dataset.images_at(numbers)
    features = [network.features()(part) for part in images]
    assert features[0].shape == (COUNT, 128)
    logits = features[0] @ network._model.get_layer("logits").get_weights()[0]
    logits += network._model.get_layer("logits").get_weights()[1]
    assert np.array_equal(logits.argmax(axis=1), network(images[0]).argmax(axis=1))
    assert value_of(scores, "fid") == pytest.approx(frechet(*features), rel=1e-4)


def test_real_images_are_looked_at_once(
    networks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = vgan(networks["features"], "evaluation.metrics = ('fid',)")
    asked: list[int] = []
    images_at = experiment.dataset.images_at

    def noted(numbers: np.ndarray) -> np.ndarray:
        asked.append(len(numbers))
        return images_at(numbers)

    monkeypatch.setattr(experiment.dataset, "images_at", noted)
    monkeypatch.setattr(type(experiment.dataset), "fingerprint", lambda self: "the same")
    evaluator = Evaluator(experiment)
    first = evaluator.scores("paper", cache=tmp_path)
    looked = len(asked)
    assert looked > 0
    assert evaluator.scores("paper", cache=tmp_path) == first
    assert Evaluator(experiment).scores("paper", cache=tmp_path) == first
    assert len(asked) == looked


def test_kept_scores_are_of_this_network_and_these_numbers(networks: dict[str, str], tmp_path: Path) -> None:
    bindings = ("evaluation.metrics = ('fid',)", networks["features"])
    first = Evaluator(vgan(*bindings)).kept_scores(tmp_path, "fast")
    (path,) = tmp_path.glob("step_*.json")
    before = path.stat().st_mtime_ns
    assert Evaluator(vgan(*bindings)).kept_scores(tmp_path, "fast") == first
    assert path.stat().st_mtime_ns == before
    assert list((tmp_path / "statistics").glob("*.npz"))
    other = Evaluator(vgan(*bindings, "evaluation.generated_images_fast = 150")).kept_scores(tmp_path, "fast")
    assert other != first
    network = Evaluator(vgan(*bindings, networks["classes"])).kept_scores(tmp_path, "fast")
    assert set(network) != set(first)


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (("evaluation.extractor = 'shape_classifier'",), "knows the shapes of dSprites, not cifar10_synthetic"),
        (
            ("evaluation.extractor = 'shape_classifier'", "evaluation.metrics = ('fid_vgan_compat',)"),
            "shows images in .-1, 1. to Inception",
        ),
        (
            ("evaluation.extractor = 'shape_classifier'", "evaluation.metrics = ('mode_kl',)"),
            "knows the shapes of dSprites, not cifar10_synthetic",
        ),
        (("evaluation.extractor = 'nothing.keras'",), "nothing.keras: no such file"),
        (("evaluation.extractor = 'nothing.h5'",), "evaluation.extractor 'nothing.h5': .*no such file"),
        (("evaluation.generated_images = 5",), "evaluation.generated_images is 5, but fid needs at least 7"),
        (
            ("experiment.evaluate_every = 10", "evaluation.generated_images_fast = 5"),
            "evaluation.generated_images_fast is 5, but fid needs at least 7",
        ),
        (("evaluation.metrics = ('kid',)",), "evaluation.generated_images is 300, but kid needs at least 1,000"),
        (("evaluation.metrics = ('mode_kl',)",), "gives no probabilities.*which mode_kl needs"),
    ],
)
def test_what_is_refused_before_training(networks: dict[str, str], bindings: tuple[str, ...], message: str) -> None:
    evaluator = Evaluator(vgan(networks["features"], "evaluation.metrics = ('fid',)", *bindings))
    with pytest.raises(UserError, match=message):
        evaluator.refuse_impossible()


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("evaluation.metrics = ('recall_at_k',)", "recall_at_k is of models of pairs"),
        ("evaluation.metrics = ('model_centrality',)", "compares several models"),
        ("evaluation.metrics = ('fidd',)", "there is no metric 'fidd'; did you mean 'fid'"),
        ("data.validation = 10", "has no pairs of images to keep for validation"),
    ],
)
def test_what_does_not_fit_the_model(binding: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(configured(binding))


@pytest.mark.parametrize("name", ["inceptoin", "file.pt"])
def test_an_extractor_that_is_none(name: str) -> None:
    with pytest.raises(UserError, match=f"evaluation.extractor is '{name}'.*inception.*ends in .keras or .h5"):
        load(["gin/vgan_small.gin"], [f"evaluation.extractor = '{name}'"])


def test_weights_that_cannot_be_had_stop_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("keras.utils.get_file", unreachable)
    configuration = configured("evaluation.metrics = ('fid',)")
    with pytest.raises(UserError, match=r"evaluation.extractor 'inception': the weights of InceptionV3 are not in"):
        train(configuration, "", [], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_report_sets_the_papers_number_beside_it(networks: dict[str, str]) -> None:
    published = "experiment.paper_scores = {'fid': (18.1,)}"
    experiment = vgan(networks["features"], published, "evaluation.metrics = ('fid',)")
    scores = Evaluator(experiment).scores("fast")
    page = summary.score_rows(experiment, scores).html()
    assert "18.10" in page
    assert f"By {next(iter(scores)).removeprefix('fid_')}; numbers of other networks cannot be compared." in page
    assert "Lower is better." in page


def test_images_are_made_in_whole_batches(networks: dict[str, str]) -> None:
    experiment = vgan(networks["features"], "evaluation.metrics = ('fid',)", "evaluation.batch = 7")
    made = Evaluator(experiment)._images.generate(256, 20)
    latents = experiment.model.sample_latents(20, Noise(3, 256))
    np.testing.assert_allclose(made, experiment.model.generate(latents).numpy(), atol=1e-5)
    assert isinstance(latents, tf.Tensor)
