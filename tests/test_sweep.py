"""Sweeps: the plan, the members as processes, how they stop and go on, and the summary."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_run_command
import tiny_runs

import run
from common.errors import UserError
from common.locks import locked
from training import sweep_workers
from training.configuration import flatten, load, resolved
from training.sweep import SweepFlags, run_sweep
from training.sweep_plan import (
    Plan,
    members_of,
    parse_seeds,
    parse_sweep,
    product,
    read_plan,
    with_seeds,
    write_plan,
)
from training.sweep_states import state_of
from training.sweep_summary import Combination, _plots, statistics_of
from training.sweep_workers import Share, shares_of, visible_gpus

# Sweeps of members that only pretend to train.


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are processes that leave what runs leave."""
    monkeypatch.setattr(sweep_workers, "_PROGRAM", Path(__file__).with_name("sweep_stub.py"))
    monkeypatch.setattr(sweep_workers, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(sweep_workers, "_BUSY_SECONDS", 0.05)


def flags(folder: Path, *sweep: str, seeds: str | None = None, **more: Any) -> SweepFlags:
    params = (*tiny_runs.TINY, "experiment.total_steps = 4")
    return SweepFlags(("gin/ibgan.gin",), params, str(folder), sweep, seeds, **more)


def plan_of(given: SweepFlags) -> Plan:
    """The plan of a sweep that has not begun."""
    combinations = product(with_seeds(parse_sweep(given.sweep), parse_seeds(given.seeds) if given.seeds else ()))
    members = members_of(combinations)
    configurations = [load(given.gin_files, [*given.gin_params, *member.gin_bindings])[0] for member in members]
    options = [json.loads(json.dumps(flatten(resolved(configuration)))) for configuration in configurations]
    name = configurations[0].experiment.name
    return Plan(name, tuple(given.gin_files), tuple(given.gin_params), tuple(members), tuple(options))


def answer_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return tiny_runs.last_json(capsys.readouterr().out)


def said_by(folder: Path, member: str) -> dict[str, Any]:
    return json.loads((folder / "logs" / f"{member}.log").read_text().splitlines()[0])


def test_a_sweep_and_its_summary(stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sweep"
    given = flags(folder, "ibgan.beta=[0.1,0.2]", seeds="3")
    assert run_sweep(given) == 0
    captured = capsys.readouterr()
    summary = tiny_runs.last_json(captured.out)
    assert captured.out.count("\n") == 1
    assert "6 of 6" in captured.err
    assert "0.117 ± 0.021" in captured.err
    assert (summary["members"], summary["finished"], summary["missing"], summary["failed"]) == (6, 6, [], [])
    # Worked by hand: beta + seed^2 / 100 for the seeds 0, 1, 2.
    for combination, beta in zip(summary["combinations"], (0.1, 0.2), strict=True):
        assert combination["bindings"] == {"ibgan.beta": str(beta)}
        numbers = combination["metrics"]["ibgan_factor_vae"]
        values = [beta, beta + 0.01, beta + 0.04]
        mean = sum(values) / 3
        assert numbers["mean"] == pytest.approx(mean)
        assert numbers["std"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 2))
        assert numbers["n"] == 3
        assert combination["metrics"]["middle/mig"]["std"] == pytest.approx(0.0)
    kept = json.loads((folder / "summary.json").read_text())
    assert kept == {key: value for key, value in summary.items() if key != "failed"}
    rows = list(csv.DictReader((folder / "summary.csv").open()))
    assert [row["ibgan.beta"] for row in rows] == ["0.1", "0.2"]
    assert float(rows[1]["ibgan_factor_vae mean"]) == pytest.approx(0.2 + 0.05 / 3)
    assert rows[0]["ibgan_factor_vae n"] == "3"
    page = (folder / "summary.md").read_text()
    assert "| beta=0.1 | 3 of 3 | 0.117 ± 0.021 | 0.010 ± 0.000 |" in page
    assert "| paper | - | 0.80 ± 0.07 | - |" in page
    assert "their source is: synthetic" in page
    assert "Shorter than the paper's: 4 of 150,000 steps" in page
    assert {path.name for path in (folder / "summary").iterdir()} == {"ibgan_factor_vae.png", "middle_mig.png"}
    html = (folder / "report.html").read_text()
    assert "0.117 ± 0.021" in html
    assert "000_beta-0.1_seed-0" not in captured.out

    command = said_by(folder, "004_beta-0.1_seed-2")["flags"]
    assert command[0] == "--gin_file=gin/ibgan.gin"
    assert command[-3:-1] == ["--gin_param=experiment.seed = 2", "--gin_param=ibgan.beta = 0.1"]

    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}
    assert run_sweep(given) == 0
    assert "6 finished before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")} == times


