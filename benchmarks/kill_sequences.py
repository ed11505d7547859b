"""Starts a command, kills it at random moments, gives it again until it ends, and compares what it leaves."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.kill_checks import compare, contents, files_in, half_written, litter
from benchmarks.kill_scenarios import Scenario
from benchmarks.turns import ROOT
from common.errors import UserError
from common.files import atomic_folder

MOST_IN_A_ROW = 5
_POLL_SECONDS = 0.02
_EARLIEST_SECONDS = 0.02
_LEAST_LEFT = 0.1
_PATIENCE = (20.0, 300.0)
"""A command that takes longer than so many times its undisturbed duration, and these seconds, hangs."""


@dataclass(frozen=True)
class Moment:
    """When a command is killed.

    Args:
        kind: `start`: seconds after the start; `work`: seconds after the first sign of work; `write`: at a change in
            the folder, by its number from 1.
        value: the seconds or the number.
    """

    kind: str
    value: float

    def __str__(self) -> str:
        return f"write {self.value:.0f}" if self.kind == "write" else f"{self.kind} +{self.value:.2f} s"


@dataclass(frozen=True)
class Course:
    """How one start of a command went.

    Args:
        code: its exit code; None: it was killed as asked.
        seconds: from start to end.
        work_seconds: from start to the first sign of work; None: there was none.
        changes: how many changes of the folder were seen.
        survivors: its descendants that were not killed with it.
    """

    code: int | None
    seconds: float
    work_seconds: float | None
    changes: int
    survivors: tuple[psutil.Process, ...] = ()


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario is without kills.

    Args:
        seconds, work_seconds, changes: as in `Course`.
        contents: of its folder.
        answer: the last line on standard output.
    """

    seconds: float
    work_seconds: float
    changes: int
    contents: Mapping[str, str]
    answer: str

    def draw_moment(self, rng: random.Random, done: float = 0.0) -> Moment:
        """Draws when to kill the command.

        Args:
            rng: where the randomness comes from.
            done: share of the work that earlier starts of the command may have done, so that it takes less time now.
        """
        left = max(1.0 - done, _LEAST_LEFT)
        work = max(0.0, self.seconds - self.work_seconds) * left
        seconds = self.seconds if done == 0 else self.work_seconds + work
        changes = round(self.changes * left)
        where = rng.random()
        if where < 0.1:
            earliest = min(_EARLIEST_SECONDS, seconds / 2)
            return Moment("start", math.exp(rng.uniform(math.log(earliest), math.log(seconds))))
        if where < 0.3:
            return Moment("start", rng.uniform(0.0, seconds))
        if where < 0.65 or changes < 1:
            return Moment("work", rng.uniform(0.0, work))
        return Moment("write", rng.randint(1, changes))

    def share_of(self, course: Course) -> float:
        """Which share of the work a start of the command has done that was killed, if all it did is kept."""
        if course.work_seconds is None:
            return 0.0
        return (course.seconds - course.work_seconds) / max(self.seconds - self.work_seconds, 1e-9)


@dataclass
class Tally:
    """What happened to a scenario.

    Args:
        about: the scenario, in a few words.
        seconds: of the undisturbed run.
        kills: how many; `before` the first sign of work, `at_writes` of those after it right at a change.
        sequences: fresh folders.
        in_a_row: most kills of one sequence.
        too_late: how often the command ended before its moment came.
        failures: what went wrong, a line each.
    """

    about: str
    seconds: float
    kills: int = 0
    before: int = 0
    at_writes: int = 0
    sequences: int = 0
    in_a_row: int = 0
    too_late: int = 0
    failures: list[str] = field(default_factory=list)


class _Watch:
    """Sees what changes in a folder, and the first word of a command."""

    def __init__(self, folder: Path, output: Sequence[Path]) -> None:
        self._folder, self._output = folder, output
        self._stamp = self._take()
        self.changes = 0

    def _take(self) -> dict[Path, tuple[int, int]]:
        stamp = {}
        for path in files_in(self._folder):
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            stamp[path] = (about.st_mtime_ns, about.st_size)
        return stamp

    def works(self) -> bool:
        """Whether there is any sign of work so far; counts the changes."""
        stamp = self._take()
        if stamp != self._stamp:
            self._stamp = stamp
            self.changes += 1
        return self.changes > 0 or any(path.stat().st_size for path in self._output)


