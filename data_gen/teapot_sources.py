"""Reads 3D Teapot sets: the published files, and what `python -m data_gen.teapot` has written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.tensorflow_start import import_tensorflow
from data_gen.dsprites_files import find_archives
from data_gen.folders import CHECKSUMS, damaged_files, differences, read_record
from data_gen.npz import array_header, array_names, read_array, read_blocks
from data_gen.teapot_files import METRIC_NPZ, NPZ_FOLDER, TRAIN_NPZ, recorded_backend, set_folder
from data_gen.teapot_latents import VARIANTS, Floats, Variant
from data_gen.teapot_recipe import Recipe

_READ_ROWS = 512

Images = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class PublishedFiles:
    """Files in the layout of the published data.

    Args:
        train: the archive of training images and latents.
        metric: the archive of groups and labels; `None` if it is not there.
        image_size: height and width in pixels.
        group_size: images in a group.
        origin: what the files hold, as far as their archives' checksums tell.
    """

    train: Path
    metric: Path | None
    image_size: int
    group_size: int
    origin: dict[str, Any]

    def images(self) -> Iterator[Images]:
        """All images in blocks, those of the groups after those for training; `UserError` for damaged files."""
        yield from npz_images(self.train)
        if self.metric is not None:
            yield from npz_images(self.metric)


def find_published(raw_dir: Path, variant: Variant) -> PublishedFiles | None:
    """Looks for a variant's published files; they are known by their contents, not by the names of folders.

    Args:
        raw_dir: searched four levels deep, or the archive of training images itself.
        variant: which one; the others are passed over.

    Raises:
        UserError: if a file is damaged that is given itself, or has the published place.
    """
    for path in find_archives(raw_dir):
        try:
            found = _published(path, variant)
        except UserError:
            if path == raw_dir or path.as_posix().endswith(TRAIN_NPZ):
                raise
            continue
        if found is not None:
            return found
    return None


def _published(path: Path, variant: Variant) -> PublishedFiles | None:
    names = set(array_names(path))
    # What this module has written says so, and is no published file.
    if not {"imgs", "latents"} <= names or "provenance" in names or "labels" in names:
        return None
    shape, dtype, checksum = array_header(path, "imgs")
    latents = read_array(path, "latents")
    if len(shape) != 4 or not shape[0] or shape[3] != 3 or shape[1] != shape[2] or dtype not in (np.uint8, np.float64):
        raise UserError(
            f"{path}: imgs is {dtype} of shape {shape}; 3D Teapot has uint8 or float64 of shape (n, size, size, 3)"
        )
    if latents.ndim != 2 or len(latents) != shape[0] or latents.dtype != np.float64:
        raise UserError(f"{path}: latents is {latents.dtype} of shape {latents.shape} for {shape[0]:,} images")
    if _variant_of(latents) != variant.name:
        return None
    metric = path.parent.parent / METRIC_NPZ
    origin = {"train": [list(shape), str(dtype), checksum]}
    if not metric.is_file():
        return PublishedFiles(path, None, shape[1], 0, origin)
    group_shape, group_dtype, checksum = array_header(metric, "imgs")
    labels = read_array(metric, "labels")
    if (
        len(group_shape) != 5
        or 0 in group_shape
        or group_shape[2:] != shape[1:]
        or group_dtype not in (np.uint8, np.float64)
    ):
        raise UserError(f"{metric}: imgs is {group_dtype} of shape {group_shape}, which does not fit {path}")
    if labels.shape != group_shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(f"{metric}: labels is {labels.dtype} of shape {labels.shape} for {group_shape[0]} groups")
    if not 0 <= labels.min() <= labels.max() < latents.shape[1]:
        raise UserError(f"{metric}: labels reach from {labels.min()} to {labels.max()} for {latents.shape[1]} factors")
    origin["metric"] = [list(group_shape), str(group_dtype), checksum]
    return PublishedFiles(path, metric, shape[1], group_shape[1], origin)


def _variant_of(latents: Floats) -> str | None:
    """Which variant has such latents: three columns, or five of which the last are colors, or angles."""
    if latents.shape[1] == len(VARIANTS["up_light"].factors):
        return "up_light"
    if latents.shape[1] != len(VARIANTS["all_color"].factors):
        return None
    return "all_color" if latents[:, 2:].max() <= 1.0 else "uniform_light"


def npz_images(path: Path) -> Iterator[Images]:
    """The images of an archive in blocks, whether it holds bytes or fractions; groups one image after the other.

    Raises:
        UserError: if the archive is damaged, or has values beyond 0 to 1.
    """
    shape, dtype, _ = array_header(path, "imgs")
    # Of groups, a row is a whole group.
    for block in read_blocks(path, "imgs", max(1, _READ_ROWS // (shape[1] if len(shape) == 5 else 1))):
        images = block.reshape(-1, *shape[-3:])
        if dtype == np.uint8:
            yield images
            continue
        if not (images.min() >= 0.0 and images.max() <= 1.0):
            raise UserError(f"{path}: imgs reaches from {images.min()} to {images.max()}; expected 0 to 1")
        yield np.rint(images * 255.0).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class PreparedFiles:
    """A set that `python -m data_gen.teapot` has written.

    Args:
        recipe: what it is.
        backend: the label of the back-end that has drawn it.
        folder: where it stands.
        origin: the checksums of its files.
    """

    recipe: Recipe
    backend: str
    folder: Path
    origin: dict[str, Any]

    def images(self) -> Iterator[Images]:
        """All images in blocks, those of the groups after those for training.

        Raises:
            UserError: if a file is missing, damaged, or does not hold the recipe's latents.
        """
        if damaged := damaged_files(self.folder):
            raise UserError(
                f"{self.folder}: {', '.join(damaged)} missing or changed since written; write the set again with "
                "python -m data_gen.teapot --overwrite"
            )
        if self.folder.name == NPZ_FOLDER:
            yield from npz_images(self.folder / TRAIN_NPZ)
            if self.recipe.kept_groups:
                yield from npz_images(self.folder / METRIC_NPZ)
        else:
            yield from _tfrecord_images(self.recipe, self.folder, "train", self.recipe.latents.train)
            if self.recipe.kept_groups:
                yield from _tfrecord_images(self.recipe, self.folder, "metric", self.recipe.group_rows())


def find_prepared(recipe: Recipe, data_dir: Path) -> PreparedFiles | None:
    """A whole set of this recipe, whichever back-end drew it; `None` if there is none."""
    for layout in ("tfrecord", "npz"):
        folder = set_folder(recipe, data_dir, layout)
        record = read_record(folder / CHECKSUMS)
        backend = recorded_backend(recipe, folder / CHECKSUMS)
        if backend is not None and record is not None:
            return PreparedFiles(recipe, backend, folder, {"files": record["files"]})
    return None


def near_prepared(recipe: Recipe, data_dir: Path) -> str:
    """Of sets that stand where this recipe's would: in what they differ, for a message; empty if there is none."""
    found = []
    for layout in ("tfrecord", "npz"):
        folder = set_folder(recipe, data_dir, layout)
        record = read_record(folder / CHECKSUMS)
        contents = record["plan"].get("contents") if record is not None else None
        if isinstance(contents, dict):
            expected = recipe.contents(str(contents.get("backend")))
            found.append(f"{folder} differs in {', '.join(differences(expected, contents))}")
    return "; ".join(found)


def _tfrecord_images(recipe: Recipe, folder: Path, split: str, latents: Floats) -> Iterator[Images]:
    import_tensorflow()
    import tensorflow as tf

    files = sorted(str(path) for path in folder.glob(f"{recipe.name}-{split}.tfrecord-*"))
    fields = {key: tf.io.FixedLenFeature([], tf.string) for key in ("image", "latents")}

    def parse(data: Any) -> Any:
        example = tf.io.parse_single_example(data, fields)
        image = tf.ensure_shape(tf.io.decode_png(example["image"], channels=3), recipe.image_shape)
        return image, tf.io.decode_raw(example["latents"], tf.float64)

    examples = tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=tf.data.AUTOTUNE).batch(_READ_ROWS)
    start = 0
    for images, rows in examples.as_numpy_iterator():
        if not np.array_equal(rows, latents[start : start + len(rows)]):
            raise UserError(f"{folder}: the latents of {split} are not those of {recipe.name}; write the set again")
        start += len(rows)
        yield images
