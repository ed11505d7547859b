"""Gives commands bad input in this process, and tells what came of it: the exit code, what was said, what was left."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import io
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.errors import run_command


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did.

    Args:
        code: its exit code; 1 if it ended with an error that nobody caught.
        out: what it wrote to standard output.
        err: the same of standard error, with the traceback of an error that nobody caught.
        changes: files and folders that are new, gone or changed, relative to the folder.
    """

    code: int
    out: str
    err: str
    changes: tuple[str, ...]


def outcome_of(module: str, arguments: Sequence[str], folder: Path) -> Outcome:
    """Runs a command in this process, as its `__main__` does, with a folder as the present one.

    Args:
        module: that has its `main`, such as `data_gen.mnist` or `run`.
        arguments: what follows the command's name.
        folder: where it runs; what it changes below is told.
    """
    before = _state_of(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_present_folder(folder))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        # Elsewhere they are printed once; here none may go unseen.
        stack.enter_context(warnings.catch_warnings())
        code = _code_of(module, arguments)
    return Outcome(code, out.getvalue(), err.getvalue(), _differences(before, _state_of(folder)))


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Lets no file of this process become larger: what a full disk does, which a test cannot have."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _code_of(module: str, arguments: Sequence[str]) -> int:
    command = importlib.import_module(module)
    if module == "run":
        _forget_flags(command)
    kept, sys.argv = sys.argv, [f"{module}.py", *arguments]
    try:
        run_command(command.main)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return 1
    finally:
        sys.argv = kept


def _forget_flags(command: object) -> None:
    """absl keeps the flags of an earlier call."""
    flags = command.FLAGS  # type: ignore[attr-defined]
    for name in flags:
        flags[name].unparse()
        flags[name].present = 0
    flags.unparse_flags()


@contextlib.contextmanager
def _present_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _state_of(folder: Path) -> Mapping[str, str]:
    """All below a folder: files with a checksum, links with what they name."""
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))
