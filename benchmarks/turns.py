"""Timing by turns: contestants in processes of their own, on the same processor cores, one after the other.

Each round has another order, so what else the machine does hits all alike; ratios are formed within a round. Programs
that are busy on those cores still spoil the figures: how much of the cores' time they took is reported too.
"""

from __future__ import annotations

import functools
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from common.cores import available_cores
from common.errors import UserError
from common.output import say

ROOT = Path(__file__).resolve().parent.parent
SETTLE_SECONDS = 0.3
MOST_DISTURBANCE = 0.05
"""Above this share of the cores' time taken by other programs, the figures are not to be quoted."""
# How a processor shows that it computes in bfloat16. Without it, PyTorch took 27 seconds for a step of half a second.
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")

Runner = Callable[[int], Any]
Build = Callable[[int], Runner]
"""Makes a runner for so many threads; a function at the top of a module, or a partial of one, which the contestant's
process imports."""


@dataclass(frozen=True)
class Turn:
    """What a contestant did in one turn.

    Args:
        rate: steps per second.
        cpu_seconds: processor time of one step, over all threads.
        disturbance: share of the cores' time that other programs took.
    """

    rate: float
    cpu_seconds: float
    disturbance: float


def busy_seconds(cores: Sequence[int]) -> float:
    """Seconds that some processor cores have worked since the machine started."""
    times = psutil.cpu_times(percpu=True)
    return sum(sum(times[core]) - times[core].idle - getattr(times[core], "iowait", 0.0) for core in cores)


def serve(connection: Connection, build: Build, cores: tuple[int, ...], hide_gpu: bool = True) -> None:
    """The life of a contestant's process: builds, then runs the steps it is asked for and answers with a `Turn`.

    Args:
        connection: to the parent; takes a number of steps, 0 at the end.
        build: makes the runner.
        cores: the processor cores to stay on.
        hide_gpu: compute on the processor even where there is a GPU.
    """
    stay_on(cores)
    if hide_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(len(cores))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.chdir(ROOT)
    try:
        run = build(len(cores))
        connection.send("ready")
        while steps := connection.recv():
            begin, begin_cpu, begin_busy = time.perf_counter(), time.process_time(), busy_seconds(cores)
            run(steps)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            others = max(0.0, busy_seconds(cores) - begin_busy - cpu) / (seconds * len(cores))
            connection.send(Turn(steps / seconds, cpu / steps, others))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")


class Contestant:
    """A contestant in its own process.

    Args:
        name: for messages.
        build: makes the runner.
        cores: the processor cores to stay on.
        hide_gpu: compute on the processor even where there is a GPU.
    """

    def __init__(self, name: str, build: Build, cores: tuple[int, ...], hide_gpu: bool = True) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, build, cores, hide_gpu), name=name, daemon=True)
        self._process.start()
        other.close()
        self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            raise UserError(f"{self.name} ended without a word; is there enough memory?") from None
        if isinstance(answer, str) and answer != "ready":
            raise UserError(f"{self.name} failed: {answer}")
        return answer

    def run(self, steps: int) -> Turn:
        """Runs some steps."""
        self._connection.send(steps)
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def measure(
    builders: Mapping[str, Build],
    cores: tuple[int, ...],
    turns: int,
    steps: int | Mapping[str, int],
    what: str,
    hide_gpu: bool = True,
) -> dict[str, list[Turn]]:
    """Lets the contestants take turns.

    Args:
        builders: name to function that makes the runner.
        cores: numbers of the processor cores that all contestants are held to, one thread for each.
        turns: how often each contestant runs.
        steps: of one turn, which are also the warm-up; or name to steps.
        what: is measured, for messages.
        hide_gpu: compute on the processor even where there is a GPU.

    Returns:
        each contestant's turns, one for each round.
    """
    count = dict.fromkeys(builders, steps) if isinstance(steps, int) else steps
    contestants: list[Contestant] = []
    try:
        for name, build in builders.items():
            say(f"{what}: {name} builds and warms up")
            contestants.append(Contestant(name, build, cores, hide_gpu))
            contestants[-1].run(1)
            contestants[-1].run(count[name])
        taken: dict[str, list[Turn]] = {name: [] for name in builders}
        for number in range(turns):
            shift = number % len(contestants)
            for contestant in contestants[shift:] + contestants[:shift]:
                # Threads of the one before may still spin for a moment.
                time.sleep(SETTLE_SECONDS)
                taken[contestant.name].append(contestant.run(count[contestant.name]))
            shown = ", ".join(f"{name} {values[-1].rate:.2f}" for name, values in taken.items())
            say(f"{what}: round {number + 1} of {turns}, per second: {shown}")
        return taken
    finally:
        for contestant in contestants:
            contestant.close()


