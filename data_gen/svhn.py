"""SVHN: house numbers in Street View, cut into digits of 32x32; 73,257 to train on, 26,032 to test on, 531,131 extra.

The files of the publisher (Netzer et al., 2011) are MATLAB files of plain arrays. In them the label 10 means the digit
0; here it is 0.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.command import Option, prepare
from data_gen.dataset import Dataset
from data_gen.labeled import LabeledDataset, Part
from data_gen.mat import read_mat
from data_gen.mnist_miniature import SIDE as DIGIT_SIDE
from data_gen.mnist_miniature import draw_digits
from data_gen.published import PublishedFile, fetch, find_files

SOURCES = ("auto", "published", "custom", "synthetic")
SPLITS = ("train", "test", "extra", "train_extra")
SIDE = 32
CLASSES = tuple(str(digit) for digit in range(10))
HOMEPAGE = "http://ufldl.stanford.edu/housenumbers/"
FILES = {
    "train": PublishedFile(
        "train_32x32.mat", (f"{HOMEPAGE}train_32x32.mat",), "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794
    ),
    "test": PublishedFile(
        "test_32x32.mat", (f"{HOMEPAGE}test_32x32.mat",), "eb5a983be6a315427106f1b164d9cef3", 64_275_384
    ),
    "extra": PublishedFile("extra_32x32.mat", (f"{HOMEPAGE}extra_32x32.mat",), "a93ce644f1a588dc4d68dda5feec44a7"),
}
"""The published files by the part that they hold."""
SUMMARY = Summary(
    what="digits of house numbers in photographs",
    images="99,289 of 32x32x3: 73,257 to train on, 26,032 held out; and 531,131 extra",
    factors="digit 10",
    files=f"{', '.join(file.name for file in FILES.values())} from {HOMEPAGE}",
    license="for non-commercial use only, as the publisher says",
    raw_names=tuple(file.name for file in FILES.values()),
)

_ADVICE = f"get it anew from {HOMEPAGE}"


def synthetic(split: str = "train", num_examples: int = 512, seed: int = 0) -> LabeledDataset:
    """A miniature of SVHN without any file: drawn digits in any color on any ground, with noise.

    Args:
        split: `train`, `test`, `extra` or `train_extra`. Default: `train`.
        num_examples: how many images there are to train on, at least 20; half as many are held out, and twice as many
            are extra. Default: 512.
        seed: determines the images. Default: 0.

    Raises:
        UserError: for an unknown split, or too few images.
    """
    _check_split(split)
    if num_examples < 2 * len(CLASSES):
        raise UserError(f"num_examples is {num_examples}; give at least {2 * len(CLASSES)}, two of each digit")
    rng = np.random.default_rng(seed)
    counts = {"train": num_examples, "test": num_examples // 2, "extra": 2 * num_examples}
    parts = {name: _drawn(count, rng) for name, count in counts.items()}
    description = f"{num_examples:,} drawn digits, a stand-in for SVHN in tests and first tries."
    return _split_of(parts, split, "svhn_synthetic", "synthetic", description)


def _drawn(count: int, rng: np.random.Generator) -> Part:
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    margin = (SIDE - DIGIT_SIDE) // 2
    cover = np.zeros((count, SIDE, SIDE, 1))
    cover[:, margin:-margin, margin:-margin] = draw_digits(labels, rng) / 255.0
    ground = rng.uniform(0.0, 1.0, (count, 1, 1, 3))
    colors = (ground + rng.uniform(0.35, 0.65, (count, 1, 1, 3))) % 1.0
    canvas = ground + cover * (colors - ground) + rng.normal(0.0, 0.03, (count, SIDE, SIDE, 3))
    return Part((np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), labels)


def load(
    *, data_dir: Path, raw_dir: Path, source: str = "auto", limit: int | None = None, split: str = "train"
) -> Dataset:
    """Loads SVHN; see `data_gen.load`.

    Args:
        data_dir: not needed; reading takes some seconds, of the extra images half a minute and 4 GB of memory.
        raw_dir: where the files are looked for, four levels deep; or one of them, beside the others.
        source: `published`, files with the published checksums; `custom`, others of the same layout; `synthetic`, a
            miniature; `auto`, what is there. Default: `auto`.
        limit: how many images to keep. Default: all.
        split: `train`; `test`; `extra`, easier images; `train_extra`, both to train on. Where the test images are
            there, they are `held_out` of all others. Default: `train`.

    Raises:
        UserError: if a file is missing or damaged.
    """
    _check_split(split)
    if source == "synthetic":
        whole = synthetic(split)
    else:
        whole = _read_split(raw_dir, split, source)
    return whole.limited(limit)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of svhn{near_matches(split, SPLITS)}")


def _names_of(split: str) -> tuple[str, ...]:
    return ("train", "extra") if split == "train_extra" else (split,)


def _split_of(parts: dict[str, Part], split: str, name: str, source: str, description: str) -> LabeledDataset:
    """A part of the set; what is trained on holds `test` out, if that is there."""
    chosen = [parts[key] for key in _names_of(split)]
    part = chosen[0] if len(chosen) == 1 else chosen[0] + chosen[1]
    name_of = name if split == "train" else f"{name}_{split}"
    dataset = LabeledDataset(part, "digit", CLASSES, name=name_of, source=source, description=description)
    if split != "test" and "test" in parts:
        dataset.held_out = _split_of(parts, "test", name, source, description)
    return dataset


@dataclasses.dataclass(frozen=True)
class _Found:
    """A file of the publisher's layout, and whether it is the published one."""

    path: Path
    is_published: bool


