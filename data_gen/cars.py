"""Cars: 183 rendered cars from 24 sides and 4 heights (Reed, Zhang, Zhang, Lee, NIPS 2015), as pairs of views.

In a pair, x is a car seen from its first side, and y the same car at the same height from another side. The published
MAT files are read where they are.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import UserError, near_matches, run_command
from data_gen import Summary
from data_gen.archives import BadFileError, find_containers
from data_gen.command import Option, prepare
from data_gen.crops import GRAYS, Picture, check_side
from data_gen.dataset import ArrayDataset, Dataset, Subset
from data_gen.drawing import SIDE, ellipse, paint, to_bytes
from data_gen.factors import Factor, check_indices
from data_gen.image_command import SIZE, TOLERATE, not_found, truth
from data_gen.image_files import Pixels, reencoded, weighted_gray
from data_gen.image_miniatures import check_count, fitted, write_folder, write_tar
from data_gen.image_pairs import check_split, fetcher, plan_of_image_pairs
from data_gen.image_set import TOLERANCE, Reading, read_images
from data_gen.mat import ADVICE, read_open_mat
from data_gen.pairs import PairedDataset
from data_gen.published import PublishedFile

SOURCES = ("auto", "published", "synthetic")
SPLITS = ("train", "test")
HOMEPAGE = "http://www.scottreed.info/"
FILE = PublishedFile(
    "nips2015-analogy-data.tar.gz",
    (
        f"{HOMEPAGE}files/nips2015-analogy-data.tar.gz",
        "http://www-personal.umich.edu/~reedscot/files/nips2015-analogy-data.tar.gz",
    ),
)
FOLDER = "cars"
COUNT = 183
LICENSE = "none stated; the publisher asks to cite the paper (NIPS 2015)"
SUMMARY = Summary(
    what="pairs: a car from its first side (x) and from another side (y)",
    images=f"{COUNT} cars: train 16,192 and test 644 pairs of 256x256x3 (128x128 as published)",
    factors="car, elevation 4, azimuth of y 24",
    files=f"{FILE.name} from {HOMEPAGE}",
    license=LICENSE,
    raw_names=(FILE.name, FOLDER),
)
AZIMUTHS, ELEVATIONS = 24, 4
TEST_CARS_FROM = 192
"""The authors of IIAE test on cars with this number and above, 7 of them."""
COMMUNITY_TEST_CARS = 14
"""The community code tests on so many cars, the last ones."""


@dataclasses.dataclass(frozen=True)
class CarPreset:
    """Which views of the cars are used.

    Args:
        elevations: which of the four heights.
        is_gray: whether colors are taken away (the images keep three equal channels).
        last_cars: how many cars are held out; `None`: those from number 192 on.
        about: one line for people.
    """

    elevations: tuple[int, ...]
    is_gray: bool
    last_cars: int | None
    about: str


PRESETS = {
    "iiae": CarPreset((0, 1, 2, 3), False, None, "color, all 4 elevations, tests on cars 192 to 199 (authors' code)"),
    "iiae_community": CarPreset(
        (3,), True, COMMUNITY_TEST_CARS, "gray, the last elevation, tests on the last 14 cars (community code)"
    ),
}

_PATTERN = r"(?:^|/)car_\d+_mesh\.mat$"
_SIDE = 128
_SIZE = 256
_SYNTHETIC_CARS = 8
_VIEWS_SHAPE = (_SIDE, _SIDE, 3, AZIMUTHS, ELEVATIONS)


@dataclasses.dataclass(frozen=True)
class CarViews:
    """A MAT file of a car; makes an array of its views.

    Args:
        picture: how each view becomes an array.
        elevations: which heights.
        gray: name of the weights if colors are taken away, see `crops.GRAYS`; empty: they stay.
        jpeg_copies: whether each view goes through a JPEG of quality 75 first.
    """

    picture: Picture
    elevations: tuple[int, ...]
    gray: str = ""
    jpeg_copies: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Elevations, azimuths, and the shape of a view."""
        return (len(self.elevations), AZIMUTHS, *self.picture.shape)

    def record(self) -> dict[str, Any]:
        """All that determines the result, for comparison."""
        return {"car": dataclasses.asdict(self)}

    def __call__(self, data: bytes) -> Pixels:
        """The views of a car, uint8; `BadFileError` if the file cannot be used."""
        views = read_car(data).transpose(4, 3, 0, 1, 2)[list(self.elevations)]
        result = np.empty(self.shape, np.uint8)
        for elevation, azimuth in np.ndindex(*self.shape[:2]):
            view = np.ascontiguousarray(views[elevation, azimuth])
            if self.gray:
                view = np.repeat(weighted_gray(view, GRAYS[self.gray])[:, :, None], 3, axis=2)
            view = reencoded(view) if self.jpeg_copies else view
            result[elevation, azimuth] = self.picture.of_image(Image.fromarray(view))
        return result


