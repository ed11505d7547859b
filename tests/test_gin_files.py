"""Every shipped gin file parses, says what it is, builds its model, and steps once on a miniature of its data."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs

from data_gen.dataset import Dataset
from data_gen.features import FeatureDataset
from training.configuration import load
from training.experiment import build

FILES = sorted(path.name for path in (tiny_runs.ROOT / "gin").glob("*.gin"))

_NARROW_VGAN = ("vgan.width = 2", "vgan.max_width = 16", "vgan.bottleneck_size = 8")
SMALLER = {
    "vgan_celeba_community.gin": _NARROW_VGAN,
    "vgan_celeba_official.gin": _NARROW_VGAN,
    "vgan_celeba_hq.gin": (*_NARROW_VGAN, "data.options = {'preset': 'vgan', 'size': 64}"),
    "vgan_lsun_bedroom.gin": (*_NARROW_VGAN, "data.options = {'preset': 'vgan', 'size': 128}"),
    "vgan_image_folder.gin": _NARROW_VGAN,
    # Up to 84 million parameters, which test_iiae.py counts.
    **{name: ("iiae.width = 2",) for name in FILES if name.startswith("iiae_")},
}
"""Networks for large images, which would take minutes: here they have fewer channels, or smaller images."""


def test_there_are_gin_files() -> None:
    assert {"ibgan.gin", "quickstart.gin"} <= set(FILES)


def eight_of(dataset: Dataset) -> Any:
    """Eight images, or pairs side by side, or pairs of vectors."""
    if isinstance(dataset, FeatureDataset):
        return tuple(tf.constant(side.vectors[:8]) for side in (dataset.x, dataset.y))
    return tf.constant(dataset.images_at(np.arange(8)).astype(np.float32) / 255)


@pytest.mark.parametrize("name", FILES)
def test_gin_file_steps_once_on_eight_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The orthogonal matrices of the largest networks would take longer than everything else here.
    monkeypatch.setattr(
        "keras.initializers.Orthogonal", lambda gain, seed: keras.initializers.RandomNormal(0.0, 0.02 * gain, seed)
    )
    bindings = ["data.source = 'synthetic'", "experiment.global_batch = 8", *SMALLER.get(name, ())]
    configuration, _ = load([f"gin/{name}"], bindings)
    experiment = build(configuration)
    scalars = experiment.model.train_step(eight_of(experiment.dataset))
    assert all(math.isfinite(float(value)) for value in scalars.values())
    assert int(experiment.model.step.numpy()) == 1


@pytest.mark.parametrize("name", FILES)
def test_gin_file_opens_with_a_header(name: str) -> None:
    lines = (tiny_runs.ROOT / "gin" / name).read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert header
    assert "# Command: make " in header or f"python run.py --gin_file=gin/{name}" in header


@pytest.mark.parametrize("name", FILES)
def test_gin_file_names_its_own_run(name: str) -> None:
    names = [load([f"gin/{other}"])[0].experiment.name for other in FILES]
    assert len(set(names)) == len(names)
    assert load([f"gin/{name}"])[0].experiment.total_steps > 0
