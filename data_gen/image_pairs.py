"""What sets of pairs made of image files have in common: two pictures in one file, and parts that are held out."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches
from common.output import tell
from data_gen.archives import BadFileError
from data_gen.crops import Picture
from data_gen.dataset import Dataset
from data_gen.image_command import fetch_and_record
from data_gen.image_files import Pixels, decode
from data_gen.image_miniatures import drawn_scenes, fitted
from data_gen.image_set import ImageSelection, ImageSet
from data_gen.pairs import PairedDataset, plan_of_pairs
from data_gen.published import PublishedFile
from data_gen.tfrecord import Plan


@dataclasses.dataclass(frozen=True)
class Sides:
    """An image file with two pictures side by side; makes an array of both.

    Args:
        picture: how each side becomes an array.
        published: width and height that the file must have. Default: any, with an even width.
    """

    picture: Picture
    published: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """2 and the shape of a side: the left one is first."""
        return (2, *self.picture.shape)

    def record(self) -> dict[str, Any]:
        """All that determines the result, for comparison."""
        return {"sides": dataclasses.asdict(self)}

    def __call__(self, data: bytes) -> Pixels:
        """The two sides of a file, uint8; `BadFileError` if it cannot be used."""
        image = decode(data, self.picture.channels, self.picture.background, self.picture.orient)
        if image.width % 2 or (self.published is not None and image.size != self.published):
            raise BadFileError("other size")
        half = image.width // 2
        boxes = ((0, 0, half, image.height), (half, 0, image.width, image.height))
        return np.stack([self.picture.of_image(image.crop(box)) for box in boxes])


def check_split(name: str, split: str, known: Sequence[str]) -> None:
    """Refuses a part that a data set does not have."""
    if split not in known:
        raise UserError(f"unknown split {split!r} of {name}{near_matches(split, list(known))}")


def domain(
    images: Pixels, rows: NDArray[np.int64], files: Sequence[str] | None = None, **about: Any
) -> ImageSet | ImageSelection:
    """The images of one domain.

    Args:
        images: uint8 of shape (n, height, width, channels); may be mapped from a file.
        rows: which of them, ascending, at least one; of neighbors nothing is copied.
        files: the names of the files of these rows. Default: not known.
        **about: further arguments of `ImageSet`.
    """
    first, after = int(rows[0]), int(rows[-1]) + 1
    if after - first == len(rows):
        return ImageSet(images[first:after], files=files, **about)
    named: list[str] | None = None
    if files is not None:
        of_row = dict(zip(rows.tolist(), files, strict=True))
        named = [of_row.get(row, "") for row in range(len(images))]
    return ImageSet(images, files=named, **about).subset(rows, about["name"])


def synthetic_pairs(name: str, size: int, num_examples: int, seed: int, is_paired: bool, split: str) -> PairedDataset:
    """A miniature of a set of pairs: drawn scenes in color, and where they are paired, the same ones in other colors.

    Args:
        name: of the data set it stands for.
        size: height and width.
        num_examples: how many pairs, at least 2; half as many are held out.
        seed: determines them.
        is_paired: whether x and y show the same.
        split: the part; `train` holds the images to test on out.

    Raises:
        UserError: for fewer than 2 pairs.
    """
    if num_examples < 2:
        raise UserError(f"num_examples is {num_examples}; give at least 2")

    def part(split: str, count: int, seed: int) -> PairedDataset:
        x = fitted(drawn_scenes(count, seed)[0], (size, size, 3))
        if is_paired:
            y = 255 - x[..., ::-1]
        else:
            y = fitted(drawn_scenes(count, seed + 1)[0], (size, size, 3)).transpose(0, 2, 1, 3)
        suffix = "" if split == "train" else f"_{split}"
        called = f"{name}_synthetic{suffix}"
        sides = [ImageSet(side, name=f"{called}_{key}", source="synthetic") for key, side in (("x", x), ("y", y))]
        return PairedDataset(
            *sides,
            is_paired=is_paired,
            name=called,
            source="synthetic",
            description=f"{count:,} drawn pairs, a stand-in for {name} in tests and first tries.",
        )

    rest = max(1, num_examples // 2)
    if split != "train":
        return part(split, rest, seed + 1000)
    train = part("train", num_examples, seed)
    train.held_out = part("test", rest, seed + 1000)
    return train


def fetcher(files: Callable[[argparse.Namespace], PublishedFile]) -> Callable[[Path, argparse.Namespace], None]:
    """What `--download` does: fetches the file that the flags ask for, and writes its checksum down."""

    def fetch(raw_dir: Path, flags: argparse.Namespace) -> None:
        if raw_dir.is_file():
            raise UserError(f"{raw_dir} is a file; give --download a folder as --raw_dir")
        fetch_and_record(files(flags), raw_dir)

    return fetch


def plan_of_image_pairs(dataset: Dataset, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """`plan_of_pairs`, with an account of the files that were read."""
    if isinstance(dataset, PairedDataset):
        for side, images in (("x", dataset.x), ("y", dataset.y)):
            if isinstance(images, ImageSet | ImageSelection):
                tell(f"{side}: {images.account.summary()}")
    return plan_of_pairs(dataset, version, homepage, shards)