def test_a_single_seed_has_no_deviation_and_no_value_no_mean() -> None:
    assert statistics_of([0.5]) == {"mean": 0.5, "std": None, "n": 1}
    assert statistics_of([]) == {"mean": None, "std": None, "n": 0}
    assert statistics_of([1.0, 2.0, 4.0])["std"] == pytest.approx(statistics.stdev([1, 2, 4]))


def test_a_member_that_fails_does_not_end_the_others(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.3,0.1]", parallel=1)) == 1
    captured = capsys.readouterr()
    log = tmp_path / "logs" / "000_beta-0.3.log"
    assert f"000_beta-0.3: FAILED, exit code 2: beta is out of luck (log {log})" in captured.err
    summary = tiny_runs.last_json(captured.out)
    assert summary["failed"] == ["000_beta-0.3"]
    assert [entry["name"] for entry in summary["missing"]] == ["000_beta-0.3"]
    assert [combination["finished"] for combination in summary["combinations"]] == [0, 1]
    assert "| beta=0.3 | 0 of 1 | - | - |" in (tmp_path / "summary.md").read_text()
    assert "000_beta-0.3 (waiting)" in (tmp_path / "summary.md").read_text()
    assert "1 of 2 members are missing" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_same_command_goes_on(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def send() -> None:
        while not (tmp_path / "000_beta-0.5" / "waits").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.5,0.1]", parallel=1)) == 128 + number
    sender.join()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{number.name}: waiting for the checkpoints of 1 member" in captured.err
    assert "000_beta-0.5: stopped" in captured.err
    assert "FAILED" not in captured.err
    assert not (tmp_path / "001_beta-0.1").exists()
    assert not (tmp_path / "summary.json").exists()


def test_members_share_the_cores(stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.1,0.2,0.4]", parallel=2)) == 0
    seen = [said_by(tmp_path, path.name)["cores"] for path in sorted(tmp_path.glob("00*"))]
    half = len(cores) // 2
    assert all(part in (cores[:half], cores[half:]) for part in seen)
    assert {tuple(part) for part in seen[:2]} == {tuple(cores[:half]), tuple(cores[half:])}
    assert sorted(os.sched_getaffinity(0)) == cores
    assert answer_of(capsys)["finished"] == 3


def test_shares_of_a_machine() -> None:
    cores = list(range(8))
    assert shares_of(None, [], cores) == [Share()]
    assert shares_of(1, ["0", "1"], cores) == [Share()]
    assert shares_of(None, ["0", "1"], cores) == [Share((0, 1, 2, 3), ("0",)), Share((4, 5, 6, 7), ("1",))]
    assert [share.gpus for share in shares_of(2, ["0", "1", "2", "3"], cores)] == [("0", "1"), ("2", "3")]
    assert [share.gpus for share in shares_of(4, ["5", "7"], cores)] == [("5",), ("7",), ("5",), ("7",)]
    for count in range(2, 9):
        parts = [share.cores or () for share in shares_of(count, [], cores)]
        assert sorted(itertools.chain(*parts)) == cores
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in (0, 9):
        with pytest.raises(UserError, match=f"--parallel is {wrong}; this machine has cores for 1 to 8"):
            shares_of(wrong, [], cores)


