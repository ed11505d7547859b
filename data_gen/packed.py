"""Keeps images as rows of bytes in a file that is mapped into memory, and makes it anew when its origin changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import disk_error
from common.files import atomic_file, made_folder, sha256_of, write_text
from common.locks import locked


def packed_cache(
    path: Path, origin: dict[str, Any], shape: tuple[int, int], blocks: Callable[[], Iterable[NDArray[np.uint8]]]
) -> NDArray[np.uint8]:
    """The array in a file, which is made first if it is missing or of another origin.

    Beside the file stands a record (`.json`) of its origin and SHA-256. The record is removed first and written last:
    a file without its record is never used.

    Args:
        path: the file, `.npy`.
        origin: what determines the contents; compared with the record.
        shape: images, bytes per image.
        blocks: makes the contents, uint8 blocks of whole rows in order.

    Returns:
        uint8 of this shape, mapped from the file.

    Raises:
        UserError: if the file cannot be written.
    """
    found = find_packed(path, origin, shape)
    if found is not None:
        return found
    try:
        with made_folder(path.parent), locked(path.parent, wait=True):
            found = find_packed(path, origin, shape)
            return found if found is not None else _make(path, origin, shape, blocks())
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise disk_error(error) or error from error


def _make(
    path: Path, origin: dict[str, Any], shape: tuple[int, int], blocks: Iterable[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    record = path.with_suffix(".json")
    record.unlink(missing_ok=True)
    with atomic_file(path) as temporary:
        # Written block by block, never through a map: a full disk is an error then, and not the end of the process.
        with open(temporary, "wb") as handle:
            np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for block in blocks:
                handle.write(np.ascontiguousarray(block).data)
        checksum = sha256_of(temporary)
    write_text(record, json.dumps({"origin": origin, "sha256": checksum}, indent=2) + "\n")
    return _mapped(path, shape)


def find_packed(path: Path, origin: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The array in a file that `packed_cache` has made, or `None` if there is none of this origin and shape."""
    if packed_origin(path) != json.loads(json.dumps(origin)):
        return None
    try:
        return _mapped(path, shape)
    except (ValueError, OSError):
        return None


def packed_origin(path: Path) -> dict[str, Any] | None:
    """The recorded origin of a file that `packed_cache` has made, or `None`."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    origin = record.get("origin") if isinstance(record, dict) else None
    return origin if isinstance(origin, dict) else None


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}; expected uint8 of {shape}")
    return array