@dataclass(frozen=True)
class Starter:
    """Starts a command, watches it, and kills it when its moment has come.

    Args:
        folder: that it writes in.
        output: prefix of the two files that standard output and error go to.
        temporary: its folder for temporary files, which kills leave there.
    """

    folder: Path
    output: Path
    temporary: Path

    def run(self, words: Sequence[str], moment: Moment | None, whole_tree: bool = True, longest: float = 1e9) -> Course:
        """Runs a command to its end or to its moment.

        Args:
            words: the command.
            moment: when to kill it. Default: never.
            whole_tree: also kill descendants in other process groups, such as members of a sweep.
            longest: seconds after which it is killed as one that hangs, with exit code -9.
        """
        out, err = (self.output.with_suffix(suffix) for suffix in (".out", ".err"))
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}
        environment["SPOUT_DATA_DIR"] = str(self.temporary / "data")
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            watch = _Watch(self.folder, (out, err))
            begin = time.monotonic()
            process = subprocess.Popen(
                list(words),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                return self._watch(process, watch, begin, moment, whole_tree, longest)
            finally:
                if process.poll() is None:
                    _kill(process, whole_tree=True)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        watch: _Watch,
        begin: float,
        moment: Moment | None,
        whole_tree: bool,
        longest: float,
    ) -> Course:
        work: float | None = None
        while process.poll() is None:
            looked = time.monotonic()
            if watch.works() and work is None:
                work = time.monotonic() - begin
            now = time.monotonic() - begin
            if moment is not None and _has_come(moment, now, work, watch.changes):
                return Course(None, now, work, watch.changes, _kill(process, whole_tree))
            if now > longest:
                break
            # A large folder takes its time to look through, which the command needs itself.
            time.sleep(max(_POLL_SECONDS, 3 * (time.monotonic() - looked)))
        if process.poll() is None:
            _kill(process, whole_tree=True)
        if watch.works() and work is None:
            work = time.monotonic() - begin
        return Course(process.returncode, time.monotonic() - begin, work, watch.changes)


def _has_come(moment: Moment, seconds: float, work_seconds: float | None, changes: int) -> bool:
    if moment.kind == "start":
        return seconds >= moment.value
    if moment.kind == "work":
        return work_seconds is not None and seconds - work_seconds >= moment.value
    return changes >= moment.value


