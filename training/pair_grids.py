"""Pictures of models of pairs: translations in the tile orders that are published, and sheets of a run's own pairs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_gen.pairs import PairedDataset
from models.noise import Noise
from models.pairs import OTHER, Domain, PairModel
from training import pictures

Tiles: TypeAlias = npt.NDArray[np.float32]
"""Images in [0, 1] in rows, `[rows, columns, height, width, channels]`."""

SAMPLES = 3
"""Sampled styles of a row."""

FIGURE_ORDER = (0, 3, 4, 5, 2, 6)
"""Columns of `translation_tiles` in the order of the community's figures: input, samples, by reference, reference."""

PAIR_SHEETS = "pairs_"
"""How the files of `PairPainter.sheets` begin in a run's folder of pictures."""

_ROWS = 6


def translation_tiles(
    model: PairModel, x: npt.ArrayLike, y: npt.ArrayLike, source: Domain, noise: Noise, as_trained: bool = False
) -> Tiles:
    """Translations of pairs, the community's grids `X2Y` and `Y2X`: one row per pair, seven columns.

    Args:
        model: the model.
        x, y: pairs in [0, 1], `[batch, height, width, channels]`.
        source: the domain to translate from.
        noise: of the sampled styles.
        as_trained: normalize by the batch, with dropout and drawn codes, as the community code does; else inference.

    Returns:
        left to right: the input; the reconstruction of its partner; the translation in its partner's style; three in
        sampled styles; the partner.

    Source: the community code of IIAE.
    """
    images = {"x": tf.convert_to_tensor(x, tf.float32), "y": tf.convert_to_tensor(y, tf.float32)}
    target = OTHER[source]
    with _context(model, noise, as_trained):
        pair = model.reconstruct(images["x"], images["y"], noise if as_trained else None)
        shared = model.shared_code(images[source], source)
        styles = [model.exclusive_code(images[target], target)]
        count = images[source].shape[0]
        styles += [model.exclusive_noise(target, count, noise, f"style{number}") for number in range(SAMPLES)]
        made = [model.decode(shared, style, target) for style in styles]
    again = pair[1] if target == "y" else pair[0]
    return _columns([images[source], again, *made, images[target]])


def reference_tiles(
    model: PairModel,
    content: npt.ArrayLike,
    references: npt.ArrayLike,
    source: Domain,
    noise: Noise,
    as_trained: bool = False,
) -> Tiles:
    """Translations in the style of images that are no partners, the community's grids `fixX2Y` and `fixY2X`.

    Args:
        model: the model.
        content: images of the source, in [0, 1]; there those of the first batch.
        references: as many images of the other domain; there those of another batch.
        source: the domain to translate from.
        noise, as_trained: as in `translation_tiles`.

    Returns:
        left to right: the input, its translation, the reference.

    Source: the community code of IIAE.
    """
    inputs, styles = tf.convert_to_tensor(content, tf.float32), tf.convert_to_tensor(references, tf.float32)
    with _context(model, noise, as_trained):
        made = model.translate(inputs, source, model.exclusive_code(styles, OTHER[source]))
    return _columns([inputs, made, styles])