def test_gpus_are_found_without_tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text, found in (("", []), ("-1", []), ("2, 3", ["2", "3"]), ("GPU-abc", ["GPU-abc"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert visible_gpus() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert visible_gpus() == []


def test_a_member_that_another_process_trains_comes_last(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]", parallel=1)
    assert run_sweep(given) == 0
    busy, other = tmp_path / "000_beta-0.1", tmp_path / "001_beta-0.2"
    for folder in (busy, other):
        (folder / "result.json").unlink()
    capsys.readouterr()
    holding, held = threading.Event(), []

    def hold() -> None:
        with locked(busy, wait=False):
            holding.set()
            deadline = time.monotonic() + 30
            while not (other / "result.json").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            held.append((busy / "result.json").exists())

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()
    assert run_sweep(given) == 0
    holder.join()
    assert held == [False]
    lines = [line for line in capsys.readouterr().err.splitlines() if "_beta-0." in line]
    assert "000_beta-0.1: another process trains it" in lines[0]
    assert [line.split()[1] for line in lines if "finished" in line] == ["001_beta-0.2:", "000_beta-0.1:"]


def test_a_sweep_may_grow(stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.2]", seeds="2")) == 0
    before = {path.parent.name for path in tmp_path.glob("*/result.json")}
    capsys.readouterr()
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.1,0.2]", seeds="3")) == 0
    captured = capsys.readouterr()
    assert "6 members" in captured.err
    assert "2 finished before" in captured.err
    names = sorted(path.parent.name for path in tmp_path.glob("*/result.json"))
    assert before < set(names)
    assert names == [
        *("000_beta-0.2_seed-0", "001_beta-0.2_seed-1", "002_beta-0.1_seed-0"),
        *("003_beta-0.1_seed-1", "004_beta-0.1_seed-2", "005_beta-0.2_seed-2"),
    ]
    plan = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(UserError, match=r"3 members that this one lacks \(0: experiment.seed = 0, ibgan.beta = 0.2;"):
        run_sweep(flags(tmp_path, "ibgan.beta=[0.1]", seeds="3"))
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]", seeds="3")
    with pytest.raises(UserError, match=r"for its member 0, experiment.global_batch was 8 and is 16.*--run_dir"):
        run_sweep(replace(given, gin_params=[*given.gin_params, "experiment.global_batch = 16"]))
    assert (tmp_path / "sweep.json").read_bytes() == plan


def test_all_members_may_train_longer(stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]")
    assert run_sweep(given) == 0
    assert run_sweep(replace(given, gin_params=[*given.gin_params, "experiment.total_steps = 5"])) == 0
    assert "0 finished before" in capsys.readouterr().err
    assert {json.loads(path.read_text())["step"] for path in tmp_path.glob("*/result.json")} == {5}


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("ibgan.beta=[0.1];ibgan.betta=[0.1]", r"member 0 .*'ibgan' has no option 'betta'; did you mean 'beta'\?"),
        ("ibgan.beta=[0.1,0.2,-1.0]", r"member 2 of the sweep \(ibgan.beta = -1.0\): .*allowed: 0 or more"),
        ("ibgan.beta=[0.1,'big']", r"member 1 .*ibgan.beta is 'big' \(str\); expected a number"),
        ("sgd.momentum=[0.5]", "nothing uses the binding sgd.momentum"),
        ("generator/rmsprop.learning_rate=[1e-4,-1e-4]", "member 1 .*generator/rmsprop.learning_rate"),
        (
            "ibgan.beta=[1,1.0]",
            r"members 0 \(ibgan.beta = 1\) and 1 \(ibgan.beta = 1.0\) of the sweep are the same run",
        ),
        ("ibgan.beta=[%NOWHERE]", "the macro %NOWHERE is used but not set"),
    ],
)
def test_one_wrong_binding_stops_all_before_anything_is_written(tmp_path: Path, sweep: str, words: str) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(UserError, match=words) as caught:
        run_sweep(flags(folder, sweep))
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and no folder of a sweep"):
        run_sweep(flags(tmp_path, "ibgan.beta=[0.1]"))
    with pytest.raises(UserError, match="is a file"):
        run_sweep(flags(tmp_path / "thesis.txt", "ibgan.beta=[0.1]"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_member_whose_result_is_damaged_makes_it_again(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = flags(tmp_path / "sweep", seeds="2")
    assert run_sweep(given) == 0
    result = next((tmp_path / "sweep").glob("0*/result.json"))
    whole = result.read_bytes()
    result.write_bytes(b"{")
    capsys.readouterr()
    assert run_sweep(given) == 0
    assert answer_of(capsys)["finished"] == 2
    assert result.read_bytes() == whole


def test_of_many_combinations_the_first_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("training.sweep_summary.pictures.bar_plot", lambda *given, **more: drawn.append((given, more)))
    combinations = [Combination({"ibgan.beta": str(n)}, 1, 1, {"mig": [float(n)]}) for n in range(100)]
    _plots({"paper_scores": {"mig": [0.5]}}, combinations, ["mig"])
    (means, title, _, reference), _ = drawn[0]
    assert list(means.values()) == [float(n) for n in range(40)]
    assert reference.keys() == means.keys()
    assert title == "mig, the first 40 of 100"


def test_a_member_folder_with_another_run_stops_all(stub: None, tmp_path: Path) -> None:
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]")
    assert run_sweep(given) == 0
    options = tmp_path / "001_beta-0.2" / "options.json"
    options.write_text(options.read_text().replace('"experiment.model.z_dim": 4', '"experiment.model.z_dim": 5'))
    with pytest.raises(
        UserError, match=r"001_beta-0.2 holds a run of another configuration: experiment.model.z_dim was 5"
    ):
        run_sweep(given)


def test_a_dry_run_lists_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sweep"
    given = flags(folder, "generator/rmsprop.learning_rate=[1e-4,1e-5]", seeds="3,5", dry_run=True)
    assert run_sweep(given) == 0
    captured = capsys.readouterr()
    listed = tiny_runs.last_json(captured.out)
    assert listed["run_dir"] == str(folder)
    assert [member["index"] for member in listed["members"]] == [0, 1, 2, 3]
    assert listed["members"][2] == {
        "index": 2,
        "bindings": {"experiment.seed": "5", "generator/rmsprop.learning_rate": "1e-4"},
        "run_dir": str(folder / "002_generator-rmsprop.learning_rate-1e-4_seed-5"),
        "state": "waiting",
    }
    assert "2  experiment.seed = 5, generator/rmsprop.learning_rate = 1e-4  ->  " in captured.err
    assert not folder.exists()
    assert run_sweep(replace(given, run_dir=None)) == 0
    assert answer_of(capsys)["run_dir"] == os.path.join("runs", "sweep_ibgan_dsprites")


def test_one_member_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    def train(*given: Any) -> int:
        trained.append(given)
        return 0

    monkeypatch.setattr("training.sweep.train", train)
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]", seeds="2")
    assert run_sweep(replace(given, index=3)) == 0
    configuration, text, files, folder = trained[0]
    assert (configuration.experiment.model.beta, configuration.experiment.seed) == (0.2, 1)
    assert (files, folder) == (["gin/ibgan.gin"], tmp_path / "003_beta-0.2_seed-1")
    (tmp_path / "again.gin").write_text(text)
    assert load([tmp_path / "again.gin"])[0] == configuration
    written = (tmp_path / "sweep.json").stat().st_mtime_ns
    assert run_sweep(replace(given, index=0)) == 0
    assert (tmp_path / "sweep.json").stat().st_mtime_ns == written
    for wrong in (4, -1):
        with pytest.raises(UserError, match=f"--sweep_index is {wrong}; this sweep has the members 0 to 3"):
            run_sweep(replace(given, index=wrong))


@pytest.mark.parametrize("other", ["ibgan.beta=[0.1,0.2]", "ibgan.beta=[0.1,0.2,0.4]"])
def test_plans_that_two_machines_write_at_once(
    stub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """The same plan is no harm; another one is never overwritten by somebody who has not seen it."""

    @contextmanager
    def somebody_was_faster(folder: Path, wait: bool) -> Iterator[None]:
        if not (folder / "sweep.json").exists():
            write_plan(folder, plan_of(flags(folder, other)))
        yield

    monkeypatch.setattr("training.sweep.locked", somebody_was_faster)
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]")
    if other == given.sweep[0]:
        assert run_sweep(given) == 0
    else:
        with pytest.raises(UserError, match="another command has just changed the plan"):
            run_sweep(given)
    plan = read_plan(tmp_path)
    assert plan is not None
    assert len(plan.members) == len(parse_sweep([other])[0].values)


def test_the_summary_at_any_time(stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = flags(tmp_path, "ibgan.beta=[0.1,0.2]", seeds="3")
    assert run_sweep(given) == 0
    whole = (tmp_path / "summary.md").read_text()
    (tmp_path / "004_beta-0.1_seed-2" / "result.json").unlink()
    capsys.readouterr()
    for again in (replace(given, summarize=True), SweepFlags((), (), str(tmp_path), (), None, summarize=True)):
        assert run_sweep(again) == 0
        captured = capsys.readouterr()
        summary = tiny_runs.last_json(captured.out)
        assert [entry["name"] for entry in summary["missing"]] == ["004_beta-0.1_seed-2"]
        numbers = summary["combinations"][0]["metrics"]["ibgan_factor_vae"]
        assert (numbers["n"], numbers["mean"]) == (2, pytest.approx(0.105))
        assert "missing: 1 of 6: 004_beta-0.1_seed-2" in captured.err
    assert (tmp_path / "summary.md").read_text() != whole
    with pytest.raises(UserError, match="holds no sweep yet"):
        run_sweep(replace(given, run_dir=str(tmp_path / "nowhere"), summarize=True))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UserError, match="holds no sweep"):
        run_sweep(SweepFlags((), (), str(tmp_path / "logs"), (), None, summarize=True))


def test_a_run_that_went_on_with_other_options_is_not_counted(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_sweep(flags(tmp_path, "ibgan.beta=[0.1]")) == 0
    plan = read_plan(tmp_path)
    assert plan is not None
    folder = tmp_path / "000_beta-0.1"
    assert state_of(folder, plan.options[0]).name == "finished"
    assert state_of(folder, {**plan.options[0], "experiment.total_steps": 9}).describe() == "unfinished: step 0 of 9"
    assert state_of(folder, {**plan.options[0], "experiment.model.beta": 9.0}).name == "waiting"


# Sweeps that train.


def test_a_sweep_that_was_killed_goes_on_and_ends_like_a_single_run(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = tiny_runs.finished_run(tmp_path_factory)
    name = "000_beta-0.141_seed-7"
    command = [*tiny_runs.arguments(tiny_runs.EVENTFUL), "--sweep=ibgan.beta=[0.141]", "--seeds=7,"]
    command.append(f"--run_dir={tmp_path / 'sweep'}")
    # Most of the way is there already: a sweep takes over whatever the folder of a member holds.
    given = SweepFlags(("gin/ibgan.gin",), tiny_runs.EVENTFUL, str(tmp_path / "sweep"), ("ibgan.beta=[0.141]",), "7,")
    write_plan(tmp_path / "sweep", plan_of(given))
    member = tiny_runs.copy_of(finished, tmp_path / "sweep" / name)
    for path in [member / "result.json", *(member / "checkpoints" / "last").glob("ckpt-[78]0*")]:
        path.unlink()
    metrics = member / "metrics.jsonl"
    whole = tiny_runs.lines_of(metrics)
    kept = sum(json.loads(line)["step"] <= 60 for line in metrics.read_text().splitlines())

    def is_training() -> bool:
        return kept < tiny_runs.lines_of(metrics) < whole

    killed = tiny_runs.stop_at(is_training, signal.SIGKILL, *command)
    assert killed.returncode == -signal.SIGKILL
    # The member notices that it is alone, saves and ends.
    with locked(member, wait=True):
        log = (tmp_path / "sweep" / "logs" / f"{name}.log").read_text()
    assert "the same command goes on from there" in log
    assert not (member / "result.json").exists()

    capsys.readouterr()
    assert run_sweep(given) == 0
    assert answer_of(capsys)["finished"] == 1
    results = [json.loads((folder / "result.json").read_text()) for folder in (finished, member)]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]
    assert results[0]["scores"] == results[1]["scores"]
    assert metrics.read_bytes() == (finished / "metrics.jsonl").read_bytes()


# The command line.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--sweep=ibgan.beta"], ["'ibgan.beta' is not of the form"]),
        (["--sweep="], ["--sweep is empty"]),
        (["--seeds=x"], ["--seeds is 'x'"]),
        (["--seeds=5", "--sweep=experiment.seed=[1,2]"], ["experiment.seed is in --sweep and in --seeds"]),
        (["--seeds=5", "--mode=evaluate"], ["--seeds is for training", "--mode=evaluate"]),
        (["--dry_run"], ["--dry_run is for sweeps", "--seeds=10"]),
        (["--sweep_index=0"], ["--sweep_index is for sweeps"]),
        (["--seeds=5", "--dry_run", "--summarize"], ["give one of --dry_run and --summarize"]),
        (["--runs=a"], ["--runs is a flag of --mode=select"]),
        (["--mode=select"], ["--gin_file means nothing to --mode=select"]),
    ],
)
def test_flags_that_do_not_fit_are_refused_at_once(given: list[str], words: list[str]) -> None:
    result = test_run_command.without_tensorflow("--gin_file=gin/ibgan.gin", *given)
    test_run_command.assert_refused(result, *words)


