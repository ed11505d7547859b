"""Formats of a trained model: what was exported is loaded without the suite, and gives the model's numbers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from helpers import rouse

from common.errors import UserError
from models.factor_vae import FactorVAE
from models.pairs import PairModel
from training import export as export_module
from training import modes
from training.configuration import load
from training.experiment import Experiment, build
from training.run_folder import RunFolder

ONNX = "export.formats = ('onnx',)"
BOTH = "export.formats = ('savedmodel', 'onnx')"
TINY: dict[str, tuple[str, Sequence[str]]] = {
    "ibgan": ("gin/ibgan.gin", tiny_runs.TINY),
    # Of vectors: the networks for images take five times as long to convert, and differ in nothing that matters here.
    "iiae": ("gin/iiae_sketchy.gin", ("data.source = 'synthetic'", "iiae.width = 4")),
    "factor_vae": ("gin/factor_vae_dsprites.gin", tiny_runs.PLAIN),
}

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tf2onnx", "onnx", "onnxruntime")),
    reason="needs requirements-onnx.txt",
)


def tiny(name: str, *bindings: str) -> Experiment:
    """An experiment whose networks say something, though they have not learned anything."""
    file, tiny_bindings = TINY[name]
    experiment = build(load([file], [*tiny_bindings, *bindings])[0])
    rouse(experiment.model, biases=False)
    rng = np.random.default_rng(1)
    for variable in experiment.model.non_trainable_variables:
        # Small variances enlarge what passes, of which tiny networks leave little.
        if variable.path.endswith("moving_mean"):
            variable.assign(rng.normal(0.0, 0.05, variable.shape))
        elif variable.path.endswith("moving_variance"):
            variable.assign(rng.uniform(0.05, 0.15, variable.shape))
    return experiment


def exported(experiment: Experiment, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, dict[str, Any]]:
    """The folder that was written, and the command's answer."""
    assert modes.export(experiment, RunFolder(folder)) == 0
    return folder / "export", tiny_runs.last_json(capsys.readouterr().out)


def onnx_function(path: Path, gives: str) -> Callable[[np.ndarray], np.ndarray]:
    """An ONNX file as a function; its input and output are of any batch size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert given.name == gives
    assert taken.shape[0] == given.shape[0] == "batch"
    return lambda batch: session.run(None, {taken.name: batch})[0]


def inputs(shape: Sequence[int], batch: int) -> np.ndarray:
    """Images of any brightness, or vectors."""
    rng = np.random.default_rng(batch)
    if len(shape) == 1:
        return rng.normal(size=(batch, *shape)).astype(np.float32)
    low, high = np.sort(rng.random((2, batch, 1, 1, shape[-1])), axis=0)
    return rng.uniform(low, high, (batch, *shape)).astype(np.float32)


def assert_same(
    function: Callable[[np.ndarray], Any], expected: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int]
) -> None:
    """Two functions agree for batches of several sizes, and their output depends on the input."""
    for batch in (1, 4, 7):
        given = inputs(shape, batch)
        result = np.asarray(function(given))
        np.testing.assert_allclose(result, expected(tf.constant(given)), atol=1e-5, rtol=1e-5)
        assert batch == 1 or np.ptp(result, axis=0).max() > 1e-3


@needs_onnx
def test_a_network_with_batch_normalization(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tiny("ibgan", ONNX)
    model = experiment.model
    target, result = exported(experiment, tmp_path, capsys)
    assert result["files"] == ["description.json", "encoder.onnx", "generator.onnx"]
    assert result["onnx"]["left_out"] == {}
    assert set(result["onnx"]["largest_difference"]) == {"generator", "encoder"}
    latents, images = [model.latent_space.size], model.image_shape
    assert_same(onnx_function(target / "generator.onnx", "images"), model.generate, latents)
    assert_same(onnx_function(target / "encoder.onnx", "codes"), model.encode, images)


@needs_onnx
def test_a_model_of_pairs_has_an_encoder_for_each_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tiny("iiae", ONNX)
    model = experiment.model
    assert isinstance(model, PairModel)
    target, result = exported(experiment, tmp_path, capsys)
    files = {"shared_x": "encoder", **{name: f"encoder_{name}" for name in ("shared_y", "exclusive_x", "exclusive_y")}}
    assert set(result["onnx"]["largest_difference"]) == {"generator", *files.values()}
    for name, file in files.items():
        code = model.representations[name]
        assert_same(onnx_function(target / f"{file}.onnx", "codes"), code, model.image_shape)
    # Shared code of x, exclusive code of y; the half on the right.
    generate = onnx_function(target / "generator.onnx", "images")
    x, y = inputs(model.image_shape, 2), inputs(model.image_shape, 3)[:2]
    shared = onnx_function(target / "encoder.onnx", "codes")(x)
    exclusive = onnx_function(target / "encoder_exclusive_y.onnx", "codes")(y)
    blocks = {block.name: block.size for block in model.latent_space.blocks}
    parts = {"z_x": np.zeros((2, blocks["z_x"]), np.float32), "z_y": exclusive, "z_s": shared}
    pairs = generate(np.concatenate([parts[name] for name in blocks], axis=1))
    expected = model.translate(tf.constant(x), "x", model.exclusive_code(tf.constant(y), "y"))
    np.testing.assert_allclose(pairs[:, pairs.shape[1] // 2 :], expected, atol=1e-5, rtol=1e-5)


@needs_onnx
def test_operations_that_onnx_lacks_are_named_and_the_other_encoder_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tiny("factor_vae", BOTH)
    model = experiment.model
    assert isinstance(model, FactorVAE)
    modes.export(experiment, RunFolder(tmp_path))
    out, err = capsys.readouterr()
    result = tiny_runs.last_json(out)
    assert result["files"] == ["description.json", "encoder", "encoder_mean.onnx", "generator", "generator.onnx"]
    assert list(result["onnx"]["left_out"]) == ["encoder"]
    (remark,) = [line for line in err.splitlines() if "left out" in line]
    assert remark.startswith("encoder.onnx is left out, because ONNX lacks Bit")
    assert remark.endswith("there is encoder_mean.onnx")
    assert "Traceback" not in err
    assert_same(onnx_function(tmp_path / "export" / "encoder_mean.onnx", "codes"), model.encode_mean, model.image_shape)
    saved = tf.saved_model.load(str(tmp_path / "export" / "encoder"))
    assert_same(saved.serve, model.encode, model.image_shape)
    assert_same(saved.mean, model.encode_mean, model.image_shape)


@pytest.fixture
def generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is exported, which takes time."""
    all_of = export_module.endpoints
    monkeypatch.setattr(export_module, "endpoints", lambda model: all_of(model)[:1])


