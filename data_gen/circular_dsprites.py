"""Circular dSprites: a white disc at every angle and distance around the center, 1,080 images of 64x64.

The set of InfoGAN-CR (2020) is a program, not a file: it draws discs of radius 5 with Pillow at 40 angles and 27
distances. Pillow draws ellipses by another rule since version 8. The program is written for Python 2, for which Pillow
6.2.2 is the last, so the variant `official` is what that version draws, bit for bit: 101 pixels a disc. The variant
`pillow8` is what Pillow 8 and later draw: 97 pixels. In 17 images rounding makes the box of the disc a column wider,
and the disc a little fatter, in either variant. Neither needs Pillow.

In the metrics of InfoGAN-CR this set has 200 groups of 25 images in each of which one factor keeps its value, and 108
images for the deviations of the codes. At distance 0 all 40 angles are the same image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.command import Option, prepare
from data_gen.dataset import ArrayDataset, Dataset
from data_gen.factors import Factor, FactorSpace

SOURCES = ("auto", "drawn", "synthetic")
VARIANTS = ("official", "pillow8")
ANGLES, RADII = 40, 27
SIDE, CENTER, DISC_RADIUS = 64, 32, 5
HOMEPAGE = "https://github.com/fjxmlzn/InfoGAN-CR"
SUMMARY = Summary(
    what="a white disc on black, at every angle and distance around the center",
    images="1,080 of 64x64x1, binary",
    factors=f"angle {ANGLES}, radius {RADII}",
    files="none: drawn here, as the program of InfoGAN-CR draws them",
    license="none needed: drawn here",
)

# How many pixels each row leaves free on either side, and how wide the disc is; for boxes of 11 columns and of 12.
_Disc = tuple[tuple[int, ...], int]
_DISCS: dict[str, tuple[_Disc, _Disc]] = {
    "official": (((3, 1, 1, 0, 0, 0, 0, 0, 1, 1, 3), 11), ((3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 3), 11)),
    "pillow8": (((3, 2, 1, 0, 0, 0, 0, 0, 1, 2, 3), 11), ((4, 2, 1, 0, 0, 0, 0, 0, 1, 2, 4), 12)),
}


def draw(angles: NDArray[np.int64], radii: NDArray[np.int64], variant: str = "official") -> NDArray[np.uint8]:
    """Draws discs.

    Args:
        angles: levels of the angle, integers of shape (n,), 0 to 39: steps of 9 degrees, clockwise from the right.
        radii: likewise of the distance from the center, 0 to 26, in pixels.
        variant: `official` or `pillow8`. Default: `official`.

    Returns:
        uint8 of shape (n, 64, 64, 1), 0 or 255.

    Source: `CdSprites/generate_cdsprites.py` in the code of InfoGAN-CR.
    """
    images = np.zeros((len(angles), SIDE, SIDE, 1), np.uint8)
    for image, angle, radius in zip(images[..., 0], angles.tolist(), radii.tolist(), strict=True):
        theta = angle / ANGLES * math.pi * 2
        x, y = CENTER + radius * math.cos(theta), CENTER + radius * math.sin(theta)
        # Pillow cuts the corners of the box to whole numbers, each by itself.
        left, right = int(x - DISC_RADIUS), int(x + DISC_RADIUS)
        margins, width = _DISCS[variant][right - left > 2 * DISC_RADIUS]
        for row, margin in enumerate(margins, int(y - DISC_RADIUS)):
            image[row, left + margin : left + width - margin] = 255
    return images


def synthetic(levels: Sequence[int] = (10, 9), variant: str = "official") -> ArrayDataset:
    """A miniature of Circular dSprites: a coarser grid of the same images.

    Args:
        levels: how many angles and distances to keep, at most 40 and 27; they are spread evenly. Default: 90 images.
        variant: as that of `load`. Default: `official`.

    Raises:
        UserError: for numbers of levels that there are not, or an unknown variant.
    """
    if len(levels) != 2 or not (1 <= levels[0] <= ANGLES and 1 <= levels[1] <= RADII):
        raise UserError(f"levels are {tuple(levels)}; give two numbers, from 1 to {ANGLES} and from 1 to {RADII}")
    angles = np.arange(levels[0], dtype=np.int64) * ANGLES // levels[0]
    radii = np.linspace(0, RADII - 1, levels[1]).round().astype(np.int64)
    return _grid(angles, radii, "circular_dsprites_synthetic", "synthetic", variant)


def load(
    *, data_dir: Path, raw_dir: Path, source: str = "auto", limit: int | None = None, variant: str = "official"
) -> Dataset:
    """Loads Circular dSprites; see `data_gen.load`.

    Args:
        data_dir, raw_dir: not needed; the images are drawn in milliseconds.
        source: `drawn`, all images; `synthetic`, a miniature; `auto`, `drawn`. Default: `auto`.
        limit: how many images to keep. Default: all.
        variant: `official`, as the program of InfoGAN-CR drew them; `pillow8`, as it would today. Default: `official`.

    Raises:
        UserError: for an unknown variant.
    """
    if source == "synthetic":
        return synthetic(variant=variant).limited(limit)
    angles, radii = np.arange(ANGLES, dtype=np.int64), np.arange(RADII, dtype=np.int64)
    return _grid(angles, radii, "circular_dsprites", "drawn", variant).limited(limit)


def _grid(angles: NDArray[np.int64], radii: NDArray[np.int64], name: str, source: str, variant: str) -> ArrayDataset:
    if variant not in VARIANTS:
        raise UserError(f"unknown variant {variant!r} of circular_dsprites{near_matches(variant, VARIANTS)}")
    space = FactorSpace((Factor("angle", len(angles), "periodic"), Factor("radius", len(radii), "continuous")))
    classes = space.classes_of(np.arange(space.size))
    columns = angles[classes[:, 0]], radii[classes[:, 1]]
    values = np.stack([columns[0] / ANGLES * math.pi * 2, columns[1]], axis=1).astype(np.float32)
    return ArrayDataset(
        draw(*columns, variant),
        values=values,
        factor_space=space,
        name=name if variant == "official" else f"{name}_{variant}",
        source=source,
        description=f"Discs at {len(angles)} angles and {len(radii)} distances around the center.",
    )


def main() -> None:
    """Writes Circular dSprites as TFRecord shards; see `--help`."""
    prepare(
        "circular_dsprites",
        homepage=HOMEPAGE,
        options=(Option("variant", str, f"one of: {', '.join(VARIANTS)} (default: official)"),),
        teaching="""where the data come from:
  Nothing is downloaded: the 1,080 images are drawn in milliseconds, angle after angle.

variants:
  official  as the program of InfoGAN-CR drew them, with the last Pillow for Python 2
  pillow8   as it would draw them today: 4 pixels less a disc

examples:
  python -m data_gen.circular_dsprites
  python -m data_gen.circular_dsprites --variant pillow8
""",
    )


if __name__ == "__main__":
    run_command(main)
