"""3D Chairs: 1,393 chairs, each rendered from 31 sides and 2 heights (Aubry et al., CVPR 2014).

The published tar is read as it is; its file names carry the factors.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, run_command
from data_gen import Summary
from data_gen.archives import find_containers
from data_gen.command import Option, prepare
from data_gen.crops import Picture, Preset, check_side, preset_named
from data_gen.dataset import Dataset
from data_gen.drawing import SIDE, paint, stroke, to_bytes
from data_gen.factors import Factor, FactorSpace
from data_gen.image_command import SIZE, TOLERATE, fetch_and_record, not_found, plan_of_images
from data_gen.image_files import Pixels
from data_gen.image_miniatures import Files, check_count, fitted, png, write_folder, write_tar
from data_gen.image_set import TOLERANCE, ImageSet, Read, Reading, image_set, read_limited
from data_gen.published import PublishedFile

SOURCES = ("auto", "published", "synthetic")
HOMEPAGE = "https://www.di.ens.fr/willow/research/seeing3Dchairs/"
FILE = PublishedFile("rendered_chairs.tar", (f"{HOMEPAGE}data/rendered_chairs.tar",))
FOLDER = "rendered_chairs"
COUNT = 86_366
LICENSE = "none stated; the publisher asks to cite the paper (CVPR 2014)"
SUMMARY = Summary(
    what="rendered chairs from 31 sides and 2 heights",
    images=f"{COUNT:,}, 64x64x1 unless told otherwise (600x600x3 as published)",
    factors="model 1,393, elevation 2, azimuth 31",
    files=f"{FILE.name} from {HOMEPAGE}",
    license=LICENSE,
    raw_names=(FILE.name, FOLDER),
)
_WHOLE = {"window": "none", "cut": True, "channels": 1, "background": "drop", "orient": False}
PRESETS = {
    "ibgan": Preset(64, _WHOLE, "gray, then the shorter side bilinear to 64, no crop (community code)"),
    "infogan": Preset(64, _WHOLE, "the same; the paper says 64x64x1 and no more"),
}
DEFAULT_PRESET = "ibgan"
ELEVATIONS = (20, 30)
"""In degrees, as the file names have them."""
AZIMUTHS = tuple(360 * step // 31 for step in range(31))
"""In degrees, without fractions, as the file names have them."""

_PATTERN = r"(?:^|/)([^/]+)/renders/image_\d+_p(\d+)_t(\d+)_r\d+\.png$"
_VIEWS = len(ELEVATIONS) * len(AZIMUTHS)
_SYNTHETIC_IMAGES = 8 * _VIEWS
_SEAT = ((-1, -1), (1, -1), (1, 1), (-1, 1))

_Floats = NDArray[np.float64]


def picture_of(preset: str | None, size: int | None, channels: int) -> Picture:
    """How chairs are prepared."""
    check_side(size)
    return preset_named(PRESETS, preset or DEFAULT_PRESET).make(size, channels=channels)


def synthetic(
    num_examples: int = _SYNTHETIC_IMAGES,
    seed: int = 0,
    preset: str | None = None,
    size: int | None = None,
    channels: int = 1,
) -> ImageSet:
    """Drawn chairs: legs, seat and back in gray strokes on white, seen from the published sides.

    Args:
        num_examples: how many, at least 1; a multiple of 62 is a full grid of factors. Default: 496, of 8 chairs.
        seed: determines the chairs. Default: 0.
        preset, size, channels: those of `load`; only the shape follows them. Default: 64x64x1.

    Returns:
        images with the factors model, elevation and azimuth.

    Raises:
        UserError: if there should be no image.
    """
    check_count(num_examples)
    classes = _grid(-(-num_examples // _VIEWS)).classes_of(np.arange(num_examples))
    degrees = _degrees(classes, ELEVATIONS, AZIMUTHS)
    return ImageSet(
        fitted(
            drawn_chairs(classes[:, 0], degrees[:, 1], degrees[:, 2], seed), picture_of(preset, size, channels).shape
        ),
        name="chairs3d_synthetic",
        source="synthetic",
        description=f"{num_examples:,} drawn chairs, a stand-in for 3D Chairs in tests and first tries.",
        **_factors(classes, degrees, (-(-num_examples // _VIEWS), len(ELEVATIONS), len(AZIMUTHS))),
    )


def drawn_chairs(models: NDArray[np.int64], elevations: _Floats, azimuths: _Floats, seed: int) -> Pixels:
    """Draws chairs.

    Args:
        models: which chair each image shows, int64 of shape (n,).
        elevations: of the camera, in degrees, shape (n,).
        azimuths: of the camera, in degrees, shape (n,).
        seed: determines what the chairs look like.

    Returns:
        uint8 of shape (n, 64, 64, 1).
    """
    low, high = (8, 10, 12, 1.5, 0.05), (13, 17, 22, 4.0, 0.6)
    looks = np.random.default_rng(seed).uniform(low, high, (int(models.max()) + 1, 5))[models]
    half, leg, back, width = looks[:, :4].T
    gray, angle, tilt = looks[:, 4:], np.radians(azimuths), np.sin(np.radians(elevations))

    def project(x: float, y: float, height: _Floats) -> tuple[_Floats, _Floats]:
        across = half * (x * np.cos(angle) - y * np.sin(angle))
        away = half * (x * np.sin(angle) + y * np.cos(angle))
        return 32 + across, 38 + away * tilt - height

    canvas = np.ones((len(models), SIDE, SIDE, 1), np.float32)
    level = np.zeros(len(models))
    for x, y in _SEAT:
        paint(canvas, stroke(*project(x, y, level), *project(x, y, -leg), width), gray)
    for part in np.linspace(-1, 1, 9):
        paint(canvas, stroke(*project(-1, part, level), *project(1, part, level), width), gray + 0.2)
    for slat in (-1.0, 0.0, 1.0):
        paint(canvas, stroke(*project(slat, -1, level), *project(slat, -1, back), width), gray)
    paint(canvas, stroke(*project(-1, -1, back), *project(1, -1, back), width), gray)
    return to_bytes(canvas)


def write_miniature(folder: Path, models: int = 3, seed: int = 0, side: int = 600, unpacked: bool = False) -> Path:
    """Writes drawn chairs in the file and the layout of the published 3D Chairs.

    Args:
        folder: where `rendered_chairs.tar` is put; made if missing.
        models: how many chairs, at least 1. Default: 3.
        seed: determines the chairs. Default: 0.
        side: height and width of the images. Default: 600, as published.
        unpacked: whether a folder is written instead of the tar. Default: no.

    Returns:
        the tar, or the folder.
    """
    dataset = synthetic(models * _VIEWS, seed, channels=3)
    classes = dataset.factors_at(np.arange(dataset.num_examples))

    def files() -> Iterator[tuple[str, bytes]]:
        yield f"{FOLDER}/all_chair_names.mat", b"MATLAB 5.0 MAT-file"
        for number, (model, elevation, azimuth) in enumerate(classes.tolist()):
            view = f"image_{number % _VIEWS:03d}_p{ELEVATIONS[elevation]:03d}_t{AZIMUTHS[azimuth]:03d}_r096.png"
            image = fitted(dataset.images_at([number]), (side, side, 3))[0]
            yield f"{FOLDER}/{_model_name(model)}/renders/{view}", png(image)

    folder.mkdir(parents=True, exist_ok=True)
    made: Files = files()
    return write_folder(folder, made) / FOLDER if unpacked else write_tar(folder / FILE.name, made)


def _model_name(model: int) -> str:
    """Names like the published ones, hexadecimal numbers, in the order of the models."""
    return f"{model + 1:04d}{model * 0x9E3779B97F4A7C15 % 2**64:016x}"


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    preset: str | None = None,
    size: int | None = None,
    channels: int = 1,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_IMAGES,
    seed: int = 0,
) -> Dataset:
    """Loads 3D Chairs; see `data_gen.load`.

    The factors fill a grid (model, elevation, azimuth) if no image is missing.

    Args:
        data_dir: where the prepared images are kept.
        raw_dir: where `rendered_chairs.tar` or the folder of it is looked for, or one of these.
        source: `published` or `synthetic`; `auto` is the same as `published`.
        limit: how many images to keep; only these are decoded. Default: all.
        preset: a paper's way of preparing, see `PRESETS`. Default: `ibgan`.
        size: height and width. Default: 64.
        channels: 1 for gray, as the papers have it, or 3. Default: 1.
        tolerance: share of images that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for files that are missing or damaged.
    """
    picture = picture_of(preset, size, channels)
    if source == "synthetic":
        return synthetic(num_examples, seed, preset, size, channels).limited(limit)
    found = find_containers(raw_dir, (FILE.name, FOLDER)) if raw_dir.exists() else []
    if not found:
        raise not_found(
            "python -m data_gen.chairs3d",
            raw_dir,
            f"{FILE.name} nor folder {FOLDER}",
            f"download it from {FILE.mirrors[0]} (python -m data_gen.chairs3d --download does that)",
        )
    called = "chairs3d" + ("" if channels == 1 else "_color") + (f"_{size}" if size not in (None, 64) else "")
    reading = Reading(found[0], picture, _PATTERN, tolerance, f"reading {called}")
    read, suffix = read_limited(reading, data_dir / called, limit)
    return _dataset(read, f"{called}{suffix}", preset or DEFAULT_PRESET)


def _dataset(read: Read, called: str, preset: str) -> Dataset:
    classes, degrees, sizes = views_of(read.names)
    count = len(read.names)
    left_out = f" Left out: {read.account.reasons()}." if read.account.num_skipped else ""
    return image_set(
        read,
        name=called,
        source="published" if count == COUNT else f"real subset ({count:,})",
        description=f"{sizes[0]:,} chairs, prepared by the preset {preset}: {PRESETS[preset].about}.{left_out}",
        **_factors(classes, degrees, sizes),
    )


def views_of(names: Sequence[str]) -> tuple[NDArray[np.int64], _Floats, tuple[int, int, int]]:
    """The factors of images by their names, such as `rendered_chairs/<model>/renders/image_003_p020_t034_r096.png`.

    Args:
        names: of the files.

    Returns:
        levels, int64 of shape (n, 3); values (number of the model, degrees, degrees), float64 of the same shape; and
        how many levels each factor has among these images.
    """
    parts = [found.groups() for name in names if (found := re.search(_PATTERN, name))]
    columns: list[list[Any]] = [
        [part[0] for part in parts],
        *([int(part[place]) for part in parts] for place in (1, 2)),
    ]
    levels = [{value: level for level, value in enumerate(dict.fromkeys(columns[0]))}]
    levels += [{value: level for level, value in enumerate(sorted(set(column)))} for column in columns[1:]]
    classes = np.array([[levels[c][columns[c][row]] for c in range(3)] for row in range(len(parts))], np.int64)
    return (
        classes,
        _degrees(classes, list(levels[1]), list(levels[2])),
        (len(levels[0]), len(levels[1]), len(levels[2])),
    )


def _degrees(classes: NDArray[np.int64], elevations: Sequence[int], azimuths: Sequence[int]) -> _Floats:
    columns = [classes[:, 0], np.array(elevations)[classes[:, 1]], np.array(azimuths)[classes[:, 2]]]
    return np.stack(columns, axis=1).astype(np.float64)


def _grid(models: int) -> FactorSpace:
    return _space((models, len(ELEVATIONS), len(AZIMUTHS)))


def _space(sizes: Sequence[int]) -> FactorSpace:
    kinds = (("model", "discrete"), ("elevation", "continuous"), ("azimuth", "periodic"))
    return FactorSpace(tuple(Factor(name, size, kind) for (name, kind), size in zip(kinds, sizes, strict=True)))


def _factors(classes: NDArray[np.int64], degrees: _Floats, sizes: Sequence[int]) -> dict[str, Any]:
    space, values = _space(sizes), degrees.astype(np.float32)
    if math.prod(sizes) == len(classes) and np.array_equal(classes, space.classes_of(np.arange(len(classes)))):
        return {"factor_space": space, "values": values}
    return {"factors": space.factors, "classes": classes, "values": values}


def _download(raw_dir: Path, flags: argparse.Namespace) -> None:
    if raw_dir.is_file():
        raise UserError(f"{raw_dir} is a file; give --download a folder as --raw_dir")
    fetch_and_record(FILE, raw_dir)


def main() -> None:
    """Writes 3D Chairs as TFRecord shards; see `--help`."""
    presets = "\n".join(f"  {name:9}{preset.about}" for name, preset in PRESETS.items())
    prepare(
        "chairs3d",
        homepage=HOMEPAGE,
        options=(
            Option("preset", str, f"one of: {', '.join(PRESETS)} (default: {DEFAULT_PRESET})"),
            SIZE,
            Option("channels", int, "1 for gray, 3 for color (default: 1)"),
            TOLERATE,
        ),
        fetch=_download,
        make_plan=plan_of_images,
        teaching=f"""where the data come from:
  {FILE.name} from
  {FILE.mirrors[0]}
  Put it, or the folder {FOLDER} that is in it, below --raw_dir; or let --download fetch it there.
  License: {LICENSE}.

presets:
{presets}

result:
  split train with id, image, and for each of model, elevation and azimuth label_* and value_*
  (degrees)

examples:
  python -m data_gen.chairs3d --download
  python -m data_gen.chairs3d --raw_dir ~/Downloads/rendered_chairs.tar --limit 5000
""",
    )


if __name__ == "__main__":
    run_command(main)
