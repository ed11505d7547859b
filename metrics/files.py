"""Reads the arrays that the command scores from an `.npz` file; nothing in it is ever unpickled."""

from __future__ import annotations

import errno
import math
import zipfile
from pathlib import Path

import numpy as np

from common.damage import NPZ_DAMAGE
from common.errors import UserError, near_matches
from common.output import say
from metrics.inputs import KEYS

_MOST_UNPACKED = 1_100
"""Deflate makes a thousandth of zeros, and not less."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that the metrics know; others are named on standard error and left out.

    Args:
        path: a file written by `numpy.savez` or `numpy.savez_compressed`.

    Raises:
        UserError: if the file is not whole, is of another kind, or holds pickled objects.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the .npz file itself")
    try:
        with path.open("rb") as handle:
            _check_kind(handle.read(6), path)
        with np.load(path, allow_pickle=False) as file:
            unknown = [name for name in file.files if name not in KEYS]
            arrays = {name: _read_array(file, name, path) for name in file.files if name in KEYS}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        # A seek to a place that a broken archive names; other errors of the disk are told as they are.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise UserError(f"{path} is not a whole .npz file ({error}); write or copy it again") from None
    except NPZ_DAMAGE as error:
        # What numpy does not know it takes for a pickle, and advises to trust it.
        why = "it does not begin as one" if "pickle" in str(error) else error
        raise UserError(f"{path} is not a whole .npz file ({why}); write or copy it again") from None
    if unknown:
        near = "".join(f"; {name!r}{near_matches(name, tuple(KEYS))}" for name in unknown if _is_near(name))
        say(f"note: {path} holds arrays that no metric reads: {', '.join(unknown)}{near}")
    return arrays


def _check_kind(magic: bytes, path: Path) -> None:
    """Refuses what does not begin as a zip archive does, before numpy looks at it."""
    if magic.startswith(b"\x93NUMPY"):
        raise UserError(
            f"{path} holds one array without a name; --codes needs an .npz file with named arrays, as numpy.savez "
            "writes it"
        )
    if not magic.startswith(b"PK"):
        raise UserError(f"{path} is {'not an .npz file' if magic else 'empty'}; write it with numpy.savez")


def _read_array(file: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        if file.zip is not None:
            _check_claim(file.zip, name)
        array = file[name]
    except MemoryError:
        raise UserError(f"{path}: the array {name!r} does not fit into memory; give fewer groups or images") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UserError(
                f"{path}: the array {name!r} holds Python objects, which are never unpickled; convert it to numbers "
                f"first, such as numpy.asarray({name}, dtype=float)"
            ) from None
        raise UserError(f"{path}: the array {name!r} is damaged ({error}); write or copy the file again") from None
    except (OSError, *NPZ_DAMAGE) as error:
        raise UserError(f"{path}: the array {name!r} is damaged ({error}); write or copy the file again") from None
    # numpy hands out the bytes of a member that does not begin as an array does.
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {name!r} is not an array; write the file with numpy.savez")
    return array


def _check_claim(archive: zipfile.ZipFile, name: str) -> None:
    """Refuses a header that claims more than the archive holds, for which numpy would take the memory first."""
    member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    if member.file_size > _MOST_UNPACKED * (member.compress_size + 100):
        raise ValueError(f"it claims to unpack {member.compress_size:,} bytes to {member.file_size:,}")
    with archive.open(member) as handle:
        if handle.read(6) != b"\x93NUMPY":
            return
        handle.seek(0)
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(handle)
        size = handle.tell() + math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or (not dtype.hasobject and size != member.file_size):
            raise ValueError(f"an array of shape {shape} should take {size:,} bytes, not {member.file_size:,}")


def _is_near(name: str) -> bool:
    return "did you mean" in near_matches(name, tuple(KEYS))