def read_car(data: bytes) -> Pixels:
    """The array `im` of a MAT file: uint8 of shape (128, 128, 3, azimuth 24, elevation 4); else a `BadFileError`."""
    if not data:
        raise BadFileError("empty file")
    try:
        views = read_open_mat(io.BytesIO(data), "the file", ("im",), ADVICE)["im"]
    except UserError:
        raise BadFileError("damaged") from None
    if views.shape != _VIEWS_SHAPE or views.dtype != np.uint8:
        raise BadFileError("other size")
    return views


def synthetic(
    num_examples: int = _SYNTHETIC_CARS,
    seed: int = 0,
    preset: str = "iiae",
    size: int = _SIZE,
    split: str = "train",
) -> PairedDataset:
    """Drawn cars in the same pairs as the published ones.

    Args:
        num_examples: how many cars, at least 2; one in four, but at least one, is held out. Default: 8.
        seed: determines the cars. Default: 0.
        preset, size, split: those of `load`.

    Raises:
        UserError: for fewer than 2 cars.
    """
    check_side(size)
    check_split("cars", split, SPLITS)
    if num_examples < 2:
        raise UserError(f"num_examples is {num_examples}; give at least 2 cars")
    views = CarViews(Picture((size, size), window="none", filter="area"), _preset(preset).elevations)
    drawn = np.stack([_drawn_car(seed, number) for number in range(num_examples)])
    chosen = drawn[:, list(views.elevations)]
    images = fitted(chosen.reshape(-1, SIDE, SIDE, 3), (size, size, 3)).reshape(num_examples, *views.shape)
    is_test = np.arange(num_examples) >= num_examples - max(1, num_examples // 4)
    about = "drawn, a stand-in for tests and first tries"
    return _Cars(images, is_test, _preset(preset), "cars_synthetic", "synthetic", about).pairs(split)


def _drawn_car(seed: int, number: int) -> Pixels:
    """A car of boxes and wheels, uint8 of shape (4, 24, 64, 64, 3)."""
    rng = np.random.default_rng((seed, number))
    angle = np.tile(np.arange(AZIMUTHS) * (2 * np.pi / AZIMUTHS), ELEVATIONS)
    lift = np.repeat(np.arange(ELEVATIONS), AZIMUTHS) * 2.0
    n = len(angle)
    color, length = np.tile(rng.uniform(0.1, 0.9, 3), (n, 1)), rng.uniform(16, 24)
    half = 8 + (length - 8) * np.abs(np.cos(angle))
    canvas = np.ones((n, SIDE, SIDE, 3), np.float32)
    front = 4 * np.cos(angle)
    paint(canvas, ellipse(32, 36 - lift / 2, half, 8 + lift / 2), color)
    paint(canvas, ellipse(32 - front, 29 - lift, half * 0.55, 6 + lift / 2), color * 0.6)
    for side in (-0.6, 0.6):
        paint(canvas, ellipse(32 + side * half, 43, 4, 4), np.full((n, 3), 0.1))
    paint(canvas, ellipse(32 + half * np.cos(angle), 37 + 3 * np.sin(angle), 2, 2), np.tile([1.0, 0.9, 0.3], (n, 1)))
    return to_bytes(canvas).reshape(ELEVATIONS, AZIMUTHS, SIDE, SIDE, 3)


def write_miniature(folder: Path, cars: Sequence[int] = (1, 2, 5, 192), seed: int = 0, unpacked: bool = False) -> Path:
    """Writes drawn cars in the file and the layout of the published Cars.

    Args:
        folder: where the archive is put; made if missing.
        cars: their numbers, at least one.
        seed: determines them. Default: 0.
        unpacked: whether the folder `cars` is written instead. Default: no.

    Returns:
        the archive, or the folder.
    """
    import scipy.io

    check_count(len(cars))

    def files() -> Iterator[tuple[str, bytes]]:
        names = [f"car_{number:03d}_mesh" for number in cars]
        yield "data/cars/list.txt", "\n".join(names).encode()
        for number, name in zip(cars, names, strict=True):
            views = fitted(_drawn_car(seed, number).reshape(-1, SIDE, SIDE, 3), (_SIDE, _SIDE, 3))
            shaped = views.reshape(ELEVATIONS, AZIMUTHS, _SIDE, _SIDE, 3).transpose(2, 3, 4, 1, 0)
            file = io.BytesIO()
            mask = (shaped.min(axis=2) < 255).astype(np.uint8)
            scipy.io.savemat(file, {"im": shaped, "mask": mask}, do_compression=True)
            yield f"data/cars/{name}.mat", file.getvalue()

    folder.mkdir(parents=True, exist_ok=True)
    if unpacked:
        return write_folder(folder, files()) / "data" / "cars"
    return write_tar(folder / FILE.name, files())


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    preset: str = "iiae",
    size: int = _SIZE,
    split: str = "train",
    swapped_gray: bool = False,
    jpeg_copies: bool = False,
    tolerance: float = TOLERANCE,
    num_examples: int = _SYNTHETIC_CARS,
    seed: int = 0,
) -> Dataset:
    """Loads Cars; see `data_gen.load`.

    Args:
        data_dir: where the prepared images are kept.
        raw_dir: where the archive or the folder `cars` is looked for, or one of these.
        source: `published` or `synthetic`; `auto` is the same as `published`.
        limit: how many pairs to keep. Default: all.
        preset: `iiae`, in color from four heights; or `iiae_community`, in gray from one. They also differ in which
            cars are held out.
        size: height and width; the published 128 are enlarged to it. Default: 256.
        split: `train`, which holds out `test`; or `test`.
        swapped_gray: gray with the weights of red and blue exchanged, as the community code has it. Default: no.
        jpeg_copies: what is left after saving each view as JPEG of quality 75 at 128x128, as both references do.
            Default: no.
        tolerance: share of files that may be unusable. Default: 0.01.
        num_examples, seed: those of the source `synthetic`.

    Raises:
        UserError: for files that are missing or damaged.
    """
    check_side(size)
    check_split("cars", split, SPLITS)
    chosen = _preset(preset)
    if swapped_gray and not chosen.is_gray:
        raise UserError(f"swapped_gray is for gray images; the preset {preset!r} is in color, leave it out")
    if source == "synthetic":
        return synthetic(num_examples, seed, preset, size, split).limited(limit)
    found = find_containers(raw_dir, (FILE.name, FOLDER))
    if not found:
        where = f"download it from {FILE.mirrors[0]} (python -m data_gen.cars --download does that)"
        raise not_found("python -m data_gen.cars", raw_dir, f"{FILE.name} nor folder {FOLDER}", where)
    called = "cars" + ("" if preset == "iiae" else "_community") + (f"_{size}" if size != _SIZE else "")
    called += ("_swapped_gray" if swapped_gray else "") + ("_jpeg" if jpeg_copies else "")
    picture = Picture((size, size), window="none", filter="area" if preset == "iiae" else "bilinear")
    gray = "" if not chosen.is_gray else "swapped" if swapped_gray else "luma"
    views = CarViews(picture, chosen.elevations, gray, jpeg_copies)
    reading = Reading(found[0], views, _PATTERN, tolerance, f"reading {called}", (".mat",))
    read = read_images(reading, data_dir / called / "views.npy")
    is_test = _held_out(read.names, chosen)
    kept = read.images if len(read.rows) == len(read.images) else read.images[read.rows]
    left_out = f" Left out: {read.account.reasons()}." if read.account.num_skipped else ""
    count = len(read.names)
    published = "published" if count == COUNT else f"real subset ({count} cars)"
    cars = _Cars(kept, is_test, chosen, called, published, f"{chosen.about}{left_out}")
    return cars.pairs(split).limited(limit)


