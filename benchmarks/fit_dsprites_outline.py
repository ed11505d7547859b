"""Fits the outlines of `data_gen.dsprites_reconstruction` to published dSprites images and measures them on others.

    python -m benchmarks.fit_dsprites_outline --raw_dir data/raw

For each shape and several numbers of corners the constants are fitted by counting wrong pixels on one part of the
published sub-grid (orientation levels 0, 8, 16, 24, 32). The best fit should be at the number of corners, and next to
the constants, that the module has. The last lines are the module's own errors on the rest of the sub-grid and, where
the file is there, on the random sample without the sub-grid. It takes about a minute on one core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from common.arguments import CommandParser
from common.errors import UserError, run_command
from data_gen import dsprites_reconstruction as drawing

SUB_GRID = "dsprites_downsampled.npz"
RANDOM_SAMPLE = "dsprites_random_10000.npz"

Outline = Callable[..., NDArray[np.float64]]


def square_outline(corners: int, half_side: float) -> NDArray[np.float64]:
    """A square; it has four corners whatever is asked for."""
    return half_side * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def ellipse_outline(corners: int, half_width: float, half_height: float) -> NDArray[np.float64]:
    """An ellipse as a polygon."""
    t = 2 * np.pi * np.arange(corners) / corners
    return np.stack([half_width * np.cos(t), half_height * np.sin(t)], axis=1)


# Name, outline, numbers of corners to try, constants to start from: what areas and extents of the images suggest.
SHAPES: tuple[tuple[str, Outline, tuple[int, ...], tuple[float, ...]], ...] = (
    ("square", square_outline, (4,), (9.55,)),
    ("ellipse", ellipse_outline, (90, 98, 99, 100, 101, 102, 120), (12.8, 7.2)),
    ("heart", drawing.heart_outline, (140, 148, 149, 150, 151, 152, 160), (9.59, 0.664, 1.43)),
)


def read(raw_dir: Path, name: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]] | None:
    """Reads levels (N, 5) and images (N, 64, 64) of one file; `None` if it is not there."""
    found = sorted(raw_dir.rglob(name))
    if not found:
        return None
    with np.load(found[0], allow_pickle=False) as archive:
        indices, images = archive["original_dataset_indices"], archive["imgs"]
    return np.stack(np.unravel_index(indices, drawing.FACTOR_SIZES), axis=1), images


def count_wrong(corners: NDArray[np.float64], levels: NDArray[np.int64], images: NDArray[np.uint8]) -> int:
    """Counts the wrong pixels of one outline drawn in place of all images."""
    wrong = 0
    for scale, orientation in np.unique(levels[:, 1:3], axis=0):
        members = (levels[:, 1] == scale) & (levels[:, 2] == orientation)
        words = drawing.draw_positions(corners, int(scale), int(orientation), np.arange(32), np.arange(32))
        drawn = words[levels[members, 3], levels[members, 4]].astype(">u8").view(np.uint8)
        wrong += int(np.bitwise_count(drawn ^ np.packbits(images[members].reshape(len(drawn), -1), axis=1)).sum())
    return wrong


def fits(
    outline: Outline, numbers: tuple[int, ...], start: tuple[float, ...], data: tuple[NDArray[Any], NDArray[Any]]
) -> Iterator[tuple[int, NDArray[np.float64], int]]:
    """Yields number of corners, best constants and their wrong pixels."""
    simplex = np.vstack([start, np.array(start) * (1 + 0.005 * np.eye(len(start)))])
    for corners in numbers:
        best = minimize(
            lambda constants, corners=corners: count_wrong(outline(corners, *constants), *data),
            start,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-6, "fatol": 1, "maxiter": 80},
        )
        yield corners, best.x, int(best.fun)


def main() -> None:
    """Fits, measures and prints."""
    parser = CommandParser("python -m benchmarks.fit_dsprites_outline", "fit the outlines of the redrawn dSprites")
    parser.add_argument("--raw_dir", type=Path, default=Path(os.environ.get("SPOUT_RAW_DIR", "data/raw")))
    raw_dir = parser.parse_args().raw_dir
    grid = read(raw_dir, SUB_GRID)
    if grid is None:
        raise UserError(f"no {SUB_GRID} under {raw_dir}; put it there or give another folder with --raw_dir")
    levels, images = grid
    seen = levels[:, 2] % 8 == 0
    for shape, (name, outline, numbers, start) in enumerate(SHAPES):
        # The small scales say little about an outline, and cost as much.
        part = seen & (levels[:, 0] == shape) & (levels[:, 1] >= 3)
        for corners, constants, wrong in fits(outline, numbers, start, (levels[part], images[part])):
            shown = ", ".join(f"{constant:.5f}" for constant in constants)
            print(f"{name}: {corners} corners, constants {shown}: {wrong} wrong pixels in {part.sum()} images")
    sets = [("rest of the sub-grid", levels[~seen], images[~seen])]
    sample = read(raw_dir, RANDOM_SAMPLE)
    if sample is not None:
        on_grid = (sample[0][:, 2] % 4 == 0) & (sample[0][:, 3:] % 2 == 0).all(axis=1)
        sets.append(("random sample without the sub-grid", sample[0][~on_grid], sample[1][~on_grid]))
    for title, held_levels, held_images in sets:
        wrong_pixels = (drawing.reconstruct(held_levels) != held_images).sum(axis=(1, 2))
        for shape, (name, *_) in enumerate(SHAPES):
            members = held_levels[:, 0] == shape
            print(f"{title}: {name}: {wrong_pixels[members].sum()} wrong pixels in {members.sum()} images")


if __name__ == "__main__":
    run_command(main)
