"""Files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from common.errors import UserError

_WHILE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What an open file may raise, which names none."""


@contextlib.contextmanager
def _temporary_sibling(path: Path, make: Callable[[Path], int]) -> Iterator[Path]:
    """A temporary name beside `path`, for this process alone: what a killed one has left there is taken over.

    There are only as many such names as processes that write `path` at the same time, so that nothing piles up.

    Args:
        path: what is written.
        make: makes an empty file or folder, unless there is one, and opens it.
    """
    for name in (f".{path.name}.{number}.partial" for number in itertools.count()):
        temporary = path.with_name(name)
        try:
            descriptor = make(temporary)
        except OSError as error:
            # The name that the user knows.
            error.filename = str(path)
            raise
        try:
            if _is_claimed(descriptor, temporary):
                yield temporary
                return
        finally:
            os.close(descriptor)


def _is_claimed(descriptor: int, temporary: Path) -> bool:
    """Locks what was opened under a temporary name; false if another process has it, or has just renamed it."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(temporary))
    except (BlockingIOError, FileNotFoundError):
        return False
    except (ImportError, OSError):
        # Windows, or a file system without locks: two writers of one path at once are up to the user.
        return True


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _open_folder(path: Path) -> int:
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        # Who wrote before may have removed it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def made_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Makes a folder and those above it, where they are missing; on any error those are removed again that are empty.

    Args:
        path: the folder.

    Yields:
        the folder.
    """
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    except BaseException:
        for folder in missing:
            # The innermost may not have been made at all, of a name that is too long.
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path to write to; renames it to `path` at the end, or removes it on any error.

    Args:
        path: where the whole file shall stand; its folder is made if missing.

    Yields:
        the temporary path, in the same folder.
    """
    path = Path(path)
    with made_folder(path.parent), _temporary_sibling(path, _open_file) as temporary:
        try:
            os.truncate(temporary, 0)
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            # Once it is renamed, a file of that name is another process's.
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and (
                str(error.filename) == str(temporary) or (error.filename is None and error.errno in _WHILE_WRITING)
            ):
                # The name that the user knows.
                error.filename = str(path)
            raise
        _sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary folder to fill; renames it to `path` at the end, or removes it on any error.

    Args:
        path: where the whole folder shall stand. One that is there is replaced at the end; of several processes that
            do so at the same time the last one's stays.

    Yields:
        the temporary folder, below one beside `path`.

    Raises:
        UserError: a path without a name, such as `.`, which nothing can be renamed to.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise UserError(
            f"{path} is replaced as a whole, which the folder that a command runs in cannot be; name another"
        )
    with made_folder(path.parent):
        with _temporary_sibling(path, _open_folder) as claimed:
            try:
                _empty(claimed)
                new = claimed / "new"
                new.mkdir()
                yield new
                _replace_folder(path, new, claimed)
            finally:
                shutil.rmtree(claimed, ignore_errors=True)
        _sync_folder(path.parent)


def _replace_folder(path: Path, new: Path, beside: Path) -> None:
    """Renames `new` to `path`; what is there, again and again if others do the same, goes into the folder `beside`."""
    for old in (beside / f"old_{number}" for number in itertools.count()):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            os.rename(new, path)
            return
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                # Another process has just put its own there.
                continue
            with contextlib.suppress(OSError):
                os.rename(old, path)
            raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a whole text file (UTF-8), or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a whole binary file, or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    # Paths of other than local files bring their own way to open them.
    with path.open("rb") if isinstance(path, PurePath) and hasattr(path, "open") else open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
