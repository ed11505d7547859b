"""A small and fast PNG encoder: tens of thousands of little images per second on one core."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_COLOR_TYPES = {1: 0, 3: 2}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_END = _chunk(b"IEND", b"")


def encode_png(image: NDArray[np.uint8], smooth: bool = False) -> bytes:
    """Encodes an image without loss.

    Args:
        image: uint8 of shape (height, width, 1) for gray or (height, width, 3) for color.
        smooth: for shaded images, which have few equal neighbors. Default: for flat shapes.

    Returns:
        a PNG file of 8 bits for a channel.

    Raises:
        ValueError: for another shape or type.
    """
    if image.ndim != 3 or image.shape[2] not in _COLOR_TYPES or image.dtype != np.uint8:
        raise ValueError(f"an image is {image.dtype} of shape {image.shape}; expected uint8 (height, width, 1 or 3)")
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    # Run lengths alone, in a small window: flat shapes get smaller than at the usual level, in a third of the time.
    strategy = zlib.Z_DEFAULT_STRATEGY if smooth else zlib.Z_RLE
    deflate = zlib.compressobj(1, zlib.DEFLATED, 13, 4, strategy)
    data = deflate.compress(rows.tobytes()) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _END
