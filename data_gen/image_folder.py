"""Any folder or archive of images as a data set: flat or nested, of any sizes and formats."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from common.errors import UserError, run_command
from data_gen import Summary
from data_gen.archives import ARCHIVE_SUFFIXES
from data_gen.command import Option, prepare
from data_gen.crops import Picture, Preset, check_side, preset_named
from data_gen.dataset import Dataset
from data_gen.factors import Factor
from data_gen.image_command import SIZE, TOLERATE, plan_of_images, truth
from data_gen.image_miniatures import drawn_scenes, fitted
from data_gen.image_set import TOLERANCE, ImageSet, Read, Reading, image_set, read_limited

SOURCES = ("auto", "files", "synthetic")
SUMMARY = Summary(
    what="the images of a folder or archive of yours",
    images="as many as there are, 64x64x3 unless told otherwise",
    factors="none, or the sub-folders as `label`",
    files="any folder, .zip, .tar or .tar.gz with .jpg, .png, .bmp, .gif, .webp, .tif, .ppm files: give it as path",
)
PRESETS = {
    "vdb": Preset(
        128,
        {"window": "none", "background": "drop", "orient": False},
        "squashed into a square as the community code of VDB does (128)",
    ),
    "vgan": Preset(
        128,
        {"window": "none", "cut": True, "background": "drop", "orient": False},
        "shorter side scaled, middle cut out as the authors' code of VGAN does (128)",
    ),
    "infogan": Preset(
        32,
        {"window": "none", "cut": True, "background": "drop", "orient": False},
        "the same at 32 pixels, as a reproduction of InfoGAN does",
    ),
}

_SYNTHETIC_IMAGES = 120
_SIZE = 64


def synthetic(
    num_examples: int = _SYNTHETIC_IMAGES, seed: int = 0, size: int = _SIZE, channels: int = 3, labels: bool = False
) -> ImageSet:
    """Drawn scenes of three kinds, a stand-in for a folder of images.

    Args:
        num_examples: how many, at least 1. Default: 120.
        seed: determines them. Default: 0.
        size: height and width. Default: 64.
        channels: 3 or 1. Default: 3.
        labels: whether the kinds are a factor `label`. Default: no.

    Raises:
        UserError: if there should be no image.
    """
    pixels, kinds = drawn_scenes(num_examples, seed)
    return ImageSet(
        fitted(pixels, (size, size, channels)),
        classes=kinds[:, None] if labels else None,
        factors=(Factor("label", 3, "discrete"),) if labels else (),
        class_names=("ball", "cross", "ring") if labels else (),
        name="image_folder_synthetic",
        source="synthetic",
        description=f"{num_examples:,} drawn scenes, a stand-in for a folder of images in tests and first tries.",
    )


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    path: str | Path | None = None,
    preset: str | None = None,
    size: int | None = None,
    channels: int = 3,
    crop: str | int = "center",
    filter: str = "bilinear",
    background: str = "white",
    labels_from_folders: bool = False,
    called: str | None = None,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_IMAGES,
    seed: int = 0,
) -> Dataset:
    """Loads a folder or an archive of images; see `data_gen.load`.

    Args:
        data_dir: where the decoded images are kept.
        raw_dir: the folder or archive, if `path` is not given.
        source: `files` or `synthetic`; `auto` is the same as `files`.
        limit: how many images to keep; only these are decoded. Default: all.
        path: the folder or archive.
        preset: a paper's way of preparing: `vdb`, `vgan` or `infogan`. Default: the options that follow.
        size: height and width. Default: 64, or that of the preset.
        channels: 3 for color, 1 for gray.
        crop: `center`, the largest square in the middle; `none`, squash; or the side of a square in pixels.
        filter: how to scale, see `Picture`.
        background: behind transparent pixels: `white`, `black`, or `drop` to show what they hide.
        labels_from_folders: whether the sub-folder of an image, up to the innermost, is a factor `label`; what its
            levels mean is in `class_names`.
        called: what the data set is called. Default: the name of the folder or archive.
        tolerance: share of files that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for options out of their ranges, and if there are no images.
    """
    check_side(size)
    if preset is None:
        side = _SIZE if size is None else size
        picture = Picture((side, side), channels, crop, filter=filter, background=background)
    else:
        if (crop, filter, background) != ("center", "bilinear", "white"):
            raise UserError(f"the preset {preset!r} says how to crop and scale; leave crop, filter and background out")
        picture = preset_named(PRESETS, preset).make(size, channels=channels)
    if source == "synthetic":
        return synthetic(num_examples, seed, picture.size[0], channels, labels_from_folders).limited(limit)
    folder = Path(path) if path is not None else raw_dir
    if not folder.exists():
        raise UserError(f"{folder}: no such file or folder; give the folder or archive of images as path (--path)")
    if called is None:
        called = name_of(folder)
    elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", called):
        raise UserError(f"called is {called!r}; give a name of letters, digits and underscores, a letter first")
    reading = Reading(folder, picture, tolerance=tolerance, description=f"reading {called}")
    read, suffix = read_limited(reading, data_dir / called, limit)
    return _dataset(read, called + suffix, folder, labels_from_folders)


def _dataset(read: Read, called: str, folder: Path, labels: bool) -> Dataset:
    left_out = f" Left out: {read.account.reasons()}." if read.account.num_skipped else ""
    classes, told, known = None, "", []
    factors: tuple[Factor, ...] = ()
    if labels:
        kinds = [name.rpartition("/")[0] for name in read.names]
        known = sorted(set(kinds))
        if len(known) < 2:
            raise UserError(
                f"{folder}: all images lie in one folder, so that there are no labels; leave labels_from_folders out"
            )
        numbers = {kind: number for number, kind in enumerate(known)}
        classes = np.array([[numbers[kind]] for kind in kinds], np.int64)
        factors = (Factor("label", len(known), "discrete"),)
        told = f" Labels by sub-folder: {', '.join(f'{number} {kind}' for kind, number in numbers.items())}."
    return image_set(
        read,
        name=called,
        source="files",
        classes=classes,
        factors=factors,
        class_names=tuple(known),
        description=f"{len(read.names):,} images from {folder.name}.{told}{left_out}",
    )


def name_of(folder: Path) -> str:
    """What a data set of a folder or archive is called: its name in small letters, digits and underscores."""
    stem = folder.resolve().name
    for suffix in ARCHIVE_SUFFIXES:
        stem = stem.removesuffix(suffix)
    name = re.sub(r"[^0-9a-z]+", "_", stem.lower()).strip("_")
    return name if name and not name[0].isdigit() else f"images_{name}".rstrip("_")


def main() -> None:
    """Writes a folder of images as TFRecord shards; see `--help`."""
    presets = "\n".join(f"  {name:9} {preset.about}" for name, preset in PRESETS.items())
    prepare(
        "image_folder",
        options=(
            Option("path", str, "the folder or archive (default: --raw_dir)"),
            Option("preset", str, f"one of: {', '.join(PRESETS)} (default: the flags that follow)"),
            SIZE,
            Option("channels", int, "3 for color, 1 for gray (default: 3)"),
            Option("crop", _crop, "center, none, or the side of a square in pixels (default: center)"),
            Option("filter", str, "bilinear, bicubic, lanczos, box, nearest, sampled or area (default: bilinear)"),
            Option("background", str, "behind transparent pixels: white, black or drop (default: white)"),
            Option("labels_from_folders", truth, "whether sub-folders are a label: yes or no (default: no)"),
            Option("called", str, "what the data set is called (default: the folder's name)"),
            TOLERATE,
        ),
        make_plan=plan_of_images,
        teaching=f"""what is read:
  All files with names of images, in all sub-folders, in the order of their names (9.jpg before
  10.jpg). Hidden files, __MACOSX, Thumbs.db and the like are passed over. Archives are not
  unpacked. Files that cannot be used are left out and told, with the reason; if they are more
  than --tolerance, nothing is written.

presets:
{presets}

examples:
  python -m data_gen.image_folder --path ~/pictures --size 64
  python -m data_gen.image_folder --path faces.zip --preset vdb --limit 1000
""",
    )


def _crop(text: str) -> str | int:
    return int(text) if text.isdigit() else text


if __name__ == "__main__":
    run_command(main)
