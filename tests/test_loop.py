"""The training loop: the same numbers however it runs; and what it writes down."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs

from models.base import DisentanglementModel
from training.checkpoints import Checkpoints, restore_weights
from training.configuration import load
from training.experiment import build
from training.loop import NotFinite, RunningMeans, TrainingLoop
from training.options import Configuration
from training.records import Records, read_records, series

STEPS = 4


def configuration_of(*bindings: str, plain: bool = False) -> Configuration:
    """A tiny experiment whose optimizers do not enlarge rounding errors."""
    file, tiny = ("factor_vae_dsprites.gin", tiny_runs.PLAIN) if plain else ("ibgan.gin", tiny_runs.TINY)
    configuration, _ = load([f"gin/{file}"], [*tiny, *bindings])
    rates = {"vae": 1e-5, "discriminator": 0.1} if plain else dict.fromkeys(configuration.experiment.optimizers, 0.001)
    descent = {name: helpers.SGDOptions(rate, momentum=0.0) for name, rate in rates.items()}
    experiment = dataclasses.replace(configuration.experiment, optimizers=descent)
    return dataclasses.replace(configuration, experiment=experiment)


def trained(*bindings: str, plain: bool = False) -> tuple[DisentanglementModel, dict[str, float], TrainingLoop]:
    """The model after a few steps in chunks of different lengths, their means, and the loop."""
    loop = build(configuration_of(*bindings, plain=plain)).loop()
    loop.run(1)
    loop.run(STEPS - 1)
    return loop.model, loop.means.take(), loop


@pytest.fixture(scope="module")
def reference() -> tuple[DisentanglementModel, dict[str, float]]:
    """One device, resident data."""
    model, means, loop = trained()
    assert loop.resident
    assert loop.step == STEPS
    return model, means


@pytest.fixture(scope="module")
def plain_reference() -> tuple[DisentanglementModel, dict[str, float]]:
    """One device, resident data, a model of few operations."""
    model, means, _ = trained(plain=True)
    return model, means


def assert_close(found: dict[str, float], expected: dict[str, float], relative: float = 1e-4) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=relative, abs=1e-5), name


def test_streamed_data_give_the_same_numbers_as_resident_ones(
    reference: tuple[DisentanglementModel, dict[str, float]],
) -> None:
    """Not the same bits: the images are the same, but TensorFlow arranges the sums of another graph in another way."""
    model, means, loop = trained("experiment.resident_data = False")
    assert not loop.resident
    assert_close(means, reference[1], relative=1e-5)
    for variable, expected in zip(model.variables, reference[0].variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected.numpy(), atol=1e-6, err_msg=expected.path)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_two_devices_do_what_one_does(
    plain_reference: tuple[DisentanglementModel, dict[str, float]], resident: bool
) -> None:
    devices = ("experiment.strategy = 'mirrored'", "experiment.devices = 2")
    model, means, loop = trained(f"experiment.resident_data = {resident}", *devices, plain=True)
    assert loop.resident == resident
    assert loop.runtime.replicas == 2
    assert_close(means, plain_reference[1])
    for variable, expected in zip(model.variables, plain_reference[0].variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected.numpy(), atol=1e-5, err_msg=expected.path)


def test_xla_gives_the_same_numbers(
    reference: tuple[DisentanglementModel, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # XLA's own optimizations take minutes here and are not what is tested.
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    model, means, loop = trained("experiment.xla = True")
    assert loop.runtime.xla
    assert_close(means, reference[1], relative=1e-3)
    for variable, expected in zip(model.variables, reference[0].variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected.numpy(), atol=1e-4, err_msg=expected.path)


def test_mixed_precision(reference: tuple[DisentanglementModel, dict[str, float]]) -> None:
    model, means, _ = trained("experiment.precision = 'mixed_bfloat16'")
    assert means.keys() == reference[1].keys()
    assert all(map(math.isfinite, means.values()))
    assert means["discriminator/loss"] == pytest.approx(reference[1]["discriminator/loss"], rel=0.05)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert {layer.compute_dtype for layer in model.generator.layers} >= {"bfloat16"}  # type: ignore[attr-defined]
    images = model.generate(tf.zeros([2, 2]))
    assert images.dtype == tf.float32
    assert model.encode(images).dtype == tf.float32


def test_a_term_that_is_not_finite_is_named_with_its_step() -> None:
    loop = TrainingLoop.__new__(TrainingLoop)
    loop._names = ["a", "b", "c"]
    values = np.array([[1, 2, 3], [1, np.inf, np.nan], [np.nan, 1, 1]], np.float32)
    with pytest.raises(NotFinite, match=r"^b \(and c\) is no longer a finite number at step 12$"):
        loop._refuse_not_finite(values, 10)
    loop._refuse_not_finite(values[:1], 10)


# Means.


def test_running_means_are_of_all_steps_since_they_were_taken() -> None:
    means = RunningMeans()
    assert means.take() == {}
    means.names = ["a", "b"]
    means.add(np.array([[1, 10], [2, 20]]))
    means.add(np.array([[6, 30]]))
    assert means.take() == {"a": 3, "b": 20}
    means.add(np.array([[5, 5]]))
    assert means.take() == {"a": 5, "b": 5}


def test_running_means_go_on_exactly_after_a_restart(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    whole, part = RunningMeans(), RunningMeans()
    whole.names = part.names = ["a", "b"]
    whole.add(values)
    part.add(values[:3])
    path = tf.train.Checkpoint(means=part).save(str(tmp_path / "means"))
    resumed = RunningMeans()
    tf.train.Checkpoint(means=resumed).restore(path).assert_consumed()
    resumed.add(values[3:])
    assert resumed.take() == whole.take()


def test_running_means_that_are_empty_survive_a_restart() -> None:
    resumed = RunningMeans()
    resumed.deserialize(RunningMeans().serialize())
    assert resumed.take() == {}


# Checkpoints.


@pytest.fixture(scope="module")
def model() -> DisentanglementModel:
    return build(configuration_of()).model


def weights_at(model: DisentanglementModel, step: int) -> None:
    model.step.assign(step)
    model.trainable_variables[0].assign(tf.fill(model.trainable_variables[0].shape, float(step)))


def value(model: DisentanglementModel) -> float:
    return float(model.trainable_variables[0].numpy().flat[0])


def test_the_last_checkpoints_are_kept_and_the_newest_is_restored(model: DisentanglementModel, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, model, keep=2)
    assert checkpoints.restore() is None
    for step in (1, 2, 3):
        weights_at(model, step)
        checkpoints.save()
    weights_at(model, 9)
    assert Checkpoints(tmp_path, model, keep=2).restore() == 3
    assert (checkpoints.step, value(model)) == (3, 3.0)
    assert sorted(path.name for path in (tmp_path / "last").glob("*.index")) == ["ckpt-2.index", "ckpt-3.index"]


@pytest.mark.parametrize("damage", ["data", "index", "gone"])
def test_damaged_checkpoints_are_passed_over_and_saved_again(
    model: DisentanglementModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    checkpoints = Checkpoints(tmp_path, model, keep=3)
    for step in (1, 2, 3):
        weights_at(model, step)
        checkpoints.save()
    data = tmp_path / "last" / "ckpt-3.data-00000-of-00001"
    if damage == "gone":
        data.unlink()
    else:
        tiny_runs.truncate(data if damage == "data" else data.with_name("ckpt-3.index"))
    weights_at(model, 9)
    again = Checkpoints(tmp_path, model, keep=3)
    assert again.restore() == 2
    assert value(model) == 2.0
    assert "ckpt-3 is damaged" in capsys.readouterr().err
    weights_at(model, 3)
    again.save()
    assert Checkpoints(tmp_path, model, keep=3).restore() == 3
    assert "damaged" not in capsys.readouterr().err


def test_a_checkpoint_that_is_damaged_alone_changes_nothing(model: DisentanglementModel, tmp_path: Path) -> None:
    weights_at(model, 4)
    Checkpoints(tmp_path, model, keep=1).save()
    tiny_runs.truncate(tmp_path / "last" / "ckpt-4.data-00000-of-00001")
    weights_at(model, 5)
    before = model.fingerprint()
    assert Checkpoints(tmp_path, model, keep=1).restore() is None
    assert model.fingerprint() == before


def test_the_best_checkpoint_is_the_first_with_the_highest_score(model: DisentanglementModel, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, model, keep=1)
    kept = []
    for step, score in enumerate([0.2, 0.5, 0.5, 0.4], start=1):
        weights_at(model, step)
        kept.append(checkpoints.save_if_best(score))
    assert kept == [True, True, False, False]
    checkpoints.save()
    again = Checkpoints(tmp_path, model, keep=1)
    assert again.restore() == 4
    weights_at(model, 5)
    assert again.save_if_best(0.45) is False
    assert restore_weights(tmp_path, model, "best") == 2
    assert value(model) == 2.0


def test_a_moved_folder_still_has_its_checkpoints(
    model: DisentanglementModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights_at(model, 7)
    Checkpoints(Path("old"), model, keep=1).save()
    (tmp_path / "old").rename(tmp_path / "new")
    weights_at(model, 8)
    assert Checkpoints(tmp_path / "new", model, keep=1).restore() == 7


def test_a_clock_that_was_set_back_hides_no_checkpoint(
    model: DisentanglementModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_at(model, 7)
    Checkpoints(tmp_path, model, keep=2).save()
    monkeypatch.setattr(time, "time", lambda: 1e9)
    later = Checkpoints(tmp_path, model, keep=2)
    assert later.restore() == 7
    weights_at(model, 8)
    later.save()
    assert Checkpoints(tmp_path, model, keep=2).restore() == 8


def test_a_checkpoint_of_another_model_is_refused(model: DisentanglementModel, tmp_path: Path) -> None:
    weights_at(model, 1)
    Checkpoints(tmp_path, model, keep=1).save()
    other = build(configuration_of("ibgan.generator_width = 3")).model
    with pytest.raises(Exception, match="is of another model"):
        Checkpoints(tmp_path, other, keep=1).restore()


# Records.


def written(folder: Path, start: int | None, steps: list[int]) -> list[dict[str, Any]]:
    records = Records(folder, start, 100, {"model.beta": 0.5, "names": ("a",), "nothing": None}, quiet=True)
    for step in steps:
        records.write(step, {"loss": step / 7})
        records.write_timing(step, {"timing/steps_per_second": 5.0})
    records.close()
    return read_records(folder / "metrics.jsonl")


def test_records_after_the_checkpoint_are_cut_off_on_a_restart(tmp_path: Path) -> None:
    assert [record["step"] for record in written(tmp_path, None, [0, 10, 20, 30])] == [0, 10, 20, 30]
    assert [record["step"] for record in written(tmp_path, 20, [30, 40])] == [0, 10, 20, 30, 40]
    assert [record["step"] for record in read_records(tmp_path / "timing.jsonl")] == [0, 10, 20, 30, 40]
    assert written(tmp_path, 40, [])[1] == {"step": 10, "loss": 10 / 7}


def test_a_start_from_nothing_drops_all_records(tmp_path: Path) -> None:
    written(tmp_path, None, [0, 10])
    assert [record["step"] for record in written(tmp_path, None, [0])] == [0]


@pytest.mark.parametrize("rest", ['{"step": 30, "lo', '{"step"', "{", "\x00\x00\x00"])
def test_half_a_line_is_no_record(tmp_path: Path, rest: str) -> None:
    written(tmp_path, None, [10, 20])
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as handle:
        handle.write(rest)
    assert [record["step"] for record in written(tmp_path, 20, [30])] == [10, 20, 30]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_the_events_are_written_anew_from_the_records(tmp_path: Path) -> None:
    written(tmp_path, None, [10, 20, 30])
    written(tmp_path, 20, [30])
    (events,) = (tmp_path / "events").glob("events.out.tfevents.*")
    steps = [
        (event.step, value.tag)
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag in ("loss", "timing/steps_per_second")
    ]
    assert sorted(steps) == sorted((step, tag) for step in (10, 20, 30) for tag in ("loss", "timing/steps_per_second"))


def test_a_file_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_series_are_the_values_by_name() -> None:
    records: list[dict[str, Any]] = [
        {"step": 1, "a/x": 0.5},
        {"step": 2, "a/x": 0.25, "a/y": 3, "b": 1},
        {"step": 3, "a/x": "text"},
    ]
    assert series(records, "a/") == {"a/x": ([1, 2], [0.5, 0.25]), "a/y": ([2], [3])}


def test_records_are_json_lines(tmp_path: Path) -> None:
    written(tmp_path, None, [10])
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 10, "loss": 10 / 7}
