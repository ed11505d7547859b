"""Pictures of a model: samples, and codes moved one at a time."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import UserError
from models.base import DisentanglementModel
from models.latents import Block, Categorical, Traversal, Uniform
from models.layers import batch_statistics
from models.noise import Noise
from training import pictures
from training.options import TraversalOptions

_LARGEST_BATCH = 512
_SAMPLES = 100


class Painter:
    """Draws a model's pictures with compiled functions, which it keeps for the next time.

    Args:
        model: the model.
        options: range, steps, rows and batch-norm mode.
    """

    def __init__(self, model: DisentanglementModel, options: TraversalOptions) -> None:
        self.model = model
        self.options = options
        self._compiled = tf.function(self._generate, reduce_retracing=True, autograph=False)

    @property
    def draws(self) -> bool:
        """Whether there is anything to draw: a model of vectors makes no images."""
        return len(self.model.image_shape) == 3

    def refuse_vectors(self) -> None:
        """Refuses a model that makes no images.

        Raises:
            UserError: it is one.
        """
        if not self.draws:
            raise UserError(f"{type(self.model).__name__} makes vectors from these data, not images: nothing to draw")

    def _generate(self, latents: tf.Tensor) -> tf.Tensor:
        with batch_statistics() if self.options.batch_norm == "batch" else nullcontext():
            return self.model.generate(latents)

    def generate(self, latents: np.ndarray) -> np.ndarray:
        """Images `[n, height, width, channels]` in [0, 1] of latents `[n, size]`.

        In batch mode all latents are one batch, whose statistics normalize it.

        Raises:
            UserError: the model makes vectors.
        """
        self.refuse_vectors()
        latents = np.asarray(latents, np.float32)
        size = len(latents) if self.options.batch_norm == "batch" else _LARGEST_BATCH
        parts = [self._compiled(tf.constant(latents[i : i + size])).numpy() for i in range(0, len(latents), size)]
        return np.concatenate(parts)

    def samples(self, count: int = _SAMPLES, seed: int = 0) -> np.ndarray:
        """A sheet of `count` samples from the prior, the same latents for the same seed."""
        latents = self.model.sample_latents(count, Noise(seed, 0)).numpy()
        return pictures.image_grid(self.generate(latents), columns=max(1, round(count**0.5)))

    def bases(self) -> dict[str, np.ndarray]:
        """The base codes by name, `[rows, size]` each."""
        noise = Noise(self.options.seed, 0)
        return {name: base.numpy() for name, base in self.model.traversal_bases(self.options.rows, noise).items()}

    def sweep(self, traversal: Traversal, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images `[rows, steps, height, width, channels]` of one code's traversal, and its values `[steps]`."""
        values = traversal.block.traversal_values(self.options.steps, self.options.span)
        latents = np.stack([traversal.apply(base, value) for value in values], axis=1)
        images = self.generate(latents.reshape(-1, latents.shape[-1]))
        return images.reshape(len(base), len(values), *images.shape[1:]), values

    def overview(self, name: str, row: int = 0) -> np.ndarray:
        """One sheet of all codes, uint8: a row for each code, one base code throughout.

        Columns have labels if all codes take the same values.
        """
        base = self.bases()[name][row : row + 1]
        rows, labels, headings = [], [], []
        for traversal in self.model.latent_space.traversals():
            images, values = self.sweep(traversal, base)
            rows.append(images[0])
            labels.append(traversal.label)
            headings.append([f"{value:.2f}" for value in values])
        if len({len(images) for images in rows}) > 1:
            rows = _equal_lengths(rows)
        columns = headings[0] if all(heading == headings[0] for heading in headings) else []
        return pictures.labelled_sheet(np.stack(rows), labels, columns, f"{name}, base {row}")

    def code_sheets(self) -> dict[str, np.ndarray]:
        """One sheet for every categorical code and every other one, uint8: rows are categories, columns values.

        All other codes stay at category 0 or in the middle of their range; the noise is the same every time.

        Returns:
            `<base>_<categorical code>_<other code>` to sheet; empty if the latent space has not both kinds.
        """
        moves = self.model.latent_space.traversals()
        by_row = [move for move in moves if isinstance(move.block, Categorical)]
        by_column = [move for move in moves if not isinstance(move.block, Categorical)]
        sheets = {}
        for row in by_row:
            for column in by_column:
                values = column.block.traversal_values(self.options.steps, self.options.span)
                labels = [str(category) for category in range(row.block.size)]
                columns = [f"{value:.2f}" for value in values]
                for name, base in self._neutral_bases(row.block.size).items():
                    cells = np.stack([column.apply(base[:, i], value) for i, value in enumerate(values)], axis=1)
                    for category in range(row.block.size):
                        cells[category] = row.apply(cells[category], category)
                    images = self.generate(cells.reshape(-1, cells.shape[-1])).reshape(
                        *cells.shape[:2], *self.model.image_shape
                    )
                    title = f"{name}: rows {row.label}, columns {column.label}"
                    sheet = pictures.labelled_sheet(images, labels, columns, title)
                    sheets[f"{name}_{row.label}_{column.label}"] = sheet
        return sheets

    def sheets(self) -> dict[str, np.ndarray]:
        """All sheets of one state of a model: `samples`, an `overview` of each base, the `code_sheets`."""
        overviews = {name: self.overview(name) for name in self.bases()}
        return {"samples": self.samples(), **overviews, **self.code_sheets()}

    def _neutral_bases(self, rows: int) -> dict[str, np.ndarray]:
        """By name base codes `[rows, steps, size]`: all codes in the middle, the noise as the options have it."""
        steps = self.options.steps
        count = rows * steps if self.options.noise == "cell" else rows
        bases = {}
        for name, drawn in self.model.traversal_bases(count, Noise(self.options.seed, 0)).items():
            base = drawn.numpy()
            for move in self.model.latent_space.traversals():
                base = move.apply(base, _middle(move.block))
            if self.options.noise == "row":
                base = np.repeat(base, steps, axis=0)
            bases[name] = base.reshape(rows, steps, -1)
        return bases


