"""Writes 3D Teapot sets: as TFRecord shards for TFDS, and in the `.npz` layout of the published data."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.cores import available_cores
from common.files import sha256_of
from common.progress import progress
from data_gen.folders import (
    CHECKSUMS,
    PROGRESS,
    finished_files,
    is_present,
    keep_only,
    put_in_place,
    read_record,
    working,
    write_record,
)
from data_gen.npz import LargeArray, write_npz
from data_gen.png import encode_png
from data_gen.teapot_latents import GROUP_SIZE, Floats
from data_gen.teapot_recipe import Recipe, provenance
from data_gen.tfrecord import Example, Feature, Plan, Split

VERSION = "1.0.0"
HOMEPAGE = "https://github.com/fjxmlzn/InfoGAN-CR"
NPZ_FOLDER = "npz"
NPZ_DTYPES = ("uint8", "float64")
TRAIN_NPZ = "train_data/data.npz"
METRIC_NPZ = "metric_data/data.npz"

_FIELDS = (
    "In the split metric, `group` numbers the groups, and `group_label` is the column of `latents` that keeps its "
    "value; both are -1 in the split train."
)
_NPZ_FORMAT = 1
_IMAGES_PER_SHARD = 10_000
# Of what a core draws in one go, so much makes a block of an `.npz`: what a kill can cost.
_DRAWN_PER_BLOCK = 16

Images = NDArray[np.uint8]


def set_folder(recipe: Recipe, data_dir: Path, layout: str) -> Path:
    """Where a set stands; `layout` is `tfrecord` or `npz`."""
    return data_dir / recipe.name / (NPZ_FOLDER if layout == "npz" else VERSION)


def recorded_backend(recipe: Recipe, record: Path) -> str | None:
    """Which back-end has drawn a set, or has begun to.

    Args:
        recipe: what is drawn.
        record: the record of a whole set (`checksums.json`) or of an unfinished one (`progress.json`).

    Returns:
        the back-end's label; `None` if there is no such record, or it is of another recipe.
    """
    found = read_record(record)
    contents = found["plan"].get("contents") if found is not None else None
    if not isinstance(contents, dict) or "backend" not in contents:
        return None
    backend = str(contents["backend"])
    return backend if recipe.contents(backend) == contents else None


def tfrecord_plan(recipe: Recipe, backend: str, workers: int | None = None, shards: int | None = None) -> Plan:
    """How a set is written as TFRecord shards, with the splits `train` and, if it has groups, `metric`.

    An example has the `image`, all latents in double precision (`latents`), each as `value_<factor>` in single
    precision, and, in the split `metric`, the number of its `group` and the column of the factor that keeps its value
    (`group_label`); both are -1 in the split `train`.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        workers: how many cores draw. Default: all.
        shards: files of the training images. Default: one for every 10,000.
    """
    factors = recipe.variant.factor_names
    features = {"id": Feature("text"), "image": Feature("image", shape=recipe.image_shape)}
    features["latents"] = Feature("doubles", shape=(len(factors),))
    features.update({f"value_{name}": Feature("float") for name in factors})
    features["group"] = Feature("integer")
    features["group_label"] = Feature("label", num_classes=len(factors))

    def examples(latents: Floats, ids: Callable[[int], Example], start: int, stop: int) -> Iterator[Example]:
        rows = latents[start:stop]
        for number, row, png in zip(range(start, stop), rows, _pngs(recipe, rows, backend, workers), strict=True):
            values = {f"value_{name}": value for name, value in zip(factors, row, strict=True)}
            yield {**ids(number), "image": png, "latents": row, **values}

    def train_ids(number: int) -> Example:
        return {"id": f"{number:06d}", "group": -1, "group_label": -1}

    def metric_ids(number: int) -> Example:
        group, member = divmod(number, GROUP_SIZE)
        label = recipe.latents.labels[group]
        return {"id": f"group_{group:03d}_{member:02d}", "group": group, "group_label": label}

    train = functools.partial(examples, recipe.latents.train, train_ids)
    shards = -(-recipe.kept_train // _IMAGES_PER_SHARD) if shards is None else shards
    splits = [Split("train", recipe.kept_train, train, shards)]
    if recipe.kept_groups:
        count = recipe.kept_groups * GROUP_SIZE
        metric = functools.partial(examples, recipe.group_rows(), metric_ids)
        splits.append(Split("metric", count, metric, -(-count // _IMAGES_PER_SHARD)))
    return Plan(
        name=recipe.name,
        version=VERSION,
        features=features,
        splits=tuple(splits),
        contents=recipe.contents(backend),
        description=f"{recipe.description()} {_FIELDS} Source: {recipe.source(backend)}.",
        homepage=HOMEPAGE,
        provenance=provenance(backend),
    )


def _pngs(recipe: Recipe, latents: Floats, backend: str, workers: int | None) -> Iterator[bytes]:
    """Images as PNG files, encoded on several cores."""
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        for images in recipe.images(latents, backend, workers):
            parts = np.array_split(images, max(1, len(images) // 16))
            yield from itertools.chain.from_iterable(pool.map(_encoded, parts))


def _encoded(images: Images) -> list[bytes]:
    return [encode_png(image, smooth=True) for image in images]


def npz_plan(recipe: Recipe, backend: str, dtype: str) -> dict[str, Any]:
    """What is written in the layout of the published data, for comparison with what a folder holds.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        dtype: see `write_npz_set`.
    """
    return {
        "format": _NPZ_FORMAT,
        "name": recipe.name,
        "layout": "npz",
        "dtype": dtype,
        "contents": recipe.contents(backend),
        "provenance": provenance(backend),
    }


def write_npz_set(
    recipe: Recipe,
    backend: str,
    data_dir: Path,
    dtype: str = "uint8",
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a set in the layout of the published data, or finds that it is there already.

    The published files hold neither the latents of the groups nor where they are from; these do, in addition.

    Args:
        recipe: what is drawn.
        backend: the label of a back-end.
        data_dir: the folder of all data sets.
        dtype: `uint8`, or `float64` for values from 0 to 1 as the published files have them. Default: `uint8`.
        workers: how many cores draw. Default: all.
        overwrite: write it anew even if a set stands there, which is replaced at the end. Default: refuse if that is
            another set or a damaged one, and do nothing if it is the same.

    Returns:
        the folder, with `train_data/data.npz` and, if the set has groups, `metric_data/data.npz`.

    Raises:
        UserError: if another set stands there, or another process is writing it.
    """
    folder = set_folder(recipe, data_dir, "npz")
    plan = npz_plan(recipe, backend, dtype)
    if is_present(plan, folder, overwrite):
        return folder
    latents = recipe.latents
    extra = {"provenance": np.array(json.dumps({**plan["contents"], **plan["provenance"]}))}
    with working(folder) as path:
        if is_present(plan, folder, overwrite):
            # Another process has finished it meanwhile.
            shutil.rmtree(path, ignore_errors=True)
            return folder
        job = _NpzJob(recipe, backend, dtype, workers, plan, path)
        job.write(TRAIN_NPZ, {"latents": latents.train, **extra}, latents.train, latents.train.shape[:1])
        if recipe.kept_groups:
            extra |= {"labels": latents.labels.astype(np.int32), "latents": latents.groups}
            job.write(METRIC_NPZ, extra, recipe.group_rows(), latents.groups.shape[:2])
        write_record(path / CHECKSUMS, plan, job.done)
        put_in_place(path, folder)
    return folder


