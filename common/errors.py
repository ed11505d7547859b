"""Errors that end in one clear line, and the border where they are printed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to, or change its permissions",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another path",
    errno.EEXIST: "a file stands where a folder is needed; choose another path, or remove it",
    errno.EISDIR: "this is a folder where a file was expected; choose another path",
    errno.EFBIG: "a file may not become that large here; raise the limit (ulimit -f), or choose another folder",
    errno.EIO: "input/output error; check the disk",
    errno.ELOOP: "a link that leads back to itself; choose another path",
    errno.ENAMETOOLONG: "this name is too long for the file system; choose a shorter one",
}


class UserError(Exception):
    """Input that the user can mend: the message says what was given, what is allowed, what to do next."""


def disk_error(error: OSError) -> UserError | None:
    """Turns an operating-system error about files into a `UserError`; `None` if it is of another kind."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return UserError(f"{error.filename}: no such file or folder; check the path")
    advice = _DISK_ERRORS.get(error.errno or 0)
    if advice is None:
        return None
    where = error.filename if error.filename is not None else "writing"
    return UserError(f"{os.fspath(where) if not isinstance(where, int) else 'writing'}: {advice}")


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and exits: bad input is one line on standard error and exit code 2, never a traceback.

    Args:
        main: the command; its return value is the exit code (`None` is 0).
    """
    _open_closed_streams()
    interrupts = _noted_interrupts()
    try:
        code = main() or 0
        sys.stdout.flush()
    except UserError as error:
        code = fail(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away (`... | head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        known = disk_error(error)
        if known is None:
            raise
        code = fail(known)
    except MemoryError as error:
        wanted = f" ({error})" if str(error) else ""
        code = fail(
            UserError(f"this does not fit into memory{wanted}; choose smaller numbers, or close other programs")
        )
    except Exception:
        # Ctrl-C in a function that C++ calls may arrive as an error of another kind.
        if not interrupts:
            raise
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _noted_interrupts() -> list[int]:
    """Notes Ctrl-C in this list from now on, beside what it does anyway; a handler of someone else's is left alone."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    return noted


def _open_closed_streams() -> None:
    """Gives a command that was started without some of the three standard streams (`>&-`) the null device for them.

    Otherwise the next file that is opened takes their numbers, and what is printed goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def fail(error: BaseException) -> int:
    """Prints an error as one line and returns the exit code of bad input."""
    line = " ".join(str(error).split())
    print(f"error: {line}", file=sys.stderr)
    return EXIT_USER_ERROR


def near_matches(given: str, allowed: list[str] | tuple[str, ...]) -> str:
    """A hint such as `; did you mean 'beta'?`, or the allowed names if none is near."""
    import difflib

    near = difflib.get_close_matches(given, allowed, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(name) for name in near) + "?"
    return "; allowed: " + ", ".join(sorted(allowed))
