"""Pictures of models of pairs: translations in the tile orders that are published, and sheets of a run's own pairs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_gen.pairs import PairedDataset
from models.noise import Noise
from models.pairs import OTHER, Domain, PairModel
from training import pictures

Images: TypeAlias = npt.NDArray[np.float32]
"""Images in [0, 1], `[batch, height, width, channels]`."""

Tiles: TypeAlias = npt.NDArray[np.float32]
"""Images in [0, 1] in rows, `[rows, columns, height, width, channels]`."""

SAMPLES = 3
"""Sampled styles of a row."""

FIGURE_ORDER = (0, 3, 4, 5, 2, 6)
"""Columns of `translation_tiles` in the order of the community's figures: input, samples, by reference, reference."""

KINDS = {
    "inputs": "image",
    "outputs": "again, from both of the pair",
    "sample0": "from its partner, sampled style",
    "sample1": "another sampled style",
    "sample2": "a third sampled style",
    "reference": "from its partner, in its own style",
    "swapped": "itself in the style of another image",
    "style": "that other image",
}
"""The pictures of an image that the authors' code exports, and what they show."""

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
    model: PairModel,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    others: tuple[npt.ArrayLike, npt.ArrayLike],
    noises: Sequence[Noise],
) -> dict[str, Images]:
    """The 16 pictures of each pair that the authors' code exports, in inference mode.

    Args:
        model: the model.
        x, y: pairs in [0, 1].
        others: for each of them another pair, x and y, whose styles a swap takes (there: a random one of the batch).
        noises: of each pair's sampled styles.

    Returns:
        name to images `[batch, height, width, channels]`: each of `KINDS` for both domains, such as `inputs_x`.

    Source: the authors' code of IIAE, its mode `test`.
    """
    images: dict[Domain, tf.Tensor] = {
        "x": tf.convert_to_tensor(x, tf.float32),
        "y": tf.convert_to_tensor(y, tf.float32),
    }
    again = dict(zip(("x", "y"), model.reconstruct(images["x"], images["y"]), strict=True))
    shared = {domain: model.shared_code(images[domain], domain) for domain in images}
    found: dict[str, tf.Tensor] = {}
    for (domain, own), style in zip(images.items(), others, strict=True):
        style = tf.convert_to_tensor(style, tf.float32)
        codes = {
            f"sample{number}": tf.concat(
                [model.exclusive_noise(domain, 1, noise, f"style{number}") for noise in noises], axis=0
            )
            for number in range(SAMPLES)
        }
        codes["reference"] = model.exclusive_code(own, domain)
        made = {kind: model.decode(shared[OTHER[domain]], code, domain) for kind, code in codes.items()}
        swapped = model.decode(shared[domain], model.exclusive_code(style, domain), domain)
        shown = {"inputs": own, "outputs": again[domain], **made, "swapped": swapped, "style": style}
        found |= {f"{kind}_{domain}": values for kind, values in shown.items()}
    return {name: np.asarray(values) for name, values in found.items()}


def tile_grid(tiles: Tiles) -> pictures.Picture:
    """Rows of images side by side without anything between them, uint8 `[rows * height, columns * width, 3]`."""
    rows, columns, height, width, channels = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return pictures.to_uint8(np.repeat(sheet, 3, axis=2) if channels == 1 else sheet)


def shown_pairs(dataset: PairedDataset) -> PairedDataset:
    """The pairs to make pictures of: those held out, or else those to train on."""
    return dataset.held_out if isinstance(dataset.held_out, PairedDataset) else dataset


def pairs_at(dataset: PairedDataset, numbers: npt.NDArray[np.int64]) -> tuple[Images, Images]:
    """Images x and y of these pairs, in [0, 1]."""
    x, y = dataset.x_images_at(numbers), dataset.y_images_at(numbers)
    return x.astype(np.float32) / 255.0, y.astype(np.float32) / 255.0


class PairPainter:
    """Draws the four sheets of a model of pairs: the first pairs that are held out, or else of those to train on.

    Args:
        model: the model.
        dataset: its pairs.
        seed: of the sampled styles.
        as_trained: see `translation_tiles`.
    """

    def __init__(self, model: PairModel, dataset: PairedDataset, seed: int = 0, as_trained: bool = False) -> None:
        shown = shown_pairs(dataset)
        first = np.arange(_ROWS)
        # Of few pairs the references are the next ones, so that none is its own.
        references = first + (_ROWS if shown.num_examples > _ROWS else 1)
        numbers = np.concatenate([first, references]) % shown.num_examples
        self._x, self._y = pairs_at(shown, numbers)
        self.model, self.dataset, self.as_trained = model, dataset, as_trained
        self._noise = Noise(seed, 0)

    def tiles(self) -> dict[str, Tiles]:
        """Name to rows of images: `x_to_y` and `y_to_x` by `translation_tiles`, `x_with_style_y` and `y_with_style_x`
        by `reference_tiles`, whose references are other pairs."""
        first, others = slice(0, _ROWS), slice(_ROWS, 2 * _ROWS)
        x, y, how = self._x[first], self._y[first], (self._noise, self.as_trained)
        return {
            "x_to_y": translation_tiles(self.model, x, y, "x", *how),
            "y_to_x": translation_tiles(self.model, x, y, "y", *how),
            "x_with_style_y": reference_tiles(self.model, x, self._y[others], "x", *how),
            "y_with_style_x": reference_tiles(self.model, y, self._x[others], "y", *how),
        }

    def sheets(self) -> dict[str, pictures.Picture]:
        """The `tiles` as sheets, each tile beside the next: the community's files."""
        return {name: tile_grid(tiles) for name, tiles in self.tiles().items()}

    def figures(self) -> dict[str, pictures.Picture]:
        """The same four as they stand in the community's figures: in `FIGURE_ORDER`, without the reconstruction."""
        return {
            name: tile_grid(tiles[:, list(FIGURE_ORDER)] if tiles.shape[1] > len(FIGURE_ORDER) else tiles)
            for name, tiles in self.tiles().items()
        }


CAPTIONS = {
    "x_to_y": "x, y reconstructed, y from x in the style of y, in three sampled styles, y",
    "y_to_x": "y, x reconstructed, x from y in the style of x, in three sampled styles, x",
    "x_with_style_y": "x, y from x in the style of another pair's y, that y",
    "y_with_style_x": "y, x from y in the style of another pair's x, that x",
}
"""What the columns of `PairPainter.sheets` show, left to right."""

FIGURE_CAPTIONS = {
    "x_to_y": "1 (X2Y): x, y from x in three sampled styles, y from x in the style of y, y",
    "y_to_x": "2 (Y2X): y, x from y in three sampled styles, x from y in the style of x, x",
    "x_with_style_y": "3 (fixX2Y): " + CAPTIONS["x_with_style_y"],
    "y_with_style_x": "4 (fixY2X): " + CAPTIONS["y_with_style_x"],
}
"""The columns of `PairPainter.figures`, with the numbers and names that the community's experiments have."""


def _context(model: PairModel, noise: Noise, as_trained: bool) -> AbstractContextManager[None]:
    return model.drawn_as_trained(noise) if as_trained else nullcontext()


def _columns(parts: list[tf.Tensor]) -> Tiles:
    return np.stack([np.asarray(part, np.float32) for part in parts], axis=1)
