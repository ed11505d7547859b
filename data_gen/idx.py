"""Reads idx files, the format of MNIST: a magic number, sizes, and numbers with the greatest byte first."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from common.damage import read_claimed
from common.errors import UserError
from data_gen.published import looks_like_a_page

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 4
_MOST_BYTES = 4 << 30
_GZIP = b"\x1f\x8b"
_ADVICE = "delete it and get it again"


@dataclasses.dataclass(frozen=True)
class IdxFile:
    """What an idx file holds.

    Args:
        array: the numbers.
        sha256: of the file's bytes, unpacked if they are compressed: how the file is compressed does not matter.
    """

    array: NDArray[Any]
    sha256: str


def read_idx(path: Path) -> IdxFile:
    """Reads an idx file, compressed by gzip or not.

    Args:
        path: the file; how it is named does not matter.

    Returns:
        its numbers and checksum.

    Raises:
        UserError: if it is no idx file, or is damaged, truncated, or longer than its sizes say.

    Source: the format as described on the page of MNIST, http://yann.lecun.com/exdb/mnist/.
    """
    with _opened(path) as handle:
        magic = handle.read(4)
        kind, dimensions = _magic_number(path, magic)
        sizes_bytes = handle.read(4 * dimensions)
        if len(sizes_bytes) != 4 * dimensions:
            raise UserError(f"{path}: ends within its sizes; {_ADVICE}")
        shape = struct.unpack(f">{dimensions}I", sizes_bytes)
        size = math.prod(shape) * np.dtype(kind).itemsize
        if size > _MOST_BYTES:
            raise UserError(f"{path}: claims to hold {size:,} bytes, which is no file of this kind; {_ADVICE}")
        # One byte more than there should be: so its end is seen, and the checksum of gzip is compared.
        data = read_claimed(handle, size + 1)
        if len(data) != size:
            held = "more" if len(data) > size else f"{len(data):,}"
            raise UserError(f"{path}: its sizes {shape} need {size:,} bytes, it holds {held}; {_ADVICE}")
    array = np.frombuffer(data, kind).reshape(shape)
    return IdxFile(array, hashlib.sha256(magic + sizes_bytes + data).hexdigest())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, unpacked if it is compressed, whose damage is told in one line."""
    with open(path, "rb") as raw:
        head = raw.read(64)
        raw.seek(0)
        if looks_like_a_page(head):
            raise UserError(f"{path}: a web page, not the file; {_ADVICE} from another server")
        if not head.startswith(_GZIP):
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: damaged or truncated ({error}); {_ADVICE}") from error


def _magic_number(path: Path, magic: bytes) -> tuple[str, int]:
    """The type of the numbers and how many dimensions there are."""
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= _MOST_DIMENSIONS:
        shown = magic.hex(" ") or "nothing"
        raise UserError(f"{path}: no idx file (it starts with {shown}, not with 00 00, a type and a number of sizes)")
    return _TYPES[magic[2]], magic[3]
