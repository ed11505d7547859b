"""3D Chairs: rendered chairs seen from many sides. This version has a miniature only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, run_command
from data_gen import Summary
from data_gen.command import prepare
from data_gen.dataset import ArrayDataset, Dataset
from data_gen.drawing import SIDE, paint, stroke, to_bytes

SOURCES = ("auto", "synthetic")
SUMMARY = Summary(
    what="rendered chairs from many sides; in this version a miniature of drawn chairs only",
    images="64x64x1; the miniature has 512",
    factors="none",
    files="none yet: the converter of the published images is not in this version",
)

_SEAT = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def synthetic(num_examples: int = 512, seed: int = 0) -> ArrayDataset:
    """Drawn chairs with the shape of the 3D Chairs images: legs, seat and back in gray strokes on white.

    Args:
        num_examples: how many, at least 1. Default: 512.
        seed: determines the chairs. Default: 0.

    Returns:
        images of 64x64x1 without known factors.

    Raises:
        UserError: if there should be no image.
    """
    if num_examples < 1:
        raise UserError(f"num_examples is {num_examples}; give at least 1")
    rng = np.random.default_rng(seed)
    n = num_examples
    azimuth, tilt = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.3, 0.6, n)
    half, leg, back = rng.uniform(8, 13, n), rng.uniform(10, 17, n), rng.uniform(12, 22, n)
    width, gray = rng.uniform(1.5, 4.0, n), rng.uniform(0.05, 0.6, (n, 1))

    def project(x: float, y: float, height: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        across = half * (x * np.cos(azimuth) - y * np.sin(azimuth))
        away = half * (x * np.sin(azimuth) + y * np.cos(azimuth))
        return 32 + across, 38 + away * tilt - height

    canvas = np.ones((n, SIDE, SIDE, 1), np.float32)
    level = np.zeros(n)
    for x, y in _SEAT:
        paint(canvas, stroke(*project(x, y, level), *project(x, y, -leg), width), gray)
    for part in np.linspace(-1, 1, 9):
        paint(canvas, stroke(*project(-1, part, level), *project(1, part, level), width), gray + 0.2)
    for slat in (-1.0, 0.0, 1.0):
        paint(canvas, stroke(*project(slat, -1, level), *project(slat, -1, back), width), gray)
    paint(canvas, stroke(*project(-1, -1, back), *project(1, -1, back), width), gray)
    return ArrayDataset(
        to_bytes(canvas),
        name="chairs3d_synthetic",
        source="synthetic",
        description=f"{n:,} drawn chairs, a stand-in for 3D Chairs in tests and first tries.",
    )


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    num_examples: int = 512,
    seed: int = 0,
) -> Dataset:
    """Loads 3D Chairs; see `data_gen.load`. The options are those of `synthetic`."""
    if source != "synthetic":
        raise UserError(
            "the converter of the published 3D Chairs images is not in this version yet; to try things out on a "
            "miniature of drawn chairs, choose the source 'synthetic' (--source synthetic)"
        )
    return synthetic(num_examples, seed).limited(limit)


def main() -> None:
    """Writes the miniature as TFRecord shards; see `--help`."""
    prepare("chairs3d", teaching="In this version only the miniature is there: give --source synthetic.\n")


if __name__ == "__main__":
    run_command(main)