def thread_counts() -> list[int]:
    """How many threads programs are tried with: 1, 2, 4 and so on, and one for each core that this process may use."""
    most = available_cores()
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def measure_threads(build: Build, turns: int, steps: int, what: str) -> dict[str, list[Turn]]:
    """Lets a program with few threads and the same program with many take turns, on all cores that there are.

    Args:
        build: makes the runner for so many threads.
        turns: how often each is run.
        steps: of one turn, which are also the warm-up.
        what: is measured, for messages.

    Returns:
        the turns by the number of threads, in words.
    """
    builders = {str(count): functools.partial(_with_threads, build, count) for count in thread_counts()}
    return measure(builders, choose_cores(available_cores()), turns, steps, f"{what} by threads")


def _with_threads(build: Build, count: int, cores: int) -> Runner:
    del cores
    return build(count)


def per_image(turns: Mapping[str, Sequence[Turn]], images: int) -> dict[str, list[Turn]]:
    """Turns counted in images instead of steps.

    Args:
        turns: by contestant.
        images: of one step.
    """
    return {
        name: [Turn(turn.rate * images, turn.cpu_seconds / images, turn.disturbance) for turn in taken]
        for name, taken in turns.items()
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range, to four digits behind the point."""
    return {"median": round(statistics.median(values), 4), "low": round(min(values), 4), "high": round(max(values), 4)}


def summarize(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """Medians and ranges of the rates, and of all pairwise ratios within a round.

    Args:
        turns: of each contestant, one for each round.

    Returns:
        `per_second`, `cpu_seconds` and `disturbance` by name, and `ratios` by `"a / b"`.
    """
    rates = {name: [turn.rate for turn in values] for name, values in turns.items()}
    return {
        "per_second": {name: spread(values) for name, values in rates.items()},
        "ratios": {
            f"{first} / {second}": spread([a / b for a, b in zip(rates[first], rates[second], strict=True)])
            for first in rates
            for second in rates
            if first != second
        },
        "cpu_seconds": {name: spread([turn.cpu_seconds for turn in values]) for name, values in turns.items()},
        "disturbance": {name: spread([turn.disturbance for turn in values]) for name, values in turns.items()},
    }


def table(what: str, summary: dict[str, Any], unit: str) -> str:
    """The summary for people: one row for each contestant, the first one beside each of the others.

    Args:
        what: was measured.
        summary: of `summarize`.
        unit: of the rates, for example `steps/s`.
    """
    names = list(summary["per_second"])
    width = max(14, *(len(name) + 1 for name in (what, *names)))
    lines = [f"{what:<{width}}{unit:>10}{'range':>18}   {names[0]} is so many times as fast"]
    for name in names:
        rate = summary["per_second"][name]
        line = f"{name:<{width}}{rate['median']:10.2f}{rate['low']:10.2f} -{rate['high']:7.2f}"
        if name != names[0]:
            ratio = summary["ratios"][f"{names[0]} / {name}"]
            line += f"   {ratio['median']:.2f} ({ratio['low']:.2f} - {ratio['high']:.2f})"
        lines.append(line)
    worst = max(values["median"] for values in summary["disturbance"].values())
    if worst > MOST_DISTURBANCE:
        lines.append(f"Other programs took {worst:.0%} of these cores: do not quote these figures.")
    return "\n".join(lines)


def processor() -> dict[str, Any]:
    """The processor's name, and what it says about bfloat16."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:
        pass
    return {"name": name, "cores": os.cpu_count(), "bfloat16": [flag for flag in BFLOAT16_FLAGS if flag in flags]}


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """The versions of packages; those that are not installed are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def some_of(option: str, given: str, known: Collection[str]) -> list[str]:
    """The names that an option gives, with commas between.

    Args:
        option: its name, for the message.
        given: its value.
        known: the names that there are.

    Raises:
        UserError: a name is not known, or given twice.
    """
    names = given.split(",")
    if len(set(names)) < len(names) or any(name not in known for name in names):
        raise UserError(f"--{option}={given}; give some of {', '.join(known)}, each once")
    return names


def stay_on(cores: Sequence[int]) -> None:
    """Holds this process, and those that it starts from now on, to these processor cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def choose_cores(threads: int) -> tuple[int, ...]:
    """The `threads` least busy of the processor cores that this process may use.

    Raises:
        UserError: there are not so many.
    """
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    if not 1 <= threads <= len(there):
        raise UserError(f"--threads={threads}; allowed: 1 to {len(there)}, the cores that this process may use")
    load = psutil.cpu_percent(interval=1.0, percpu=True)
    return tuple(sorted(sorted(there, key=lambda core: load[core])[:threads]))
