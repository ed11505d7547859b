"""Means and deviations of the pixels in TFRecord shards, from sums that are exact whatever the order."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from data_gen.tfrecord import Feature

_BLOCK_BYTES = 4 << 20
_BATCH_RECORDS = 64
_ROW = 256
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33
_CHANNELS = {0: 1, 2: 3}

Sums = dict[str, dict[str, Any]]
"""Of each image feature: the number of `pixels` of a channel, and each channel's `sums` and `square_sums`."""


def sums_of_shard(path: str, features: Mapping[str, Feature]) -> Sums:
    """Adds up the pixels of all images in a shard.

    Args:
        path: the TFRecord file.
        features: the fields of an example.

    Returns:
        the sums of each field of images; nothing if there is none.
    """
    keys = [key for key, feature in features.items() if feature.kind == "image"]
    if not keys:
        return {}
    total: Sums = {}
    for block in _blocks(records_of(path), keys):
        for key, images in block.items():
            total[key] = _added(total.get(key), _sums(images))
    return total


def records_of(path: str) -> Iterator[bytes]:
    """The examples in a TFRecord file as they are stored; TensorFlow's own error if the file is damaged."""
    import tensorflow as tf

    # One by one they would take ten times longer.
    for batch in tf.data.TFRecordDataset(path).batch(_BATCH_RECORDS).as_numpy_iterator():
        yield from batch


def added(parts: Iterable[Mapping[str, Mapping[str, Any]]]) -> Sums:
    """The sums of several shards together."""
    total: Sums = {}
    for part in parts:
        for key, sums in part.items():
            total[key] = _added(total.get(key), dict(sums))
    return total


def means_and_deviations(sums: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The mean and the standard deviation of each channel, for pixels from 0 to 255."""
    pixels = sums["pixels"]
    means = [value / pixels for value in sums["sums"]]
    # In whole numbers up to the division, so that nothing is lost to rounding.
    deviations = [
        math.sqrt((pixels * square - value * value) / (pixels * pixels))
        for value, square in zip(sums["sums"], sums["square_sums"], strict=True)
    ]
    return means, deviations


def _blocks(records: Iterator[bytes], keys: list[str]) -> Iterator[dict[str, list[NDArray[np.uint8]]]]:
    """The images of some examples at a time, by feature; `ValueError` or `IndexError` for what is no such example."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    block: dict[str, list[NDArray[np.uint8]]] = {key: [] for key in keys}
    size = 0
    for record in records:
        try:
            fields = tf.train.Example.FromString(record).features.feature
        except DecodeError as error:
            raise ValueError(f"no whole example ({error})") from error
        for key in keys:
            image = decode_png(fields[key].bytes_list.value[0])
            block[key].append(image)
            size += image.nbytes
        if size >= _BLOCK_BYTES:
            yield block
            block, size = {key: [] for key in keys}, 0
    if size:
        yield block


def _sums(images: list[NDArray[np.uint8]]) -> dict[str, Any]:
    channels = images[0].shape[2]
    columns = np.concatenate([image.reshape(-1, channels) for image in images]).T
    pixels = columns.shape[1]
    # In rows of 256, whose squares add up to less than 2^24: exact in single precision, which is quickest.
    rows = np.zeros((channels, -(-pixels // _ROW), _ROW), np.float32)
    rows.reshape(channels, -1)[:, :pixels] = columns
    squares = np.matmul(rows[:, :, None, :], rows[:, :, :, None])
    return {
        "pixels": pixels,
        "sums": [int(value) for value in rows.sum(axis=2).sum(axis=1, dtype=np.float64)],
        "square_sums": [int(value) for value in squares.sum(axis=(1, 2, 3), dtype=np.float64)],
    }


def _added(first: dict[str, Any] | None, second: dict[str, Any]) -> dict[str, Any]:
    if first is None:
        return second
    return {
        "pixels": first["pixels"] + second["pixels"],
        "sums": [a + b for a, b in zip(first["sums"], second["sums"], strict=True)],
        "square_sums": [a + b for a, b in zip(first["square_sums"], second["square_sums"], strict=True)],
    }


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The image in a PNG file of 8 bits, gray or in color; those of `data_gen.png` in a few microseconds.

    Args:
        data: the file.

    Returns:
        uint8 of shape (height, width, 1 or 3).

    Raises:
        ValueError: for a damaged file, or another kind of PNG.
    """
    plain = _decode_plain(data)
    if plain is not None:
        return plain
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.mode not in ("L", "RGB"):
                raise ValueError(f"a PNG of mode {picture.mode}; expected gray or color of 8 bits")
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no whole PNG ({error})") from error
    return pixels.reshape(pixels.shape[0], pixels.shape[1], -1)


def _decode_plain(data: bytes) -> NDArray[np.uint8] | None:
    """An image whose bytes stand in one chunk and whose rows are unfiltered; `None` for others."""
    if len(data) < _HEADER_END + 12 or data[:8] != _PNG or data[_HEADER_END + 4 : _HEADER_END + 8] != b"IDAT":
        return None
    width, height, bits, color, *methods = struct.unpack(">IIBBBBB", data[16:29])
    (size,) = struct.unpack(">I", data[_HEADER_END : _HEADER_END + 4])
    start = _HEADER_END + 8
    if bits != 8 or color not in _CHANNELS or any(methods) or data[start + size + 8 : start + size + 12] != b"IEND":
        return None
    try:
        rows = np.frombuffer(zlib.decompress(data[start : start + size]), np.uint8)
    except zlib.error:
        return None
    channels = _CHANNELS[color]
    if rows.size != height * (1 + width * channels):
        return None
    rows = rows.reshape(height, 1 + width * channels)
    # Each row begins with its filter: 0 is none.
    return None if rows[:, 0].tobytes().strip(b"\0") else rows[:, 1:].reshape(height, width, channels)
