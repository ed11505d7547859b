"""Times training steps of IB-GAN on dSprites beside the same model in PyTorch, in turns, on the same two cores.

  make benchmarks                                     installs PyTorch into .venv, then runs this
  python -m benchmarks.ibgan_vs_pytorch --turns=15    once PyTorch is there (pip install torch==2.13.*)

Contestants: `spout` (gin/ibgan.gin as it ships), `pytorch` (as one usually writes it), and `pytorch_lean` (only the
gradients that are needed). Each lives in a process of its own, held to the same processor cores, and trains the
published networks (5,678,566 parameters) with batch 64. They take turns, each round in another order, so what else the
machine does hits all alike; the ratios are formed within a round. Programs that are busy on those cores still spoil
the figures (and PyTorch's threads wait for each other, so its more than ours): how much they took is reported too.
The last line printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from common.errors import UserError, run_command
from common.output import say

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("float32", "bfloat16")
SETTLE_SECONDS = 0.3
# How a processor shows that it computes in bfloat16. Without it, PyTorch took 27 seconds for a step of half a second.
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
PACKAGES = ("torch", "tensorflow", "keras", "numpy")

# Above this share of the cores' time taken by other programs, the figures are not to be quoted.
MOST_DISTURBANCE = 0.05

Runner = Callable[[int], Any]


def spout_runner(precision: str, threads: int) -> Runner:
    """Our training loop on the published experiment; it takes its threads from the cores it may use."""
    from training import start

    start.import_tensorflow()
    from training.benchmark import step_runner

    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    # A miniature of the data: the arithmetic is the same, and nothing has to be prepared.
    params = [f"experiment.precision = {policy!r}", "data.source = 'synthetic'", "experiment.strategy = 'one_device'"]
    return step_runner(["gin/ibgan.gin"], params)


def pytorch_runner(precision: str, threads: int) -> Runner:
    """PyTorch as one usually writes it."""
    from benchmarks import pytorch_ibgan

    return pytorch_ibgan.step_runner("usual", precision == "bfloat16", threads)


def pytorch_lean_runner(precision: str, threads: int) -> Runner:
    """PyTorch with no gradient that nobody uses."""
    from benchmarks import pytorch_ibgan

    return pytorch_ibgan.step_runner("lean", precision == "bfloat16", threads)


CONTESTANTS: dict[str, Callable[[str, int], Runner]] = {
    "spout": spout_runner,
    "pytorch": pytorch_runner,
    "pytorch_lean": pytorch_lean_runner,
}


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Args:
        precision: `float32` or `bfloat16`.
        cores: numbers of the processor cores that all contestants are held to, one thread for each.
        turns: how often each contestant runs.
        steps_per_turn: training steps of one turn; also the warm-up.
    """

    precision: str
    cores: tuple[int, ...]
    turns: int
    steps_per_turn: int


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


def serve(connection: Connection, build: Callable[[str, int], Runner], precision: str, cores: tuple[int, ...]) -> None:
    """The life of a contestant's process: builds, then runs the steps it is asked for and answers with a `Turn`.

    Args:
        connection: to the parent; takes a number of steps, 0 at the end.
        build: makes the runner.
        precision: `float32` or `bfloat16`.
        cores: the processor cores to stay on.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(len(cores))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.chdir(ROOT)
    try:
        run = build(precision, len(cores))
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
        build: makes the runner; a function at the top of a module, which the new process imports.
        setting: what is measured.
    """

    def __init__(self, name: str, build: Callable[[str, int], Runner], setting: Setting) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(other, build, setting.precision, setting.cores), name=name, daemon=True
        )
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


