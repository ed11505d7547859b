"""CelebA: 202,599 aligned faces of celebrities with 40 attributes each (Liu, Luo, Wang, Tang, ICCV 2015).

The published files are read as they are; how faces are cut out and scaled is that of a paper's code (`PRESETS`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.archives import find_containers, open_container
from data_gen.celeba_files import (
    ARCHIVE,
    ATTRIBUTES,
    ATTRIBUTES_FILE,
    COUNT,
    FOLDER,
    HEIGHT,
    IDENTITY_FILE,
    PARTITION_FILE,
    PARTS,
    WIDTH,
    Table,
    drawn_faces,
    read_attributes,
    read_identity,
    read_partition,
)
from data_gen.command import Option, prepare
from data_gen.crops import Picture, Preset, check_side, preset_named
from data_gen.dataset import Dataset
from data_gen.factors import Factor
from data_gen.image_command import SIZE, TOLERATE, not_found, plan_of_images, truth
from data_gen.image_miniatures import fitted
from data_gen.image_set import TOLERANCE, ImageSet, NoneChosenError, Read, Reading, image_set, read_limited
from data_gen.published import find_files

SOURCES = ("auto", "published", "synthetic")
SPLITS = ("all", *PARTS)
HOMEPAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
LICENSE = "non-commercial research only, no redistribution (agreement on the page of the set)"
SUMMARY = Summary(
    what="aligned faces of celebrities",
    images=f"{COUNT:,}, 64x64x3 unless told otherwise (178x218 as published)",
    factors="40 attributes of 2 levels, in no grid",
    files=f"{ARCHIVE}, {ATTRIBUTES_FILE}, {PARTITION_FILE} from {HOMEPAGE}",
    license=LICENSE,
    raw_names=(ARCHIVE, FOLDER, ATTRIBUTES_FILE, PARTITION_FILE),
)
PRESETS = {
    "ibgan": Preset(
        64, {"window": 148}, "middle 148x148, then bilinear to 64 (community code; the authors publish none)"
    ),
    "infogan_cr": Preset(
        32,
        {"window": 128, "filter": "sampled"},
        "middle 128x128, then bilinear to 32 without averaging, as OpenCV does (authors' code)",
    ),
    "infogan": Preset(
        32, {"window": "none", "cut": True}, "shorter side to 32, middle cut out (a reproduction's code)"
    ),
    "vgan": Preset(128, {"window": "none", "cut": True}, "shorter side to 128, middle cut out (authors' code)"),
    "vdb": Preset(128, {"window": "none"}, "all 178x218 squashed into 128x128 (community code)"),
}
DEFAULT_PRESET = "ibgan"

_SYNTHETIC_IMAGES = 512
_PATTERN = r"(?:^|/)\d{6}\.(?:jpg|png)$"
_WHERE = (
    f"accept the agreement at {HOMEPAGE} and download 'Align&Cropped Images' ({ARCHIVE}, 1,443,490,838 bytes) from its "
    f"Google Drive by hand, and for attributes and splits {ATTRIBUTES_FILE} and {PARTITION_FILE}"
)


def picture_of(preset: str | None, size: int | None) -> Picture:
    """How faces are prepared: by a preset; or, if only a size is given, as the largest square in the middle."""
    check_side(size)
    if preset is None and size is not None:
        return Picture((size, size), published=(WIDTH, HEIGHT))
    return preset_named(PRESETS, preset or DEFAULT_PRESET).make(size, published=(WIDTH, HEIGHT))


def synthetic(
    num_examples: int = _SYNTHETIC_IMAGES, seed: int = 0, preset: str | None = None, size: int | None = None
) -> ImageSet:
    """Drawn faces with the shape of CelebA's images, and with such of its attributes as can be drawn.

    Args:
        num_examples: how many, at least 1. Default: 512.
        seed: determines the faces. Default: 0.
        preset, size: those of `load`; only the shape follows them. Default: 64x64x3.

    Returns:
        images with 40 attributes.

    Raises:
        UserError: if there should be no image.
    """
    faces, attributes = drawn_faces(num_examples, seed)
    return ImageSet(
        fitted(faces, picture_of(preset, size).shape),
        name=_name("celeba_synthetic", preset, size),
        source="synthetic",
        description=f"{num_examples:,} drawn faces, a stand-in for CelebA in tests and first tries.",
        **_factors(attributes),
    )


def _factors(attributes: NDArray[np.int64], persons: NDArray[np.int64] | None = None) -> dict[str, Any]:
    factors = [Factor(name, 2, "discrete") for name in ATTRIBUTES]
    classes, values = (attributes + 1) // 2, attributes
    if persons is not None:
        factors.append(Factor("identity", int(persons.max()) + 1, "discrete"))
        classes, values = np.hstack([classes, persons]), np.hstack([values, persons])
    return {"factors": factors, "classes": classes, "values": values.astype(np.float32)}


def _name(name: str, preset: str | None, size: int | None) -> str:
    """What a set prepared in this way is called; the default way adds nothing."""
    if preset is None:
        return name if size is None else f"{name}_{size}"
    plain = size is None or size == PRESETS[preset].size
    return f"{name}_{preset}" if plain else f"{name}_{preset}_{size}"


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    preset: str | None = None,
    size: int | None = None,
    split: str = "all",
    identity: bool = False,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_IMAGES,
    seed: int = 0,
) -> Dataset:
    """Loads CelebA; see `data_gen.load`.

    Args:
        data_dir: where the prepared images are kept.
        raw_dir: where the archive or folder of images and the text files are looked for, or the archive or folder.
        source: `published` or `synthetic`; `auto` is the same as `published`.
        limit: how many images to keep, and of what is held out; only these are decoded. Default: all.
        preset: a paper's way to cut and scale, see `PRESETS`. Default: `ibgan`; if only `size` is given, the largest
            square in the middle, bilinear.
        size: height and width. Default: that of the preset.
        split: `all`, which every paper here trains on; `train` (which holds out `test`), `validation` or `test`.
        identity: whether whom an image shows is a factor too. Default: no.
        tolerance: share of images that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for files that are missing or damaged, or do not fit each other.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of celeba{near_matches(split, SPLITS)}")
    picture = picture_of(preset, size)
    if source == "synthetic":
        return synthetic(num_examples, seed, preset, size).limited(limit)
    images = _find_images(raw_dir)
    tables = _Tables(images, raw_dir)
    partition = tables.read(PARTITION_FILE, read_partition, split != "all", f"the split {split!r}")
    attributes = tables.read(ATTRIBUTES_FILE, read_attributes, False, "attributes")
    persons = tables.read(IDENTITY_FILE, read_identity, True, "identity") if identity else None

    called = _name("celeba", preset, size)
    reading = Reading(images, picture, _PATTERN, tolerance, f"reading {called}")

    def part(split: str) -> Dataset:
        def members(names: Sequence[str]) -> NDArray[np.int64]:
            if split == "all" or partition is None:
                return np.arange(len(names))
            return np.flatnonzero(partition.of(names, PARTITION_FILE)[:, 0] == PARTS.index(split))

        read, suffix = read_limited(reading, data_dir / called, limit, "" if split == "all" else split, members)
        about: dict[str, Any] = {"description": f"Faces of CelebA, prepared by {_about(preset, size)}."}
        if attributes is not None:
            of_persons = None if persons is None else persons.of(read.names, IDENTITY_FILE)
            about |= _factors(attributes.of(read.names, ATTRIBUTES_FILE), of_persons)
        return _dataset(read, called, suffix, split, partition, about)

    dataset = part(split)
    if split == "train" and limit is not None:
        # Only images of the part itself were read; there may be none to test on.
        with contextlib.suppress(NoneChosenError):
            dataset.held_out = part("test")
    return dataset


