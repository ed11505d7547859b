"""Times what one waits for: the start of the commands, the first step of a run, and the pause of a checkpoint.

  python -m benchmarks.start_up                          all three (minutes, on one core)
  python -m benchmarks.start_up --only=commands,run      some of them: commands, run, checkpoint
  python -m benchmarks.start_up --folder=runs            checkpoints on the disk that yours are written to
  python -m benchmarks.start_up --write                  puts the tables into docs/performance.md, too

commands    processes that only help or list, beside the bare interpreter and the import of numpy: seconds on the clock
            and of the processor. Each round starts each command once; one round before the first fills the caches.
run         run.py on an IB-GAN so small that computing hardly counts: seconds until the first step is on record (in
            metrics.jsonl, pictures of step 0 drawn) and until the end (scores, pictures, report).
checkpoint  how long training stands still while gin/ibgan.gin as it ships, optimizers included, is saved: each round
            trains some steps, so that all weights change, and saves. The ratio to a step is formed within the round.

Everything runs on the same `--threads` cores. The data are made up, so that nothing has to be prepared. The last line
printed is the result as JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pages import figure, section, setting, table, write_performance
from benchmarks.tiny_bindings import TINY
from benchmarks.turns import ROOT, busy_seconds, choose_cores, processor, some_of, spread, stay_on, versions_of
from common.arguments import CommandParser
from common.errors import UserError, run_command
from common.output import say

PARTS = ("commands", "run", "checkpoint")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    "python -c 'import numpy'": ("-c", "import numpy"),
    "python run.py --help": ("run.py", "--help"),
    "python -m metrics --help": ("-m", "metrics", "--help"),
    "python -m data_gen.teapot --help": ("-m", "data_gen.teapot", "--help"),
    "python -m data_gen list": ("-m", "data_gen", "list"),
}
COMPARED = "python -c 'import numpy'"
"""The command that the others are compared with."""
STEPS = 20
"""Of the tiny run."""
TINY_RUN = (
    *TINY,
    f"experiment.total_steps = {STEPS}",
    # So that the first step is on record as soon as it is done.
    "experiment.log_every = 1",
)
"""Bindings that leave next to nothing of gin/ibgan.gin to compute."""
SAVED = "gin/ibgan.gin"
STEPS_BETWEEN = 3
"""Training steps before each save."""
PACKAGES = ("tensorflow", "keras", "numpy")
_POLL_SECONDS = 0.005


def timed_process(
    words: Sequence[str], cores: Sequence[int], first: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """Runs Python with some words in a process of its own, which inherits the cores of this one.

    Args:
        words: after the interpreter.
        cores: those that are watched for other programs.
        first: asked often; tells when a moment on the way has come.

    Returns:
        `wall` and `cpu`, seconds until the end; `first` and `first_cpu`, until the moment (None: it never came); and
        `disturbance`, the share of the cores' time that other programs took.

    Raises:
        UserError: the process failed.
    """
    reached = reached_cpu = None
    with tempfile.TemporaryFile() as spoken:
        begin, begin_busy, begin_cpu = time.perf_counter(), busy_seconds(cores), _children_seconds()
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=spoken
        )
        try:
            while first is not None and reached is None and process.poll() is None:
                if first():
                    reached = time.perf_counter() - begin
                    reached_cpu = sum(psutil.Process(process.pid).cpu_times()[:2])
                else:
                    time.sleep(_POLL_SECONDS)
            code = process.wait()
        finally:
            process.kill()
        wall = time.perf_counter() - begin
        cpu, busy = _children_seconds() - begin_cpu, busy_seconds(cores) - begin_busy
        spoken.seek(0)
        if code:
            last = (spoken.read().decode(errors="replace").strip() or "nothing was said").splitlines()[-1]
            raise UserError(f"python {' '.join(words)} ended with exit code {code}: {last}")
    return {
        "wall": wall,
        "cpu": cpu,
        "first": reached,
        "first_cpu": reached_cpu,
        "disturbance": _share(busy - cpu, wall, cores),
    }


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _share(seconds: float, wall: float, cores: Sequence[int]) -> float:
    return max(0.0, seconds) / (wall * len(cores))


def time_commands(commands: Mapping[str, Sequence[str]], turns: int, cores: Sequence[int]) -> dict[str, Any]:
    """Starts each command once in each round, in another order.

    Args:
        commands: what they are called, and their words after the interpreter; `COMPARED` is one of them.
        turns: rounds.
        cores: this process is held to.

    Returns:
        `wall`, `cpu` and `ratio` by command: medians and ranges, the ratio to `COMPARED`; and `disturbance`.
    """
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    names = list(commands)
    for number in range(-1, turns):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found = timed_process(commands[name], cores)
            if number >= 0:
                taken[name].append(found)
        say(f"commands: round {number + 1} of {turns}" if number >= 0 else "commands: caches are filled")
    base = [found["wall"] for found in taken[COMPARED]]
    result: dict[str, Any] = {
        kind: {name: spread([found[kind] for found in values]) for name, values in taken.items()}
        for kind in ("wall", "cpu")
    }
    result["ratio"] = {
        name: spread([found["wall"] / one for found, one in zip(values, base, strict=True)])
        for name, values in taken.items()
    }
    # Moments as short as these cannot be told apart one by one: the clock of the cores counts hundredths of a second.
    everything = [found for values in taken.values() for found in values]
    whole = sum(found["wall"] for found in everything)
    result["disturbance"] = sum(found["disturbance"] * found["wall"] for found in everything) / whole
    return result


def time_run(turns: int, cores: Sequence[int]) -> dict[str, Any]:
    """Trains the tiny experiment from nothing, some times.

    Returns:
        `first`, `first_cpu`, `wall` and `cpu`, seconds: medians and ranges; and `disturbance`, the median.
    """
    taken = []
    params = [f"--gin_param={binding}" for binding in TINY_RUN]
    for number in range(turns):
        with tempfile.TemporaryDirectory() as temporary:
            record = Path(temporary) / "run" / "metrics.jsonl"
            words = ["run.py", f"--gin_file={SAVED}", *params, f"--run_dir={record.parent}"]
            taken.append(timed_process(words, cores, functools.partial(_has_line, record)))
        if taken[-1]["first"] is None:
            raise UserError("the run ended before its first step was seen; are there bindings that leave it none?")
        say(f"run: {number + 1} of {turns}, first step {taken[-1]['first']:.1f} s, end {taken[-1]['wall']:.1f} s")
    result: dict[str, Any] = {
        kind: spread([found[kind] for found in taken]) for kind in ("first", "first_cpu", "wall", "cpu")
    }
    result["disturbance"] = spread([found["disturbance"] for found in taken])["median"]
    return result


def _has_line(path: Path) -> bool:
    return path.is_file() and b"\n" in path.read_bytes()


def time_checkpoints(
    saves: int, cores: Sequence[int], folder: str | None, bindings: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains some steps and saves, in turns, in this process.

    Args:
        saves: rounds.
        cores: this process is held to.
        folder: where the folder of the checkpoints is made; None: where temporary files are.
        bindings: further ones of the experiment.

    Returns:
        `milliseconds` of a save, `steps` that would fit into it, medians and ranges; `megabytes` written by each;
        `numbers` in the networks; and `disturbance`.
    """
    from common.tensorflow_start import import_tensorflow

    import_tensorflow()
    from training.checkpoints import Checkpoints
    from training.configuration import load
    from training.experiment import build

    params = ["data.source = 'synthetic'", "experiment.strategy = 'one_device'", *bindings]
    configuration, _ = load([SAVED], params)
    experiment = build(configuration)
    loop = experiment.loop()
    say("checkpoint: the model is compiled")
    loop.run(STEPS_BETWEEN)
    seconds, ratios, sizes, disturbances = [], [], [], []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        keep = configuration.experiment.keep_checkpoints
        checkpoints = Checkpoints(Path(temporary), experiment.model, keep, {"means": loop.means})
        checkpoints.save()
        for number in range(saves):
            begin_all, begin_busy, begin_cpu = time.perf_counter(), busy_seconds(cores), time.process_time()
            step_seconds = loop.run(STEPS_BETWEEN) / STEPS_BETWEEN
            begin = time.perf_counter()
            checkpoints.save()
            end = time.perf_counter()
            cpu, busy = time.process_time() - begin_cpu, busy_seconds(cores) - begin_busy
            seconds.append(end - begin)
            ratios.append(seconds[-1] / step_seconds)
            disturbances.append(_share(busy - cpu, end - begin_all, cores))
            files = (Path(temporary) / "last").glob(f"ckpt-{checkpoints.step}.*")
            sizes.append(sum(path.stat().st_size for path in files) / 1e6)
            say(f"checkpoint: {number + 1} of {saves}, {seconds[-1] * 1e3:.0f} ms, a step {step_seconds * 1e3:.0f} ms")
    return {
        "milliseconds": spread([value * 1e3 for value in seconds]),
        "steps": spread(ratios),
        "megabytes": spread(sizes)["median"],
        "numbers": sum(network.count_params() for network in experiment.model.networks.values()),
        "disturbance": spread(disturbances)["median"],
    }


