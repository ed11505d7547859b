"""A sheet that shows what a 3D Teapot set will be: random images of it, and one row for each latent."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.files import write_bytes
from data_gen.factors import Factor
from data_gen.teapot_latents import Floats, Variant
from data_gen.teapot_recipe import Recipe

if TYPE_CHECKING:
    from PIL import ImageDraw

RANDOM_ROWS = 4
COLUMNS = 12

# What the rows of latents start from: a view in which every latent does something.
_BASE = {
    "azimuth": math.radians(65.0),
    "elevation": math.radians(25.0),
    "red": 0.85,
    "green": 0.45,
    "blue": 0.25,
    "gamma": math.radians(65.0),
    "beta": math.radians(35.0),
    "alpha": math.radians(20.0),
    "light_azimuth": math.radians(40.0),
    "light_elevation": math.radians(50.0),
}
_NOTES = {
    "azimuth": "turns the teapot",
    "elevation": "lifts the camera",
    "gamma": "turns it about its own axis",
    "beta": "tilts that axis",
    "alpha": "says to which side",
    "light_azimuth": "moves the light around",
    "light_elevation": "lowers the light from above",
}
_TILE = 104
_GAP = 6
_MARGIN = 28
_LABELS = 190
_PAPER, _INK, _FAINT, _FRAME = (250, 250, 248), (32, 33, 36), (110, 112, 118), (222, 222, 218)


def write_preview(recipe: Recipe, backend: str, path: Path) -> None:
    """Draws the sheet and writes it; nothing else is written.

    Args:
        recipe: the set.
        backend: the label of the back-end that draws.
        path: the picture, its ending names its format, such as `.png`.

    Raises:
        ValueError: for an ending that stands for no picture.
    """
    from PIL import Image

    Image.init()
    kind = Image.EXTENSION[path.suffix.lower()]
    data = io.BytesIO()
    _sheet(recipe, backend).save(data, kind)
    write_bytes(path, data.getvalue())


def is_picture(path: Path) -> bool:
    """Whether the ending of a path stands for a picture that can be written."""
    from PIL import Image

    Image.init()
    return Image.EXTENSION.get(path.suffix.lower()) in Image.SAVE


def traversals(variant: Variant) -> Floats:
    """The latents of the rows: in row i the latent i goes through its range, all others stay at a base.

    Args:
        variant: which latents there are.

    Returns:
        float64 of shape (factors, columns, factors); a circle is not closed: its last value is one step before 2 pi.
    """
    base = np.array([_BASE[name] for name in variant.factor_names])
    rows = np.tile(base, (len(base), COLUMNS, 1))
    for column, factor in enumerate(variant.factors):
        low, high = factor.limits or (0.0, 1.0)
        rows[column, :, column] = np.linspace(low, high, COLUMNS, endpoint=factor.kind != "periodic")
    return rows


def _sheet(recipe: Recipe, backend: str) -> Any:
    from PIL import Image, ImageDraw

    factors = recipe.variant.factors
    moved = traversals(recipe.variant)
    # Always the same ones, from all over the set.
    chosen = np.random.default_rng(0).integers(0, recipe.kept_train, RANDOM_ROWS * COLUMNS)
    latents = np.concatenate([recipe.latents.train[chosen], moved.reshape(-1, len(factors))])
    images = np.concatenate(list(recipe.images(latents, backend, workers=1)))
    width = _MARGIN + _LABELS + COLUMNS * (_TILE + _GAP) - _GAP + _MARGIN
    top = _MARGIN + 92
    random_height = RANDOM_ROWS * (_TILE + _GAP)
    row_height = _TILE + 30
    sheet = Image.new("RGB", (width, top + random_height + 24 + len(factors) * row_height + _MARGIN - 12), _PAPER)
    page = _Page(sheet, ImageDraw.Draw(sheet))
    page.text(_MARGIN, _MARGIN, recipe.name, 26)
    page.text(_MARGIN, _MARGIN + 34, recipe.variant.meaning, 15, _FAINT)
    page.text(_MARGIN, _MARGIN + 54, f"{recipe.source(backend)}, {recipe.samples} samples in a pixel", 15, _FAINT)
    page.text(_MARGIN, top + 4, "random images", 18)
    page.text(_MARGIN, top + 28, f"of the {recipe.kept_train:,} for training", 13, _FAINT)
    for row in range(RANDOM_ROWS):
        page.tiles(top + row * (_TILE + _GAP), images[row * COLUMNS :][:COLUMNS])
    top += random_height + 24
    for number, factor in enumerate(factors):
        here = top + number * row_height
        page.text(_MARGIN, here + 4, factor.name, 18)
        page.text(_MARGIN, here + 28, _NOTES.get(factor.name, "of the teapot's color"), 13, _FAINT)
        page.text(_MARGIN, here + 45, _range(factor), 13, _FAINT)
        captions = [_value(factor, value) for value in moved[number, :, number]]
        page.tiles(here, images[(RANDOM_ROWS + number) * COLUMNS :][:COLUMNS], captions)
    return sheet


@dataclasses.dataclass(frozen=True)
class _Page:
    sheet: Any
    draw: ImageDraw.ImageDraw

    def text(self, x: float, y: float, text: str, size: int, color: tuple[int, int, int] = _INK) -> None:
        """Text with its upper left corner here."""
        from PIL import ImageFont

        self.draw.text((x, y), text, color, ImageFont.load_default(size))

    def tiles(self, y: int, images: NDArray[np.uint8], captions: list[str] | None = None) -> None:
        """A row of images, with a caption below each."""
        from PIL import Image, ImageFont

        font = ImageFont.load_default(13)
        for column, image in enumerate(images):
            x = _MARGIN + _LABELS + column * (_TILE + _GAP)
            tile = Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
            self.sheet.paste(tile, (x, y))
            self.draw.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), outline=_FRAME)
            if captions:
                self.draw.text((x + _TILE / 2, y + _TILE + 4), captions[column], _FAINT, font, anchor="ma")


def _is_angle(factor: Factor) -> bool:
    return factor.limits != (0.0, 1.0)


def _value(factor: Factor, value: float) -> str:
    return f"{math.degrees(value):.0f}°" if _is_angle(factor) else f"{value:.2f}"


def _range(factor: Factor) -> str:
    low, high = factor.limits or (0.0, 1.0)
    around = ", a circle" if factor.kind == "periodic" else ""
    return f"{_value(factor, low)} to {_value(factor, high)}{around}" if _is_angle(factor) else "0 to 1"