def published_pictures(
    model: PairModel, x: npt.ArrayLike, y: npt.ArrayLike, noise: Noise, shift: int = 1
) -> dict[str, Tiles]:
    """The 16 pictures of each pair that the authors' code exports, in inference mode.

    Args:
        model: the model.
        x, y: at least two pairs in [0, 1].
        noise: of the sampled styles.
        shift: the style of a swap is that of the pair so many rows further on (there: of a random other pair).

    Returns:
        name to images `[batch, height, width, channels]`: of both domains `inputs`, `outputs` (from both together),
        `sample0` to `sample2` (translated in sampled styles), `reference` (in the partner's), `swapped` (with the
        style of another image of the domain) and `style` (that image).

    Raises:
        ValueError: the shift leads back to the pair itself.

    Source: the authors' code of IIAE, its mode `test`.
    """
    images = {"x": tf.convert_to_tensor(x, tf.float32), "y": tf.convert_to_tensor(y, tf.float32)}
    count = images["x"].shape[0]
    if not shift % count:
        raise ValueError(f"shift is {shift} for {count} pairs: each would be its own reference")
    again = dict(zip(("x", "y"), model.reconstruct(images["x"], images["y"]), strict=True))
    found: dict[str, tf.Tensor] = {}
    domains: tuple[Domain, ...] = ("x", "y")
    for domain in domains:
        own, other = images[domain], OTHER[domain]
        style = tf.roll(own, -shift, axis=0)
        shared = model.shared_code(images[other], other)
        found |= {f"inputs_{domain}": own, f"outputs_{domain}": again[domain]}
        for number in range(SAMPLES):
            drawn = model.exclusive_noise(domain, count, noise, f"style{number}")
            found[f"sample{number}_{domain}"] = model.decode(shared, drawn, domain)
        found[f"reference_{domain}"] = model.decode(shared, model.exclusive_code(own, domain), domain)
        found |= {f"swapped_{domain}": model.recombine(own, style, domain), f"style_{domain}": style}
    return {name: np.asarray(values) for name, values in found.items()}


def tile_grid(tiles: Tiles) -> pictures.Picture:
    """Rows of images side by side without anything between them, uint8 `[rows * height, columns * width, 3]`."""
    rows, columns, height, width, channels = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return pictures.to_uint8(np.repeat(sheet, 3, axis=2) if channels == 1 else sheet)


class PairPainter:
    """Draws the four sheets of a model of pairs: the first pairs that are held out, or else of those to train on.

    Args:
        model: the model.
        dataset: its pairs.
        seed: of the sampled styles.
        as_trained: see `translation_tiles`.
    """

    def __init__(self, model: PairModel, dataset: PairedDataset, seed: int = 0, as_trained: bool = False) -> None:
        shown = dataset.held_out if isinstance(dataset.held_out, PairedDataset) else dataset
        numbers = np.arange(2 * _ROWS) % shown.num_examples
        self._x, self._y = (side(numbers).astype(np.float32) / 255.0 for side in (shown.x_images_at, shown.y_images_at))
        self.model, self.as_trained = model, as_trained
        self._noise = Noise(seed, 0)

    def sheets(self) -> dict[str, pictures.Picture]:
        """Name to sheet: `x_to_y` and `y_to_x` by `translation_tiles`, `x_with_style_y` and `y_with_style_x` by
        `reference_tiles`, whose references are other pairs."""
        first, others = slice(0, _ROWS), slice(_ROWS, 2 * _ROWS)
        x, y = self._x[first], self._y[first]
        return {
            "x_to_y": tile_grid(translation_tiles(self.model, x, y, "x", self._noise, self.as_trained)),
            "y_to_x": tile_grid(translation_tiles(self.model, x, y, "y", self._noise, self.as_trained)),
            "x_with_style_y": tile_grid(
                reference_tiles(self.model, x, self._y[others], "x", self._noise, self.as_trained)
            ),
            "y_with_style_x": tile_grid(
                reference_tiles(self.model, y, self._x[others], "y", self._noise, self.as_trained)
            ),
        }


CAPTIONS = {
    "x_to_y": "x, y reconstructed, y from x in the style of y, in three sampled styles, y",
    "y_to_x": "y, x reconstructed, x from y in the style of x, in three sampled styles, x",
    "x_with_style_y": "x, y from x in the style of another pair's y, that y",
    "y_with_style_x": "y, x from y in the style of another pair's x, that x",
}
"""What the columns of `PairPainter.sheets` show, left to right."""


def _context(model: PairModel, noise: Noise, as_trained: bool) -> AbstractContextManager[None]:
    return model.drawn_as_trained(noise) if as_trained else nullcontext()


def _columns(parts: list[tf.Tensor]) -> Tiles:
    return np.stack([np.asarray(part, np.float32) for part in parts], axis=1)
