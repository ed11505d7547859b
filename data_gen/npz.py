"""Large `.npz` files: written block by block, gone on with after a kill, read block by block; never pickles.

A file is an uncompressed archive. When a stopped run goes on, the blocks that are on the disk already, whole by their
checksums, go through the archive's writer once more, so that its own checksum comes out right; nothing is made twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.damage import NPZ_DAMAGE
from common.errors import UserError

# The first moment that an archive can tell: equal contents shall be equal bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


# What is turned into stored numbers at a time.
_PIECE_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class LargeArray:
    """An array that is written in blocks of rows and never held whole.

    Args:
        shape: of the whole array.
        dtype: of its numbers, as in `<f8`.
        row_axes: how many leading axes count rows; the others are one row.
        block_rows: rows of a block, at least 1; the last block may be shorter. What a kill can cost.
        rows: makes the rows from one number on, in order, in arrays of at most a block that end where a block ends.
        encode: turns some rows into the numbers that are stored. Default: as they are.
    """

    shape: tuple[int, ...]
    dtype: str
    row_axes: int
    block_rows: int
    rows: Callable[[int], Iterator[NDArray[Any]]]
    encode: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return math.prod(self.shape[: self.row_axes])

    @property
    def row_bytes(self) -> int:
        """What a row takes in the file."""
        return math.prod(self.shape[self.row_axes :]) * np.dtype(self.dtype).itemsize

    def block_bytes(self, block: int) -> int:
        """What a block takes in the file; 0 beyond the last one."""
        return max(0, min(self.block_rows, self.num_rows - block * self.block_rows)) * self.row_bytes


def write_npz(
    path: Path,
    small: Mapping[str, NDArray[Any]],
    name: str,
    large: LargeArray,
    checksums: Sequence[int],
    keep: Callable[[list[int]], None],
) -> None:
    """Writes an archive of small arrays and one large one, or goes on with one that was stopped.

    Args:
        path: the file; it may hold a part from an earlier run with the same arguments.
        small: arrays that are written first, by name.
        name: of the large array.
        large: how it is made.
        checksums: what `keep` was last given by the run that was stopped, empty for a new file.
        keep: called with the checksums of all blocks so far, after each block, when it is safely on the disk.
    """
    with open(path, "r+b" if path.exists() else "w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for key, array in small.items():
                with archive.open(_member(key), "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open(_member(name), "w", force_zip64=True) as member:
                header = {"descr": np.dtype(large.dtype).str, "fortran_order": False, "shape": large.shape}
                np.lib.format.write_array_header_1_0(member, header)
                _write_blocks(file, member, large, _whole_blocks(path, file.tell(), large, checksums), keep)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy", _NO_TIME)
    info.external_attr = 0o644 << 16
    return info


def _whole_blocks(path: Path, start: int, large: LargeArray, checksums: Sequence[int]) -> list[int]:
    """The checksums of the leading blocks that a file holds undamaged."""
    found: list[int] = []
    with open(path, "rb") as file:
        file.seek(start)
        for block, checksum in enumerate(checksums):
            if zlib.crc32(file.read(large.block_bytes(block))) != checksum:
                break
            found.append(checksum)
    return found


def _write_blocks(
    file: IO[bytes], member: IO[bytes], large: LargeArray, done: list[int], keep: Callable[[list[int]], None]
) -> None:
    for block in range(len(done)):
        # Read and written back in place: so the archive's writer counts it and has it in its checksum.
        position = file.tell()
        data = file.read(large.block_bytes(block))
        file.seek(position)
        member.write(data)
    checksums, checksum, size = list(done), 0, 0
    for rows in large.rows(len(done) * large.block_rows):
        step = max(1, _PIECE_BYTES // large.row_bytes)
        for start in range(0, len(rows), step):
            data = large.encode(rows[start : start + step]).astype(large.dtype, copy=False).tobytes()
            member.write(data)
            checksum, size = zlib.crc32(data, checksum), size + len(data)
        block_bytes = large.block_bytes(len(checksums))
        if size > block_bytes:
            raise ValueError(f"block {len(checksums)} got {size:,} bytes; it has place for {block_bytes:,}")
        if size == block_bytes:
            file.flush()
            os.fsync(file.fileno())
            checksums.append(checksum)
            keep(checksums)
            checksum, size = 0, 0
    if size or large.block_bytes(len(checksums)):
        raise ValueError(f"rows are missing after block {len(checksums)} of an array of shape {large.shape}")


ADVICE = "get or make the file anew"
"""What messages about damaged files say is to be done."""


def array_names(path: Path, advice: str = ADVICE) -> list[str]:
    """The names of the arrays in an archive; `UserError` if it is damaged or no archive."""
    with _opened(path, advice) as archive:
        return _names(archive)


def array_header(path: Path, name: str, advice: str = ADVICE) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and checksum (CRC-32) of an array, without reading its contents.

    Args:
        path: the archive, compressed or not.
        name: of the array.
        advice: what messages about a damaged file say is to be done. Default: `ADVICE`.

    Raises:
        UserError: if the archive is damaged, has no such array, or holds a pickle there.
    """
    with _opened(path, advice) as archive:
        if name not in _names(archive):
            held = ", ".join(_names(archive)[:8]) or "nothing"
            raise UserError(f"{path}: no array {name!r} in it (it holds {held}); {advice}")
        with _damage_reported(path, advice), archive.open(f"{name}.npy") as member:
            shape, dtype = _read_header(member)
            info = archive.getinfo(f"{name}.npy")
            size = member.tell() + math.prod(shape) * dtype.itemsize
            if size != info.file_size:
                raise ValueError(f"{name} of shape {shape} should take {size:,} bytes, not {info.file_size:,}")
            return shape, dtype, info.CRC


