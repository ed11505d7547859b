"""The zoo: small, whole, and each of its runs draws what its card shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.noise import Noise
from training import modes
from training.configuration import load
from training.traversal import Painter

ZOO = Path(__file__).resolve().parent.parent / "zoo"
RUNS = sorted(path.parent.name for path in ZOO.glob("*/result.json"))
MOST_BYTES = 20e6


def test_it_is_small_and_listed() -> None:
    assert RUNS
    listed = (ZOO / "README.md").read_text()
    files = [path for name in RUNS for path in (ZOO / name).rglob("*") if path.parent.name in (name, "pictures")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < MOST_BYTES
    for name in RUNS:
        assert f"({name}/README.md)" in listed
        assert (ZOO / name / "README.md").is_file()


@pytest.mark.parametrize("name", RUNS)
def test_run_of_the_zoo(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ZOO / name
    configuration, _ = load([folder / "configuration.gin"])
    trained, _ = modes.restored_model(configuration, folder, "last")
    kept = json.loads((folder / "result.json").read_text())
    assert int(trained.model.step.numpy()) == kept["step"]
    assert trained.model.fingerprint() == kept["fingerprint"]
    assert trained.model.latent_space.size > 0
    painter = Painter(trained.model, configuration.traversal)
    images = painter.generate(trained.model.sample_latents(16, Noise(0, 0)).numpy())
    # Not one gray: what untrained weights draw.
    assert images.std(axis=0).max() > 0.1
    for picture in (folder / "pictures").glob("*.png"):
        assert f"pictures/{picture.name}" in (folder / "README.md").read_text()