def _preset(name: str) -> CarPreset:
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}{near_matches(name, list(PRESETS))}")
    return PRESETS[name]


def _held_out(names: Sequence[str], preset: CarPreset) -> NDArray[np.bool_]:
    """Which cars are not trained on."""
    if preset.last_cars is not None:
        return np.arange(len(names)) >= len(names) - preset.last_cars
    numbers = [int(found[1]) for name in names if (found := re.search(r"car_(\d+)_mesh", name))]
    return np.array(numbers) >= TEST_CARS_FROM


@dataclasses.dataclass(frozen=True)
class _Cars:
    """All cars, from which pairs are made.

    Args:
        images: their views, uint8 of shape (cars, elevations, azimuths, height, width, 3).
        is_test: which cars are held out.
        preset: which views they are.
        name, source, about: of the data set.
    """

    images: Pixels
    is_test: NDArray[np.bool_]
    preset: CarPreset
    name: str
    source: str
    about: str

    def pairs(self, split: str) -> PairedDataset:
        """The pairs of one part; `train` holds those of `test` out."""
        dataset = self._part(split)
        if dataset is None:
            count, tested = len(self.is_test), int(self.is_test.sum())
            raise UserError(f"no cars for the split {split!r}: of {count} cars {tested} are to test on")
        if split == "train":
            dataset.held_out = self._part("test")
        return dataset

    def _part(self, split: str) -> PairedDataset | None:
        cars = np.flatnonzero(self.is_test == (split == "test"))
        name = self.name + ("" if split == "train" else "_test")
        return _pairs(self.images, cars, self.preset, name, self.source, self.about) if len(cars) else None