def read_array(path: Path, name: str, advice: str = ADVICE) -> NDArray[Any]:
    """An array, whole in memory; arguments and errors as those of `array_header`."""
    shape, dtype, _ = array_header(path, name, advice)
    blocks = list(read_blocks(path, name, max(1, shape[0] if shape else 1), advice))
    return blocks[0].reshape(shape) if blocks else np.empty(shape, dtype)


def read_blocks(path: Path, name: str, block_rows: int, advice: str = ADVICE) -> Iterator[NDArray[Any]]:
    """The rows of an array in blocks, so that it need not fit the memory.

    Args:
        path: the archive, compressed or not.
        name: of the array.
        block_rows: rows of a block, at least 1.
        advice: what messages about a damaged file say is to be done. Default: `ADVICE`.

    Yields:
        arrays of at most so many rows.

    Raises:
        UserError: as `array_header`; also at the end, if the contents do not fit the archive's checksum.
    """
    shape, dtype, _ = array_header(path, name, advice)
    rows, tail = (shape[0], shape[1:]) if shape else (1, ())
    row_bytes = math.prod(tail) * dtype.itemsize
    with _opened(path, advice) as archive, _damage_reported(path, advice), archive.open(f"{name}.npy") as member:
        _read_header(member)
        for start in range(0, rows, block_rows):
            count = min(block_rows, rows - start)
            data = member.read(count * row_bytes)
            if len(data) != count * row_bytes:
                raise EOFError("the archive ends too early")
            yield np.frombuffer(data, dtype).reshape(count, *tail)
        # The checksum is compared at the end of the member, so one more byte has to be asked for.
        if member.read(1):
            raise ValueError(f"{name} is longer than its header says")


def read_npy(path: Path, advice: str = ADVICE) -> NDArray[Any]:
    """The array of an `.npy` file, whole in memory; its size is compared with the file's before memory is taken.

    Args:
        path: the file.
        advice: what messages about a damaged file say is to be done. Default: `ADVICE`.

    Raises:
        UserError: if the file is damaged, is no such file, or holds a pickle.
    """
    with _damage_reported(path, advice):
        with open(path, "rb") as file:
            shape, dtype = _read_header(file, columns=True)
            size = file.tell() + math.prod(shape) * dtype.itemsize
        if size != path.stat().st_size:
            raise ValueError(f"an array of shape {shape} should take {size:,} bytes")
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


@contextlib.contextmanager
def _opened(path: Path, advice: str) -> Iterator[zipfile.ZipFile]:
    with _damage_reported(path, advice):
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


@contextlib.contextmanager
def _damage_reported(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except NPZ_DAMAGE as error:
        size = os.path.getsize(path)
        raise UserError(f"{path}: damaged or truncated ({size:,} bytes; {error}); delete it and {advice}") from error
    except OSError as error:
        # A seek to a place that a broken archive names; other errors of the disk are told as they are.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise UserError(f"{path}: damaged or truncated ({error}); delete it and {advice}") from error


def _read_header(member: IO[bytes], columns: bool = False) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Reads the header of an array: shape and type. Pickled objects are refused, and column order unless asked for."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"unknown version {version} of the npy format")
    if dtype.hasobject:
        raise ValueError("an array of pickled objects where numbers were expected")
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of the shape {shape}")
    if fortran_order and len(shape) > 1 and not columns:
        raise ValueError("an array in column order")
    return shape, dtype
