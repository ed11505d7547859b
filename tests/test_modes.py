"""The modes that work on a finished run: measure, draw, generate, export; and those that need none."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from PIL import Image

from common.errors import UserError
from models.base import DisentanglementModel
from training import modes
from training.configuration import load
from training.experiment import Experiment, build
from training.loop import NotFinite
from training.options import TraversalOptions
from training.run_folder import RunFolder
from training.traversal import Painter, write_traversals


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody may change."""
    return tiny_runs.finished_run(tmp_path_factory)


@pytest.fixture(scope="module")
def restored(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, RunFolder]:
    """A copy of the finished run, its last checkpoint restored."""
    folder = tiny_runs.copy_of(finished, tmp_path_factory.mktemp("modes") / "run")
    return modes.restored(load([folder / "configuration.gin"])[0], folder, "last")


def restore(folder: Path, *bindings: str, checkpoint: str = "last") -> tuple[Experiment, RunFolder]:
    return modes.restored(load([folder / "configuration.gin"], bindings)[0], folder, checkpoint)


def answer(capsys: pytest.CaptureFixture[str]) -> dict:
    return tiny_runs.last_json(capsys.readouterr().out)


def test_the_last_checkpoint_is_the_trained_model(finished: Path, restored: tuple[Experiment, RunFolder]) -> None:
    experiment, _ = restored
    assert experiment.model.fingerprint() == json.loads((finished / "result.json").read_text())["fingerprint"]
    assert int(experiment.model.step.numpy()) == 80