class _Views(Subset):
    """One side of the pairs, with the factors of the pairs.

    Args:
        base: all views.
        rows: which view each pair shows, int64 of shape (n,).
        classes: levels of car, elevation and azimuth of y, int64 of shape (n, 3).
        cars: how many cars there are.
        name: of this side.
    """

    def __init__(
        self, base: Dataset, rows: NDArray[np.int64], classes: NDArray[np.int64], cars: int, name: str
    ) -> None:
        super().__init__(base, rows, name)
        self.factors = (
            Factor("car", cars, "discrete"),
            Factor("elevation", ELEVATIONS, "continuous"),
            Factor("azimuth", AZIMUTHS, "periodic"),
        )
        self._classes = classes

    def factors_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
        return self._classes[check_indices(indices, self.num_examples)]

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.floating[Any]]:
        """The car, the elevation (0 to 3), and the azimuth of y in degrees, float32 of shape (n, 3)."""
        return (self.factors_at(indices) * [1, 1, 360 // AZIMUTHS]).astype(np.float32)

    def subset(self, indices: NDArray[np.int64], name: str) -> _Views:
        kept = check_indices(indices, self.num_examples)
        return _Views(self._base, self._indices[kept], self._classes[kept], self.factors[0].size or 1, name)


def _pairs(
    images: Pixels, cars: NDArray[np.int64], preset: CarPreset, name: str, source: str, about: str
) -> PairedDataset:
    """All pairs of some cars: by car, by elevation, by azimuth of y from the second on."""
    elevations = images.shape[1]
    grid = np.meshgrid(np.arange(len(cars)), np.arange(elevations), np.arange(1, AZIMUTHS), indexing="ij")
    car, elevation, azimuth = (column.reshape(-1).astype(np.int64) for column in grid)
    classes = np.stack([car, np.array(preset.elevations)[elevation], azimuth], axis=1).astype(np.int64)
    views = ArrayDataset(images.reshape(-1, *images.shape[3:]), name=f"{name}_views", source=source)
    first = (cars[car] * elevations + elevation) * AZIMUTHS
    x, y = (
        _Views(views, rows, classes, len(cars), f"{name}_{key}") for key, rows in (("x", first), ("y", first + azimuth))
    )
    return PairedDataset(x, y, name=name, source=source, description=f"Cars from two sides each: {about}.")


def main() -> None:
    """Writes Cars as TFRecord shards; see `--help`."""
    presets = "\n".join(f"  {name:16}{preset.about}" for name, preset in PRESETS.items())
    prepare(
        "cars",
        homepage=HOMEPAGE,
        options=(
            Option("preset", str, f"one of: {', '.join(PRESETS)} (default: iiae)"),
            SIZE,
            Option(
                "swapped_gray", truth, "gray with red and blue exchanged, a slip of the community code (default: no)"
            ),
            Option("jpeg_copies", truth, "the loss of a JPEG copy, as in both references (default: no)"),
            TOLERATE,
        ),
        fetch=fetcher(lambda flags: FILE),
        make_plan=plan_of_image_pairs,
        teaching=f"""where the data come from:
  {FILE.name} from
    {FILE.mirrors[0]}
    {FILE.mirrors[1]}
  Put it, or the folder data/{FOLDER} that is in it, below --raw_dir; or let --download fetch it.
  License: {LICENSE}.

presets:
{presets}

result:
  splits train and test with id, image_x, image_y and label_car, label_elevation, label_azimuth

examples:
  python -m data_gen.cars --download
  python -m data_gen.cars --raw_dir ~/Downloads --preset iiae_community --size 128
""",
    )


if __name__ == "__main__":
    run_command(main)
