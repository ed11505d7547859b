"""Reading files that may be damaged: what their readers raise, and how much memory a claim is worth."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from typing import IO

_PIECE_BYTES = 1 << 24

NPZ_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    EOFError,
    KeyError,
    ValueError,
    SyntaxError,
    RuntimeError,
    OverflowError,
)
"""All that the zip and npy readers raise on bytes that are not what they should be, but an OSError without a number."""


def read_claimed(handle: IO[bytes], size: int) -> bytes:
    """So many bytes of a file, or those there are; memory is taken for what is there, not for what a header claims.

    Args:
        handle: a file that is open for reading.
        size: how many bytes, at least 0.
    """
    parts, left = [], size
    while left > 0 and (part := handle.read(min(left, _PIECE_BYTES))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