@needs_onnx
@pytest.mark.usefixtures("generator_alone")
def test_what_was_trained_in_half_precision_on_two_devices_is_exported_in_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tiny("factor_vae", ONNX)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = plain.configuration.experiment.model.build(plain.model.image_shape, 0)
        mixed.set_weights(plain.model.get_weights())
    experiment = Experiment(plain.configuration, plain.runtime, mixed, plain.dataset)
    target, _ = exported(experiment, tmp_path, capsys)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    latents = [plain.model.latent_space.size]
    assert_same(onnx_function(target / "generator.onnx", "images"), plain.model.generate, latents)


@needs_onnx
@pytest.mark.usefixtures("generator_alone")
def test_a_wrong_conversion_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny("factor_vae", ONNX)
    convert = export_module._convert

    def wrong(endpoint: export_module.Endpoint) -> tuple[bytes, list[str]]:
        return convert(dataclasses.replace(endpoint, function=lambda batch: endpoint.function(batch) + 0.01))

    monkeypatch.setattr(export_module, "_convert", wrong)
    with pytest.raises(UserError, match=r"generator\.onnx gives numbers that are 0\.01 off"):
        modes.export(experiment, RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_one_line_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny("factor_vae", ONNX)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tf2onnx" else find(name, *more)
    )
    with pytest.raises(UserError, match=r"not installed for it: tf2onnx.*; run: pip install -r requirements-onnx\.txt"):
        modes.export(experiment, RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ("()", r"export\.formats is empty; give some of 'keras', 'savedmodel', 'onnx'"),
        ("('onxx',)", r"export\.formats is 'onxx'; allowed: 'keras', 'savedmodel', 'onnx'"),
    ],
)
def test_formats_that_there_are_not(formats: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(["gin/ibgan.gin"], [f"export.formats = {formats}"])


def test_only_what_was_asked_for_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tiny("factor_vae", "export.formats = ['keras']")
    target, result = exported(experiment, tmp_path, capsys)
    assert result["files"] == ["description.json", "model.keras", "model.weights.h5"]
    assert "onnx" not in result
    described = json.loads((target / "description.json").read_text())
    assert described["model"] == "FactorVAE"


def test_the_requirements_agree() -> None:
    optional, development = (
        (tiny_runs.ROOT / f"requirements-{name}.txt").read_text(encoding="utf-8").splitlines()
        for name in ("onnx", "development")
    )
    ours = [line for line in optional if not line.startswith(("#", "-r"))]
    assert len(ours) == 3
    assert set(ours) <= set(development)