def _dataset(
    read: Read, called: str, suffix: str, split: str, partition: Table | None, about: dict[str, Any]
) -> Dataset:
    splits = None
    if partition is not None:
        parts = partition.of(read.names, PARTITION_FILE)[:, 0]
        splits = {name: kept for number, name in enumerate(PARTS) if len(kept := np.flatnonzero(parts == number))}
    if read.account.num_skipped:
        about["description"] += f" Left out: {read.account.reasons()}."
    count = read.account.used
    whole = image_set(
        read,
        splits=splits,
        name=f"{called}{suffix}",
        source="published" if count == COUNT else f"real subset ({count:,})",
        **about,
    )
    if split == "all" or splits is None:
        return whole
    if split not in splits:
        raise UserError(f"none of the images belongs to the split {split!r}; choose another, or 'all'")
    chosen = whole.subset(splits[split], f"{called}_{split}{suffix}")
    if split == "train" and "test" in splits:
        chosen.held_out = whole.subset(splits["test"], f"{called}_test")
    return chosen


def _about(preset: str | None, size: int | None) -> str:
    if preset is None and size is not None:
        return "taking the largest square in the middle, bilinear"
    return f"the preset {preset or DEFAULT_PRESET}: {PRESETS[preset or DEFAULT_PRESET].about}"


