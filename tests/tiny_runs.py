"""Tiny runs of the command, for the tests of training: IB-GAN of width 2 on the synthetic dSprites."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tiny_bindings import TINY

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300

PAIRS = (
    "data.source = 'synthetic'",
    "data.options = {'size': 64, 'num_train': 20}",
    "iiae.width = 1",
    "iiae.exclusive_size = 1",
    "iiae.shared_size = 2",
    "experiment.global_batch = 2",
)
"""The same for gin/iiae_mnist_cdcb_64.gin."""

PLAIN = (
    "data.source = 'synthetic'",
    "factor_vae.latent_size = 3",
    "factor_vae.discriminator_units = 8",
    # By the published one the pictures are a uniform gray at first, and hardly a weight moves.
    "factor_vae.weight_initialization = 'pytorch'",
    "experiment.global_batch = 8",
    "experiment.evaluate_every = 0",
    "experiment.best_metric = None",
    "evaluation.metrics = ()",
)
"""Bindings that turn gin/factor_vae_dsprites.gin into the model whose graph takes the least time."""

EVENTFUL = (
    *TINY,
    "experiment.total_steps = 80",
    "experiment.chunk_steps = 2",
    "experiment.log_every = 2",
    "experiment.checkpoint_every = 10",
    "experiment.picture_every = 40",
    "experiment.evaluate_every = 40",
    "experiment.best_metric = 'ibgan_factor_vae'",
    "evaluation.metrics = ('ibgan_factor_vae',)",
    "evaluation.preset = 'fast'",
)
"""Bindings of a run in which everything happens that can happen."""


def arguments(bindings: Sequence[str] = TINY, *more: str) -> list[str]:
    """The command line of a run, without its folder."""
    return ["--gin_file=gin/ibgan.gin", *(f"--gin_param={binding}" for binding in bindings), *more]


def start(*flags: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Starts `run.py` in the suite's folder."""
    return subprocess.Popen(
        [sys.executable, "run.py", *flags],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*flags: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `run.py` to its end."""
    process = start(*flags, environment=environment, **options)
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(flags, process.returncode, out, err)


def lines_of(path: Path) -> int:
    """The number of whole lines of a file; 0 if it is not there."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def stop_at(condition: Callable[[], bool], number: signal.Signals, *flags: str) -> subprocess.CompletedProcess[str]:
    """Starts `run.py`, sends it a signal as soon as a condition holds, and waits for its end."""
    process = start(*flags)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                out, err = process.communicate()
                pytest.fail(f"the run ended before it could be stopped, with {process.returncode}:\n{out}\n{err}")
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(flags, process.returncode, out, err)


def finished_run(factory: pytest.TempPathFactory) -> Path:
    """A finished run of `EVENTFUL`, made once for all test processes: do not write into it, take a `copy_of` it.

    Beside the run folder `run` lie `stdout` and `stderr` of the command.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "finished_run"
    with open(base / "finished_run.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stdout").is_file():
            result = run(*arguments(EVENTFUL), f"--run_dir={folder / 'run'}")
            assert result.returncode == 0, result.stderr
            (folder / "stderr").write_text(result.stderr, encoding="utf-8")
            (folder / "stdout").write_text(result.stdout, encoding="utf-8")
    return folder / "run"


def copy_of(run_folder: Path, target: Path) -> Path:
    """A copy of a run folder that a test may change."""
    shutil.copytree(run_folder, target)
    return target


def last_json(text: str) -> Any:
    """The last line of a command's standard output, as JSON."""
    return json.loads(text.strip().splitlines()[-1])


def truncate(path: Path) -> None:
    """Cuts a file in half."""
    os.truncate(path, path.stat().st_size // 2)
