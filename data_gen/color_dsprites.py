"""Color-dSprites: dSprites with every color channel scaled by one of eight levels.

The reference (IB-GAN, the authors' code) multiplies each channel by a random value of `linspace(0, 1, 8)` at every
access, so an image has another color each time. Here color is a factor like any other and the data set is the full
grid of 737,280 x 512 images: what an image looks like is a function of its number. Drawing numbers uniformly gives the
same distribution, but one epoch of this data set is as long as 512 epochs of the reference. Channels are rounded to
whole gray levels (0, 36, 73, 109, 146, 182, 219, 255); the reference keeps fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, run_command
from data_gen import Summary, dsprites
from data_gen.command import prepare
from data_gen.dataset import UNIT, Dataset
from data_gen.dsprites_files import OFFICIAL_PAGE
from data_gen.factors import Factor, FactorSpace, check_indices

if TYPE_CHECKING:
    import tensorflow as tf

    from data_gen.dataset import Lookup

SOURCES = tuple(source for source in dsprites.SOURCES if source != "random")
SUMMARY = Summary(
    what="dSprites in color",
    images="737,280 x 512 of 64x64x3",
    factors=f"{dsprites.SUMMARY.factors}, red 8, green 8, blue 8",
    files=dsprites.SUMMARY.files,
    license=dsprites.SUMMARY.license,
    raw_names=dsprites.SUMMARY.raw_names,
)

MOST_WRITTEN = 10_000_000
CHANNEL_LEVELS = 8
COLORS = CHANNEL_LEVELS**3
CHANNEL_VALUES = np.linspace(0.0, 255.0, CHANNEL_LEVELS).round().astype(np.uint8)
"""The gray level of each of the eight channel levels."""


class ColorDsprites(Dataset):
    """dSprites times every color; color varies fastest, blue before green before red.

    Args:
        base: the dSprites images, a full grid of factors.
    """

    def __init__(self, base: dsprites.Dsprites) -> None:
        if base.factor_space is None:
            raise ValueError(f"{base.name} is no full grid of factors")
        channels = tuple(Factor(name, CHANNEL_LEVELS, "continuous") for name in ("red", "green", "blue"))
        super().__init__(
            name=f"color_{base.name}",
            source=base.source,
            image_shape=(*base.image_shape[:2], 3),
            num_examples=base.num_examples * COLORS,
            factor_space=FactorSpace(base.factor_space.factors + channels),
            description=f"{base.description} Each color channel is scaled by one of {CHANNEL_LEVELS} levels.",
        )
        self._base = base

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        numbers = check_indices(indices, self.num_examples)
        return self._base.bits_at(numbers // COLORS) * _color_table()[numbers % COLORS][:, None, None, :]

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.float32]:
        """The values of the factors, float32 of shape (n, 8): those of dSprites, then the channels in [0, 1]."""
        numbers = check_indices(indices, self.num_examples)
        channels = self.factors_at(numbers)[:, -3:].astype(np.float32) / (CHANNEL_LEVELS - 1)
        return np.concatenate([self._base.values_at(numbers // COLORS), channels], axis=1)

    def resident_bytes(self) -> int | None:
        return self._base.resident_bytes()

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        base = self._base.bits_lookup(place, repeats=3)
        # The colors of 64 pixels in a row at once: multiplying by three numbers at a time is several times slower.
        table = np.tile(_color_table().astype(np.float32) * UNIT, (1, 64))

        def lookup(indices: tf.Tensor) -> tf.Tensor:
            pixels = base(indices // COLORS) * tf.gather(table, indices % COLORS)[:, None, :]
            return tf.reshape(pixels, (-1, *self.image_shape))

        return lookup


def synthetic(levels: Sequence[int] = (3, 2, 4, 4, 4)) -> ColorDsprites:
    """A miniature of Color-dSprites without any file.

    Args:
        levels: how many levels of each factor of dSprites to keep. Default: 384 x 512 images.
    """
    return ColorDsprites(dsprites.synthetic(levels))


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    levels: Sequence[int] | None = None,
) -> Dataset:
    """Loads Color-dSprites; see `data_gen.load` and `data_gen.dsprites.load`, whose sources it shares but `random`."""
    if source == "synthetic":
        return (synthetic() if levels is None else synthetic(levels)).limited(limit)
    base = dsprites.load(data_dir=data_dir, raw_dir=raw_dir, source=source, levels=levels)
    return ColorDsprites(base).limited(limit)


def _color_table() -> NDArray[np.uint8]:
    """The three channels of each of the 512 colors, uint8 of shape (512, 3)."""
    numbers = np.arange(COLORS)
    return CHANNEL_VALUES[np.stack([numbers // 64, numbers // 8 % 8, numbers % 8], axis=1)]


def main() -> None:
    """Writes a part of Color-dSprites as TFRecord shards; see `--help`."""
    prepare(
        "color_dsprites",
        homepage=OFFICIAL_PAGE,
        refuse=_too_many,
        teaching="""The sources are those of dSprites: python -m data_gen.dsprites --help tells about them.
All 377,487,360 images would fill hundreds of gigabytes, and training needs no file of
them: it colors dSprites as it goes. So this command wants a --limit.
""",
    )


def _too_many(dataset: Dataset) -> None:
    if dataset.num_examples > MOST_WRITTEN:
        raise UserError(
            f"{dataset.name} has {dataset.num_examples:,} images, too many for files; give a --limit of at most "
            f"{MOST_WRITTEN:,} (training needs no files: it colors dSprites as it goes)"
        )


if __name__ == "__main__":
    run_command(main)
