"""Runs that start from the weights of another run, and go on by themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import helpers
import numpy as np
import pytest
import tiny_runs

from common.errors import UserError
from models.factor_vae import FactorVAEOptions
from models.iiae import IIAEOptions
from models.vgan import VGAN, VGANOptions
from training import train as train_module
from training.configuration import load
from training.experiment import build
from training.run_folder import RunFolder
from training.start_from import Origin, take_over
from training.train import train

SHORT = (
    "data.source = 'synthetic'",
    "vgan.z_dim = 4",
    "vgan.traversed = 1",
    "vgan.max_width = 8",
    "vgan.bottleneck_size = 8",
    "vgan.gradient_penalty = 'none'",
    "experiment.global_batch = 8",
    "experiment.chunk_steps = 1",
    "experiment.picture_every = 0",
    "experiment.log_every = 1",
    "evaluation.metrics = ()",
    "traversal.rows = 1",
    "traversal.steps = 2",
)


def side(size: int, width: int, *more: str) -> list[str]:
    options = f"data.options = {{'path': 'nowhere', 'preset': 'vgan', 'size': {size}}}"
    return [*SHORT, options, f"vgan.width = {width}", *more]


SMALL = side(8, 4, "experiment.total_steps = 2")
LARGE = side(16, 2, "experiment.total_steps = 2")
FILES = ["gin/vgan_image_folder.gin"]


def run(folder: Path, bindings: Sequence[str]) -> int:
    configuration, text = load(FILES, list(bindings))
    return train(configuration, text, FILES, folder)


def start_from(folder: Path | str) -> str:
    return f"experiment.start_from = {str(folder)!r}"


def fingerprint(folder: Path) -> str:
    return json.loads((folder / "result.json").read_text())["fingerprint"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 8 x 8 images that nobody may change."""
    folder = tmp_path_factory.mktemp("start_from") / "small"
    assert run(folder, SMALL) == 0
    return folder


@pytest.fixture(scope="module")
def large(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 16 x 16 images that was started from it."""
    folder = tmp_path_factory.mktemp("start_from") / "large"
    assert run(folder, [*LARGE, start_from(small)]) == 0
    return folder


def test_a_larger_model_starts_from_a_smaller_one(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = build(load(FILES, [*LARGE, start_from(small)])[0])
    model = experiment.model
    fresh = helpers.values_of(model.variables)
    origin = take_over(experiment)
    assert (origin.run, origin.step, origin.fingerprint) == (str(small), 2, fingerprint(small))
    assert {"generator/block4", "generator_average/block4", "encoder/block4", "judge/score"} <= set(origin.taken)
    assert not [name for name in origin.taken if "16" in name]
    smaller = build(load([small / "configuration.gin"])[0]).model
    assert isinstance(smaller, VGAN)
    first = helpers.values_of(smaller.variables)
    now = helpers.values_of(model.variables)
    same = [path for path in now if np.array_equal(now[path], fresh[path])]
    assert [path for path in same if "image16" in path]
    assert int(model.step.numpy()) == 0
    assert float(model.beta.numpy()) != float(smaller.beta.numpy()), "the smaller model has learned its beta"
    moved = [path for path in now if path not in same and path in first]
    assert moved
    assert all(not np.array_equal(now[path], first[path]) for path in moved), "trained weights, not those of its start"
    for player in model.players.values():
        assert int(player.optimizer.iterations.numpy()) == 0
    assert "damaged" not in capsys.readouterr().err


def test_what_the_run_writes_down(small: Path, large: Path) -> None:
    record = json.loads((large / "start_from.json").read_text())
    assert (record["run"], record["step"], record["fingerprint"]) == (str(small), 2, fingerprint(small))
    assert "generator/block4" in record["taken"]
    assert json.loads((large / "options.json").read_text())["experiment"]["start_from"] == str(small)
    assert f"{small}, step 2" in (large / "report.html").read_text()
    assert not (small / "start_from.json").exists()
    curves = {path.name for path in (large / "pictures").glob("curves_*.png")}
    assert curves >= {f"curves_{name}.png" for name in ("bottleneck", "beta", "discriminator", "generator", "accuracy")}


def test_a_run_that_goes_on_never_reads_the_other_again(
    small: Path,
    large: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before its first step, the other run gone: the same weights and records."""
    source, folder = tmp_path / "small", tmp_path / "run"
    shutil.copytree(small, source)
    bindings = [*LARGE, start_from(source)]
    with monkeypatch.context() as patch:
        patch.setattr(train_module._Session, "run", lambda self, stop: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(folder, bindings)
    said = capsys.readouterr().err
    assert f"starting from {source}, step 2: generator/input, generator/block4" in said
    assert "judge/score" in said
    assert [path.name for path in (folder / "checkpoints" / "last").glob("*.index")] == ["ckpt-0.index"]
    shutil.rmtree(source)
    assert run(folder, bindings) == 0
    assert "starting from" not in capsys.readouterr().err
    assert fingerprint(folder) == fingerprint(large)
    assert (folder / "metrics.jsonl").read_bytes() == (large / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"another configuration: experiment\.start_from was"):
        run(folder, [*LARGE, start_from(small)])


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (side(4, 4), "cannot grow from images of side 8 to side 4"),
        (side(16, 2, "vgan.z_dim = 5"), "the generators of the two models have nothing in common"),
    ],
)
def test_weights_that_do_not_fit_leave_no_folder(
    small: Path, tmp_path: Path, bindings: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=f"experiment.start_from is .*: {message}"):
        run(tmp_path / "run", [*bindings, start_from(small)])
    assert not (tmp_path / "run").exists()