def _read_split(raw_dir: Path, split: str, source: str) -> LabeledDataset:
    found: dict[str, _Found] = {}
    for name in ("train", "test", "extra"):
        if name in _names_of(split) or name == "test":
            file = _find(raw_dir, name, source)
            if file is not None:
                found[name] = file
    missing = [FILES[name] for name in _names_of(split) if name not in found]
    if missing:
        kind = f" of the source {source!r}" if source != "auto" else ""
        raise UserError(
            f"no {', '.join(file.name for file in missing)}{kind} in {raw_dir}: download it from "
            f"{missing[0].mirrors[0]} into {raw_dir} (python -m data_gen.svhn --split {split} --download does that), "
            "or choose the source 'synthetic' for a miniature"
        )
    parts = {name: read_digits(file.path) for name, file in found.items()}
    published = all(file.is_published for file in found.values())
    name, source = ("svhn", "published") if published else ("svhn_custom", "custom")
    return _split_of(parts, split, name, source, "Digits of house numbers in Street View.")


def _find(raw_dir: Path, name: str, source: str) -> _Found | None:
    """A file; where there are several of its name, one of the wanted source, the published one first."""
    within = raw_dir.parent if raw_dir.is_file() else raw_dir
    found = [_Found(path, FILES[name].is_at(path)) for path in find_files(within, (FILES[name].name,))]
    if source != "auto":
        found = [file for file in found if file.is_published == (source == "published")]
    return min(found, key=lambda file: not file.is_published, default=None)


def read_digits(path: Path) -> Part:
    """Reads a file of cropped digits.

    Args:
        path: a MATLAB file with `X`, uint8 of shape (32, 32, 3, n), and `y`, n labels from 1 to 10.

    Returns:
        images and digits.

    Raises:
        UserError: if it is damaged or something else.
    """
    held = read_mat(path, ("X", "y"), _ADVICE)
    return _checked(path, held["X"], held["y"])


def _checked(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Part:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (SIDE, SIDE, 3) or not images.shape[3]:
        raise UserError(f"{path}: X is {images.dtype} of shape {images.shape}; expected uint8 of (32, 32, 3, n)")
    if labels.size != images.shape[3] or labels.dtype.kind not in "uif":
        raise UserError(f"{path}: y is {labels.dtype} of shape {labels.shape}; expected {images.shape[3]:,} labels")
    given = labels.ravel()
    if not ((given >= 1) & (given <= 10) & (given % 1 == 0)).all():
        raise UserError(f"{path}: y has other values than the whole numbers from 1 to 10; {_ADVICE}")
    return Part(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), given.astype(np.int64) % 10)


def _download(raw_dir: Path, flags: argparse.Namespace) -> None:
    folder = raw_dir.parent if raw_dir.is_file() else raw_dir
    split = flags.split or "train"
    _check_split(split)
    for name in dict.fromkeys((*_names_of(split), "test")):
        fetch(FILES[name], folder)


def main() -> None:
    """Writes SVHN as TFRecord shards; see `--help`."""
    prepare(
        "svhn",
        version="3.1.0",
        homepage=HOMEPAGE,
        fetch=_download,
        options=(Option("split", str, f"what is trained on, one of: {', '.join(SPLITS)} (default: train)"),),
        teaching=f"""where the data come from:
  {FILES["train"].name} ({FILES["train"].size:,} bytes), {FILES["test"].name} ({FILES["test"].size:,}) and, for the
  splits extra and train_extra, {FILES["extra"].name} (1.3 GB), from
  {HOMEPAGE}
  Put them anywhere below --raw_dir, or let --download fetch those that are needed there.
  License: {SUMMARY.license}.

result:
  splits train (what --split says) and test (26,032 images), each with id, image, label_digit,
  value_digit; the digit 0 has the label 0

sources:
  auto       what is there, the published files first
  published  files with the published checksums only
  custom     others of the same layout only
  synthetic  512 drawn digits, for tests and first tries

examples:
  python -m data_gen.svhn --download
  python -m data_gen.svhn --split train_extra --download
""",
    )


if __name__ == "__main__":
    run_command(main)
