"""MNIST-CDCB: pairs of a digit on a colored background (x) and of the same digit colored, on black (y), 256x256.

The set is that of Gonzalez-Garcia, van de Weijer and Bengio ("Image-to-image translation for cross-domain
disentanglement", 2018), on which IIAE was trained. Its archive may be gone, and no program that makes it is public, but
ten published pairs show how it is made of MNIST: pixels above 102 are the stroke; in x everything else gets the color
of the background, in y the stroke gets a color of its own; then both are enlarged by the bicubic filter of
TensorFlow 1. `colorize` does that: of 3.9 million bytes of those ten pairs it gets all but 18, and these are off by
one. The colors here are drawn anew, so the set is called `mnist_cdcb_reconstructed`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary, mnist
from data_gen.command import Option, prepare
from data_gen.dataset import UNIT, Dataset
from data_gen.factors import check_indices
from data_gen.mnist_cdcb_files import ARCHIVE, ARCHIVE_URL, find_published, published_pairs
from data_gen.mnist_miniature import SIDE
from data_gen.pairs import PairedDataset, plan_of_pairs

if TYPE_CHECKING:
    import tensorflow as tf

    from data_gen.dataset import Lookup

SOURCES = ("auto", "published", "reconstructed", "synthetic")
SPLITS = ("train", "valid", "test")
SIZES = (64, 128, 256)
PUBLISHED_SIZE = 256
NUM_TRAIN = 60_000
NUM_VALID = 800
STROKE_ABOVE = 102
HOMEPAGE = "https://github.com/agonzgarc/cross-domain-disen"
SUMMARY = Summary(
    what="pairs of a digit on a colored background and of the same digit in color on black, made of MNIST",
    images="70,000 pairs of 256x256x3 (or 128, 64): 60,000 to train on, 10,000 held out",
    factors="digit 10",
    files=f"those of mnist; or the published pairs, {ARCHIVE} from {ARCHIVE_URL}",
    license="made of MNIST (CC BY-SA 3.0); the published pairs: MIT (A. Gonzalez-Garcia)",
    raw_names=(*mnist.SUMMARY.raw_names, ARCHIVE, "MNISTCDCB", "mnist_cdcb"),
)

_Floats = NDArray[np.float64]

# Bytes are floor(255.5 v) of v in [0, 1], as TensorFlow makes them of floats.
_TO_BYTES = 255.5 / 255.0


@functools.cache
def bicubic_weights(size: int, source: int = SIDE) -> _Floats:
    """The bicubic filter of TensorFlow 1 as a matrix: what it makes of a row of pixels.

    The cubic has a = -0.75; pixel i of the result lies at i * source / size, without an offset of half a pixel; beyond
    the edges pixels repeat. For the sizes here all weights are multiples of 2^-20, so that sums of products with gray
    levels are exact in double precision, whatever their order, on every device.

    Args:
        size: pixels of the result.
        source: pixels of the row. Default: 28.

    Returns:
        float64 of shape (size, source), each row with the sum 1; not to be changed.

    Source: `ResizeBicubic` of TensorFlow with `half_pixel_centers=False`.
    """
    a = -0.75
    places = np.arange(size) * source / size
    first = np.floor(places).astype(np.int64)
    part = places - first
    weights = np.zeros((size, source))
    for tap in range(-1, 3):
        distance = np.abs(part - tap)
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        column = np.clip(first + tap, 0, source - 1)
        np.add.at(weights, (np.arange(size), column), np.where(distance <= 1, near, far))
    weights.flags.writeable = False
    return weights


def colorize(
    digit: NDArray[np.uint8], background: Sequence[int], foreground: Sequence[int], size: int = PUBLISHED_SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Makes a pair of a digit.

    Args:
        digit: uint8 of shape (28, 28), light on black.
        background: red, green and blue of the background of x, integers from 0 to 255.
        foreground: likewise of the digit of y.
        size: height and width of the result, 64, 128 or 256. Default: 256, as published.

    Returns:
        x and y, each uint8 of shape (size, size, 3).

    Raises:
        ValueError: for another shape, type or size, or a color out of its range.
    """
    pixels = np.asarray(digit)
    if pixels.shape != (SIDE, SIDE) or pixels.dtype != np.uint8:
        raise ValueError(f"a digit is {pixels.dtype} of shape {pixels.shape}; expected uint8 of (28, 28)")
    if size not in SIZES:
        raise ValueError(f"size is {size}; allowed: {', '.join(map(str, SIZES))}")
    colors = []
    for color in (background, foreground):
        levels = np.asarray(color)
        if levels.shape != (3,) or levels.dtype.kind not in "iu" or levels.min() < 0 or levels.max() > 255:
            raise ValueError(f"a color is {color!r}; expected three integers from 0 to 255")
        colors.append(levels.astype(np.uint8)[None])
    x = _drawn(pixels[None], colors[0], size, on_background=True)
    return x[0], _drawn(pixels[None], colors[1], size, on_background=False)[0]


