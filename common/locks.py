"""Keeps two processes from writing in the same folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """Locks a folder against other users of this function; the lock goes with the process, however that ends.

    Where locks are not to be had (Windows, some network file systems) nothing is locked.

    Args:
        folder: the folder, or a file; it must be there. Nothing is left in it.
        wait: wait until another process is done; else give up at once.

    Raises:
        BlockingIOError: if another process has the lock and `wait` is false.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # A file system without locks: as on Windows, two runs at once are up to the user.
            pass
        yield
    finally:
        os.close(descriptor)
