"""What the mode translate is asked for: flags that are checked before anything large is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

DIRECTIONS = ("x2y", "y2x")
SAMPLES = 3
"""Sampled styles where neither a style nor a number of samples is given, as in the published figures."""
MOST_SAMPLES = 100

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class TranslateFlags:
    """The flags of the mode translate.

    Args:
        input: an image, or a folder or archive of images.
        direction: `x2y`: the images are of domain x, and images of y are made; `y2x`: the other way.
        style: an image of the other domain, or a folder or archive of them, whose styles are taken; None: styles are
            drawn.
        samples: how many styles are drawn; None: three, or none where there is `style`.
        out: the folder of the results, or a PNG file if there is one translation only; None: `translations/` in the
            run folder.
        seed: of the styles drawn.

    Raises:
        UserError: flags that cannot be.
    """

    input: str
    direction: str
    style: str | None = None
    samples: int | None = None
    out: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("--mode=translate needs an image or a folder of images: --input=a.png")
        if self.direction not in DIRECTIONS:
            raise UserError(
                f"--mode=translate needs to know the domain of the images: --direction={self.direction}; give "
                "--direction=x2y for images of x, or y2x for images of y"
            )
        for name, path in (("input", self.input), ("style", self.style)):
            if path is not None and not Path(path).exists():
                raise UserError(f"--{name}={path}: no such file or folder; check the path")
        if self.style is not None and self.samples is not None:
            raise UserError("give --style, or --samples for styles that are drawn; not both")
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise UserError(f"--samples={self.samples}; give 1 to {MOST_SAMPLES}")
        if self.out_file is not None and self.out_file.suffix.lower() != ".png":
            raise UserError(f"--out={self.out}: translations are PNG files; give a name that ends in .png, or a folder")
        if self.out_file is not None and self.samples not in (None, 1):
            raise UserError(f"--out={self.out} is one file for {self.samples} translations; give a folder")

    @property
    def out_file(self) -> Path | None:
        """The single file that is asked for, if it is one."""
        if self.out is None or Path(self.out).is_dir() or Path(self.out).suffix.lower() not in _IMAGE_SUFFIXES:
            return None
        return Path(self.out)

    @property
    def drawn_styles(self) -> int:
        """How many styles are drawn."""
        if self.style is not None:
            return 0
        return self.samples or (SAMPLES if self.out_file is None else 1)