def _drawn(digits: NDArray[np.uint8], colors: NDArray[np.uint8], size: int, on_background: bool) -> NDArray[np.uint8]:
    """Images x (on a background) or y of digits, (n, 28, 28), with colors, (n, 3): uint8 of (n, size, size, 3)."""
    weights = bicubic_weights(size)
    images = np.empty((len(digits), size, size, 3), np.uint8)
    for image, digit, color in zip(images, digits, colors.astype(np.float64), strict=True):
        colored = (digit > STROKE_ABOVE) != on_background
        gray = weights @ np.where(colored, 0.0, digit) @ weights.T
        share = weights @ colored.astype(np.float64) @ weights.T
        levels = share[..., None] * color
        levels += gray[..., None]
        np.clip(levels, 0.0, 255.0, out=levels)
        levels *= _TO_BYTES
        # Turning into integers cuts the fractions off.
        image[...] = levels.astype(np.uint8)
    return images


def random_colors(numbers: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint8]:
    """The colors of pairs, a pure function of the seed and of the pair's number: every channel of both is uniform.

    Args:
        numbers: the pairs' numbers, integers of shape (n,): those of the images in MNIST, test images from 60,000 on.
        seed: any integer of up to 64 bits. Default: 0.

    Returns:
        uint8 of shape (n, 6): red, green, blue of the background of x, and of the digit of y.

    Source: the generator `splitmix64` of Steele, Lea and Flood (2014), started at a hash of the seed.
    """
    start = _mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))
    words = _mixed(start + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :6]


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class ColoredDigits(Dataset):
    """One side of MNIST-CDCB, drawn when it is asked for: 60,000 images take 50 MB and not 12 GB.

    Args:
        digits: the images of MNIST, with known digits.
        colors: uint8 of shape (n, 3), of the background or of the stroke.
        size: height and width of the images.
        on_background: whether this is x, with a colored background, or y, with a colored stroke.
        name: what it is called.
    """

    def __init__(self, digits: Dataset, colors: NDArray[np.uint8], size: int, on_background: bool, name: str) -> None:
        super().__init__(
            name=name,
            source=digits.source,
            image_shape=(size, size, 3),
            num_examples=digits.num_examples,
            factors=digits.factors,
        )
        self._digits, self._colors, self._size, self._on_background = digits, colors, size, on_background

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        numbers = check_indices(indices, self.num_examples)
        digits = self._digits.images_at(numbers)[..., 0]
        return _drawn(digits, self._colors[numbers], self._size, self._on_background)

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        return self._digits.factors_at(indices)

    def subset(self, indices: NDArray[np.int64], name: str) -> ColoredDigits:
        digits = self._digits.subset(indices, f"{name}_digits")
        return ColoredDigits(digits, self._colors[indices], self._size, self._on_background, name)

    def _stored_at(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        digits = self._digits.images_at(indices).reshape(len(indices), -1)
        return np.concatenate([digits, self._colors[indices]], axis=1)

    def resident_bytes(self) -> int | None:
        size = self._digits.resident_bytes()
        return None if size is None else size + self._colors.nbytes

    def _lookup(self, place: Callable[[NDArray[Any]], Any]) -> Lookup:
        import tensorflow as tf

        digits_of = self._digits._lookup(place)
        colors = place(self._colors.astype(np.float64))
        weights = bicubic_weights(self._size)

        def enlarged(images: tf.Tensor) -> tf.Tensor:
            # In double precision, where all of this is exact: the bytes are those of `images_at` on every device.
            return tf.matmul(weights, tf.matmul(tf.cast(images, tf.float64), weights, transpose_b=True))

        def lookup(indices: tf.Tensor) -> tf.Tensor:
            digits = tf.round(digits_of(indices)[..., 0] * 255.0)
            colored = tf.math.not_equal(digits > STROKE_ABOVE, self._on_background)
            gray = enlarged(tf.where(colored, 0.0, digits))
            levels = gray[..., None] + enlarged(colored)[..., None] * tf.gather(colors, indices)[:, None, None]
            whole = tf.floor(tf.clip_by_value(levels, 0.0, 255.0) * _TO_BYTES)
            return tf.cast(whole, tf.float32) * UNIT

        return lookup


def _pairs(digits: Dataset, first: int, size: int, seed: int, name: str, source: str) -> PairedDataset:
    """Pairs of digits whose numbers in MNIST begin with `first`."""
    colors = random_colors(np.arange(first, first + digits.num_examples), seed)
    sides = [
        ColoredDigits(digits, np.ascontiguousarray(colors[:, columns]), size, on_background, f"{name}_{side}")
        for side, columns, on_background in (("x", slice(0, 3), True), ("y", slice(3, 6), False))
    ]
    description = f"Digits on a colored background, and the same digits colored on black, {size}x{size}."
    return PairedDataset(sides[0], sides[1], name=name, source=source, description=description)


def synthetic(
    split: str = "train", size: int = PUBLISHED_SIZE, num_examples: int = 512, seed: int = 0
) -> PairedDataset:
    """A miniature of MNIST-CDCB made of drawn digits, without any file.

    Args:
        split: `train`, `valid` or `test`. Default: `train`.
        size: height and width of the images, 64, 128 or 256. Default: 256.
        num_examples: how many pairs there are to train on, at least 20; half as many are held out. Default: 512.
        seed: determines digits and colors. Default: 0.

    Raises:
        UserError: for an unknown split or size, or too few pairs.
    """
    train = mnist.synthetic(num_examples=num_examples, seed=seed)
    return _split_of(train, num_examples, split, size, seed, "mnist_cdcb_synthetic", "synthetic")


def _split_of(
    train: Dataset, num_train: int, split: str, size: int, seed: int, name: str, source: str
) -> PairedDataset:
    """A part of the set that is made of the digits of `train` and of what it holds out."""
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of mnist_cdcb{near_matches(split, SPLITS)}")
    if size not in SIZES:
        raise UserError(f"size is {size}; allowed: {', '.join(map(str, SIZES))}")
    if not 1 <= num_train <= train.num_examples:
        raise UserError(f"num_train is {num_train}; give a number from 1 to {train.num_examples:,}")
    name = name if size == PUBLISHED_SIZE else f"{name}_{size}"
    test_digits = train.held_out
    if test_digits is None:
        raise ValueError(f"{train.name} holds nothing out")
    test = _pairs(test_digits, train.num_examples, size, seed, f"{name}_test", source)
    if split == "test":
        return test
    kept = num_train if split == "train" else min(NUM_VALID, num_train)
    digits = train if kept == train.num_examples else train.subset(np.arange(kept), f"{name}_digits")
    if split == "valid":
        return _pairs(digits, 0, size, seed, f"{name}_valid", source)
    if num_train != train.num_examples:
        name = f"{name}_train{num_train}"
    part = _pairs(digits, 0, size, seed, name, source)
    part.held_out = test
    return part


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    split: str = "train",
    size: int = PUBLISHED_SIZE,
    num_train: int = NUM_TRAIN,
    seed: int = 0,
) -> Dataset:
    """Loads MNIST-CDCB; see `data_gen.load`.

    Args:
        data_dir: where a published archive that is packed is unpacked into a nameless file while it is in use.
        raw_dir: where the files of MNIST, or the published pairs, are looked for.
        source: `published`, the published pairs; `reconstructed`, made of MNIST; `synthetic`, a miniature; `auto`, the
            published ones if the folders of all of them are there, else `reconstructed`. Default: `auto`.
        limit: how many pairs to keep. Default: all.
        split: `train`, whose `held_out` is `test`; `test`; `valid`, the first 800 pairs of `train`, by which the
            authors of IIAE choose among checkpoints. Default: `train`.
        size: height and width, 64, 128 or 256; published ones have 256. Default: 256.
        num_train: how many images of MNIST `train` is made of, the first ones: how many the published set has is not
            known. Default: 60,000; of `synthetic` 512.
        seed: determines the colors of pairs that are made here. Default: 0.

    Raises:
        UserError: for options out of their ranges, and files that are missing or damaged.
    """
    if source == "synthetic":
        miniature = synthetic(split, size, num_train if num_train != NUM_TRAIN else 512, seed)
        return miniature.limited(limit)
    if source in ("auto", "published"):
        found = find_published(raw_dir, samples_too=source == "published")
        if found is not None:
            if size != PUBLISHED_SIZE:
                raise UserError(
                    f"the published pairs have {PUBLISHED_SIZE}x{PUBLISHED_SIZE} pixels, not {size}; leave the size "
                    "out, or choose the source 'reconstructed'"
                )
            return published_pairs(found, data_dir, split, NUM_VALID).limited(limit)
    if source == "published":
        raise UserError(
            f"no published MNIST-CDCB in {raw_dir}: put {ARCHIVE} from {ARCHIVE_URL} there, as it is or unpacked, or "
            "choose the source 'reconstructed', which is made of MNIST"
        )
    train = mnist.find_digits(raw_dir, "published").split("train")
    pairs = _split_of(train, num_train, split, size, seed, "mnist_cdcb_reconstructed", "reconstructed")
    return pairs.limited(limit)


