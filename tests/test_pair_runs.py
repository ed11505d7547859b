"""Runs of models of pairs: data, pictures, report and resume, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_runs

from common.errors import UserError
from models.iiae import IIAE
from training import modes, pair_grids
from training.benchmark import measure
from training.configuration import load
from training.experiment import Experiment, build
from training.pictures import read_png
from training.train import train

TINY = (
    *tiny_runs.PAIRS,
    "experiment.total_steps = 4",
    "experiment.chunk_steps = 2",
    "experiment.log_every = 2",
    "experiment.picture_every = 4",
    "experiment.checkpoint_every = 2",
    "traversal.rows = 2",
    "traversal.steps = 2",
)
VECTORS = (
    "data.source = 'synthetic'",
    "iiae.width = 2",
    "experiment.global_batch = 20",
    "experiment.total_steps = 4",
    "experiment.chunk_steps = 2",
    "experiment.picture_every = 2",
    "experiment.checkpoint_every = 2",
)


def configured(*bindings: str, name: str = "iiae_mnist_cdcb_64") -> Any:
    return load([f"gin/{name}.gin"], list(bindings))


def built(*bindings: str, name: str = "iiae_mnist_cdcb_64") -> Experiment:
    return build(configured(*bindings, name=name)[0])


def test_a_run_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_grids, "_ROWS", 2)
    configuration, text = configured(*TINY)
    assert train(configuration, text, ["gin/iiae_mnist_cdcb_64.gin"], tmp_path / "run") == 0
    pictures = tmp_path / "run" / "pictures"
    assert read_png(pictures / "pairs_x_to_y.png").shape == (2 * 64, 7 * 64, 3)
    assert {"samples.png", "prior_z_x.png", "prior_z_y.png"} <= {path.name for path in pictures.iterdir()}
    assert not (pictures / "prior_z_s0.png").exists()
    shown = {path.name for path in (tmp_path / "run" / "training_pictures").iterdir()}
    assert {"x_to_y_000000000.png", "y_with_style_x_000000004.png", "samples_000000004.png"} <= shown
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Translations" in report
    assert pair_grids.CAPTIONS["y_to_x"] in report
    assert modes.generate(*modes.restored_model(configuration, tmp_path / "run", "last")) == 0
    with np.load(tmp_path / "run" / "generated" / "images.npz") as made:
        # x and y side by side.
        assert made["images"].shape == (configuration.generation.images, 64, 2 * 64, 3)


def test_a_run_of_vectors_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration, text = configured(*VECTORS, name="iiae_sketchy")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train(configuration, text, ["gin/iiae_sketchy.gin"], whole) == 0
    # What a run leaves that is killed before its last checkpoint.
    tiny_runs.copy_of(whole, stopped)
    for path in (stopped / "result.json", *(stopped / "checkpoints" / "last").glob("ckpt-4.*")):
        path.unlink()
    capsys.readouterr()
    assert train(configuration, text, ["gin/iiae_sketchy.gin"], stopped) == 0
    assert "going on from step 2" in capsys.readouterr().err
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, stopped)]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]
    assert (whole / "metrics.jsonl").read_bytes() == (stopped / "metrics.jsonl").read_bytes()
    assert modes.publish(*modes.restored(configuration, whole, "last"), "last", str(tmp_path / "mine")) == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    assert re.findall("--mode=([a-z]+)", card) == ["export"]
    assert all(path.name.startswith("curves_") for path in (tmp_path / "whole" / "pictures").iterdir())
    report = (tmp_path / "whole" / "report.html").read_text(encoding="utf-8")
    assert "Samples" not in report
    assert "Error of reconstruction" in report
    experiment, folder_of_run = modes.restored(configuration, tmp_path / "whole", "last")
    with pytest.raises(UserError, match="makes vectors from these data"):
        modes.generate(experiment, folder_of_run)


@pytest.mark.parametrize("resident", [True, False])
def test_the_loop_takes_tuples(resident: bool) -> None:
    experiment = built(*TINY, f"experiment.resident_data = {resident}")
    assert isinstance(experiment.model, IIAE)
    assert experiment.model.image_shape == (64, 64, 3)
    by_hand = built(*TINY)
    for each in (experiment, by_hand):
        # Adam's first steps have full size whatever the gradient's, so that rounding could turn them round.
        each.model.configure({"autoencoder": keras.optimizers.SGD(1e-6)})
    before = [variable.numpy() for variable in by_hand.model.trainable_variables]
    loop = experiment.loop()
    assert loop.resident == resident
    loop.run(2)
    source = by_hand.training_data().batch_source(2, 0)
    for step in range(2):
        by_hand.model.train_step(source(step))
    pairs = zip(experiment.model.trainable_variables, by_hand.model.trainable_variables, before, strict=True)
    moved = [(one.numpy() - start, other.numpy() - start) for one, other, start in pairs]
    largest = max(float(np.abs(other).max()) for _, other in moved)
    assert largest > 1e-5
    for one, other in moved:
        np.testing.assert_allclose(one, other, atol=0.02 * largest)


def test_changes_come_with_the_data() -> None:
    plain, changed = (
        built(*TINY, *more).training_data().batch_source(2, 0)(0)
        for more in ((), ("data.augmentation = 'crops_and_flips'",))
    )
    assert not np.array_equal(plain[0], changed[0])


def test_modes_that_build_pairs() -> None:
    configuration, _ = configured(*VECTORS, "benchmark.steps = 1", "benchmark.turns = 1", name="iiae_sketchy")
    measured = measure(configuration)
    assert measured["model"] == "IIAE"
    assert measured["seconds_per_step"]["data"] > 0


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (("data.name = 'dsprites'", "data.options = {}"), "has no pairs.*mnist_cdcb"),
        (("evaluation.metrics = ('mig',)",), "evaluation.metrics"),
        (("data.options = {'size': 64}", "iiae.network = 'mlp'"), "takes vectors"),
        (("data.name = 'sketchy'", "data.options = {}"), "'mlp' takes vectors"),
        (("data.augmentation = 'rotations'",), "augmentation is 'rotations'"),
    ],
)
def test_what_pairs_cannot_do(bindings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(*TINY, *bindings)


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (("data.name = 'sketchy'",), "has vectors in pairs and no images"),
        (("data.augmentation = 'flips'",), "data.augmentation is for models of pairs"),
    ],
)
def test_what_other_models_cannot_do(bindings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built("data.source = 'synthetic'", *bindings, name="ibgan")