def _find_images(raw_dir: Path) -> Path:
    found = find_containers(raw_dir, (ARCHIVE, FOLDER, "celeba.zip"))
    if found:
        return found[0]
    # The folder of images itself, whatever it is called.
    if any(raw_dir.glob("[0-9][0-9][0-9][0-9][0-9][0-9].jpg")):
        return raw_dir
    raise not_found("python -m data_gen.celeba", raw_dir, f"{ARCHIVE} nor folder {FOLDER}", _WHERE)


class _Tables:
    """Finds and reads the text files: beside the images, below the folder of raw files, or inside the archive."""

    def __init__(self, images: Path, raw_dir: Path) -> None:
        self.images = images
        self.raw_dir = raw_dir if raw_dir.is_dir() and raw_dir != images else images.parent

    def read(self, name: str, read: Callable[[str, str], Table], needed: bool, what: str) -> Table | None:
        """The table of a name; `None` if there is none and it is not needed."""
        spreadsheet = str(Path(name).with_suffix(".csv"))
        for path in find_files(self.raw_dir, (name, spreadsheet)):
            return read(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if self.images.is_file():
            with open_container(self.images) as container:
                for member in container.members:
                    if Path(member.name).name in (name, spreadsheet):
                        text = container.read(member).decode("utf-8", "replace")
                        return read(text, f"{self.images}/{member.name}")
        if needed:
            raise UserError(
                f"no {name} in {self.raw_dir}, which {what} needs: download it from the same place as the images "
                f"({HOMEPAGE}, folder Anno or Eval) and put it into {self.raw_dir}"
            )
        return None


def main() -> None:
    """Writes CelebA as TFRecord shards; see `--help`."""
    presets = "\n".join(f"  {name:11}{preset.about}" for name, preset in PRESETS.items())
    prepare(
        "celeba",
        homepage=HOMEPAGE,
        options=(
            Option("preset", str, f"one of: {', '.join(PRESETS)} (default: {DEFAULT_PRESET})"),
            SIZE,
            Option("split", str, f"one of: {', '.join(SPLITS)} (default: all, written as its three splits)"),
            Option("identity", truth, "whether to write whom an image shows: yes or no (default: no)"),
            TOLERATE,
        ),
        make_plan=plan_of_images,
        teaching=f"""where the data come from:
  {HOMEPAGE}
  The publisher gives them on Google Drive and under an agreement, so that there is no --download.
  License: {LICENSE}.
  Download by hand, and put into --raw_dir, packed or unpacked:
    {ARCHIVE}      1,443,490,838 bytes, SHA-256 46fb89443c578308...
    {ATTRIBUTES_FILE}      for the attributes
    {PARTITION_FILE}   for the splits train, validation, test
    {IDENTITY_FILE}        for --identity yes
  The .csv versions of the text files serve as well.

presets:
{presets}
  With --size alone: the largest square in the middle, bilinear.

result:
  splits train, validation and test (162,770, 19,867 and 19,962 images), each with id, image, and
  for each attribute label_* (0 or 1) and value_* (-1 or 1)

examples:
  python -m data_gen.celeba --raw_dir ~/Downloads --preset infogan_cr
  python -m data_gen.celeba --size 128 --limit 1000
  python -m data_gen.celeba --source synthetic
""",
    )


if __name__ == "__main__":
    run_command(main)
