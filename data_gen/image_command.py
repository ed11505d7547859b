"""What the commands of sets of image files have in common: their flags, and how they are written."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import sha256_of, write_text
from common.output import tell
from data_gen.archives import identity_of
from data_gen.command import Option, as_text, plan_of
from data_gen.dataset import Dataset
from data_gen.image_files import Pixels
from data_gen.image_set import TOLERANCE, ImageSelection, ImageSet, in_order, splits_of
from data_gen.png import encode_png
from data_gen.published import PublishedFile, fetch
from data_gen.tfrecord import Example, Plan, Split

_BLOCK_IMAGES = 64


def truth(text: str) -> bool:
    """`yes` or `no` as a truth value, for flags."""
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


SIZE = Option("size", int, "height and width of the images in pixels (default: that of the preset)")
TOLERATE = Option("tolerance", float, f"share of files that may be unusable, 0 to 1 (default: {TOLERANCE})")


def plan_of_images(dataset: Dataset, version: str, homepage: str = "", shards: int | None = None) -> Plan:
    """How a set of image files is written: as `plan_of` says, in its own splits, encoded on all cores.

    Args:
        dataset: what is to be written; what it holds out is the split `test`.
        version: the version of the schema.
        homepage: where the published data are. Default: none.
        shards: over how many files the first split is spread. Default: see `Plan`.
    """
    plan = plan_of(dataset, version, homepage, shards)
    if isinstance(dataset, ImageSet | ImageSelection):
        tell(dataset.account.summary())
    parts = [
        Split(name, len(numbers), functools.partial(_examples, dataset, numbers))
        for name, numbers in splits_of(dataset).items()
    ]
    contents: Any = plan.contents
    if len(parts) > 1:
        contents = {"images": plan.contents, **{part.name: part.num_examples for part in parts}}
    if dataset.held_out is not None:
        numbers = np.arange(dataset.held_out.num_examples)
        parts.append(Split("test", len(numbers), functools.partial(_examples, dataset.held_out, numbers)))
        contents = {"train": contents, "test": dataset.held_out.fingerprint()}
    parts[0] = dataclasses.replace(parts[0], shards=shards)
    return dataclasses.replace(plan, splits=tuple(parts), contents=contents)


def _examples(dataset: Dataset, numbers: NDArray[np.int64], start: int, stop: int) -> Iterator[Example]:
    chosen = numbers[start:stop]
    blocks = (chosen[first : first + _BLOCK_IMAGES] for first in range(0, len(chosen), _BLOCK_IMAGES))
    label_keys = [f"label_{name}" for name in dataset.factor_names]
    value_keys = [f"value_{name}" for name in dataset.factor_names]
    for block, pngs in in_order(lambda block: (block, _pngs(dataset.images_at(block))), blocks):
        labels = dataset.factors_at(block).tolist() if dataset.factors else [[]] * len(block)
        values = dataset.values_at(block).tolist() if dataset.factors else [[]] * len(block)
        files = dataset.files_at(block)
        for row, number in enumerate(block):
            example: dict[str, Any] = {"id": f"{number:06d}", "image": pngs[row]}
            if files is not None:
                example["file"] = as_text(files[row])
            example.update(zip(label_keys, labels[row], strict=False))
            example.update(zip(value_keys, values[row], strict=False))
            yield example


def _pngs(images: Pixels) -> list[bytes]:
    return [encode_png(image, smooth=True) for image in images]


def not_found(command: str, raw_dir: Path, what: str, where: str) -> UserError:
    """The refusal of a set whose files are not there.

    Args:
        command: of the data set, as the user types it.
        raw_dir: where they were looked for.
        what: the names of the files.
        where: from where they are to be had, and how.
    """
    return UserError(
        f"no {what} in {raw_dir}: {where}; put it into {raw_dir} as it is or unpacked, or choose the source "
        f"'synthetic' for a miniature ({command} --source synthetic)"
    )


def fetch_and_record(file: PublishedFile, folder: Path) -> Path:
    """Fetches a file whose checksum is not published, and writes down what came: `<name>.sha256` beside it.

    Args:
        file: what is wanted.
        folder: where it is put.

    Returns:
        where it is.

    Raises:
        UserError: if no server has it, what came is no archive, or a file of this name is there that is not the one
            written down.
    """
    was_there = (folder / file.name).is_file()
    path = fetch(file, folder)
    try:
        identity_of(path)
    except UserError:
        # Servers send a page where a file was. What the user has put there is not ours to remove.
        if not was_there:
            path.unlink()
        raise
    checksum, note = sha256_of(path), path.with_name(f"{path.name}.sha256")
    line = f"{checksum}  {path.name}\n"
    if note.is_file() and note.read_text(encoding="utf-8") != line:
        raise UserError(f"{path} is not what was fetched, as {note.name} says; remove both and fetch it anew")
    write_text(note, line)
    tell(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {checksum}")
    return path
