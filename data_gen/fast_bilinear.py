"""JPEG files to small images, in half the time that Pillow takes and with the same pixels, byte for byte.

Pillow decodes here as well (libjpeg-turbo), but into memory that is used again for each file, and without looking at
what a plain file does not need. The scaling is Pillow's bilinear filter in its fixed-point arithmetic, as vector
instructions: numba does not find those by itself. Compiling takes a moment, so that it pays for thousands of files.
"""

from __future__ import annotations

import functools
import io
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.compiled_code import keep_compiled_code
from data_gen.image_files import Pixels

_BITS = 22
"""Bits behind the point in Pillow's weights of 8-bit images."""
_BUFFERS = 4
_WIDE = 16
_MOST_COMPARED_PIXELS = 4_000_000
_MOST_SHAPES = 64

_local = threading.local()
_ready: dict[str, Callable[..., None]] = {}
_agreed: dict[tuple[tuple[int, int], tuple[int, int]], bool] = {}


def prepare() -> bool:
    """Compiles what is needed, if that is possible here; says whether it is. Until then `is_ready` is false."""
    if "scale" not in _ready and _shares_memory():
        keep_compiled_code(__file__)
        try:
            from data_gen.fast_bilinear_kernel import scale
        except ImportError:
            return False
        # Compiled by the first call, which nothing else should wait for.
        small = np.zeros((2, 2, 4), np.uint8)
        first, weights = windows(2, 1)
        scale(
            small, 0, 0, 2, first, weights, first, weights, np.zeros((3, 16), np.uint8), np.zeros((1, 1, 3), np.uint8)
        )
        _ready["scale"] = scale
    return is_ready()


def is_ready() -> bool:
    """Whether `jpeg_window` may be called."""
    return "scale" in _ready


def jpeg_window(data: bytes, size: tuple[int, int], box: tuple[int, int, int, int], shape: tuple[int, int]) -> Pixels:
    """Decodes a JPEG, cuts a window out and scales it.

    Args:
        data: a file for which `plain_jpeg_size` gives the size.
        size: width and height of the image.
        box: left, top, right and bottom of the window.
        shape: height and width of the result, to which it `agrees`.

    Returns:
        uint8 of shape (height, width, 3): what `convert("RGB")`, `crop` and `resize` with `BILINEAR` give.

    Raises:
        ValueError, OSError: if the file cannot be decoded.
    """
    buffer, image, scratch = _buffers(size, shape)
    image.frombytes(data, "jpeg", "RGBX", "")
    return _scaled(buffer, box, shape, scratch)


def agrees(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether this way of scaling gives the bytes that this version of Pillow gives, found out once for each shape.

    Newer versions scale the columns before the rows where that is less work, which other bytes come of.

    Args:
        old, new: height and width before and after.

    Returns:
        whether they do; no for very large images, and when many shapes have been asked for, which takes its time.
    """
    if (old, new) not in _agreed:
        if old[0] * old[1] > _MOST_COMPARED_PIXELS or len(_agreed) >= _MOST_SHAPES:
            return False
        noise = np.random.default_rng(0).integers(0, 256, (*old, 4), dtype=np.uint8)
        expected = Image.fromarray(noise[:, :, :3]).resize(new[::-1], Image.Resampling.BILINEAR)
        found = _scaled(noise, (0, 0, old[1], old[0]), new, _scratch(old[0], new[1]))
        _agreed[old, new] = bool((found == np.asarray(expected)).all())
    return _agreed[old, new]


def _scaled(source: Pixels, box: tuple[int, int, int, int], shape: tuple[int, int], scratch: Pixels) -> Pixels:
    left, top, right, bottom = box
    across, weights_across = windows(right - left, shape[1])
    down, weights_down = windows(bottom - top, shape[0])
    result = np.empty((*shape, 3), np.uint8)
    _ready["scale"](source, top, left, bottom - top, across, weights_across, down, weights_down, scratch, result)
    return result


def _scratch(rows: int, width: int) -> Pixels:
    """Memory for rows that are scaled and columns that are not yet, and for one finished row."""
    return np.zeros((rows + 1, -(-width * 4 // _WIDE) * _WIDE), np.uint8)


def _buffers(size: tuple[int, int], shape: tuple[int, int]) -> tuple[Pixels, Image.Image, Pixels]:
    """Memory of this thread for images of a size, the same as an image of Pillow, and some for half scaled rows."""
    held: dict[Any, tuple[Pixels, Image.Image, Pixels]] = _local.__dict__.setdefault("buffers", {})
    if (size, shape) not in held:
        if len(held) >= _BUFFERS:
            held.pop(next(iter(held)))
        buffer, image = _shared(size)
        held[size, shape] = buffer, image, _scratch(size[1], shape[1])
    return held[size, shape]


def _shared(size: tuple[int, int]) -> tuple[Pixels, Image.Image]:
    buffer = np.zeros((size[1], size[0], 4), np.uint8)
    return buffer, Image.frombuffer("RGBX", size, buffer, "raw", "RGBX", 0, 1)


@functools.cache
def _shares_memory() -> bool:
    """Whether this Pillow decodes into memory that it was given, which its documentation promises for such images."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(file, "JPEG")
    buffer, image = _shared((8, 8))
    try:
        image.frombytes(file.getvalue(), "jpeg", "RGBX", "")
    except (ValueError, OSError, TypeError):
        return False
    return bool((buffer[:, :, :3] == np.asarray(Image.open(file).convert("RGB"))).all())


@functools.lru_cache(maxsize=256)
def windows(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Pillow's bilinear filter along one side.

    Args:
        old, new: pixels before and after.

    Returns:
        for each new pixel the first of the old ones that it is made of, int64 of shape (new,), and their weights with
        22 bits behind the point, int32 of shape (new, taps); all windows have as many taps and lie inside.
    """
    scale = old / new
    stretch = max(scale, 1.0)
    first, weights = np.zeros(new, np.int64), []
    for number in range(new):
        center = (number + 0.5) * scale
        low = max(0, int(center - stretch + 0.5))
        high = min(old, int(center + stretch + 0.5))
        shares = [max(0.0, 1.0 - abs((place - center + 0.5) / stretch)) for place in range(low, high)]
        # One after the other, as Pillow adds them: the last bit counts.
        total = 0.0
        for share in shares:
            total += share
        first[number] = low
        weights.append([math.floor(0.5 + share * (1.0 / total) * (1 << _BITS)) for share in shares])
    taps = max(map(len, weights))
    inside = np.minimum(first, old - taps)
    table = np.zeros((new, taps), np.int32)
    for number, row in enumerate(weights):
        skipped = int(first[number] - inside[number])
        table[number, skipped : skipped + len(row)] = row
    return inside, table