def commands_section(result: Mapping[str, Any]) -> str:
    """The start of the commands, as a section of the page."""
    found = result["commands"]
    header = ["", "seconds, median (range)", "processor seconds", f"so many times as long as `{COMPARED}`"]
    rows = [
        [f"`{name}`", figure(wall), figure(found["cpu"][name]), figure(found["ratio"][name], 1)]
        for name, wall in found["wall"].items()
    ]
    return section(
        "Start of the commands",
        _setting(result, f"{result['turns']} rounds, each command once in each", found),
        table(header, rows),
    )


def run_section(result: Mapping[str, Any]) -> str:
    """The first step of a run, as a section of the page."""
    found = result["run"]
    rows = [["until the first step is on record", figure(found["first"], 1), figure(found["first_cpu"], 1)]]
    rows.append(["until the end", figure(found["wall"], 1), figure(found["cpu"], 1)])
    about = (
        f"`run.py --gin_file={SAVED}` with bindings that leave next to nothing to compute: {STEPS} steps of width 2."
    )
    return section(
        "A tiny run of IB-GAN from nothing",
        _setting(result, f"{result['runs']} runs", found),
        about,
        table(["", "seconds, median (range)", "processor seconds"], rows),
    )


def checkpoint_section(result: Mapping[str, Any]) -> str:
    """The pause of a checkpoint, as a section of the page."""
    found = result["checkpoint"]
    header = ["milliseconds, median (range)", "steps that would fit into it, median (range)", "MB written"]
    cells = [figure(found["milliseconds"], 0), figure(found["steps"]), f"{found['megabytes']:.1f}"]
    about = (
        f"How long training stands still while `{SAVED}` is saved: {found['numbers']:,} numbers in the networks, and "
        "the state of the optimizers."
    )
    return section(
        "The pause of a checkpoint",
        _setting(result, f"{result['saves']} rounds of {STEPS_BETWEEN} steps and a save", found),
        about,
        table(header, [cells]),
    )


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "commands": commands_section,
    "run": run_section,
    "checkpoint": checkpoint_section,
}


