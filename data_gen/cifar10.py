"""CIFAR-10: 60,000 photographs of ten kinds of things, 32x32 in color; 50,000 to train on, 10,000 to test on.

The archives of the publisher (Krizhevsky, 2009) are read as they are, that for Python and that for C, or what is in
them. The pickles of the first are read by `common.pickled_arrays`: nothing in them is run.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.errors import UserError, near_matches, run_command
from common.pickled_arrays import read_pickled
from data_gen import Summary
from data_gen.archives import BadFileError, Container, find_containers, open_container
from data_gen.command import prepare
from data_gen.dataset import Dataset
from data_gen.drawing import ellipse, paint, stroke, to_bytes
from data_gen.labeled import LabeledDataset, Part
from data_gen.published import PublishedFile, fetch

SOURCES = ("auto", "published", "custom", "synthetic")
SPLITS = ("train", "test", "all")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ARCHIVE = PublishedFile(
    "cifar-10-python.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    "c58f30108f718f92721af3b95e74349a",
    170_498_071,
)
"""The published archive for Python."""
SUMMARY = Summary(
    what="photographs of ten kinds of animals and vehicles",
    images="60,000 of 32x32x3: 50,000 to train on, 10,000 held out",
    factors="label 10",
    files=f"{ARCHIVE.name} (or cifar-10-binary.tar.gz) from {HOMEPAGE}",
    license="not stated by the publisher, who asks to cite Krizhevsky (2009)",
    raw_names=("cifar-10-*.tar.gz", "cifar-10-batches-*"),
)

_NAMES = (
    ARCHIVE.name,
    "cifar-10-python.tar",
    "cifar-10-batches-py",
    "cifar-10-batches-py.tar.gz",
    "cifar-10-binary.tar.gz",
    "cifar-10-binary.tar",
    "cifar-10-batches-bin",
)
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCH = "test_batch"
# MD5 of the files in the archive for Python.
_BATCH_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_BINARY = PublishedFile("cifar-10-binary.tar.gz", (), "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171)
_PIXELS = 3 * SIDE * SIDE


@dataclasses.dataclass(frozen=True)
class _Whole:
    """All that an archive holds."""

    train: Part
    test: Part
    source: str

    def split(self, split: str, name: str, description: str) -> LabeledDataset:
        """A part of it; `train` holds `test` out."""
        parts = {"train": self.train, "test": self.test}
        part = parts[split] if split in parts else self.train + self.test
        name_of = {"train": name}.get(split, f"{name}_{split}")
        dataset = LabeledDataset(part, "label", CLASSES, name=name_of, source=self.source, description=description)
        if split == "train":
            dataset.held_out = self.split("test", name, description)
        return dataset


def synthetic(split: str = "train", num_examples: int = 512, seed: int = 0) -> LabeledDataset:
    """A miniature of CIFAR-10 without any file: ten kinds of drawn shapes in any color on any ground.

    Args:
        split: `train`, `test` or `all`. Default: `train`.
        num_examples: how many images there are to train on, at least 20; half as many are held out. Default: 512.
        seed: determines the images. Default: 0.

    Raises:
        UserError: for an unknown split, or too few images.
    """
    _check_split(split)
    if num_examples < 2 * len(CLASSES):
        raise UserError(f"num_examples is {num_examples}; give at least {2 * len(CLASSES)}, two of each kind")
    rng = np.random.default_rng(seed)
    parts = [_drawn(count, rng) for count in (num_examples, num_examples // 2)]
    description = f"{num_examples:,} drawn shapes, a stand-in for CIFAR-10 in tests and first tries."
    return _Whole(parts[0], parts[1], "synthetic").split(split, "cifar10_synthetic", description)


# Each kind is some lines, given by their ends, and some discs, given by center and half axes; all within -1 to 1.
_LINES: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    ((-1, 0, 1, 0), (0, -0.9, 0, 0.9)),
    ((-1, 0.4, 1, 0.4), (-0.5, -0.4, 0.5, -0.4)),
    ((-1, -0.5, 0, 0.5), (0, 0.5, 1, -0.5)),
    ((-0.9, -0.9, 0.9, 0.9), (-0.9, 0.9, 0.9, -0.9)),
    ((-0.6, 0, -0.6, 1), (0.6, 0, 0.6, 1)),
    ((-0.9, -0.9, -0.9, 0.9), (0, -0.9, 0, 0.9), (0.9, -0.9, 0.9, 0.9)),
    (),
    ((-0.8, 0.8, 0, -0.9), (0, -0.9, 0.8, 0.8), (0.8, 0.8, -0.8, 0.8)),
    ((-1, 0.5, 1, 0.5), (0, 0.5, 0, -1)),
    ((-0.9, -0.9, 0.9, -0.9), (0.9, -0.9, 0.9, 0.9), (0.9, 0.9, -0.9, 0.9), (-0.9, 0.9, -0.9, -0.9)),
)
_DISCS: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    (),
    ((-0.5, 0.8, 0.3, 0.3), (0.5, 0.8, 0.3, 0.3)),
    (),
    (),
    ((0, -0.2, 0.9, 0.4),),
    (),
    ((0, 0, 0.95, 0.95),),
    (),
    (),
    (),
)


def _drawn(count: int, rng: np.random.Generator) -> Part:
    """Shapes of twice the size, made half as large at the end, so that their edges are soft."""
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    canvas = np.broadcast_to(rng.uniform(0.0, 1.0, (count, 1, 1, 3)), (count, 2 * SIDE, 2 * SIDE, 3)).astype(np.float32)
    shapes = (canvas[:, 0, 0] + rng.uniform(0.35, 0.65, (count, 3))) % 1.0
    x, y = rng.uniform(28, 36, (2, count))
    size, width = rng.uniform(15, 21, count), rng.uniform(5, 8, count)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        if not rows.size:
            continue
        part = canvas[rows]
        place = x[rows], y[rows], size[rows]
        for x0, y0, x1, y1 in _LINES[label]:
            start = place[0] + x0 * place[2], place[1] + y0 * place[2]
            stop = place[0] + x1 * place[2], place[1] + y1 * place[2]
            paint(part, stroke(*start, *stop, width[rows]), shapes[rows])
        for across, down, half_x, half_y in _DISCS[label]:
            center = place[0] + across * place[2], place[1] + down * place[2]
            paint(part, ellipse(*center, half_x * place[2], half_y * place[2]), shapes[rows])
        canvas[rows] = part
    pooled = canvas.reshape(count, SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4))
    return Part(to_bytes(pooled), labels)


def load(
    *, data_dir: Path, raw_dir: Path, source: str = "auto", limit: int | None = None, split: str = "train"
) -> Dataset:
    """Loads CIFAR-10; see `data_gen.load`.

    Args:
        data_dir: where an archive is unpacked into a nameless file while it is read.
        raw_dir: where an archive, or the folder that is in it, is looked for four levels deep; or it itself.
        source: `published`, files with the published checksums; `custom`, others of the same layout; `synthetic`, a
            miniature; `auto`, what is there. Default: `auto`.
        limit: how many images to keep. Default: all.
        split: `train`, 50,000 images, of which `held_out` are the 10,000 of `test`; `test`; `all`. Default: `train`.

    Raises:
        UserError: if the files are missing or damaged.
    """
    _check_split(split)
    if source == "synthetic":
        whole = synthetic(split)
    else:
        found = _find(raw_dir, data_dir, source)
        name = "cifar10" if found.source == "published" else "cifar10_custom"
        whole = found.split(split, name, f"Photographs of ten kinds: {', '.join(CLASSES)}.")
    return whole.limited(limit)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of cifar10{near_matches(split, SPLITS)}")


def _find(raw_dir: Path, scratch: Path, source: str) -> _Whole:
    """The first set of the wanted source; `auto` prefers the published one."""
    others: list[_Whole] = []
    damaged: UserError | None = None
    for path in find_containers(raw_dir, _NAMES):
        try:
            whole = _read(path, scratch)
        except UserError as error:
            damaged = damaged or error
            continue
        if whole.source == source or (source == "auto" and whole.source == "published"):
            return whole
        others.append(whole)
    if source == "auto" and others:
        return others[0]
    if damaged is not None:
        raise damaged
    if others:
        raise UserError(f"the CIFAR-10 in {raw_dir} has the source {others[0].source!r}, not {source!r}; choose that")
    raise UserError(
        f"no CIFAR-10 in {raw_dir}: download {ARCHIVE.name} from {ARCHIVE.mirrors[0]} into {raw_dir} "
        "(python -m data_gen.cifar10 --download does that), or choose the source 'synthetic' for a miniature"
    )


def _read(path: Path, scratch: Path) -> _Whole:
    """Reads an archive or a folder of either kind, and finds out whether it is the published one."""
    with open_container(path, scratch) as container:
        files = {member.name.rpartition("/")[2]: member for member in container.members if not member.problem}
        is_binary = f"{_TEST_BATCH}.bin" in files
        names = [f"{name}.bin" if is_binary else name for name in (*_TRAIN_BATCHES, _TEST_BATCH)]
        if missing := [name for name in names if name not in files]:
            raise UserError(f"{path} lacks {', '.join(missing)}; get {ARCHIVE.name} anew from {ARCHIVE.mirrors[0]}")
        data = {name.removesuffix(".bin"): _bytes_of(container, path, files[name].name) for name in names}
    parts = {name: (_of_binary if is_binary else _of_pickle)(path, name, content) for name, content in data.items()}
    train = Part(
        np.concatenate([parts[name].images for name in _TRAIN_BATCHES]),
        np.concatenate([parts[name].labels for name in _TRAIN_BATCHES]),
    )
    published = (path.is_file() and _BINARY.is_at(path)) if is_binary else _has_published_bytes(data)
    return _Whole(train, parts[_TEST_BATCH], "published" if published else "custom")


def _has_published_bytes(data: Mapping[str, bytes]) -> bool:
    return all(hashlib.md5(data[name], usedforsecurity=False).hexdigest() == md5 for name, md5 in _BATCH_MD5.items())


def _bytes_of(container: Container, path: Path, name: str) -> bytes:
    member = next(member for member in container.members if member.name == name)
    try:
        return container.read(member)
    except BadFileError as error:
        raise UserError(f"{path}: {name} cannot be read ({error}); get the file anew") from error


def _of_pickle(path: Path, name: str, content: bytes) -> Part:
    """A batch of the archive for Python."""
    try:
        batch = read_pickled(content, only=("data", "labels"))
    except UserError as error:
        raise UserError(f"{path}: {name}: {error}") from error
    rows, labels = batch["data"], batch["labels"]
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise UserError(f"{path}: {name}: its data are no uint8 of shape (n, {_PIXELS}); get the file anew")
    if not isinstance(labels, list) or not all(type(label) is int and abs(label) < 2**63 for label in labels):
        raise UserError(f"{path}: {name}: its labels are no list of integers from 0 to 9; get the file anew")
    return _part(path, name, rows, np.array(labels, np.int64))


def _of_binary(path: Path, name: str, content: bytes) -> Part:
    """A batch of the archive for C: of each image its label, one byte, and its pixels."""
    if not content or len(content) % (1 + _PIXELS):
        raise UserError(f"{path}: {name}.bin has {len(content):,} bytes, no multiple of {1 + _PIXELS}; get it anew")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return _part(path, name, rows[:, 1:], rows[:, 0].astype(np.int64))


def _part(path: Path, name: str, rows: np.ndarray, labels: np.ndarray) -> Part:
    if len(labels) != len(rows) or not len(rows):
        raise UserError(f"{path}: {name} has {len(rows):,} images and {len(labels):,} labels; get the file anew")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UserError(f"{path}: {name} has labels from {labels.min()} to {labels.max()}; expected 0 to 9")
    # All red values of an image come first, then all green ones, then all blue ones.
    return Part(np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)), labels)


def _download(raw_dir: Path, flags: argparse.Namespace) -> None:
    fetch(ARCHIVE, raw_dir.parent if raw_dir.is_file() else raw_dir)


def main() -> None:
    """Writes CIFAR-10 as TFRecord shards; see `--help`."""
    prepare(
        "cifar10",
        version="3.0.2",
        homepage=HOMEPAGE,
        fetch=_download,
        teaching=f"""where the data come from:
  {ARCHIVE.name}, {ARCHIVE.size:,} bytes, from
  {ARCHIVE.mirrors[0]}
  Put it anywhere below --raw_dir, as it is or unpacked, or let --download fetch it there.
  cifar-10-binary.tar.gz is read as well. What has other checksums is called cifar10_custom.
  License: {SUMMARY.license}.

result:
  splits train (50,000 images) and test (10,000), each with id, image, label_label, value_label;
  the labels 0 to 9 are {", ".join(CLASSES[:5])},
  {", ".join(CLASSES[5:])}

sources:
  auto       what is there, the published files first
  published  files with the published checksums only
  custom     others of the same layout only
  synthetic  512 drawn shapes of ten kinds, for tests and first tries

examples:
  python -m data_gen.cifar10 --download
  python -m data_gen.cifar10 --limit 1000
""",
    )


if __name__ == "__main__":
    run_command(main)
