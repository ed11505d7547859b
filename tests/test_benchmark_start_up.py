"""The benchmark of starting and saving: processes are timed to their moments, and bad options are refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks import start_up as benchmark
from benchmarks.turns import ROOT
from common.errors import UserError
from tests.tiny_runs import TINY

CORES = tuple(sorted(os.sched_getaffinity(0)))[:1] if hasattr(os, "sched_getaffinity") else (0,)


def test_a_process_is_timed_to_its_moment_and_to_its_end(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(0.3)"
    begin = time.perf_counter()
    found = benchmark.timed_process(["-c", code], CORES, mark.exists)
    whole = time.perf_counter() - begin
    assert 0 < found["first"] < found["wall"] - 0.1
    assert 0.3 < found["wall"] <= whole
    assert 0 <= found["first_cpu"] <= found["cpu"] + 0.02 < found["wall"]
    assert found["disturbance"] >= 0


def test_only_its_own_processor_time_counts() -> None:
    first = benchmark.timed_process(["-c", "import time\nwhile time.process_time() < 0.3: pass"], CORES)
    second = benchmark.timed_process(["-c", "pass"], CORES)
    assert first["cpu"] > 0.25
    assert second["cpu"] < first["cpu"]
    assert second["first"] is None


def test_a_process_that_fails_is_named() -> None:
    with pytest.raises(UserError, match=r"python -c import nowhere ended with exit code 1: ModuleNotFound.*nowhere"):
        benchmark.timed_process(["-c", "import nowhere"], CORES)


def test_commands_are_compared_within_a_round() -> None:
    commands = {"long": ("-c", "import time; time.sleep(0.5)"), benchmark.COMPARED: ("-c", "pass")}
    result = benchmark.time_commands(commands, 2, CORES)
    assert result["wall"]["long"]["low"] > 0.5
    assert result["ratio"]["long"]["low"] > 1
    assert result["ratio"][benchmark.COMPARED] == {"median": 1, "low": 1, "high": 1}


def test_every_command_is_there() -> None:
    assert benchmark.COMPARED in benchmark.COMMANDS
    for shown, words in benchmark.COMMANDS.items():
        assert shown.replace("'", "") == f"python {' '.join(words)}"
        if words[0] == "-m":
            module = ROOT.joinpath(*words[1].split("."))
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_the_tiny_run_is_that_of_the_tests() -> None:
    assert benchmark.TINY_RUN[: len(TINY)] == TINY


@pytest.mark.parametrize("arguments", [["--only=run,run"], ["--only=walk"], ["--saves=0"], ["--folder=nowhere"]])
def test_bad_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"give some of|allowed|is no folder"):
        benchmark.parse(arguments)