def test_a_sweep_needs_an_experiment() -> None:
    test_run_command.assert_refused(test_run_command.without_tensorflow("--seeds=5", "--run_dir=a"), "--gin_file")
    test_run_command.assert_refused(test_run_command.without_tensorflow("--mode=select"), "--runs='runs/a/*'")


def test_the_command(
    stub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sweep.leave_gpus_to_members", lambda: None)
    given = [*tiny_runs.arguments(), "--gin_param=experiment.total_steps = 4", f"--run_dir={tmp_path}", "--parallel=1"]

    def command(*more: str) -> Any:
        monkeypatch.setattr("sys.argv", ["run.py", *given, *more])
        run.FLAGS.unparse_flags()
        assert run.main() == 0
        return answer_of(capsys)

    assert len(command("--sweep=ibgan.beta=[0.1,0.2]", "--seeds=2", "--dry_run")["members"]) == 4
    assert command("--sweep=ibgan.beta=[0.1]", "--sweep=ibgan.z_dim=[3,4]", "--seeds=2")["finished"] == 4
    given[:] = [f"--run_dir={tmp_path}"]
    assert command("--summarize")["finished"] == 4


def test_help_teaches_sweeps_and_selection() -> None:
    text = test_run_command.without_tensorflow("--help").stdout
    for word in ("--sweep", "--seeds", "--sweep_index", "--dry_run", "--summarize", "--parallel", "--runs", "--out"):
        assert word in text
