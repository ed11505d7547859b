"""Runs the members of a sweep as processes of their own, each on its share of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from common.cores import available_cores
from common.errors import EXIT_USER_ERROR, UserError
from common.locks import locked
from common.output import say
from training.configuration import ROOT
from training.sweep_member import VARIABLE
from training.sweep_plan import Member, Plan
from training.sweep_states import State, state_of
from training.train import Stop

_PROGRAM = ROOT / "run.py"
_POLL_SECONDS = 0.2
_BUSY_SECONDS = 5.0
_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Share:
    """A worker's part of the machine.

    Args:
        cores: processor cores; None: all.
        gpus: GPUs as `CUDA_VISIBLE_DEVICES` names them; None: all that there are.
    """

    cores: tuple[int, ...] | None = None
    gpus: tuple[str, ...] | None = None

    def describe(self) -> str:
        """In words for people; empty if it is the whole machine."""
        parts = [f"GPU {','.join(self.gpus)}"] if self.gpus else []
        if self.cores is not None:
            parts.append(f"{len(self.cores)} core{'s' if len(self.cores) > 1 else ''}")
        return f" on {', '.join(parts)}" if parts else ""


@dataclass
class Outcome:
    """How a sweep ended.

    Args:
        failed: name of a member to why.
        signal: that stopped it, or None.
    """

    failed: dict[str, str] = field(default_factory=dict)
    signal: int | None = None


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; found without TensorFlow."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        # CUDA itself stops at the first that is not valid.
        return [] if "-1" in names else [name for name in names if name]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.splitlines() if line.strip().isdigit()]


def check_parallel(count: int, cores: int | None = None) -> None:
    """Refuses more workers than there are cores, or none; `cores` are those of this machine by default."""
    most = available_cores() if cores is None else cores
    if not 1 <= count <= most:
        raise UserError(f"--parallel is {count}; this machine has cores for 1 to {most}")


def shares_of(parallel: int | None, gpus: Sequence[str], cores: Sequence[int]) -> list[Share]:
    """Divides a machine among workers.

    Args:
        parallel: how many workers; None: one for each GPU, or a single one.
        gpus: all GPUs. Several workers share them equally; more workers than GPUs use them in turn.
        cores: all cores, which several workers share equally.

    Raises:
        UserError: more workers than cores.
    """
    count = parallel if parallel is not None else min(max(1, len(gpus)), len(cores))
    check_parallel(count, len(cores))
    if count == 1:
        return [Share()]
    return [
        Share(
            tuple(_part(cores, number, count)),
            _gpus_of(gpus, number, count),
        )
        for number in range(count)
    ]


def _gpus_of(gpus: Sequence[str], number: int, count: int) -> tuple[str, ...] | None:
    if not gpus:
        return None
    return (gpus[number % len(gpus)],) if count > len(gpus) else tuple(_part(gpus, number, count))


def _part(items: Sequence[Any], number: int, count: int) -> Sequence[Any]:
    return items[number * len(items) // count : (number + 1) * len(items) // count]


def run_members(
    plan: Plan, folder: Path, gin_files: Sequence[str], gin_params: Sequence[str], parallel: int | None
) -> Outcome:
    """Runs all members that are not finished.

    A member that fails is noted and the others go on. SIGINT and SIGTERM are passed on, and the checkpoints waited for.

    Args:
        plan: of the sweep.
        folder: of the sweep.
        gin_files, gin_params: as given, for all members.
        parallel: see `shares_of`.

    Raises:
        UserError: more workers than cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    common = [f"--gin_file={file}" for file in gin_files] + [f"--gin_param={binding}" for binding in gin_params]
    workers = _Workers(plan, folder, common, shares_of(parallel, visible_gpus(), cores))
    stop = Stop()
    with stop.listening():
        try:
            return workers.run(stop)
        finally:
            workers.kill()


@dataclass
class _Job:
    """A member that runs."""

    member: Member
    share: Share
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    begin: float


