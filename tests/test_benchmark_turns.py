"""The harness that times contestants in turns."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import turns as benchmark
from common.errors import UserError

CORES = tuple(sorted(os.sched_getaffinity(0)))[:1] if hasattr(os, "sched_getaffinity") else (0,)


def build_sleeper(threads: int) -> Callable[[int], None]:
    """A contestant that does a step in a hundredth of a second."""
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) != threads:
        raise RuntimeError("not held to its cores")
    return lambda steps: time.sleep(0.01 * steps)


def build_failure(threads: int) -> Callable[[int], None]:
    """A contestant that cannot be built."""
    raise ValueError("not here")


def build_death(threads: int) -> Callable[[int], None]:
    """A contestant whose process dies."""
    os._exit(1)


def test_contestants_take_turns() -> None:
    turns = benchmark.measure({"a": build_sleeper, "b": build_sleeper}, CORES, 3, {"a": 4, "b": 2}, "sleep")
    assert {name: len(values) for name, values in turns.items()} == {"a": 3, "b": 3}
    for turn in turns["a"] + turns["b"]:
        assert 0 < turn.rate <= 100
        assert turn.cpu_seconds < 0.01
        assert turn.disturbance >= 0


@pytest.mark.parametrize(
    ("build", "message"), [(build_failure, "x failed: ValueError: not here"), (build_death, "x ended")]
)
def test_a_contestant_that_fails_is_named(build: Callable[[int], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark.measure({"x": build}, CORES, 1, 1, "nothing")


def turns_of(*rates: float, disturbance: float = 0.0) -> list[benchmark.Turn]:
    """Turns with these rates."""
    return [benchmark.Turn(rate, 1 / rate, disturbance) for rate in rates]


def test_ratios_are_formed_within_a_round() -> None:
    summary = benchmark.summarize({"spout": turns_of(2, 8, 4), "pytorch": turns_of(1, 2, 4)})
    assert summary["per_second"]["spout"] == {"median": 4, "low": 2, "high": 8}
    assert summary["cpu_seconds"]["pytorch"] == {"median": 0.5, "low": 0.25, "high": 1}
    assert summary["ratios"]["spout / pytorch"] == {"median": 2.0, "low": 1.0, "high": 4.0}
    assert summary["ratios"]["pytorch / spout"] == {"median": 0.5, "low": 0.25, "high": 1.0}
    table = benchmark.table("float32", summary, "steps/s")
    assert "2.00 (1.00 - 4.00)" in table
    assert "do not quote" not in table


def test_disturbed_figures_say_so() -> None:
    summary = benchmark.summarize({"spout": turns_of(1, 2), "pytorch": turns_of(1, 2, disturbance=0.4)})
    assert "Other programs took 40%" in benchmark.table("float32", summary, "steps/s")


def build_recorder(folder: Path, threads: int) -> Callable[[int], None]:
    """A contestant that says how many threads it was given."""
    (folder / str(threads)).touch()
    return lambda steps: time.sleep(0.01 * steps)


def test_threads_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "thread_counts", lambda: [1, 3])
    monkeypatch.setattr(benchmark, "available_cores", lambda: 1)
    turns = benchmark.measure_threads(functools.partial(build_recorder, tmp_path), 2, 1, "nothing")
    assert {name: len(taken) for name, taken in turns.items()} == {"1": 2, "3": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3"}


def test_turns_are_counted_in_images() -> None:
    (turn,) = benchmark.per_image({"a": [benchmark.Turn(2.0, 0.5, 0.1)]}, 10)["a"]
    assert turn == benchmark.Turn(20.0, 0.05, 0.1)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_threads_go_up_to_all_cores(cores: int, counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "available_cores", lambda: cores)
    assert benchmark.thread_counts() == counts


def test_only_what_is_installed_has_a_version() -> None:
    assert list(benchmark.versions_of(["numpy", "nowhere-at-all"])) == ["numpy"]


@pytest.mark.parametrize("given", ["a,a", "c", "", "a,"])
def test_unknown_and_doubled_names_are_refused(given: str) -> None:
    assert benchmark.some_of("only", "b,a", ("a", "b")) == ["b", "a"]
    with pytest.raises(UserError, match=rf"--only={given}; give some of a, b, each once"):
        benchmark.some_of("only", given, ("a", "b"))


@pytest.mark.parametrize("threads", [0, 100_000])
def test_impossible_threads_are_refused(threads: int) -> None:
    with pytest.raises(UserError, match="allowed: 1 to"):
        benchmark.choose_cores(threads)
