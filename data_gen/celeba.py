"""CelebA: aligned faces of celebrities. This version has a miniature only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import UserError, run_command
from data_gen import Summary
from data_gen.command import prepare
from data_gen.dataset import ArrayDataset, Dataset
from data_gen.drawing import SIDE, ellipse, paint, to_bytes

SOURCES = ("auto", "synthetic")
SUMMARY = Summary(
    what="faces of celebrities; in this version a miniature of drawn faces only",
    images="64x64x3; the miniature has 512",
    factors="none",
    files="none yet: the converter of the published images is not in this version",
)


def synthetic(num_examples: int = 512, seed: int = 0) -> ArrayDataset:
    """Drawn faces with the shape of CelebA's images: hair, skin, eyes and a mouth on a plain ground.

    Args:
        num_examples: how many, at least 1. Default: 512.
        seed: determines the faces. Default: 0.

    Returns:
        images of 64x64x3 without known factors.

    Raises:
        UserError: if there should be no image.
    """
    if num_examples < 1:
        raise UserError(f"num_examples is {num_examples}; give at least 1")
    rng = np.random.default_rng(seed)
    n = num_examples
    center, top = rng.uniform(27, 37, n), rng.uniform(30, 36, n)
    width, height = rng.uniform(13, 18, n), rng.uniform(18, 23, n)
    turn = rng.uniform(-4, 4, n)
    skin = np.array([0.95, 0.75, 0.62]) * rng.uniform(0.45, 1.0, (n, 1))
    hair = np.array([0.9, 0.7, 0.4]) * rng.uniform(0.05, 1.0, (n, 1))
    canvas = np.broadcast_to(rng.uniform(0.0, 1.0, (n, 1, 1, 3)), (n, SIDE, SIDE, 3)).astype(np.float32)
    paint(canvas, ellipse(center, top - 3, width + 4, height + rng.uniform(0, 8, n)), hair)
    paint(canvas, ellipse(center, top + 4, width, height - 2), skin)
    for side in (-1, 1):
        eye = center + turn + side * width * 0.42
        paint(canvas, ellipse(eye, top, 3.2, 2.0), np.ones((n, 3)))
        paint(canvas, ellipse(eye, top, 1.5, 1.5), np.full((n, 3), 0.1))
    paint(canvas, ellipse(center + turn, top + 7, 1.6, 3.5), skin * 0.8)
    paint(canvas, ellipse(center + turn, top + 14, rng.uniform(3, 8, n), rng.uniform(1, 3, n)), skin * [0.9, 0.4, 0.4])
    return ArrayDataset(
        to_bytes(canvas),
        name="celeba_synthetic",
        source="synthetic",
        description=f"{n:,} drawn faces, a stand-in for CelebA in tests and first tries.",
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
    """Loads CelebA; see `data_gen.load`. The options are those of `synthetic`."""
    if source != "synthetic":
        raise UserError(
            "the converter of the published CelebA images is not in this version yet; to try things out on a "
            "miniature of drawn faces, choose the source 'synthetic' (--source synthetic)"
        )
    return synthetic(num_examples, seed).limited(limit)


def main() -> None:
    """Writes the miniature as TFRecord shards; see `--help`."""
    prepare("celeba", teaching="In this version only the miniature is there: give --source synthetic.\n")


if __name__ == "__main__":
    run_command(main)