def test_runs_that_cannot_be_started_from(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"start_from is 'runs/none', which holds no run"):
        run(tmp_path / "run", [*LARGE, start_from("runs/none")])
    shutil.copytree(small, tmp_path / "young")
    shutil.rmtree(tmp_path / "young" / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint yet; train it first"):
        run(tmp_path / "run", [*LARGE, start_from(tmp_path / "young")])
    other = load(["gin/ibgan.gin"], [*tiny_runs.TINY, start_from(small)])[0]
    with pytest.raises(UserError, match="a run of VGAN; this one is of IBGAN"):
        take_over(build(other))
    assert not (tmp_path / "run").exists()


def test_two_devices_start_from_the_same_weights(small: Path) -> None:
    bindings = [*LARGE, start_from(small)]
    one = build(load(FILES, bindings)[0])
    two = build(load(FILES, [*bindings, "experiment.strategy = 'mirrored'", "experiment.devices = 2"])[0])
    assert two.runtime.replicas == 2
    taken = [take_over(experiment).taken for experiment in (one, two)]
    assert taken[0] == taken[1]
    assert one.model.fingerprint() == two.model.fingerprint()


def test_an_origin_is_one_line(tmp_path: Path) -> None:
    origin = Origin("runs/a", 12345, "ab", ["generator"])
    assert str(origin) == "runs/a, step 12,345"
    origin.write(RunFolder(tmp_path))
    assert json.loads((tmp_path / "start_from.json").read_text())["taken"] == ["generator"]


# Models in general.


def test_all_weights_go_over_to_an_equal_model() -> None:
    options = IIAEOptions(network="mlp", width=4, exclusive_size=2, shared_size=2)
    first, second = (options.build((6,), seed) for seed in (0, 1))
    assert first.fingerprint() != second.fingerprint()
    first.step.assign(7)
    assert second.take_over(first) == sorted(second.networks)
    assert int(second.step.numpy()) == 0
    second.step.assign(7)
    assert first.fingerprint() == second.fingerprint()


def test_layers_of_other_sizes_stay_as_they_are() -> None:
    def vae(latents: int, seed: int) -> helpers.DisentanglementModel:
        return FactorVAEOptions(latent_size=latents).build((64, 64, 1), seed)

    first, second = vae(4, 0), vae(6, 1)
    fresh = helpers.values_of(second.variables)
    taken = second.take_over(first)
    assert taken
    assert all("/" in name for name in taken)
    source, now = helpers.values_of(first.variables), helpers.values_of(second.variables)
    for path, value in now.items():
        if path in source and source[path].shape != value.shape:
            assert np.array_equal(value, fresh[path]), path
    changed = {path for path in now if not np.array_equal(now[path], fresh[path])}
    assert changed
    assert all(np.array_equal(now[path], source[path]) for path in changed)
    assert not [path for path in changed if path.endswith("step")]


def test_a_model_takes_nothing_from_another_kind() -> None:
    vgan = VGANOptions(z_dim=4, traversed=2, width=2, max_width=4).build((8, 8, 3), 0)
    vae = FactorVAEOptions(latent_size=4).build((64, 64, 1), 0)
    for first, second in ((vgan, vae), (vae, vgan)):
        with pytest.raises(ValueError, match="cannot start from the weights of a"):
            first.take_over(second)
