"""Which of two scores is the better one, and what that decides: the best checkpoint, tables, pages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import results
from metrics import registry
from metrics.__main__ import main
from models.vgan import VGAN, VGANOptions
from training.checkpoints import Checkpoints, restore_weights
from training.selection_report import lower_is_better as direction_of_selections
from training.summary import published_score
from training.sweep_summary import table_of

LOWER = {
    *("code_error_majority", "code_error_hungarian", "dhsic", "fid", "fid_vgan_compat", "kid", "kid_all", "mode_kl"),
    "exclusive_recall_at_k",
}


def tiny_model() -> VGAN:
    model = VGANOptions(z_dim=2, traversed=1, width=2, max_width=2, bottleneck_size=2).build((4, 4, 3), 0)
    model.configure()
    return model


def test_the_metrics_whose_lower_values_are_better(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name in registry.names() if registry.get(name).lower_is_better} == LOWER
    assert main(["--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["metrics"]
    assert {name for name, entry in listed.items() if entry["lower_is_better"]} == LOWER
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "(lower is better)" in line} == LOWER


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("fid_keras_inception_v3_0123abcd", "fid"),
        ("fid_vgan_compat_keras_inception_v3_vgan_0123abcd", "fid_vgan_compat"),
        ("inception_score_10_splits_model_0123abcd", "inception_score_10_splits"),
        ("infogan/mig", "mig"),
        ("recall_at_k/x_to_y", "recall_at_k"),
        ("kid_all_model_01", "kid_all"),
        ("mig_of_mine", "mig_of_mine"),
    ],
)
def test_the_metric_of_a_score(name: str, metric: str) -> None:
    assert registry.bare_id(name) == metric
    assert registry.lower_is_better(name) == (metric in LOWER)
    assert direction_of_selections(name) == (metric in LOWER)


@pytest.mark.parametrize(("lower", "kept"), [(False, [1, 2, 4]), (True, [1, 3])])
def test_the_best_checkpoint_survives_a_restart(tmp_path: Path, lower: bool, kept: list[int]) -> None:
    scores = {1: 0.5, 2: 0.7, 3: 0.2, 4: 0.9, 5: float("nan")}
    model = tiny_model()
    saved = []
    for step, score in scores.items():
        # Each step in a process of its own, so to speak.
        checkpoints = Checkpoints(tmp_path, model, keep=1, lower_is_better=lower)
        checkpoints.restore()
        model.step.assign(step)
        if checkpoints.save_if_best(score):
            saved.append(step)
        checkpoints.save()
    assert saved == kept
    assert restore_weights(tmp_path, model, "best") == kept[-1]


def test_a_checkpoint_of_before_there_were_directions(tmp_path: Path) -> None:
    model = tiny_model()
    Checkpoints(tmp_path, model, keep=1).save()
    later = Checkpoints(tmp_path, model, keep=1, lower_is_better=True)
    later.restore()
    model.step.assign(1)
    assert later.save_if_best(63.6)


def test_published_numbers_find_the_score_of_a_network() -> None:
    published = {"fid_vgan_compat": [18.1], "infogan/fid": [30.0], "recall_at_k/x_to_y": [0.962]}
    assert published_score(published, "fid_vgan_compat_model_01_vgan") == [18.1]
    assert published_score(published, "infogan/fid_model_01") == [30.0]
    assert published_score(published, "recall_at_k/x_to_y") == [0.962]
    assert not published_score(published, "fid_model_01")
    assert not published_score(published, "recall_at_k")


def test_the_table_of_a_sweep_says_which_way() -> None:
    numbers = {"mean": 20.0, "std": None, "n": 1}
    combination = {"label": "all", "finished": 1, "members": 1, "metrics": {"fid_model_01": numbers, "mig": numbers}}
    columns, rows = table_of({"combinations": [combination], "paper_scores": {"fid": [18.1]}})
    assert columns == ["combination", "n", "fid_model_01 (lower is better)", "mig"]
    assert rows[-1] == ["paper", None, "18.10", None]


@pytest.mark.parametrize(("metric", "best"), [("mig", 20), ("code_error_majority", 10), (None, 99)])
def test_the_page_of_results_shows_the_best(
    tmp_path: Path, metric: str | None, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [{"step": step, f"score_fast/{metric}": value} for step, value in ((0, 0.0), (10, 0.1), (20, 0.2))]
    monkeypatch.setattr(results, "_records", lambda folder: records)
    proof = dataclasses.replace(results.PROOFS[0], best_by=metric)
    assert results._best_step(proof, tmp_path, 99) == best
