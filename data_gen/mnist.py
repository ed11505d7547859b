"""MNIST: 70,000 handwritten digits of 28x28, 60,000 to train on and 10,000 to test on (LeCun, Cortes, Burges).

The four files are read as they were published, compressed or not. Other sets of the same layout, such as Fashion-MNIST,
are read as well, and called what they are: `mnist_custom`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.command import prepare
from data_gen.dataset import ArrayDataset, Dataset
from data_gen.factors import Factor
from data_gen.idx import read_idx
from data_gen.mnist_miniature import SIDE, draw_digits
from data_gen.published import PublishedFile, fetch, find_files

SOURCES = ("auto", "published", "custom", "synthetic")
SPLITS = ("train", "test", "all", "train_55000", "validation_5000")
HOMEPAGE = "http://yann.lecun.com/exdb/mnist/"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    HOMEPAGE,
)
CLASSES = 10
VALIDATION_IMAGES = 5_000
TRAIN_IMAGES = 60_000


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of the four files: its name without `.gz`, and what is published of it."""

    stem: str
    size: int
    md5: str
    sha256: str

    def names(self) -> tuple[str, ...]:
        """The names under which it is found: the published one, and those that unpacked files have."""
        dotted = self.stem.replace("-idx", ".idx")
        return f"{self.stem}.gz", self.stem, f"{dotted}.gz", dotted

    def published(self) -> PublishedFile:
        """The file as it is published."""
        name = f"{self.stem}.gz"
        return PublishedFile(name, tuple(f"{mirror}{name}" for mirror in MIRRORS), self.md5, self.size)