def main() -> None:
    """Writes MNIST-CDCB as TFRecord shards; see `--help`."""
    prepare(
        "mnist_cdcb",
        homepage=HOMEPAGE,
        options=(
            Option("size", int, "height and width: 64, 128 or 256 (default: 256, as published)"),
            Option("num_train", int, "make the pairs to train on of so many images of MNIST (default: 60,000)"),
            Option("seed", int, "of the colors (default: 0)"),
        ),
        make_plan=plan_of_pairs,
        teaching=f"""where the data come from:
  The pairs are made of MNIST, in the way of the published ones, with colors of their own; so they
  are called mnist_cdcb_reconstructed (with _64 or _128 where they are smaller). Put the four files
  of MNIST below --raw_dir (python -m data_gen.mnist --download fetches them).
  The published pairs are {ARCHIVE} from
  {ARCHIVE_URL} ; put it, or the folder
  that is in it, below --raw_dir. It is not downloaded here, because it may be gone.
  License: {SUMMARY.license}.

result:
  splits train and test, each with id, image_x (colored background), image_y (colored digit) and
  label_digit. All pairs of 256x256 are some gigabytes; training needs no file of them: it draws
  them as it goes, from MNIST.

sources:
  auto           the published pairs if both of their folders are there, else reconstructed
  published      the published pairs; also a folder of some of them
  reconstructed  made of MNIST
  synthetic      512 pairs made of drawn digits, for tests and first tries

examples:
  python -m data_gen.mnist_cdcb --size 64 --limit 1000
  python -m data_gen.mnist_cdcb --source published --raw_dir ~/Downloads/MNIST-CDCB
""",
    )


if __name__ == "__main__":
    run_command(main)