def _setting(result: Mapping[str, Any], rounds: str, found: Mapping[str, Any]) -> str:
    versions = {"Python": result["python"], "TensorFlow": result["versions"]["tensorflow"]}
    return setting(result["processor"], len(result["cores"]), versions, rounds, found["disturbance"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.start_up", __doc__ or "")
    parser.add_argument("--only", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--turns", type=int, default=5, help="rounds of the commands (default 5)")
    parser.add_argument("--runs", type=int, default=3, help="tiny runs (default 3)")
    parser.add_argument("--saves", type=int, default=9, help="checkpoints (default 9)")
    parser.add_argument("--threads", type=int, default=1, help="processor cores that everything is held to (default 1)")
    parser.add_argument("--folder", help="an existing folder on the disk to save to (default: of temporary files)")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    options = parser.parse_args(arguments)
    options.only = some_of("only", options.only, PARTS)
    if min(options.turns, options.runs, options.saves) < 1:
        raise UserError("--turns, --runs and --saves: allowed: 1 or more")
    if options.folder is not None and not Path(options.folder).is_dir():
        raise UserError(f"--folder={options.folder} is no folder; make it, or name another")
    return options


def main() -> int:
    """Measures and prints tables and JSON."""
    options = parse()
    cores = choose_cores(options.threads)
    stay_on(cores)
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": list(cores),
        "turns": options.turns,
        "runs": options.runs,
        "saves": options.saves,
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
    }
    measures: Mapping[str, Callable[[], dict[str, Any]]] = {
        "commands": lambda: time_commands(COMMANDS, options.turns, cores),
        "run": lambda: time_run(options.runs, cores),
        "checkpoint": lambda: time_checkpoints(options.saves, cores, options.folder),
    }
    for name in (part for part in PARTS if part in options.only):
        result[name] = measures[name]()
        text = SECTIONS[name](result)
        print(f"\n{text}", flush=True)
        if options.write:
            write_performance(f"start-up {name}", text)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    run_command(main)
