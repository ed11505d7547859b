"""The classifier of shapes: its network, training, files and command, and how right the shipped weights are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen.dsprites import synthetic
from metrics import shape_classifier
from metrics.inception_score import confidence, inception_score, mode_kl
from metrics.shape_classifier import CLASSES, ShapeClassifier, build, calibrate, classify, evaluate, main, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def classifier() -> ShapeClassifier:
    return ShapeClassifier()


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    dataset = synthetic()
    numbers = np.random.default_rng(seed).choice(dataset.num_examples, count, replace=False)
    return dataset.images_at(numbers), dataset.factors_at(numbers)[:, 0]


def test_the_network_is_the_published_one() -> None:
    model = build()
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 247_619
    assert shape_classifier.TRAINABLE_PARAMETERS == 247_619
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    block = ["LeakyReLU", "BatchNormalization"]
    assert kinds == 4 * ["Conv2D", *block] + ["Flatten", "Dense", *block, "Dense"]
    assert model.output_shape == (None, 3)
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    assert [layer.filters for layer in convolutions] == [32, 32, 64, 64]
    assert {(layer.kernel_size, layer.strides, layer.padding) for layer in convolutions} == {((4, 4), (2, 2), "same")}
    for layer in convolutions:
        values = np.asarray(layer.kernel)
        # Cut at two standard deviations, the truncated normal is narrower than its parameter of 0.02.
        assert 0.016 < values.std() < 0.019
        assert np.abs(values).max() <= 0.04
    flat, last = model.get_layer("linear_0"), model.get_layer("logits")
    assert np.asarray(flat.kernel).std() == pytest.approx(0.02, rel=0.05)
    assert np.abs(np.asarray(flat.kernel)).max() > 0.05
    assert (flat.units, last.units) == (128, 3)


def plain_logits(model: object, images: np.ndarray) -> np.ndarray:
    """The network by sums over windows, in double precision."""
    values = {
        variable.path: np.asarray(variable).astype(np.float64)
        for variable in model.variables  # type: ignore[attr-defined]
    }
    hidden = images.astype(np.float64) / 255

    def activated(inputs: np.ndarray, name: str) -> np.ndarray:
        leaky = np.maximum(inputs, 0.2 * inputs)
        part = {key: values[f"{name}_normalization/{key}"] for key in ("gamma", "beta", "moving_mean")}
        spread = np.sqrt(values[f"{name}_normalization/moving_variance"] + 1e-5)
        return (leaky - part["moving_mean"]) / spread * part["gamma"] + part["beta"]

    for number in range(4):
        name = f"convolution_{number}"
        padded = np.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
        hidden = np.einsum("nhwcij,ijcf->nhwf", windows, values[f"{name}/kernel"]) + values[f"{name}/bias"]
        hidden = activated(hidden, name)
    flat = hidden.reshape(len(images), -1) @ values["linear_0/kernel"] + values["linear_0/bias"]
    return activated(flat, "linear_0") @ values["logits/kernel"] + values["logits/bias"]


def test_probabilities_are_those_of_the_formula(classifier: ShapeClassifier) -> None:
    images, _ = pictures(9)
    logits = plain_logits(classifier._model, images)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier(images), expected, atol=1e-4)


def test_probabilities_do_not_depend_on_the_batches(classifier: ShapeClassifier) -> None:
    images, _ = pictures(300)
    whole = classifier(images)
    assert whole.shape == (300, 3)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-6)
    parts = np.concatenate([classifier(images[:1]), classifier(images[1:270]), classifier(images[270:])])
    assert parts.tobytes() == whole.tobytes()
    assert classifier((images / 255).astype(np.float32)).tobytes() == whole.tobytes()
    assert classify(images[:2]).tobytes() == whole[:2].tobytes()


def test_wrong_images_are_refused(classifier: ShapeClassifier) -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(n, 64, 64, 1\)"):
        classifier(np.zeros((2, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        classifier(np.full((2, 64, 64, 1), 255.0))
    with pytest.raises(TypeError, match="floats in"):
        classifier(np.zeros((2, 64, 64, 1), np.int64))


def test_shipped_weights_are_right_on_a_redrawn_grid(classifier: ShapeClassifier) -> None:
    dataset = synthetic()
    labels = dataset.factors_at(np.arange(dataset.num_examples))[:, 0]
    found = evaluate(classifier, dataset.images_at, labels)
    assert found["accuracy"] > 0.98
    assert set(found["accuracy_of"]) == set(CLASSES)
    assert min(found["accuracy_of"].values()) > 0.96
    assert found["images"] == 2304
    assert classifier.id == f"dsprites_shape_{shape_classifier.SHIPPED_SHA256[:8]}"
    assert classifier.about["data"] == "dsprites_reconstructed"
    probabilities = classifier(dataset.images_at(np.arange(dataset.num_examples)))
    assert inception_score(probabilities).score > 2.85
    assert confidence(probabilities).score > 0.98
    assert mode_kl(probabilities).score < 1e-3


@pytest.mark.parametrize(("source", "least"), [("subgrid", 0.98), ("random", 0.98)])
def test_shipped_weights_are_right_on_real_images(
    source: str, least: float, raw_dir: Path, tmp_path: Path, classifier: ShapeClassifier
) -> None:
    dataset = data_gen.load("dsprites", source=source, raw_dir=raw_dir, data_dir=tmp_path)
    numbers = np.random.default_rng(0).choice(dataset.num_examples, 4000, replace=False)
    labels = dataset.factors_at(numbers)[:, 0]
    found = evaluate(classifier, lambda block: dataset.images_at(numbers[block]), labels)
    assert found["accuracy"] > least


@pytest.fixture
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_classifier, "_CALIBRATION_BATCHES", 3)


@pytest.mark.usefixtures("few_batches")
def test_training_learns_and_calibration_is_what_inference_needs() -> None:
    images, labels = pictures(64, seed=1)
    model = build(seed=2)
    train(model, lambda numbers: images[numbers], labels, steps=25, seed=0)
    right = [np.asarray(model(images / np.float32(255), training=True)).argmax(axis=1) == labels]
    calibrate(model, lambda numbers: images[numbers], len(labels), seed=0)
    right.append(model.predict_on_batch(images / np.float32(255)).argmax(axis=1) == labels)
    assert right[0].mean() > 0.7
    assert right[1].mean() > 0.7
    # The statistics are those of the images, layer by layer.
    hidden = images / np.float32(255)
    first = model.get_layer("convolution_0_normalization")
    hidden = np.asarray(model.get_layer("convolution_0_leaky_relu")(model.get_layer("convolution_0")(hidden)))
    # TensorFlow adds up in single precision.
    moments = hidden.astype(np.float64)
    np.testing.assert_allclose(np.asarray(first.moving_mean), moments.mean(axis=(0, 1, 2)), rtol=5e-3)
    np.testing.assert_allclose(np.asarray(first.moving_variance), moments.var(axis=(0, 1, 2)), rtol=1e-2)
    assert first.momentum == 0.9


def test_equal_seeds_give_equal_weights() -> None:
    values = [np.concatenate([np.asarray(weight).ravel() for weight in build(seed).weights]) for seed in (3, 3, 4)]
    assert values[0].tobytes() == values[1].tobytes() != values[2].tobytes()
    batches = [next(shape_classifier._batches(100, 10, seed)).tolist() for seed in (3, 3, 4)]
    assert batches[0] == batches[1] != batches[2]


def test_an_epoch_shows_every_image_once() -> None:
    batches = shape_classifier._batches(10, 4, 0)
    epochs = [[number for _ in range(2) for number in next(batches).tolist()] for _ in range(20)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({number for epoch in epochs for number in epoch}) == 10
    assert sorted(next(shape_classifier._batches(3, 64, 0)).tolist()) == [0, 1, 2]


@pytest.mark.usefixtures("few_batches")
def test_the_command_trains_and_evaluates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Training itself has a test above; to build its graph takes seconds.
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        shape_classifier,
        "train",
        lambda model, images, labels, steps, seed: asked.append((images(labels[:2]).shape[1], steps, seed)),
    )
    monkeypatch.setattr(shape_classifier, "_TEST_IMAGES", 250)
    out = tmp_path / "new" / "classifier.npz"
    options = ["--source", "synthetic", "--data_dir", str(tmp_path)]
    assert main(["--out", str(out), "--steps", "2", "--json", *options]) == 0
    said = capsys.readouterr()
    first = json.loads(said.out)
    # 2,304 images are 36 batches, five times over.
    assert "2 steps, where the published classifier has 180 (5 epochs) on these data" in said.err
    assert first["trained"] == {
        "data": "dsprites_synthetic",
        "images": 2304,
        "steps": 2,
        "batch": 64,
        "seed": 0,
        "published_steps": 180,
    }
    assert (first["data"], first["images"]) == ("dsprites_synthetic", 250)
    assert 0 <= first["accuracy"] <= 1
    assert [path.name for path in out.parent.iterdir()] == ["classifier.npz"]
    assert main(["--evaluate", "--weights", str(out), "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out) == first
    with np.load(out, allow_pickle=False) as file:
        assert len(file.files) == 1 + 12 + 20
    assert main(["--out", str(out), "--epochs", "1", "--seed", "5", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["trained"]["steps"] == 36
    assert asked == [(64, 2, 0), (64, 36, 5)]
    assert main(["--evaluate", *options]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "on 250 images of dsprites_synthetic (square" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out is missing: say where the weights go, or --evaluate"),
        (["--evaluate", "--out", "a.npz"], "--evaluate writes no weights"),
        (["--out", "a.npz", "--weights", "b.npz"], "--weights belongs to --evaluate"),
        (["--out", "a.h5"], r"--out is a\.h5; give a name that ends in \.npz"),
        (["--out", "a.npz", "--steps", "0"], "--steps is 0; it must be 1 or more"),
        (["--out", "a.npz", "--epochs", "-1"], "--epochs is -1; it must be 1 or more"),
        (["--out", "a.npz", "--seed", "-1"], "--seed is -1"),
        (["--out", "a.npz", "--steps", "1", "--epochs", "1"], "not allowed with argument"),
        (["--out", "a.npz", "--sauce", "x"], "did you mean '--source'"),
        (["--evaluate", "--source", "nowhere"], "unknown source 'nowhere'"),
        (["--evaluate", "--source", "synthetic", "--weights", "none.npz"], "none.npz: no such file; train one with"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        main(arguments)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    with pytest.raises(UserError, match="which is a folder"):
        main(["--out", str(folder)])


def test_the_command_ends_with_one_line_and_exit_code_2() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "metrics.shape_classifier", "--steps", "3"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: --out is missing")


def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shape_classifier.SHIPPED_WEIGHTS.read_bytes()
    copy = tmp_path / "copy.npz"
    copy.write_bytes(whole)
    assert ShapeClassifier(copy).id == f"dsprites_shape_{shape_classifier.SHIPPED_SHA256[:8]}"
    copy.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    monkeypatch.setattr(shape_classifier, "SHIPPED_WEIGHTS", copy)
    with pytest.raises(UserError, match=r"is damaged \(SHA-256 .*\); get Spout's files again"):
        ShapeClassifier()
    copy.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="holds no weights of the shape classifier"):
        ShapeClassifier(copy)
    np.savez(copy, about=np.array("{}"), other=np.zeros(3))
    with pytest.raises(UserError, match=r"convolution_0\.kernel is not there"):
        ShapeClassifier(copy)
    np.savez(copy, about=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="holds no weights"):
        ShapeClassifier(copy)
    broken = tmp_path / "broken.npz"
    model = build()
    model.get_layer("logits").bias.assign([np.nan, 0, 0])
    shape_classifier.save(model, broken, {})
    with pytest.raises(UserError, match=r"NaN or infinite \(logits\.bias\)"):
        ShapeClassifier(broken)