class _Workers:
    """The members that wait, run and have failed."""

    def __init__(self, plan: Plan, folder: Path, common: Sequence[str], shares: list[Share]) -> None:
        self._folder, self._common, self._free = folder, list(common), shares
        self._options = dict(zip((member.name for member in plan.members), plan.options, strict=True))
        self._count = len(plan.members)
        self._waiting = [member for member in plan.members if self._state(member).name != "finished"]
        self._done = self._count - len(self._waiting)
        self._busy_elsewhere: dict[str, float] = {}
        self._jobs: list[_Job] = []
        self._outcome = Outcome()
        say(
            f"{_members(self._count)} in {folder}, {self._done} finished before; {len(shares)} at a time"
            f"{shares[0].describe() and f', each{shares[0].describe()}'}"
        )

    def run(self, stop: Stop) -> Outcome:
        """Until nothing is left to do, or a signal has ended it."""
        while self._jobs or (self._waiting and stop.signal is None):
            if stop.signal is None:
                self._start_some()
            elif self._outcome.signal is None:
                self._pass_on(stop.signal)
            for job in [job for job in self._jobs if job.process.poll() is not None]:
                self._jobs.remove(job)
                self._free.append(job.share)
                self._ended(job)
            time.sleep(_POLL_SECONDS)
        self._outcome.signal = stop.signal
        return self._outcome

    def kill(self) -> None:
        """Ends what still runs, at once; after a regular end that is nothing."""
        for job in self._jobs:
            job.process.kill()
            job.process.wait()

    def _pass_on(self, number: int) -> None:
        self._outcome.signal = number
        say(f"{signal.Signals(number).name}: waiting for the checkpoints of {_members(len(self._jobs))}")
        for job in self._jobs:
            job.process.send_signal(signal.SIGTERM)

    def _state(self, member: Member) -> State:
        return state_of(self._folder / member.name, self._options[member.name])

    def _start_some(self) -> None:
        now = time.monotonic()
        for member in list(self._waiting):
            if not self._free:
                return
            if self._busy_elsewhere.get(member.name, 0.0) > now:
                continue
            if _is_locked(self._folder / member.name):
                self._comes_later(member)
                continue
            self._waiting.remove(member)
            # Another machine may have finished it since the sweep began.
            if self._state(member).name == "finished":
                self._finished(member, "elsewhere")
            else:
                self._start(member, self._free.pop(0))

    def _comes_later(self, member: Member) -> None:
        """Somebody else trains this member: others come first, and then it is asked for again and again."""
        if member.name not in self._busy_elsewhere:
            say(f"{_clock()}  {member.name}: another process trains it")
        self._busy_elsewhere[member.name] = time.monotonic() + _BUSY_SECONDS

    def _start(self, member: Member, share: Share) -> None:
        log = self._folder / "logs" / f"{member.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        bindings = [f"--gin_param={binding}" for binding in member.gin_bindings]
        command = [sys.executable, str(_PROGRAM), *self._common, *bindings, f"--run_dir={self._folder / member.name}"]
        environment = {**os.environ, VARIABLE: str(member.index)}
        if share.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
        with open(log, "ab") as output, _on_cores(share.cores):
            start = output.seek(0, os.SEEK_END)
            process = _popen(command, environment, output)
        self._jobs.append(_Job(member, share, process, log, start, time.monotonic()))
        say(f"{_clock()}  {member.name}: started{share.describe()}, log {log}")

    def _ended(self, job: _Job) -> None:
        member, code = job.member, job.process.returncode
        if job.process.stdin is not None:
            job.process.stdin.close()
        if code == 0 and self._state(member).name == "finished":
            self._finished(member, f"in {_duration(time.monotonic() - job.begin)}")
            return
        reason = _last_words(job.log, job.log_start)
        if self._outcome.signal is not None and code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            say(f"{_clock()}  {member.name}: stopped")
        elif code == EXIT_USER_ERROR and "another process trains in" in reason:
            self._waiting.append(member)
            self._comes_later(member)
        else:
            ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._outcome.failed[member.name] = f"{ended}: {reason} (log {job.log})"
            say(f"{_clock()}  {member.name}: FAILED, {self._outcome.failed[member.name]}")

    def _finished(self, member: Member, how: str) -> None:
        self._done += 1
        result = self._state(member).result or {}
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.get("scores", {}).items())
        say(f"{_clock()}  {member.name}: finished {how} ({self._done} of {self._count}){scores and f'; {scores}'}")


def _popen(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process outside of this terminal's group, so that Ctrl-C comes to it once and as SIGTERM.

    It ends with this process, however that ends: see `training.sweep_member`.
    """
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextmanager
def _on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Within this context this thread, and so the processes that it starts, keep to some cores, where that is known."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _is_locked(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        with locked(folder, wait=False):
            return False
    except BlockingIOError:
        return True


def _last_words(log: Path, start: int) -> str:
    """The last error in a log from its byte `start` on, or else its last line."""
    with open(log, "rb") as handle:
        handle.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        text = handle.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")


def _members(count: int) -> str:
    return f"{count} member{'' if count == 1 else 's'}"


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