def measure(builders: dict[str, Callable[[str, int], Runner]], setting: Setting) -> dict[str, list[Turn]]:
    """Lets the contestants take turns.

    Args:
        builders: name to function that makes the runner.
        setting: what is measured.

    Returns:
        each contestant's turns, one for each round.
    """
    contestants: list[Contestant] = []
    try:
        for name, build in builders.items():
            say(f"{setting.precision}: {name} builds and warms up")
            contestants.append(Contestant(name, build, setting))
            contestants[-1].run(1)
            contestants[-1].run(setting.steps_per_turn)
        turns: dict[str, list[Turn]] = {name: [] for name in builders}
        for number in range(setting.turns):
            shift = number % len(contestants)
            for contestant in contestants[shift:] + contestants[:shift]:
                # Threads of the one before may still spin for a moment.
                time.sleep(SETTLE_SECONDS)
                turns[contestant.name].append(contestant.run(setting.steps_per_turn))
            shown = ", ".join(f"{name} {values[-1].rate:.2f}" for name, values in turns.items())
            say(f"{setting.precision}: round {number + 1} of {setting.turns}, steps/s: {shown}")
        return turns
    finally:
        for contestant in contestants:
            contestant.close()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range, to four digits behind the point."""
    return {"median": round(statistics.median(values), 4), "low": round(min(values), 4), "high": round(max(values), 4)}


def summarize(turns: dict[str, list[Turn]]) -> dict[str, Any]:
    """Medians and ranges of the rates, and of all pairwise ratios within a round.

    Args:
        turns: of each contestant, one for each round.

    Returns:
        `steps_per_second`, `cpu_seconds_per_step` and `disturbance` by name, and `ratios` by `"a / b"`.
    """
    rates = {name: [turn.rate for turn in values] for name, values in turns.items()}
    return {
        "steps_per_second": {name: spread(values) for name, values in rates.items()},
        "ratios": {
            f"{first} / {second}": spread([a / b for a, b in zip(rates[first], rates[second], strict=True)])
            for first in rates
            for second in rates
            if first != second
        },
        "cpu_seconds_per_step": {name: spread([turn.cpu_seconds for turn in values]) for name, values in turns.items()},
        "disturbance": {name: spread([turn.disturbance for turn in values]) for name, values in turns.items()},
    }


def table(precision: str, summary: dict[str, Any]) -> str:
    """The summary for people: one row for each contestant."""
    names = list(summary["steps_per_second"])
    lines = [f"{precision:<14}{'steps/s':>9}{'range':>16}   {names[0]} is so many times as fast"]
    for name in names:
        rate = summary["steps_per_second"][name]
        line = f"{name:<14}{rate['median']:9.2f}{rate['low']:9.2f} -{rate['high']:5.2f}"
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


def choose_cores(threads: int) -> tuple[int, ...]:
    """The `threads` least busy of the processor cores that this process may use.

    Raises:
        UserError: there are not so many.
    """
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if not 1 <= threads <= len(there):
        raise UserError(f"--threads={threads}; allowed: 1 to {len(there)}, the cores that this process may use")
    load = psutil.cpu_percent(interval=1.0, percpu=True)
    return tuple(sorted(sorted(there, key=lambda core: load[core])[:threads]))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--steps_per_turn", type=int, default=20, help="training steps of one turn (default 20)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores, a thread on each (default 2)")
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS, "both"),
        default="auto",
        help="auto: float32, and bfloat16 where the processor computes in it (default)",
    )
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="some of: %(default)s")
    return parser.parse_args(arguments)


def main() -> int:
    """Measures and prints a table and JSON."""
    options = parse()
    names = options.contestants.split(",")
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown or len(set(names)) < len(names):
        raise UserError(f"--contestants={options.contestants}; give some of {', '.join(CONTESTANTS)}, each once")
    if options.turns < 1 or options.steps_per_turn < 1:
        raise UserError("--turns and --steps_per_turn: allowed: 1 or more")
    if any(name.startswith("pytorch") for name in names) and importlib.util.find_spec("torch") is None:
        raise UserError("PyTorch is not installed; run make benchmarks, or: pip install -r requirements-benchmarks.txt")
    machine = processor()
    cores = choose_cores(options.threads)
    precisions = {"both": list(PRECISIONS), "auto": list(PRECISIONS[: 2 if machine["bfloat16"] else 1])}
    result: dict[str, Any] = {
        "processor": machine,
        "cores": list(cores),
        "turns": options.turns,
        "steps_per_turn": options.steps_per_turn,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)},
        "precisions": {},
    }
    for precision in precisions.get(options.precision, [options.precision]):
        setting = Setting(precision, cores, options.turns, options.steps_per_turn)
        turns = measure({name: CONTESTANTS[name] for name in names}, setting)
        result["precisions"][precision] = summarize(turns)
    print(f"{machine['name']}, {len(cores)} of {machine['cores']} cores, IB-GAN on dSprites, batch 64")
    for precision, summary in result["precisions"].items():
        print(f"\n{table(precision, summary)}")
    print(f"\n{json.dumps(result)}")
    return 0


if __name__ == "__main__":
    run_command(main)