# Size and MD5 of the compressed file; SHA-256 of what is in it.
_PARTS = (
    _Part(
        "train-images-idx3-ubyte",
        9_912_422,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    _Part(
        "train-labels-idx1-ubyte",
        28_881,
        "d53e105ee54ea40749a09fcbcd1e9432",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    _Part(
        "t10k-images-idx3-ubyte",
        1_648_877,
        "9fb629c4189551a2d022fa330f9573f3",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    _Part(
        "t10k-labels-idx1-ubyte",
        4_542,
        "ec29112dd5afa0611ce80d1b7f02629c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FILES = tuple(part.published() for part in _PARTS)
"""The four published files."""

SUMMARY = Summary(
    what="handwritten digits, light on black",
    images="70,000 of 28x28x1: 60,000 to train on, 10,000 held out",
    factors="digit 10",
    files=f"{FILES[0].name} and three more from {MIRRORS[0]}",
    license="CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
    raw_names=tuple(file.name for file in FILES),
)

_Images = NDArray[np.uint8]
_Labels = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Digits:
    """All images of a set in the layout of MNIST.

    Args:
        train: images to train on, uint8 of shape (n, 28, 28, 1), and their labels, int64 of shape (n,), 0 to 9.
        test: likewise those to test on.
        name: what the set is called.
        source: where it comes from.
        description: for people.
    """

    train: tuple[_Images, _Labels]
    test: tuple[_Images, _Labels]
    name: str
    source: str
    description: str

    def split(self, split: str) -> ArrayDataset:
        """A part of the set; those to train on hold the test images out, see `SPLITS`."""
        validation = max(1, VALIDATION_IMAGES * len(self.train[0]) // TRAIN_IMAGES)
        if split in ("train", "train_55000"):
            first = 0 if split == "train" else validation
            if first >= len(self.train[0]):
                raise UserError(f"{self.name} has one image to train on, of which {split} would leave none; take train")
            part = self._part(split, self.train[0][first:], self.train[1][first:])
            part.held_out = self._part("test", *self.test)
            return part
        if split == "validation_5000":
            return self._part(split, self.train[0][:validation], self.train[1][:validation])
        if split == "test":
            return self._part(split, *self.test)
        images = np.concatenate([self.train[0], self.test[0]])
        return self._part(split, images, np.concatenate([self.train[1], self.test[1]]))

    def _part(self, split: str, images: _Images, labels: _Labels) -> ArrayDataset:
        return ArrayDataset(
            images,
            classes=labels[:, None],
            factors=(Factor("digit", CLASSES, "discrete"),),
            name=self.name if split == "train" else f"{self.name}_{split}",
            source=self.source,
            description=self.description,
        )


def synthetic(split: str = "train", num_examples: int = 512, seed: int = 0) -> Dataset:
    """A miniature of MNIST without any file: digits drawn by strokes, all ten alike often.

    Args:
        split: as that of `load`, with parts in the same proportions. Default: `train`.
        num_examples: how many images there are to train on, at least 20; half as many are held out. Default: 512.
        seed: determines the images. Default: 0.

    Returns:
        images of 28x28x1 with known digits.

    Raises:
        UserError: for an unknown split, or too few images.
    """
    _check_split(split)
    if num_examples < 2 * CLASSES:
        raise UserError(f"num_examples is {num_examples}; give at least {2 * CLASSES}, two of each digit")
    rng = np.random.default_rng(seed)
    parts = []
    for count in (num_examples, num_examples // 2):
        labels = rng.permutation(np.arange(count, dtype=np.int64) % CLASSES)
        parts.append((draw_digits(labels, rng), labels))
    description = f"{num_examples:,} drawn digits, a stand-in for MNIST in tests and first tries."
    return Digits(parts[0], parts[1], "mnist_synthetic", "synthetic", description).split(split)


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    split: str = "train",
) -> Dataset:
    """Loads MNIST; see `data_gen.load`.

    Args:
        data_dir: not needed; the files are read in less than a second.
        raw_dir: where the four files are looked for, four levels deep; or one of them, in the folder of the others.
        source: `published`, the files of MNIST; `custom`, others of the same layout, such as Fashion-MNIST;
            `synthetic`, a miniature; `auto`, the published files if they are there, else the others. Default: `auto`.
        limit: how many images to keep. Default: all.
        split: `train`, 60,000 images, of which `held_out` are the 10,000 of `test`; `test`; `all`, both; `train_55000`,
            `train` without its first 5,000 images, which are `validation_5000`, as TensorFlow's tutorials and so the
            authors of InfoGAN divide them; its `held_out` is `test` too. Default: `train`.

    Raises:
        UserError: if a file is missing or damaged.
    """
    _check_split(split)
    if source == "synthetic":
        whole = synthetic(split)
    else:
        whole = find_digits(raw_dir, source).split(split)
    return whole.limited(limit)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of mnist{near_matches(split, SPLITS)}")


def find_digits(raw_dir: Path, source: str = "auto") -> Digits:
    """Reads the four files of a set in the layout of MNIST.

    Args:
        raw_dir: where they are looked for.
        source: `published`, `custom` or `auto`, as that of `load`. Default: `auto`.

    Returns:
        all images; those of MNIST itself if both kinds are there and `source` is `auto`.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    found: list[Digits] = []
    damaged: UserError | None = None
    for folder in _folders(raw_dir):
        try:
            digits = _read(folder)
        except UserError as error:
            damaged = damaged or error
            continue
        if digits.source == source or (source == "auto" and digits.source == "published"):
            return digits
        found.append(digits)
    if source == "auto" and found:
        return found[0]
    if damaged is not None:
        raise damaged
    if found and source == "published":
        raise UserError(
            f"the files in {raw_dir} have the layout of MNIST but are not the published ones; put those there "
            "(python -m data_gen.mnist --download fetches them), or choose the source 'custom'"
        )
    if source == "custom":
        raise UserError(f"no files in the layout of MNIST but other than it in {raw_dir}; choose the source 'auto'")
    held = [path.name for part in _PARTS for path in find_files(raw_dir, part.names())]
    raise UserError(
        f"no MNIST in {raw_dir}"
        + (f" (only {', '.join(sorted(set(held)))}; the four files must lie in one folder)" if held else "")
        + f": download {', '.join(file.name for file in FILES)} from {MIRRORS[0]} into {raw_dir / 'mnist'} "
        "(python -m data_gen.mnist --download does that), or choose the source 'synthetic' for a miniature"
    )


def _folders(raw_dir: Path) -> Iterator[Path]:
    """The folders with all four files."""
    within = raw_dir.parent if raw_dir.is_file() else raw_dir
    holding = [{path.parent for path in find_files(within, part.names())} for part in _PARTS]
    yield from sorted(set.intersection(*holding))


def _read(folder: Path) -> Digits:
    """Reads the four files of a folder, and finds out whether they are those of MNIST."""
    files = [_first(folder, part) for part in _PARTS]
    read = [read_idx(path) for path in files]
    pairs = []
    for images, labels in ((0, 1), (2, 3)):
        pixels, digits = read[images].array, read[labels].array
        if pixels.ndim != 3 or pixels.shape[1:] != (SIDE, SIDE) or pixels.dtype != np.uint8 or not len(pixels):
            raise UserError(
                f"{files[images]}: {pixels.dtype} of shape {pixels.shape}; images of MNIST are uint8 of (n, 28, 28)"
            )
        if digits.shape != (len(pixels),) or digits.dtype != np.uint8:
            raise UserError(
                f"{files[labels]}: {digits.dtype} of shape {digits.shape}; expected uint8, one label for each of the "
                f"{len(pixels):,} images in {files[images].name}"
            )
        if digits.max() >= CLASSES:
            raise UserError(f"{files[labels]}: labels reach up to {digits.max()}; those of MNIST are 0 to 9")
        pairs.append((pixels[..., None], digits.astype(np.int64)))
    if all(file.sha256 == part.sha256 for file, part in zip(read, _PARTS, strict=True)):
        return Digits(pairs[0], pairs[1], "mnist", "published", "The handwritten digits of MNIST.")
    description = "Images and labels in the layout of MNIST, but not the published ones."
    return Digits(pairs[0], pairs[1], "mnist_custom", "custom", description)


def _first(folder: Path, part: _Part) -> Path:
    found = [path for path in find_files(folder, part.names()) if path.parent == folder]
    return found[0]


def _download(raw_dir: Path, flags: argparse.Namespace) -> None:
    folder = raw_dir.parent if raw_dir.is_file() else raw_dir
    for file in FILES:
        fetch(file, folder / "mnist")


def main() -> None:
    """Writes MNIST as TFRecord shards; see `--help`."""
    prepare(
        "mnist",
        version="3.0.1",
        homepage=HOMEPAGE,
        fetch=_download,
        teaching=f"""where the data come from:
  Four files, {FILES[0].name} and so on, from any of
    {MIRRORS[0]}
    {MIRRORS[1]}
    {MIRRORS[2]}
  Put all four into one folder below --raw_dir, as they are or unpacked; or let --download fetch
  them into RAW_DIR/mnist. Their checksums are known: what differs is called mnist_custom.
  License: {SUMMARY.license}.

result:
  splits train (60,000 images) and test (10,000), each with id, image, label_digit, value_digit

sources:
  auto       the published files if they are there, else others of the same layout
  published  the published files only
  custom     others of the same layout only, such as Fashion-MNIST
  synthetic  512 drawn digits, for tests and first tries

examples:
  python -m data_gen.mnist --download
  python -m data_gen.mnist --raw_dir ~/Downloads --limit 1000

in Python, data_gen.load("mnist", split=...) has also the split train_55000 of TensorFlow's tutorials, on which the
authors of InfoGAN trained: the training images without the first 5,000, which are the split validation_5000.
""",
    )


if __name__ == "__main__":
    run_command(main)
