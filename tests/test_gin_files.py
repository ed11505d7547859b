"""Every shipped gin file parses, says what it is, builds its model, and steps once on a miniature of its data."""

from __future__ import annotations

import collections
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
    "vgan_celeba_256.gin": (*_NARROW_VGAN, "data.options = {'preset': 'vgan', 'size': 64}"),
    "vgan_celeba_community.gin": _NARROW_VGAN,
    "vgan_celeba_official.gin": _NARROW_VGAN,
    "vgan_celeba_hq.gin": (*_NARROW_VGAN, "data.options = {'preset': 'vgan', 'size': 64}"),
    "vgan_lsun_bedroom.gin": (*_NARROW_VGAN, "data.options = {'preset': 'vgan', 'size': 128}"),
    "vgan_image_folder.gin": _NARROW_VGAN,
    # 55 million parameters, which test_ibgan.py counts.
    "ibgan_celeba.gin": ("ibgan.generator_width = 8", "ibgan.discriminator_width = 8"),
    # Up to 84 million parameters, which test_iiae.py counts.
    **{name: ("iiae.width = 2",) for name in FILES if name.startswith("iiae_")},
    # Drawing more cars takes longer than the step.
    "iiae_cars.gin": ("iiae.width = 2", "data.options = {'preset': 'iiae', 'num_examples': 2}"),
}
"""Networks for large images, which would take minutes: here they have fewer channels, or fewer or smaller images."""


def test_there_are_gin_files() -> None:
    assert {"ibgan.gin", "quickstart.gin"} <= set(FILES)


BATCH = 4


def few_of(dataset: Dataset) -> Any:
    """A few images, or pairs side by side, or pairs of vectors."""
    if isinstance(dataset, FeatureDataset):
        return tuple(tf.constant(side.vectors[:BATCH]) for side in (dataset.x, dataset.y))
    return tf.constant(dataset.images_at(np.arange(BATCH)).astype(np.float32) / 255)


@pytest.mark.parametrize("name", FILES)
def test_gin_file_steps_once_on_a_few_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The orthogonal matrices of the largest networks would take longer than everything else here.
    monkeypatch.setattr(
        "keras.initializers.Orthogonal", lambda gain, seed: keras.initializers.RandomNormal(0.0, 0.02 * gain, seed)
    )
    bindings = ["data.source = 'synthetic'", f"experiment.global_batch = {BATCH}", *SMALLER.get(name, ())]
    configuration, _ = load([f"gin/{name}"], bindings)
    experiment = build(configuration)
    scalars = experiment.model.train_step(few_of(experiment.dataset))
    assert all(math.isfinite(float(value)) for value in scalars.values())
    assert int(experiment.model.step.numpy()) == 1


@pytest.mark.parametrize("name", FILES)
def test_gin_file_opens_with_a_header(name: str) -> None:
    lines = (tiny_runs.ROOT / "gin" / name).read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert header
    assert "# Command: make " in header or f"python run.py --gin_file=gin/{name}" in header


def test_every_gin_file_names_a_run_of_its_own() -> None:
    experiments = {name: load([f"gin/{name}"])[0].experiment for name in FILES}
    shared = collections.defaultdict(list)
    for name, experiment in experiments.items():
        shared[experiment.name].append(name)
    assert not [names for names in shared.values() if len(names) > 1]
    assert not [name for name, experiment in experiments.items() if experiment.total_steps < 1]