def _kill(process: subprocess.Popen[bytes], whole_tree: bool) -> tuple[psutil.Process, ...]:
    """Sends SIGKILL to a process group, and to all descendants if asked to; returns those that live on."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        descendants = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if whole_tree:
        for descendant in descendants:
            with contextlib.suppress(psutil.Error):
                descendant.kill()
        psutil.wait_procs(descendants, timeout=10)
    return tuple(descendant for descendant in descendants if descendant.is_running())


class Campaign:
    """The kills of one scenario.

    Args:
        scenario: what is killed.
        base: of the campaign: `inputs/`, and one folder for each scenario, in which `undisturbed/` stays.
        seed: determines the moments.
        words: the command for two folders, its own and that of the inputs.
    """

    def __init__(
        self, scenario: Scenario, base: Path, seed: int, words: Callable[[Path, Path], list[str]] | None = None
    ) -> None:
        self._scenario, self._base, self._seed = scenario, base, seed
        self._own = base / scenario.name
        # All runs have the same folder, so that paths in what they write are the same too.
        self._folder = self._own / "work"
        make = words or (lambda folder, inputs: [sys.executable, *scenario.words(folder, inputs)])
        self._words = make(self._folder, base / "inputs")
        self._expected: Undisturbed | None = None

    def _fresh(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for name, origin in self._scenario.begins_with.items():
            other, _, part = origin.partition("/")
            shutil.copytree(self._base / other / "undisturbed" / part, self._folder / name)

    def _starter(self, name: str) -> Starter:
        return Starter(self._folder, self._own / name, self._own / "temporary")

    def run_undisturbed(self) -> Undisturbed:
        """Runs the scenario without kills; its result stays in `undisturbed/`.

        Raises:
            UserError: the command fails, or leaves something that would be a failure after kills.
        """
        self._fresh()
        course = self._starter("undisturbed").run(self._words, None)
        said = self._own / "undisturbed.err"
        if course.code != 0:
            raise UserError(f"{self._scenario.name} fails undisturbed, with exit code {course.code}; see {said}")
        wrong = [*half_written(self._folder), *litter(self._folder)]
        if wrong:
            raise UserError(f"{self._scenario.name} undisturbed: {'; '.join(wrong)}; see {self._folder}")
        answer = _last_line(self._own / "undisturbed.out")
        work = course.seconds if course.work_seconds is None else course.work_seconds
        self._expected = Undisturbed(course.seconds, work, course.changes, contents(self._folder), answer)
        with atomic_folder(self._own / "undisturbed") as kept:
            shutil.copytree(self._folder, kept, dirs_exist_ok=True)
        return self._expected

    def kill(self, kills: int, tell: Callable[[], object] = lambda: None) -> Tally:
        """Kills the scenario so many times, in as many sequences as that takes.

        Args:
            kills: how many.
            tell: called after each.
        """
        expected = self._expected or self.run_undisturbed()
        tally = Tally(self._scenario.about, expected.seconds)
        most = 3 * kills + 5
        while tally.kills < kills and tally.sequences < most and len(tally.failures) < 3:
            rng = random.Random(f"{self._seed} {self._scenario.name} {tally.sequences}")
            in_a_row = min(rng.randint(1, MOST_IN_A_ROW), kills - tally.kills)
            self._sequence(rng, in_a_row, expected, tally, tell)
        return tally

    def _sequence(
        self, rng: random.Random, kills: int, expected: Undisturbed, tally: Tally, tell: Callable[[], object]
    ) -> None:
        """One fresh folder, some kills, and the comparison."""
        self._fresh()
        tally.sequences += 1
        done = 0.0
        moments: list[str] = []
        survivors: list[psutil.Process] = []
        course: Course | None = None
        wrong: list[str] = []
        longest = _PATIENCE[0] * expected.seconds + _PATIENCE[1]
        for number in range(kills):
            moment = expected.draw_moment(rng, done)
            starter = self._starter(f"attempt_{number}")
            course = starter.run(self._words, moment, whole_tree=rng.random() < 0.5, longest=longest)
            if course.code is not None:
                tally.too_late += 1
                break
            moments.append(str(moment))
            done += expected.share_of(course)
            survivors += course.survivors
            tally.kills += 1
            tally.before += course.work_seconds is None
            tally.at_writes += moment.kind == "write"
            wrong = half_written(self._folder)
            tell()
            if wrong:
                break
        tally.in_a_row = max(tally.in_a_row, len(moments))
        if not wrong:
            name = f"attempt_{len(moments)}"
            if course is None or course.code is None:
                course = self._starter(name).run(self._words, None, longest=longest)
            psutil.wait_procs(survivors, timeout=longest)
            wrong = self._wrong_at_the_end(course, name, expected)
        if wrong:
            tally.failures.append(self._failure(wrong, moments, tally.sequences - 1))

    def _wrong_at_the_end(self, course: Course, name: str, expected: Undisturbed) -> list[str]:
        if course.code != 0:
            said = _last_line(self._own / f"{name}.err")
            return [f"given again it ends with exit code {course.code}: {said}"]
        wrong = [*half_written(self._folder), *compare(expected.contents, contents(self._folder))]
        wrong += [line for line in litter(self._folder) if line not in wrong]
        if (answer := _last_line(self._own / f"{name}.out")) != expected.answer:
            wrong.append(f"its last line is {answer[:300]!r}")
        return wrong

    def _failure(self, wrong: Sequence[str], moments: Sequence[str], sequence: int) -> str:
        kept = self._own / f"failed_{sequence}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._folder, kept)
        for path in self._own.glob("attempt_*"):
            shutil.copy(path, kept.with_name(f"{kept.name}_{path.name}"))
        shown = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        return (
            f"{self._scenario.name}, seed {self._seed}, sequence {sequence}, killed at "
            f"[{', '.join(moments)}]: {shown} (kept in {kept})"
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
