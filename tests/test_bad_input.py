"""Bad input to every command: one line that says what was given and what to do, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import bad_input_cases
import bad_run_input_cases
import pytest
import tiny_runs
from bad_input import outcome_of, small_files
from bad_input_cases import Case


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of this machine are not looked at."""
    for name in ("SPOUT_RAW_DIR", "SPOUT_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def check(case: Case, folder: Path) -> None:
    """Runs a case and looks at all that a user sees."""
    arguments = case.make(folder)
    outcome = outcome_of(case.module, arguments, folder)
    assert outcome.code == 2, outcome.err
    complaints = outcome.err.splitlines()
    assert complaints, "nothing is said"
    assert complaints[-1].startswith("error: ")
    # What was found out before is told too, but there is one error only.
    assert not any(line.startswith(("error", "Traceback", " ")) for line in complaints[:-1]), outcome.err
    assert "Warning" not in outcome.err
    for word in case.words:
        assert word.replace("{d}", str(folder)) in complaints[-1]
    assert outcome.changes == ()
    assert not (folder / bad_input_cases.PROOF).exists()


@pytest.mark.parametrize("case", [*bad_input_cases.cases(), *bad_run_input_cases.cases()], ids=lambda case: case.name)
def test_bad_input_is_refused(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


Damage = Callable[[bytes], bytes] | bytes | None
CHECKPOINT = "checkpoints/last"
SELECT = ("--mode=select", "--runs={d}/run,{d}/other")
TRAVERSE = ("--mode=traverse", "--run_dir={d}/run")
PUBLISH = ("--mode=publish", "--run_dir={d}/run", "--out={d}/new/published")
NO_STEP = b'model_checkpoint_path: "ckpt-x"\nall_model_checkpoint_paths: "ckpt-x"\n'
# Names of files in the run folder, what becomes of them (None: gone), what is done with the run, and what is said.
DAMAGES: list[tuple[str, dict[str, Damage], tuple[str, ...], tuple[str, ...]]] = [
    ("gin gone", {"configuration.gin": None}, TRAVERSE, ("holds no run",)),
    ("gin empty", {"configuration.gin": b""}, TRAVERSE, ("experiment.name is not set",)),
    ("gin binary", {"configuration.gin": bytes(range(256))}, TRAVERSE, ("configuration.gin", "no text")),
    ("gin imports", {"configuration.gin": b"import this\n"}, TRAVERSE, ("'import' is not allowed",)),
    ("options gone", {"options.json": None}, TRAVERSE, ("options.json is not there",)),
    ("options cut", {"options.json": lambda data: data[:100]}, TRAVERSE, ("options.json is damaged", "train again")),
    ("options a list", {"options.json": b"[]"}, TRAVERSE, ("options.json is damaged",)),
    ("options binary", {"options.json": b"\xff\xfe"}, TRAVERSE, ("options.json is damaged",)),
    ("options empty", {"options.json": b"{}"}, TRAVERSE, ("a run of another model",)),
    ("other model", {}, (*TRAVERSE, "--gin_param=ibgan.z_dim = 5"), ("another model", "z_dim was 4 and is 5")),
    ("checkpoint name", {}, (*TRAVERSE, "--checkpoint=bets"), ("'bets'", "did you mean 'best'")),
    ("index cut", {f"{CHECKPOINT}/*.index": lambda data: data[:50]}, TRAVERSE, ("no whole last checkpoint",)),
    ("data zeros", {f"{CHECKPOINT}/*.data*": lambda data: bytes(len(data))}, TRAVERSE, ("no whole last checkpoint",)),
    ("list binary", {f"{CHECKPOINT}/checkpoint": b"\xff\xfe"}, TRAVERSE, ("last/checkpoint is damaged", "train again")),
    ("list junk", {f"{CHECKPOINT}/checkpoint": b"junk"}, TRAVERSE, ("last/checkpoint is damaged",)),
    ("list cut", {f"{CHECKPOINT}/checkpoint": lambda data: data[:-20]}, TRAVERSE, ("last/checkpoint is damaged",)),
    ("no step", {f"{CHECKPOINT}/checkpoint": NO_STEP}, TRAVERSE, ("no whole last checkpoint",)),
    ("publish onto", {}, (*PUBLISH, "--out={d}/run"), ("no published run", "another --out")),
    ("publish file", {}, (*PUBLISH, "--out={d}/run/options.json/x"), ("options.json", "choose another")),
    ("publish checkpoint", {}, (*PUBLISH, "--checkpoint=lst"), ("'lst'", "did you mean 'last'")),
    ("publish gin", {"configuration.gin": b"x"}, PUBLISH, ("a binding is name.option = value",)),
    ("publish data zeros", {f"{CHECKPOINT}/*.data*": lambda data: bytes(len(data))}, PUBLISH, ("no whole last",)),
    ("publish environment", {"environment.json": b"[1]"}, PUBLISH, ("environment.json", "the training command again")),
    ("publish other model", {}, (*PUBLISH, "--gin_param=ibgan.z_dim = 5"), ("z_dim was 4 and is 5",)),
    ("publish metric", {}, (*PUBLISH, "--gin_param=evaluation.metrics = ('x',)"), ("no metric 'x'",)),
    ("no pairs", {}, ("--mode=pairs", "--run_dir={d}/run"), ("no model of pairs", "gin/iiae_cars.gin")),
    ("select", {"options.json": b"[]"}, SELECT, ("options.json is damaged",)),
    ("select result", {"result.json": b"{"}, SELECT, ("result.json is damaged",)),
    ("select one", {}, ("--mode=select", "--runs={d}/run"), ("finds 1 run", "two or more")),
    ("summarize", {}, ("--summarize", "--run_dir={d}/run"), ("holds no sweep",)),
]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be written into."""
    return tiny_runs.finished_run(tmp_path_factory)


@pytest.mark.parametrize(("damages", "arguments", "words"), [case[1:] for case in DAMAGES], ids=[c[0] for c in DAMAGES])
def test_damaged_runs_are_refused(
    run_folder: Path, tmp_path: Path, damages: dict[str, Damage], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    def damage(folder: Path) -> None:
        shutil.copytree(run_folder, folder / "run")
        if arguments == SELECT:
            shutil.copytree(run_folder, folder / "other")
        for pattern, change in damages.items():
            paths = list((folder / "run").glob(pattern))
            assert paths
            for path in paths:
                if change is None:
                    path.unlink()
                else:
                    path.write_bytes(change(path.read_bytes()) if callable(change) else change)

    check(Case("run", arguments, words, prepare=damage), tmp_path)


def test_records_that_can_be_made_again_are_made_again(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    result = (folder / "result.json").read_bytes()
    (folder / "result.json").write_bytes(b"[")
    (folder / "metrics.jsonl").write_bytes(b"[]\n\xff\xfe\n")
    arguments = [*tiny_runs.arguments(tiny_runs.EVENTFUL), f"--run_dir={folder}"]
    outcome = outcome_of("run", arguments, tmp_path)
    assert outcome.code == 0, outcome.err
    again = json.loads((folder / "result.json").read_text())
    assert again == {**json.loads(result), "run_dir": str(folder), "report": str(folder / "report.html")}


def test_a_cluster_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = "--gin_param=experiment.strategy = 'multi_worker'"
    for value, words in (("{", "TF_CONFIG"), ("[]", "TF_CONFIG"), ("{}", "TF_CONFIG"), ('{"cluster": 3}', "TF_CONFIG")):
        monkeypatch.setenv("TF_CONFIG", value)
        check(Case("run", (*bad_run_input_cases.DESCRIBE, binding), (words,)), tmp_path)


FULL_DISKS = [
    ("data_gen.dsprites", ("--source", "synthetic", "--limit", "64", "--data_dir", "{d}/data")),
    ("teapot_renderer.__main__", ("--size", "64", "--backend", "fast", "--out", "{d}/new/teapot.bmp")),
    ("metrics.__main__", ("--codes", "{d}/a.npz", "--metrics", "mig", "--plots", "{d}/plots")),
]


@pytest.mark.parametrize(("module", "arguments"), FULL_DISKS, ids=[module for module, _ in FULL_DISKS])
def test_files_that_may_not_become_so_large_are_one_line(
    module: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    given = Case(module, arguments, (), bad_input_cases.CODES).make(tmp_path)
    with small_files(4000):
        outcome = outcome_of(module, given, tmp_path)
    assert outcome.code == 2, outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "may not become that large" in outcome.err.splitlines()[-1]
    # What was written whole may stay, for the command to go on with.
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "a.npz"]
