"""TensorFlow's own errors about disks and memory, turned into one line that says what to do."""

from __future__ import annotations

import errno
import re

import tensorflow as tf

from common.errors import UserError, disk_error

_DISK_NUMBERS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "Read-only file system": errno.EROFS,
    "Not a directory": errno.ENOTDIR,
    "Is a directory": errno.EISDIR,
    "Input/output error": errno.EIO,
    "File name too long": errno.ENAMETOOLONG,
    "File too large": errno.EFBIG,
}


def user_error(error: Exception) -> UserError | None:
    """What a person can do about an error of the operating system or of TensorFlow.

    Args:
        error: what was raised while a run was read, computed or written.

    Returns:
        the error in one line, or None if it is of another kind: a bug.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return disk_error(error)
    if not isinstance(error, OSError | tf.errors.OpError):
        return None
    for words, number in _DISK_NUMBERS.items():
        if words in str(error):
            return disk_error(OSError(number, words, _place(error)))
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return UserError("the device's memory is full; choose a smaller experiment.global_batch or evaluation.batch")
    return None


def _place(error: Exception) -> str:
    """The file that the error is about, as far as it tells."""
    if isinstance(error, OSError) and error.filename is not None:
        return str(error.filename)
    found = re.search(r"(/[^\s;:'\"]+)", str(error))
    return found.group(1) if found else "writing"
