"""AFHQ: faces of cats, dogs and wild animals, 512x512 (Choi, Uh, Yoo, Ha, "StarGAN v2", CVPR 2020), as two domains.

Nothing is paired: x and y are two kinds of animals, and what is learned must not rely on which come together.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.archives import find_containers
from data_gen.command import Option, prepare
from data_gen.crops import Picture, check_side
from data_gen.dataset import Dataset
from data_gen.image_command import SIZE, TOLERATE, not_found
from data_gen.image_miniatures import check_count, drawn_scenes, fitted, jpeg, png, write_folder, write_zip
from data_gen.image_pairs import check_split, fetcher, plan_of_image_pairs, synthetic_pairs
from data_gen.image_set import TOLERANCE, Images, Reading, image_set, read_limited
from data_gen.pairs import PairedDataset
from data_gen.published import PublishedFile

SOURCES = ("auto", "published", "synthetic")
DOMAINS = ("cat", "dog", "wild")
SPLITS = ("train", "test")
HOMEPAGE = "https://github.com/clovaai/stargan-v2"
FILES = {
    "afhq": PublishedFile("afhq.zip", ("https://www.dropbox.com/s/t9l9o3vsx2jai3z/afhq.zip?dl=1",)),
    "afhq_v2": PublishedFile("afhq_v2.zip", ("https://www.dropbox.com/s/vkzjokiwof5h8w6/afhq_v2.zip?dl=1",)),
}
"""The two versions: the first has JPEG files and a folder `val`, the second PNG files and a folder `test`."""
COUNTS = {
    "afhq": {"train": {"cat": 5153, "dog": 4739, "wild": 4738}, "test": {"cat": 500, "dog": 500, "wild": 500}},
    "afhq_v2": {"train": {"cat": 5065, "dog": 4678, "wild": 4593}, "test": {"cat": 493, "dog": 491, "wild": 483}},
}
LICENSE = "CC BY-NC 4.0 (NAVER Corp.)"
SUMMARY = Summary(
    what="faces of cats, dogs and wild animals; two of them as domains x and y, not paired",
    images="256x256x3 unless told otherwise (512x512 as published); train 5,153 cats, 4,739 dogs, 4,738 wild",
    factors="none",
    files=f"afhq.zip or afhq_v2.zip from {HOMEPAGE}",
    license=LICENSE,
    raw_names=("afhq.zip", "afhq_v2.zip", *FILES),
)

_SIZE = 256
_SYNTHETIC_IMAGES = 60


def synthetic(
    num_examples: int = _SYNTHETIC_IMAGES, seed: int = 0, size: int = _SIZE, split: str = "train"
) -> PairedDataset:
    """Two domains of drawn scenes that are not paired; for arguments see `image_pairs.synthetic_pairs`."""
    check_side(size)
    check_split("afhq", split, SPLITS)
    return synthetic_pairs("afhq", size, num_examples, seed, False, split)


def write_miniature(
    folder: Path, num_examples: int = 4, seed: int = 0, version: str = "afhq", side: int = 512, unpacked: bool = False
) -> Path:
    """Writes drawn scenes in the file and the layout of the published AFHQ.

    Args:
        folder: where the archive is put; made if missing.
        num_examples: images of each kind of animal and part, at least 1; of the later kinds more. Default: 4.
        seed: determines them. Default: 0.
        version: `afhq` or `afhq_v2`.
        side: height and width. Default: 512, as published.
        unpacked: whether a folder is written instead. Default: no.

    Returns:
        the archive, or the folder.
    """
    check_count(num_examples)
    top, held_out, encode = ("afhq/", "val", jpeg) if version == "afhq" else ("", "test", png)

    def files() -> Iterator[tuple[str, bytes]]:
        for part in ("train", held_out):
            for number, kind in enumerate(DOMAINS):
                scenes = drawn_scenes(num_examples + number, seed + number + 10 * (part != "train"))[0]
                for index, image in enumerate(fitted(scenes, (side, side, 3)), 2):
                    ending = "jpg" if version == "afhq" else "png"
                    yield f"{top}{part}/{kind}/flickr_{kind}_{index:06d}.{ending}", encode(image)

    folder.mkdir(parents=True, exist_ok=True)
    if unpacked:
        write_folder(folder / ("" if top else version), files())
        return folder / version
    return write_zip(folder / FILES[version].name, files())


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    x: str = "cat",
    y: str = "dog",
    size: int = _SIZE,
    split: str = "train",
    version: str | None = None,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_IMAGES,
    seed: int = 0,
) -> Dataset:
    """Loads AFHQ; see `data_gen.load`.

    Args:
        data_dir: where the prepared images are kept.
        raw_dir: where the archive or folder is looked for, or one of these.
        source: `published` or `synthetic`; `auto` is the same as `published`.
        limit: how many images of each domain to keep; only these are decoded. Default: all.
        x, y: two different ones of `cat`, `dog` and `wild`. Default: cat and dog, as in IIAE's community code.
        size: height and width, scaled bilinearly. Default: 256.
        split: `train`, which holds out `test`; or `test`, which the first version calls `val`.
        version: `afhq` or `afhq_v2`. Default: the first that is found.
        tolerance: share of images that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for files that are missing or damaged.
    """
    for side, kind in (("x", x), ("y", y)):
        if kind not in DOMAINS:
            raise UserError(f"{side} is {kind!r}{near_matches(kind, DOMAINS)}")
    if x == y:
        raise UserError(f"x and y are both {x!r}; give two different ones of {', '.join(DOMAINS)}")
    if version is not None and version not in FILES:
        raise UserError(f"version is {version!r}{near_matches(version, list(FILES))}")
    check_side(size)
    check_split("afhq", split, SPLITS)
    if source == "synthetic":
        return synthetic(num_examples, seed, size, split).limited(limit)
    path, version = _find(raw_dir, version)
    picture = Picture((size, size), window="none", background="drop", orient=False)
    make = _Domains(path, version, data_dir, picture, tolerance)
    dataset = make.pairs(x, y, split, limit)
    if split == "train":
        dataset.held_out = make.pairs(x, y, "test", limit)
    return dataset


def _find(raw_dir: Path, version: str | None) -> tuple[Path, str]:
    versions = FILES if version is None else (version,)
    for each in versions:
        found = find_containers(raw_dir, (FILES[each].name, each))
        if found:
            named = next((known for known in FILES if found[0].name in (known, FILES[known].name)), each)
            if version not in (None, named):
                raise UserError(f"version is {version!r}, but {found[0]} is {named}; leave version out")
            return found[0], named
    files = " nor ".join(FILES[each].name for each in versions)
    where = f"download it with python -m data_gen.afhq --download, or as {HOMEPAGE} says"
    raise not_found("python -m data_gen.afhq", raw_dir, files, where)


class _Domains:
    """Reads the kinds of animals one by one, so that only those in use are decoded."""

    def __init__(self, path: Path, version: str, data_dir: Path, picture: Picture, tolerance: float) -> None:
        self.path, self.version, self.data_dir = path, version, data_dir
        self.picture, self.tolerance = picture, tolerance
        size = picture.size[0]
        self.called = version + (f"_{size}" if size != _SIZE else "")

    def pairs(self, x: str, y: str, split: str, limit: int | None) -> PairedDataset:
        """Two kinds, of one part."""
        (first, suffix), (second, other) = (self.images(kind, split, limit) for kind in (x, y))
        suffix, counts = suffix or other, (first.account.used, second.account.used)
        published = tuple(COUNTS[self.version][split][kind] for kind in (x, y))
        return PairedDataset(
            first,
            second,
            is_paired=False,
            name=f"{self.called}_{x}_{y}" + ("" if split == "train" else f"_{split}") + suffix,
            source="published" if counts == published else f"real subset ({counts[0]:,} and {counts[1]:,})",
            description=f"AFHQ{' v2' if self.version == 'afhq_v2' else ''}: {x} (x) and {y} (y), not paired.",
        )

    def images(self, kind: str, split: str, limit: int | None) -> tuple[Images, str]:
        """One kind, of one part, and what the limit adds to the name."""
        folders = "train" if split == "train" else "(?:val|test)"
        pattern = rf"(?:^|/){folders}/{kind}/[^/]+$"
        reading = Reading(self.path, self.picture, pattern, self.tolerance, f"reading {kind} of {self.called}")
        read, suffix = read_limited(reading, self.data_dir / self.called, limit)
        source = "published" if len(read.names) == COUNTS[self.version][split][kind] else "real subset"
        return image_set(read, name=f"{self.called}_{kind}_{split}", source=source), suffix


def main() -> None:
    """Writes two domains of AFHQ as TFRecord shards; see `--help`."""
    prepare(
        "afhq",
        homepage=HOMEPAGE,
        options=(
            Option("x", str, f"one of: {', '.join(DOMAINS)} (default: cat)"),
            Option("y", str, "another one (default: dog)"),
            SIZE,
            Option("version", str, "afhq or afhq_v2 (default: the first that is found)"),
            TOLERATE,
        ),
        fetch=fetcher(_wanted),
        make_plan=plan_of_image_pairs,
        teaching=f"""where the data come from:
  {HOMEPAGE} publishes two versions:
    afhq.zip     512x512 JPEG, folders train and val, 16,130 images
    afhq_v2.zip  512x512 PNG, folders train and test, 15,803 images, scaled better
  Put one, or its folder, below --raw_dir; or let --download fetch it there (--version afhq_v2 for
  the second). License: {LICENSE}.

result:
  splits train_x, train_y, test_x and test_y with id and image: the domains are not paired

examples:
  python -m data_gen.afhq --download
  python -m data_gen.afhq --raw_dir ~/Downloads --x cat --y wild --size 128
""",
    )


def _wanted(flags: argparse.Namespace) -> PublishedFile:
    return FILES[flags.version if flags.version in FILES else "afhq"]


if __name__ == "__main__":
    run_command(main)