def test_the_best_checkpoint(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, _ = restore(finished, checkpoint="best")
    step = int(experiment.model.step.numpy())
    assert step in (40, 80)
    assert f"checkpoint of step {step}" in capsys.readouterr().err


def test_evaluate_repeats_what_was_measured_and_measures_what_was_not(
    finished: Path, restored: tuple[Experiment, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, folder = restored
    assert modes.evaluate(experiment, folder) == 0
    result = answer(capsys)
    assert (result["step"], result["data_source"]) == (80, "synthetic")
    assert list(result["metrics"]) == ["ibgan_factor_vae"]
    kept = json.loads((finished / "result.json").read_text())["scores"]["ibgan_factor_vae"]
    assert result["metrics"]["ibgan_factor_vae"]["score"] == kept

    more = restore(folder.path, "evaluation.metrics = ('factor_vae', 'ibgan_factor_vae')")
    assert modes.evaluate(*more) == 0
    result = answer(capsys)
    assert list(result["metrics"]) == ["factor_vae", "ibgan_factor_vae"]
    assert result["metrics"]["ibgan_factor_vae"]["score"] == kept


def test_evaluate_needs_metrics(restored: tuple[Experiment, RunFolder]) -> None:
    _, folder = restored
    with pytest.raises(UserError, match="no metrics are chosen"):
        modes.evaluate(*restore(folder.path, "evaluation.metrics = ()", "experiment.best_metric = None"))


def test_a_score_that_does_not_exist_is_shown_as_a_dash(
    restored: tuple[Experiment, RunFolder], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, folder = restored
    monkeypatch.setattr(
        "training.modes.Evaluator.kept_scores",
        lambda *_: {"mig": {"score": None, "degenerate": ["all codes are dead"], "notes": []}},
    )
    assert modes.evaluate(experiment, folder) == 0
    assert "mig                      -  all codes are dead" in capsys.readouterr().err


def test_traverse_writes_sheets_and_movies_of_all_codes(
    restored: tuple[Experiment, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, folder = restored
    assert modes.traverse(experiment, folder) == 0
    result = answer(capsys)
    expected = {f"{base}_all.png" for base in ("zfixed", "rfixed")}
    expected |= {f"{base}_r{i}.{end}" for base in ("zfixed", "rfixed") for i in (0, 1) for end in ("png", "gif")}
    assert set(result["files"]) == expected == {path.name for path in (folder.path / "traversals").iterdir()}
    with Image.open(folder.path / "traversals" / "zfixed_r0.gif") as movie:
        assert movie.n_frames == 2 * 3 - 2  # type: ignore[attr-defined]


def test_generate_writes_images_and_their_latents(
    restored: tuple[Experiment, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, folder = restored
    options = load([], [*_bindings(folder), "generation.images = 10", "generation.batch = 4"])[0]
    experiment = Experiment(options, experiment.runtime, experiment.model, experiment.dataset)
    assert modes.generate(experiment, folder) == 0
    assert answer(capsys)["images"] == 10
    target = folder.path / "generated"
    assert len(list(target.glob("[0-9]*.png"))) == 10
    with np.load(target / "images.npz") as arrays:
        images, latents = arrays["images"], arrays["latents"]
    assert (images.shape, images.dtype, latents.shape) == ((10, 64, 64, 1), np.uint8, (10, 2))
    again = np.round(255 * experiment.model.generate(tf.constant(latents)).numpy())
    assert np.abs(again - images).max() <= 1
    with Image.open(target / "000003.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("L")), images[3, :, :, 0])
    first = (target / "images.npz").read_bytes()
    assert modes.generate(experiment, folder) == 0
    assert (target / "images.npz").read_bytes() == first


def _bindings(folder: RunFolder) -> list[str]:
    return [folder.configuration_file.read_text(encoding="utf-8")]


def test_export_can_be_loaded_without_the_suite(
    restored: tuple[Experiment, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, folder = restored
    model = experiment.model
    assert modes.export(experiment, folder) == 0
    assert answer(capsys)["fingerprint"] == model.fingerprint()
    target = folder.path / "export"
    images = tf.constant(np.random.default_rng(0).random((5, 64, 64, 1)), tf.float32)
    latents = tf.constant([[0.5, -1.0], [2.0, 0.0]])
    encoder, generator = (tf.saved_model.load(str(target / name)) for name in ("encoder", "generator"))
    np.testing.assert_allclose(encoder.serve(images), model.encode(images), atol=1e-5)
    np.testing.assert_allclose(generator.serve(latents), model.generate(latents), atol=1e-5)
    loaded = keras.saving.load_model(target / "model.keras")
    assert loaded.fingerprint() == model.fingerprint()
    assert np.array_equal(loaded.encode(images), model.encode(images))
    twin = type(model).from_config(model.get_config())
    twin.load_weights(target / "model.weights.h5")
    assert twin.fingerprint() == model.fingerprint()
    described = json.loads((target / "description.json").read_text())
    assert described["trainable_parameters"] == model.describe()["trainable_parameters"]


def test_modes_change_nothing_in_the_run(finished: Path, restored: tuple[Experiment, RunFolder]) -> None:
    _, folder = restored
    for name in ("metrics.jsonl", "result.json", "options.json", "configuration.gin"):
        assert (folder.path / name).read_bytes() == (finished / name).read_bytes()
    kept = [{path.name for path in (run / "checkpoints" / "last").iterdir()} for run in (folder.path, finished)]
    assert kept[0] == kept[1]


def test_an_older_checkpoint_is_taken_if_the_newest_is_damaged(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_runs.copy_of(finished, tmp_path / "run")
    for step, expected in ((80, 70), (70, 60)):
        tiny_runs.truncate(folder / "checkpoints" / "last" / f"ckpt-{step}.data-00000-of-00001")
        experiment, _ = restore(folder)
        assert int(experiment.model.step.numpy()) == expected
        assert f"ckpt-{step} is damaged" in capsys.readouterr().err
    (folder / "checkpoints" / "last" / "ckpt-60.index").unlink()
    with pytest.raises(UserError, match="no whole last checkpoint"):
        restore(folder)


def test_checkpoints_of_another_model_are_named_as_such(finished: Path) -> None:
    with pytest.raises(UserError, match=r"another model: experiment\.model\.generator_width was 2 and is 4"):
        restore(finished, "ibgan.generator_width = 4")


@pytest.mark.parametrize("text", [None, "{"])
def test_a_folder_without_a_run(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "options.json").write_text(text)
    with pytest.raises(UserError, match="holds no run"):
        modes.configuration_of([], [], str(tmp_path))


def test_the_run_folder_gives_the_configuration_if_no_file_does(finished: Path) -> None:
    configuration, _, run_dir = modes.configuration_of([], ["generation.images = 3"], str(finished))
    assert run_dir == str(finished)
    assert configuration.experiment.total_steps == 80
    assert configuration.generation.images == 3
    _, _, default = modes.configuration_of(["gin/quickstart.gin"], [], None)
    assert default == "runs/quickstart"
    with pytest.raises(UserError, match="give --gin_file"):
        modes.configuration_of([], [], None)


def test_a_benchmark_of_what_diverges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(_: object) -> None:
        raise NotFinite("loss is no longer a finite number at step 3")

    monkeypatch.setattr(modes, "measure", diverge)
    with pytest.raises(UserError, match="at step 3; nothing can be timed"):
        modes.benchmark(load(["gin/ibgan.gin"])[0])


def test_benchmark_gives_rates_and_the_split_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    bindings = [*tiny_runs.PLAIN, "benchmark.steps = 2", "benchmark.turns = 2"]
    assert modes.benchmark(load(["gin/factor_vae_dsprites.gin"], bindings)[0]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "FactorVAE"
    assert result["global_batch"] == 8
    low, high = result["steps_per_second_range"]
    assert 0 < low <= result["steps_per_second"] <= high
    assert result["images_per_second"] == pytest.approx(8 * result["steps_per_second"])
    assert set(result["seconds_per_step"]) >= {"all", "data", "step"}


# Pictures of a model.


@pytest.fixture(scope="module")
def model() -> DisentanglementModel:
    return build(load(["gin/ibgan.gin"], tiny_runs.TINY)[0]).model


def test_a_sweep_moves_one_code_over_absolute_values(model: DisentanglementModel) -> None:
    painter = Painter(model, TraversalOptions(low=-1.1, high=1.1, steps=3, rows=2))
    first, second = model.latent_space.traversals()
    base = painter.bases()["rfixed"]
    images, values = painter.sweep(second, base)
    assert values.tolist() == pytest.approx([-1.1, 0.0, 1.1])
    assert images.shape == (2, 3, 64, 64, 1)
    assert first.column == 0
    moved = np.array([[base[1, 0], 1.1]], np.float32)
    np.testing.assert_allclose(images[1, 2], model.generate(tf.constant(moved))[0], atol=1e-5)


def test_pictures_are_the_same_every_time_and_another_seed_gives_others(
    model: DisentanglementModel, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        write_traversals(Painter(model, TraversalOptions(steps=3, rows=2)), tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    bases = [Painter(model, TraversalOptions(seed=seed)).bases()["rfixed"] for seed in (0, 1)]
    assert not np.allclose(bases[0], bases[1])


def test_statistics_of_the_sheet_are_an_option_and_leave_the_model_alone(model: DisentanglementModel) -> None:
    latents = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    before = model.fingerprint()
    inference, batch = (
        Painter(model, TraversalOptions(batch_norm=mode)).generate(latents) for mode in ("inference", "batch")
    )
    assert model.fingerprint() == before
    assert np.abs(inference - batch).max() > 1e-3
    np.testing.assert_allclose(inference, model.generate(tf.constant(latents)), atol=1e-5)