def _middle(block: Block) -> float:
    """Category 0, or the middle of the prior's range."""
    return (block.low + block.high) / 2 if isinstance(block, Uniform) else 0.0


def _equal_lengths(rows: list[np.ndarray]) -> list[np.ndarray]:
    longest = max(len(images) for images in rows)
    return [np.concatenate([images, np.zeros((longest - len(images), *images.shape[1:]))]) for images in rows]


def write_traversals(painter: Painter, folder: Path) -> list[Path]:
    """Writes a sheet and a GIF per code and base, as the reference does: rows are base codes, columns values.

    Where there are categorical codes and others, a sheet for each pair of them too, see `Painter.code_sheets`.

    Args:
        painter: of the model.
        folder: where they go: `<base>_all.png`, `<base>_<code>.png`, `<base>_<code>.gif`, `<base>_<code>_<code>.png`.

    Returns:
        the files.
    """
    written = []
    for name, base in painter.bases().items():
        overview = folder / f"{name}_all.png"
        pictures.save_png(painter.overview(name), overview)
        written.append(overview)
        for traversal in painter.model.latent_space.traversals():
            images, values = painter.sweep(traversal, base)
            rows = [str(row) for row in range(len(base))]
            columns = [f"{value:.2f}" for value in values]
            sheet, movie = (folder / f"{name}_{traversal.label}.{ending}" for ending in ("png", "gif"))
            title = f"{name}, code {traversal.label}"
            pictures.save_png(pictures.labelled_sheet(images, rows, columns, title), sheet)
            frames = [pictures.image_grid(images[:, step], columns=4) for step in range(len(values))]
            pictures.save_gif(frames + frames[-2:0:-1], movie, painter.options.frames_per_second)
            written += [sheet, movie]
    for name, picture in painter.code_sheets().items():
        written.append(folder / f"{name}.png")
        pictures.save_png(picture, written[-1])
    return written
