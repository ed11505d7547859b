"""Facades and Maps: pairs of pix2pix (Isola, Zhu, Zhou, Efros, CVPR 2017), two pictures side by side in each file.

Facades are photographs of house fronts with maps of their parts; Maps are aerial photographs with street maps. In both
the photograph is on the left and is x, as in IIAE (Hwang et al., NeurIPS 2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, run_command
from data_gen import Summary
from data_gen.archives import find_containers
from data_gen.command import Option, prepare
from data_gen.crops import Picture, check_side
from data_gen.dataset import Dataset
from data_gen.image_command import SIZE, TOLERATE, not_found
from data_gen.image_miniatures import check_count, drawn_scenes, fitted, jpeg, write_folder, write_tar
from data_gen.image_pairs import Sides, check_split, domain, fetcher, plan_of_image_pairs, synthetic_pairs
from data_gen.image_set import TOLERANCE, Read, Reading, read_images
from data_gen.pairs import PairedDataset
from data_gen.published import PublishedFile

SOURCES = ("auto", "published", "synthetic")
HOMEPAGE = "https://phillipi.github.io/pix2pix/"
_SERVER = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/"


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """A set of pix2pix.

    Args:
        name: of the data set; of its archive without `.tar.gz`.
        what: its pictures show, x and y.
        width, height: of a file, both pictures together.
        counts: images in each folder of the published archive.
        held_out: the folder that is not trained on.
        license: as the publisher says.
    """

    name: str
    what: str
    width: int
    height: int
    counts: dict[str, int]
    held_out: str
    license: str

    @property
    def file(self) -> PublishedFile:
        """The published archive."""
        return PublishedFile(f"{self.name}.tar.gz", (f"{_SERVER}{self.name}.tar.gz",))

    @property
    def splits(self) -> tuple[str, ...]:
        """Its parts, the folders in the archive."""
        return tuple(self.counts)

    def summary(self) -> Summary:
        """What `python -m data_gen` says about it."""
        parts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        return Summary(
            what=self.what,
            images=f"pairs of 256x256x3: {parts}",
            factors="none",
            files=f"{self.file.name} from {self.file.mirrors[0]}",
            license=self.license,
            raw_names=(self.file.name, self.name),
        )


FACADES = SideBySide(
    "facades",
    "pairs: house fronts as photographs (x) and maps of their parts (y)",
    512,
    256,
    {"train": 400, "val": 100, "test": 106},
    "test",
    "none stated by pix2pix; made of the CMP Facade Database, for research",
)
MAPS = SideBySide(
    "maps",
    "pairs: aerial photographs (x) and street maps (y)",
    1200,
    600,
    {"train": 1096, "val": 1098},
    "val",
    "none stated by pix2pix; scraped from Google Maps, whose terms hold",
)
SUMMARY = FACADES.summary()

_SIZE = 256
_SYNTHETIC_PAIRS = 60


def synthetic(
    num_examples: int = _SYNTHETIC_PAIRS, seed: int = 0, size: int = _SIZE, split: str = "train"
) -> PairedDataset:
    """Drawn scenes and the same in other colors; for arguments see `image_pairs.synthetic_pairs`."""
    return synthetic_of(FACADES, num_examples, seed, size, split)


def synthetic_of(about: SideBySide, num_examples: int, seed: int, size: int, split: str) -> PairedDataset:
    """The miniature of a set."""
    check_side(size)
    check_split(about.name, split, (*about.splits, "all"))
    return synthetic_pairs(about.name, size, num_examples, seed, True, split)


def write_miniature(
    folder: Path, num_examples: int = 4, seed: int = 0, about: SideBySide = FACADES, unpacked: bool = False
) -> Path:
    """Writes drawn pairs in the file and the layout of a published set.

    Args:
        folder: where the archive is put; made if missing.
        num_examples: how many pairs each part has, at least 1. Default: 4.
        seed: determines them. Default: 0.
        about: which set. Default: Facades.
        unpacked: whether a folder is written instead. Default: no.

    Returns:
        the archive, or the folder.
    """
    check_count(num_examples)
    shape = (about.height, about.width // 2, 3)

    def files() -> Iterator[tuple[str, bytes]]:
        for number, split in enumerate(about.splits):
            x = fitted(drawn_scenes(num_examples, seed + number)[0], shape)
            for index, pair in enumerate(np.concatenate([x, 255 - x[..., ::-1]], axis=2), 1):
                yield f"{about.name}/{split}/{index}.jpg", jpeg(pair)

    folder.mkdir(parents=True, exist_ok=True)
    if unpacked:
        return write_folder(folder, files()) / about.name
    return write_tar(folder / about.file.name, files())


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    size: int = _SIZE,
    split: str = "train",
    swap: bool = False,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_PAIRS,
    seed: int = 0,
) -> Dataset:
    """Loads Facades; see `data_gen.load`.

    Args:
        data_dir: where the prepared images are kept.
        raw_dir: where the archive or the folder that is in it is looked for, or one of these.
        source: `published` or `synthetic`; `auto` is the same as `published`.
        limit: how many pairs to keep. Default: all.
        size: height and width of each picture, scaled by the mean over the area, as the authors of IIAE have it.
            Default: 256.
        split: `train`, which holds out `test`; `val`; `test`; or `all`.
        swap: whether x is the right picture. Default: the left one, the photograph.
        tolerance: share of files that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for files that are missing or damaged.
    """
    if source == "synthetic":
        return synthetic(num_examples, seed, size, split).limited(limit)
    return load_published(FACADES, data_dir, raw_dir, limit, size, split, swap, tolerance)


def load_published(
    about: SideBySide,
    data_dir: Path,
    raw_dir: Path,
    limit: int | None,
    size: int,
    split: str,
    swap: bool,
    tolerance: float,
) -> Dataset:
    """Loads a published set; arguments and errors as those of `load`."""
    check_side(size)
    check_split(about.name, split, (*about.splits, "all"))
    found = find_containers(raw_dir, (about.file.name, f"{about.name}.tar", f"{about.name}.zip", about.name))
    if not found:
        command = f"python -m data_gen.{about.name}"
        where = f"download it from {about.file.mirrors[0]} ({command} --download does that)"
        raise not_found(command, raw_dir, f"{about.file.name} nor folder {about.name}", where)
    picture = Picture((size, size), window="none", filter="area", background="drop", orient=False)
    sides = Sides(picture, (about.width, about.height))
    called = about.name + (f"_{size}" if size != _SIZE else "")
    pattern = rf"(?:^|/)(?:{'|'.join(about.splits)})/[^/]+$"
    reading = Reading(found[0], sides, pattern, tolerance, f"reading {called}")
    read = read_images(reading, data_dir / called / f"sides_{size}.npy")
    dataset = _pairs(about, read, called, split, swap)
    if split == "train" and about.held_out in _parts(read.names):
        dataset.held_out = _pairs(about, read, called, about.held_out, swap)
    return dataset.limited(limit)


def _parts(names: Sequence[str]) -> list[str]:
    """In which folder each file lies."""
    return [name.split("/")[-2] for name in names]


def _pairs(about: SideBySide, read: Read, called: str, split: str, swap: bool) -> PairedDataset:
    parts = _parts(read.names)
    chosen = [number for number, part in enumerate(parts) if split in (part, "all")]
    if not chosen:
        raise UserError(f"no images of the split {split!r}; there are {', '.join(sorted(set(parts)))}")
    rows, files = read.rows[chosen], [read.names[number] for number in chosen]
    expected = sum(about.counts.values()) if split == "all" else about.counts[split]
    source = "published" if len(rows) == expected else f"real subset ({len(rows):,})"
    name = called + ("" if split == "train" else f"_{split}") + ("_swapped" if swap else "")
    left_out = f" Left out: {read.account.reasons()}." if read.account.num_skipped else ""
    left, right = (
        domain(read.images[:, side], rows, name=f"{name}_{key}", source=source, account=read.account, files=files)
        for side, key in enumerate("yx" if swap else "xy")
    )
    x, y = (right, left) if swap else (left, right)
    description = (
        f"{about.name.capitalize()} of pix2pix, {about.what}.{' x and y are swapped.' if swap else ''}{left_out}"
    )
    return PairedDataset(x, y, name=name, source=source, description=description)


def run(about: SideBySide) -> None:
    """The command of a set."""
    parts = "\n".join(f"  {count:,} in {name}" for name, count in about.counts.items())
    prepare(
        about.name,
        homepage=HOMEPAGE,
        options=(
            SIZE,
            Option("split", str, f"one of: {', '.join(about.splits)}, all (default: train)"),
            TOLERATE,
        ),
        fetch=fetcher(lambda flags: about.file),
        make_plan=plan_of_image_pairs,
        teaching=f"""where the data come from:
  {about.file.name} from {about.file.mirrors[0]}
  Put it, or the folder {about.name} that is in it, below --raw_dir; or let --download fetch it there.
  License: {about.license}.

pairs:
{parts}

result:
  splits train and test (the published {about.held_out}) with id, image_x and image_y

examples:
  python -m data_gen.{about.name} --download
  python -m data_gen.{about.name} --raw_dir ~/Downloads --size 128
""",
    )


def main() -> None:
    """Writes Facades as TFRecord shards; see `--help`."""
    run(FACADES)


if __name__ == "__main__":
    run_command(main)
