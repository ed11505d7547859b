"""States on the way that have a name of their own: saved, scored, drawn, and there for all modes afterwards."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_runs

from common.errors import UserError
from common.files import write_text
from training import modes
from training.checkpoints import restore_weights
from training.configuration import load
from training.experiment import build
from training.run_folder import RunFolder
from training.train import train

BINDINGS = (
    "data.source = 'synthetic'",
    "data.limit = 64",
    "experiment.global_batch = 8",
    "experiment.total_steps = 10",
    "experiment.chunk_steps = 4",
    "experiment.log_every = 5",
    "experiment.picture_every = 0",
    "experiment.checkpoint_every = 0",
    "experiment.evaluate_every = 0",
    "experiment.best_metric = None",
    "infogan_cr.contrastive_steps = (6,)",
    "infogan_cr.generator_updates = 1",
    "evaluation.metrics = ('mig',)",
    "evaluation.preset = 'fast'",
    "traversal.rows = 2",
    "traversal.steps = 3",
)


FILE = "gin/infogan_cr_dsprites.gin"


@dataclass(frozen=True)
class Runs:
    """A run to its end, and what was on the disk when the scores of its snapshot had just been written."""

    whole: Path
    cut: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run whose contrastive regularizer was switched on at step 6."""
    base = tmp_path_factory.mktemp("snapshots")
    found = Runs(base / "run", base / "cut")

    def write_and_copy(path: Path, text: str) -> None:
        write_text(path, text)
        if path.name == "scores.json":
            tiny_runs.copy_of(found.whole, found.cut)

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr("training.train.write_text", write_and_copy)
        assert train(*load([FILE], BINDINGS), [FILE], found.whole) == 0
    assert "snapshot infogan_modified: mig" in said.getvalue()
    return found


@pytest.fixture(scope="module")
def finished(runs: Runs) -> Path:
    """The run to its end, which nobody may change."""
    return runs.whole


def test_snapshot_is_scored_drawn_and_reported(finished: Path) -> None:
    kept = json.loads((finished / "snapshots" / "infogan_modified" / "scores.json").read_text())
    result = json.loads((finished / "result.json").read_text())
    assert kept["step"] == 6
    assert kept["fingerprint"] != result["fingerprint"]
    assert result["snapshots"] == {
        "infogan_modified": {"step": 6, "scores": {"mig": kept["scores"]["mig"]["score"]}},
    }
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "score_infogan_modified/mig" in r] == [6]
    assert "Snapshot infogan_modified, step 6" in (finished / "report.html").read_text()
    assert (finished / "snapshots" / "infogan_modified" / "samples.png").is_file()


def test_snapshot_is_a_checkpoint_for_all_modes(finished: Path) -> None:
    configuration, _ = load([finished / "configuration.gin"])
    kept = json.loads((finished / "snapshots" / "infogan_modified" / "scores.json").read_text())
    experiment, _ = modes.restored(configuration, finished, "infogan_modified")
    assert int(experiment.model.step.numpy()) == 6
    assert experiment.model.fingerprint() == kept["fingerprint"]
    with pytest.raises(UserError, match=r"checkpoint is 'infogan'.*infogan_modified"):
        modes.restored(configuration, finished, "infogan")


def test_run_killed_behind_the_snapshot_ends_as_if_it_had_not_been(
    runs: Runs, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs.cut
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [5, 6]
    assert not (folder / "result.json").exists()
    assert train(*load([FILE], BINDINGS), [FILE], folder) == 0
    assert "going on from" not in capsys.readouterr().err, "only the snapshot had been saved"
    for name in ("metrics.jsonl", "snapshots/infogan_modified/scores.json"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()
    ours, theirs = (json.loads((path / "result.json").read_text())["fingerprint"] for path in (folder, finished))
    assert ours == theirs


def test_run_that_ends_before_has_no_snapshot(tmp_path: Path) -> None:
    configuration, _ = load([FILE], [*BINDINGS, "experiment.total_steps = 5"])
    experiment = build(configuration)
    assert restore_weights(RunFolder(tmp_path).checkpoints, experiment.model, "infogan_modified") is None