class _NpzJob:
    """The writing of one set; what an earlier run has left is kept as far as its record vouches for it."""

    def __init__(
        self, recipe: Recipe, backend: str, dtype: str, workers: int | None, plan: dict[str, Any], path: Path
    ) -> None:
        self.recipe, self.backend, self.dtype, self.workers = recipe, backend, dtype, workers
        self.plan, self.path = plan, path
        self.done = finished_files(plan, path)
        record = read_record(path / PROGRESS)
        blocks = record.get("blocks") if record is not None and record["plan"] == plan else None
        self.blocks: dict[str, list[int]] = blocks if isinstance(blocks, dict) else {}
        keep_only(path, {*self.done, *self.blocks, PROGRESS} if self.done or self.blocks else set())

    def write(self, name: str, small: Mapping[str, NDArray[Any]], latents: Floats, lead: tuple[int, ...]) -> None:
        """Writes one archive, unless it is finished already, and records it as finished.

        Args:
            name: the file's name in the set.
            small: what it holds beside the images.
            latents: those of the images, one row an image.
            lead: the leading axes of the images' array.
        """
        if name in self.done:
            return
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        drawn = self.recipe.block_images

        def rows(start: int) -> Iterator[Images]:
            images = self.recipe.images(latents[start:], self.backend, self.workers)
            return counted(images, f"writing {self.recipe.name}/{name}", len(latents) - start)

        def keep(checksums: list[int]) -> None:
            self.blocks = {name: checksums}
            write_record(self.path / PROGRESS, self.plan, self.done, blocks=self.blocks)

        large = LargeArray(
            shape=(*lead, *self.recipe.image_shape),
            dtype="<f8" if self.dtype == "float64" else "|u1",
            row_axes=len(lead),
            block_rows=_DRAWN_PER_BLOCK * drawn,
            rows=rows,
            encode=_as_fractions if self.dtype == "float64" else np.asarray,
        )
        write_npz(path, small, "imgs", large, self.blocks.get(name, []), keep)
        self.done[name] = {"sha256": sha256_of(path)}
        self.blocks = {}
        write_record(self.path / PROGRESS, self.plan, self.done)


def _as_fractions(images: Images) -> Floats:
    fractions: Floats = images / 255.0
    return fractions


def counted(blocks: Iterator[Images], description: str, total: int) -> Iterator[Images]:
    """Passes blocks on and shows how many images they were."""
    bar = progress(range(total), description, unit="image")
    for block in blocks:
        yield block
        for _ in zip(range(len(block)), bar, strict=False):
            pass
