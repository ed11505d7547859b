"""A published run is a small folder with which all modes work that train nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from helpers import rouse

from common.errors import UserError
from models.factor_vae import FactorVAEOptions
from models.iiae import IIAEOptions
from training import modes
from training.configuration import load
from training.experiment import build
from training.publish import _run_dir
from training.published import (
    assign_weights,
    needed_networks,
    published_weights,
    restore_published,
    write_weights,
)
from training.run_folder import WEIGHTS, RunFolder
from training.start_from import take_over
from training.train import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_runs.finished_run(tmp_path_factory)


@pytest.fixture(scope="module")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    configuration, _ = load([finished / "configuration.gin"])
    experiment, run = modes.restored(configuration, finished, "best")
    assert modes.publish(experiment, run, "best", str(folder)) == 0
    return folder


def test_what_it_holds(published: Path, finished: Path) -> None:
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    kept = json.loads((published / "result.json").read_text())
    measured = f"evaluation/step_{kept['step']:09d}_fast.json"
    assert names >= {"README.md", "weights.npz", "configuration.gin", "options.json", "result.json", measured}
    assert names >= {"pictures/samples.png"}
    card = (published / "README.md").read_text()
    for said in (
        "IBGAN",
        "synthetic",
        "| best |",
        "left out: discriminator",
        "ibgan_factor_vae",
        "pictures/samples.png",
        "with the path of this one in place of `tiny`",
        "python run.py --run_dir=tiny --mode=traverse\n",
    ):
        assert said in card
    assert str(finished) not in "".join(path.read_text() for path in published.glob("*.*[nd]"))
    assert max(map(len, (published / "configuration.gin").read_text().split("\n"))) < 1000


def test_commands_of_a_card_name_a_folder_of_the_suite_as_it_lies_there(tmp_path: Path) -> None:
    assert _run_dir(tiny_runs.ROOT / "zoo" / "a") == ("zoo/a", [])
    assert _run_dir(tiny_runs.ROOT / "runs" / "b" / "published") == ("runs/b/published", [])
    name, remark = _run_dir(tmp_path / "c")
    assert name == "c"
    assert "`c`" in remark[0]


def test_modes_use_it_and_need_no_data(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration, _ = load([published / "configuration.gin"], ["data.source = 'official'"])
    trained, folder = modes.restored_model(configuration, published, "last")
    kept = json.loads((published / "result.json").read_text())
    assert int(trained.model.step.numpy()) == kept["step"]
    assert trained.model.fingerprint() == kept["fingerprint"]
    assert "published weights of step" in capsys.readouterr().err
    assert modes.traverse(trained, folder) == 0
    assert (published / "traversals" / "zfixed_all.png").is_file()
    with pytest.raises(UserError, match="one state; leave --checkpoint out"):
        modes.restored_model(configuration, published, "best")


def test_its_scores_are_those_of_its_weights(published: Path) -> None:
    configuration, _ = load([published / "configuration.gin"])
    experiment, _ = modes.restored(configuration, published, "last")
    kept = json.loads((published / "result.json").read_text())
    names = needed_networks(experiment.model)
    assert names == kept["networks"] == ["encoder", "generator", "reconstructor"]
    measured = json.loads(next((published / "evaluation").glob("*.json")).read_text())
    assert measured["scores"]["ibgan_factor_vae"]["score"] == kept["scores"]["ibgan_factor_vae"]


def test_training_on_it_is_refused_and_starting_from_it_is_not(published: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in published.iterdir())
    with pytest.raises(UserError, match=r"cannot be trained on.*start_from"):
        train(*load([published / "configuration.gin"]), [], published)
    assert sorted(path.name for path in published.iterdir()) == before
    experiment = build(load([published / "configuration.gin"], [f"experiment.start_from = {str(published)!r}"])[0])
    origin = take_over(experiment)
    assert {"generator", "reconstructor"} <= set(origin.taken)


def test_only_a_published_run_is_replaced(published: Path, finished: Path, tmp_path: Path) -> None:
    configuration, _ = load([finished / "configuration.gin"])
    experiment, run = modes.restored(configuration, finished, "last")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="holds something that is no published run"):
        modes.publish(experiment, run, "last", str(tmp_path / "mine"))
    with pytest.raises(UserError, match="a published run already"):
        modes.publish(experiment, RunFolder(published), "last", str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_weights_are_halved_where_that_costs_little(tmp_path: Path) -> None:
    model = rouse(FactorVAEOptions(latent_size=3).build((64, 64, 1), 0))
    model.step.assign(2**40 + 1)
    weights = published_weights(model, needed_networks(model))
    assert {weights[name].dtype.name for name in weights if name.endswith("kernel")} == {"float16"}
    assert {weights[name].dtype.name for name in weights if name.endswith("bias")} == {"float32"}
    assert not any(name.startswith("discriminator") for name in weights)
    write_weights(tmp_path, model)
    other = FactorVAEOptions(latent_size=3).build((64, 64, 1), 1)
    assert restore_published(tmp_path, other) == 2**40 + 1
    images = np.random.default_rng(0).random((4, 64, 64, 1), dtype=np.float32)
    ours, theirs = (np.asarray(one.representations["mean"](images)) for one in (model, other))
    np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(ours).max())
    assert np.abs(ours - theirs).max() > 0
    large = model.networks["encoder"].trainable_variables[0]
    large.assign(large + 1e5)
    assert published_weights(model, needed_networks(model))[large.path].dtype == np.float32


def test_of_a_model_of_pairs_all_that_translates_is_kept() -> None:
    model = IIAEOptions(width=1, exclusive_size=1, shared_size=2).build((32, 32, 3), 0)
    assert set(model.networks) - set(needed_networks(model)) == {"joint"}


def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path) -> None:
    model = FactorVAEOptions(latent_size=3).build((64, 64, 1), 0)
    weights = published_weights(model, needed_networks(model))
    name = next(name for name, values in weights.items() if values.ndim == 2)
    for wrong in (np.nan, np.inf, -1e300, 1j, "a"):
        values = np.full(weights[name].shape, wrong)
        np.savez(tmp_path / WEIGHTS, allow_pickle=False, **{**weights, name: values})
        with pytest.raises(UserError, match=f"is damaged: {name} holds what is no finite number"):
            restore_published(tmp_path, model)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model, wider = (FactorVAEOptions(latent_size=size).build((64, 64, 1), 0) for size in (3, 4))
    write_weights(tmp_path, model)
    with pytest.raises(UserError, match=r"is of another model: .* has the shape"):
        restore_published(tmp_path, wider)
    weights = published_weights(model, needed_networks(model))
    weights["guest"] = np.zeros(1)
    with pytest.raises(ValueError, match="one of the two has no guest"):
        assign_weights(model, weights)
    data = (tmp_path / WEIGHTS).read_bytes()
    for damaged in (data[:1000], b"", data.replace(data[500:600], bytes(100))):
        shutil.copyfile(tmp_path / WEIGHTS, tmp_path / "whole")
        (tmp_path / WEIGHTS).write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged; get it again"):
            restore_published(tmp_path, model)
