"""Reads dSprites from `.npz` files: the official archive, grids cut out of it, and images drawn from it.

A file is known by its contents, never by its name. Only the named members are read, in blocks, and nothing is
unpickled: the official archive also holds a pickled `metadata`, which is left alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from data_gen.factors import Factor, FactorSpace
from data_gen.npz import array_header, array_names, read_array, read_blocks
from data_gen.published import walked

OFFICIAL_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
OFFICIAL_PAGE = "https://github.com/google-deepmind/dsprites-dataset"
OFFICIAL_URL = f"{OFFICIAL_PAGE}/raw/master/{OFFICIAL_NAME}"

FULL_SIZES = (3, 6, 40, 32, 32)
FACTORS = (
    ("shape", "discrete"),
    ("scale", "continuous"),
    ("orientation", "periodic"),
    ("x_position", "continuous"),
    ("y_position", "continuous"),
)
SIDE = 64
PACKED_BYTES = SIDE * SIDE // 8

Levels = tuple[NDArray[np.float32], ...]
"""The value of each level, one array per factor: shape 1 to 3, scale, orientation in radians, x and y in 0 to 1."""

_ADVICE = f"get the file anew, the official one from {OFFICIAL_URL}"
_BLOCK_IMAGES = 4096


def factor_space(sizes: tuple[int, ...] = FULL_SIZES) -> FactorSpace:
    """The factors of dSprites with these numbers of levels. Default: those of the full set."""
    return FactorSpace(tuple(Factor(name, size, kind) for (name, kind), size in zip(FACTORS, sizes, strict=True)))


def full_levels(sizes: Sequence[int] = FULL_SIZES) -> Levels:
    """The values of all levels of the full set, as its `latents_values` give them."""
    ranges = ((1.0, sizes[0]), (0.5, 1.0), (0.0, 2.0 * np.pi), (0.0, 1.0), (0.0, 1.0))
    return tuple(
        np.linspace(low, high, size).astype(np.float32) for (low, high), size in zip(ranges, sizes, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class DspritesFile:
    """What a file turned out to be.

    Args:
        path: the file.
        kind: `official` (the full grid), `subgrid` (a smaller full grid) or `random` (images in no grid).
        classes: int64 of shape (n, 5), the levels of every image; for `official` and `random` those of the full set.
        levels: the values of the levels.
    """

    path: Path
    kind: str
    classes: NDArray[np.int64]
    levels: Levels


def find_archives(raw_dir: Path) -> list[Path]:
    """All `.npz` files in a folder, up to four levels deep, the official one first; or the one file given."""
    if raw_dir.is_file():
        return [raw_dir]
    found = [here / file for here, _, files in walked(raw_dir) for file in files if file.endswith(".npz")]
    return sorted(found, key=lambda path: (path.name != OFFICIAL_NAME, path))


def count_images(path: Path) -> int | None:
    """How many images of 64x64 a file with latents claims to hold, or `None` if it is no such file."""
    try:
        shape, _, _ = array_header(path, "imgs")
        known = "latents_classes" in array_names(path)
    except UserError:
        return None
    return shape[0] if known and len(shape) == 3 and shape[1:] == (SIDE, SIDE) else None


def inspect(path: Path, full_sizes: tuple[int, ...] = FULL_SIZES) -> DspritesFile:
    """Finds out what a file is, from everything in it but the pixels.

    Args:
        path: an `.npz` file.
        full_sizes: levels per factor of the full set. Default: the published ones.

    Returns:
        the file's kind and levels.

    Raises:
        UserError: if it is damaged or is no dSprites file.
    """
    shape, dtype, _ = array_header(path, "imgs", _ADVICE)
    if len(shape) != 3 or shape[1:] != (SIDE, SIDE) or dtype != np.uint8 or not shape[0]:
        raise UserError(
            f"{path}: imgs is {dtype} of shape {shape}; dSprites has uint8 of shape (n, {SIDE}, {SIDE}); {_ADVICE}"
        )
    if shape[0] > math.prod(full_sizes):
        raise UserError(f"{path}: imgs has {shape[0]:,} images; dSprites has {math.prod(full_sizes):,}; {_ADVICE}")
    classes = _factor_columns(path, "latents_classes", "iu", shape[0])
    values = _factor_columns(path, "latents_values", "iuf", shape[0]).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: latents_values has values that are no finite numbers; {_ADVICE}")
    # Beyond 64 bits with a sign, numbers come out negative.
    classes = classes.astype(np.int64)
    if classes.min() < 0:
        raise UserError(f"{path}: latents_classes has level {classes.min()}; levels start at 0; {_ADVICE}")
    sizes = tuple(int(level) + 1 for level in classes.max(axis=0))
    if sizes == full_sizes and len(classes) == math.prod(full_sizes):
        kind = "official"
    elif len(classes) == math.prod(sizes):
        kind = "subgrid"
    else:
        kind = "random"
    if kind != "random" and not np.array_equal(classes, factor_space(sizes).classes_of(np.arange(len(classes)))):
        raise UserError(
            f"{path}: latents_classes holds {len(classes):,} rows, as many as a full grid of {sizes}, but not in the "
            f"grid's order (last factor fastest); {_ADVICE}"
        )
    if any(size > full for size, full in zip(sizes, full_sizes, strict=True)):
        raise UserError(f"{path}: latents_classes has levels up to {sizes}; dSprites has {full_sizes}; {_ADVICE}")
    levels = _level_values(path, classes, values, full_sizes if kind == "random" else sizes, full_sizes)
    return DspritesFile(path, kind, classes, levels)


def packed_blocks(file: DspritesFile, watch: Callable[[range], Iterable[int]] = iter) -> Iterator[NDArray[np.uint8]]:
    """Reads the images of a file in blocks and keeps one bit for a pixel.

    Args:
        file: what `inspect` found.
        watch: wraps the loop over the blocks' first images, for a progress bar. Default: nothing is shown.

    Yields:
        uint8 of shape (images of the block, 512), rows as `numpy.packbits` makes them.

    Raises:
        UserError: if the file is damaged or truncated, or has pixels other than 0 and 1.
    """
    images = read_blocks(file.path, "imgs", _BLOCK_IMAGES, _ADVICE)
    starts = watch(range(0, len(file.classes), _BLOCK_IMAGES))
    # The images first: to ask for one block more than there are is what has their checksum compared.
    for block, start in itertools.zip_longest(images, starts):
        if block.max() > 1:
            row, down, across = np.argwhere(block > 1)[0]
            raise UserError(
                f"{file.path}: image {start + row} has a pixel of value {block[row, down, across]}; dSprites has only "
                f"0 and 1; {_ADVICE}"
            )
        yield np.packbits(block.reshape(len(block), -1), axis=1)


def _factor_columns(path: Path, name: str, kinds: str, rows: int) -> NDArray[Any]:
    """The five factors' columns: the official table opens with one for the color, which never varies."""
    columns = len(FACTORS)
    shape, dtype, _ = array_header(path, name, _ADVICE)
    if shape not in ((rows, columns), (rows, columns + 1)):
        raise UserError(
            f"{path}: {name} has shape {shape}; expected {columns + 1} or {columns} columns and a row for each of "
            f"{rows} images; {_ADVICE}"
        )
    if dtype.kind not in kinds:
        raise UserError(
            f"{path}: {name} is {dtype}; dSprites has {'numbers' if 'f' in kinds else 'integers'}; {_ADVICE}"
        )
    return read_array(path, name, _ADVICE)[:, -columns:]


def _level_values(
    path: Path, classes: NDArray[np.int64], values: NDArray[Any], sizes: Sequence[int], full_sizes: Sequence[int]
) -> Levels:
    """The values of the levels: the published ones, or what the file says of a factor with fewer levels."""
    published = full_levels(full_sizes)
    found = []
    for column, size in enumerate(sizes):
        levels = published[column].astype(np.float64)
        if size != len(levels):
            levels = np.full(size, np.nan)
            levels[classes[:, column]] = values[:, column]
        if not np.allclose(levels[classes[:, column]], values[:, column], atol=1e-5):
            raise UserError(f"{path}: latents_values of {FACTORS[column][0]} disagree with latents_classes; {_ADVICE}")
        found.append(levels.astype(np.float32))
    return tuple(found)
