"""Reads arrays of numbers from MATLAB files of version 5 to 7.2; whatever is in a file, it is read or refused.

`scipy.io.loadmat` can end the whole process on a damaged file. This reader knows numbers in full arrays only, checks
every size before it believes it, and runs nothing.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.damage import read_claimed
from common.errors import UserError
from data_gen.published import looks_like_a_page

ADVICE = "get the file anew"
"""What messages about damaged files say is to be done."""

_HEADER_BYTES = 128
_PIECE_BYTES = 16 << 20
_MOST_BYTES = 8 << 30
_MOST_DIMENSIONS = 32
_MATRIX, _PACKED = 14, 15
_COMPLEX = 0x08
# How numbers are stored, and what the class of an array says they are.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}


class _DamagedError(ValueError):
    """What is in the file cannot be right; the message says where."""


def read_mat(path: Path, names: Collection[str], advice: str = ADVICE) -> dict[str, NDArray[Any]]:
    """Reads arrays of numbers.

    Args:
        path: the file.
        names: of the arrays; others are passed over.
        advice: what messages say is to be done. Default: `ADVICE`.

    Returns:
        the arrays by name, in MATLAB's order of the axes, with the first axis running fastest.

    Raises:
        UserError: if the file is damaged, of another version, lacks an array, or holds something else in its place.

    Source: "MAT-File Format", MathWorks, chapter on level 5.
    """
    with open(path, "rb") as file:
        return read_open_mat(file, os.fspath(path), names, advice)


def read_open_mat(file: IO[bytes], called: str, names: Collection[str], advice: str) -> dict[str, NDArray[Any]]:
    """Reads arrays of numbers from an open file, which `called` names in messages; all else as `read_mat`."""
    header = file.read(_HEADER_BYTES)
    if looks_like_a_page(header):
        raise UserError(f"{called} is a web page, not the file; {advice}")
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    version = struct.unpack(f"{order}H", header[124:126])[0] if order else 0
    if order is None or version != 0x0100:
        raise UserError(f"{called} is no MATLAB file of version 5 to 7.2 ({len(header)} bytes of a header); {advice}")
    found: dict[str, NDArray[Any]] = {}
    try:
        while len(found) < len(names) and _read_element(file, order, names, found):
            pass
    except (_DamagedError, zlib.error) as error:
        raise UserError(f"{called}: damaged or truncated ({error}); {advice}") from error
    except MemoryError as error:
        raise UserError(f"{called}: does not fit into memory; close other programs") from error
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{called} has no array {' and no array '.join(missing)}; {advice}")
    return found


def _read_element(file: IO[bytes], order: str, names: Collection[str], found: dict[str, NDArray[Any]]) -> bool:
    """Reads the next variable of a file; whether there was one."""
    tag = file.read(8)
    if not tag:
        return False
    if len(tag) < 8:
        raise _DamagedError("it ends within a tag")
    kind, size = struct.unpack(f"{order}II", tag)
    end = file.tell() + size
    if kind == _PACKED:
        unpacked = _Unpacked(file, size)
        inner = unpacked.read(8)
        kind, length = struct.unpack(f"{order}II", inner) if len(inner) == 8 else (0, 0)
        if kind != _MATRIX:
            raise _DamagedError("a packed variable that is no array")
        _read_matrix(unpacked, length, order, names, found)
    elif kind == _MATRIX:
        _read_matrix(file, size, order, names, found)
    else:
        raise _DamagedError(f"a variable of the unknown kind {kind}")
    file.seek(end)
    return True


class _Unpacked(io.RawIOBase):
    """A packed variable, read forwards; its checksum is compared at its end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self._inflate = zlib.decompressobj()

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or fewer if there are no more."""
        parts, wanted = [], size
        while wanted > 0 and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, _PIECE_BYTES))
                self._left -= len(packed)
                if not packed:
                    raise _DamagedError("a packed variable that ends too early")
            part = self._inflate.decompress(packed, wanted)
            wanted -= len(part)
            parts.append(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Makes sure that nothing follows, which compares the checksum."""
        if self.read(1) or not self._inflate.eof:
            raise _DamagedError("a packed variable that is longer than its array")


def _read_matrix(
    source: IO[bytes] | _Unpacked, size: int, order: str, names: Collection[str], found: dict[str, NDArray[Any]]
) -> None:
    """Reads an array, if it is one of the wanted ones."""
    flags = _part(source, order, 64)
    if len(flags) < 4:
        raise _DamagedError("an array without its class")
    (word,) = struct.unpack(f"{order}I", flags[:4])
    code, is_complex = word & 0xFF, bool(word >> 8 & _COMPLEX)
    sizes = _part(source, order, 4 * _MOST_DIMENSIONS)
    name_bytes = _part(source, order, 256)
    name = name_bytes.split(b"\0")[0].decode("latin-1")
    if name not in names or name in found:
        return
    if code not in _CLASSES or is_complex:
        raise _DamagedError(f"{name} is no full array of real numbers")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
    result = np.dtype(_CLASSES[code])
    if not shape or min(shape) < 0 or math.prod(shape) * result.itemsize > _MOST_BYTES:
        raise _DamagedError(f"{name} of the shape {shape}")
    stored, length, is_small = _tag(source, order)
    if stored not in _STORED:
        raise _DamagedError(f"{name} holds numbers of the unknown kind {stored}")
    kind = np.dtype(f"{order}{_STORED[stored]}")
    if length != math.prod(shape) * kind.itemsize or length > max(size, 4):
        raise _DamagedError(f"{name} of the shape {shape} in {length:,} bytes")
    data = _exactly(source, 4)[:length] if is_small else _exactly(source, length)
    if isinstance(source, _Unpacked):
        if not is_small:
            _exactly(source, -length % 8)
        source.finish()
    numbers = np.frombuffer(data, kind).astype(result, copy=False)
    found[name] = numbers.reshape(shape, order="F")


def _tag(source: IO[bytes] | _Unpacked, order: str) -> tuple[int, int, bool]:
    """Kind and length of a part, and whether its bytes stand in the tag itself."""
    (first,) = struct.unpack(f"{order}I", _exactly(source, 4))
    if first >> 16:
        return first & 0xFFFF, first >> 16, True
    (length,) = struct.unpack(f"{order}I", _exactly(source, 4))
    return first, length, False


def _part(source: IO[bytes] | _Unpacked, order: str, most: int) -> bytes:
    """A short part of an array: its flags, shape or name."""
    _, length, is_small = _tag(source, order)
    if length > (4 if is_small else most):
        raise _DamagedError(f"a part of {length:,} bytes where at most {most} may be")
    return _exactly(source, 4)[:length] if is_small else _exactly(source, length + -length % 8)[:length]


def _exactly(source: IO[bytes] | _Unpacked, size: int) -> bytes:
    data = source.read(size) if isinstance(source, _Unpacked) else read_claimed(source, size)
    if len(data) != size:
        raise _DamagedError("it ends too early")
    return data
