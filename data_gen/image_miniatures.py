"""Small drawn stand-ins for sets of image files, and the archives that hold them as the publishers do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import UserError
from data_gen.crops import resized
from data_gen.drawing import SIDE, ellipse, paint, stroke, to_bytes
from data_gen.image_files import Pixels

Files = Iterable[tuple[str, bytes]]
"""Names in an archive, and contents."""

_TIME = (2015, 9, 29, 0, 0, 0)


def check_count(num_examples: int) -> None:
    """Refuses a miniature without images."""
    if num_examples < 1:
        raise UserError(f"num_examples is {num_examples}; give at least 1")


def fitted(pixels: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Drawn images in another size, and in gray if that is wanted.

    Args:
        pixels: uint8 of shape (n, height, width, channels).
        shape: height, width and channels of the result.
    """
    if pixels.shape[1:] == shape:
        return pixels
    mode = "L" if shape[2] == 1 else "RGB"
    images = (Image.fromarray(each if each.shape[2] == 3 else each[:, :, 0]).convert(mode) for each in pixels)
    return np.stack([resized(image, shape[:2], "bicubic").reshape(shape) for image in images])


def drawn_scenes(num_examples: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Balls, crosses and rings of some color on a ground of another.

    Args:
        num_examples: how many, at least 1.
        seed: determines them.

    Returns:
        uint8 of shape (n, 64, 64, 3), and the kinds 0 to 2, int64 of shape (n,).
    """
    check_count(num_examples)
    rng = np.random.default_rng(seed)
    n = num_examples
    kinds = np.arange(n, dtype=np.int64) % 3
    x, y, radius = rng.uniform(20, 44, n), rng.uniform(20, 44, n), rng.uniform(8, 18, n)
    canvas = np.broadcast_to(rng.uniform(0, 1, (n, 1, 1, 3)), (n, SIDE, SIDE, 3)).astype(np.float32)
    color, ground = rng.uniform(0, 1, (n, 3)), canvas[:, 0, 0].copy()
    cross = np.maximum(stroke(x - radius, y, x + radius, y, 5), stroke(x, y - radius, x, y + radius, 5))
    ball = ellipse(x, y, radius, radius)
    paint(canvas, np.where((kinds == 1)[:, None, None], cross, ball), color)
    paint(canvas, np.where((kinds == 2)[:, None, None], ellipse(x, y, radius / 2, radius / 2), 0), ground)
    return to_bytes(canvas), kinds


def jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """An image as a JPEG file."""
    return _file(pixels, "JPEG", quality=quality)


def png(pixels: Pixels) -> bytes:
    """An image as a PNG file."""
    return _file(pixels, "PNG")


def _file(pixels: Pixels, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[:, :, 0]).save(file, kind, **options)
    return file.getvalue()


def write_zip(path: Path, files: Files) -> Path:
    """Writes files into a zip archive, folders as entries of their own, as its makers do."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        folders: set[str] = set()
        for name, data in files:
            folder = name.rpartition("/")[0]
            if folder and folder not in folders:
                folders.add(folder)
                archive.writestr(zipfile.ZipInfo(f"{folder}/", _TIME), b"")
            archive.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, files: Files) -> Path:
    """Writes files into a tar archive, gzipped if its name says so."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_folder(path: Path, files: Files) -> Path:
    """Writes files into a folder."""
    for name, data in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
