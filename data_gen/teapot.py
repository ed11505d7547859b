"""3D Teapot: one teapot from every side, in every color, or under light from everywhere; drawn here.

The set of InfoGAN-CR (2020) has three variants. Its images were drawn once, by OpenDR, from random latents and with a
mesh that is not public. Here the same latents are drawn again, by OpenDR or by a faster back-end, with the Utah teapot
as a stand-in for the mesh, or with a mesh that is given; the set's name and source say so.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import teapot_renderer
from common.errors import UserError, run_command
from data_gen import Summary, teapot_command
from data_gen.dataset import ArrayDataset
from data_gen.groups import ImageGroups
from data_gen.npz import read_array
from data_gen.packed import find_packed, packed_cache
from data_gen.teapot_files import METRIC_NPZ, TRAIN_NPZ, counted
from data_gen.teapot_latents import GROUP_SIZE, NUM_TRAIN, Floats, Variant, groups_within, variant_named
from data_gen.teapot_recipe import Recipe, provenance
from data_gen.teapot_sources import PublishedFiles, find_prepared, find_published, near_prepared
from teapot_renderer.meshes import UTAH

SOURCES = ("auto", "published", "prepared", "rendered", "synthetic")
SUMMARY = Summary(
    what="a rendered teapot, turned, colored or lit in every way; variants all_color, up_light, uniform_light",
    images="200,000 of 64x64x3, and 500 groups of 100 (up_light: 300) in each of which one factor keeps its value",
    factors="5 of real values (up_light: 3): angles of the teapot, and of its light or of the camera and its color",
    files="none: rendered here, with the Utah teapot in place of the published mesh, which is not public",
    license="none needed: rendered here; of the published files: not stated by the publisher",
    raw_names=(TRAIN_NPZ, METRIC_NPZ),
)

_SYNTHETIC_IMAGES = 300
_SYNTHETIC_GROUP_SIZE = 10


class Teapot(ArrayDataset):
    """A 3D Teapot set. Its factors take real values: there is `values_at`, but there are no levels.

    Args:
        images: uint8 of shape (n, height, width, 3); may be memory-mapped.
        values: the factors, float64 of shape (n, number of factors).
        groups: groups of images in each of which one factor keeps its value; `None` if there are none.
        variant: which factors there are.
        recipe: how more images of the kind are drawn; `None` if the mesh is not known.
        **about: `name`, `source` and `description` of `Dataset`.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        values: Floats,
        groups: ImageGroups | None,
        *,
        variant: Variant,
        recipe: Recipe | None,
        **about: Any,
    ) -> None:
        super().__init__(images, values=values, factors=variant.factors, **about)
        self.variant = variant
        self.metric_groups = groups
        self._recipe = recipe

    def sample(
        self, rng: np.random.Generator, n: int, fixed: Mapping[str, float] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Draws new images, with factors distributed as those of the set, by the fast back-end.

        Args:
            rng: where the randomness comes from.
            n: how many, at least 0.
            fixed: factors that all images share: name to value. Default: none.

        Returns:
            images, uint8 of shape (n, height, width, 3), and values, float64 of shape (n, number of factors).

        Raises:
            UserError: if the mesh of the images is not known.
            ValueError: for an unknown factor, or a value beyond its limits.
        """
        if self._recipe is None:
            raise UserError(
                f"new images of {self.name} ({self.source}) cannot be drawn, because their mesh is not known; choose "
                "the source 'rendered' or 'prepared'"
            )
        values = self.variant.sample(rng, n, fixed)
        return np.concatenate([_no_images(self._recipe), *self._recipe.images(values, _fast())]), values

    def limited(self, limit: int | None) -> Teapot:
        """The first images, which are at random already, and the first groups; the set itself if it is not larger."""
        if limit is None or limit >= self.num_examples:
            return self
        groups = self.metric_groups
        if groups is not None:
            groups = groups.first(groups_within(limit, self.variant, groups.num_groups, groups.group_size))
        return Teapot(
            self._images[:limit],
            self.values_at(np.arange(limit)).astype(np.float64, copy=False),
            groups,
            variant=self.variant,
            recipe=self._recipe,
            name=f"{self.name}_limit{limit}",
            source=self.source,
            description=self.description,
        )


def synthetic(variant: str = "uniform_light", num_examples: int = _SYNTHETIC_IMAGES, image_size: int = 64) -> Teapot:
    """A miniature of 3D Teapot, drawn in a second by the fast back-end, with one small group for each factor.

    Args:
        variant: `all_color`, `up_light` or `uniform_light`.
        num_examples: how many images, at least 1. Default: 300.
        image_size: height and width in pixels. Default: 64.

    Returns:
        images whose latents are no beginning of those of the whole set.

    Raises:
        UserError: for an unknown variant, or numbers out of their ranges.
    """
    return _synthetic(Recipe(variant_named(variant), image_size=image_size, num_train=num_examples))


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    variant: str = "uniform_light",
    image_size: int = 64,
    num_train: int | None = None,
    num_groups: int | None = None,
    seed: int = 1,
    samples: int = 16,
    mesh: str = UTAH,
    fineness: int = 10,
    up: str = "z",
) -> Teapot:
    """Loads 3D Teapot; see `data_gen.load`.

    Args:
        data_dir: where prepared sets are looked for, and images are kept.
        raw_dir: where the published `data.npz` is looked for, or that of the training images itself.
        source: `published`, the published files; `prepared`, what `python -m data_gen.teapot` has written;
            `rendered`, drawn now by the fast back-end (minutes) and kept; `synthetic`, a miniature; `auto`, the first
            of these that there is, `rendered` if there is none. Default: `auto`.
        limit: keep the first images, and the first groups. Default: all.
        variant: `all_color`, `up_light` or `uniform_light`, or the published name of one. Default: `uniform_light`.
        image_size, num_train, num_groups, seed, samples, mesh, fineness, up: what is drawn, see `Recipe`; published
            files are taken only if these are left as they are. `num_train` of `synthetic` is 300 by default.

    Raises:
        UserError: for options out of their ranges, and files that are missing or damaged.
    """
    chosen = variant_named(variant)
    images = num_train if num_train is not None else _SYNTHETIC_IMAGES if source == "synthetic" else NUM_TRAIN
    recipe = Recipe(chosen, image_size, images, num_groups, None, seed, samples, mesh, fineness, up)
    if source == "synthetic":
        return _synthetic(recipe).limited(limit)
    if source in ("auto", "published"):
        if recipe == Recipe(chosen):
            files = find_published(raw_dir, chosen)
            if files is not None:
                return _from_published(files, chosen, data_dir).limited(limit)
        elif source == "published":
            raise UserError(
                "the published 3D Teapot is as it is: leave out image_size, num_train, num_groups, seed, samples, "
                "mesh, fineness and up, or choose the source 'rendered'"
            )
    if source == "published":
        raise UserError(
            f"no published 3D Teapot of the variant {chosen.name} in {raw_dir}: put {TRAIN_NPZ} and {METRIC_NPZ} of "
            f"{chosen.published_name} there, or choose the source 'rendered'"
        )
    if source != "rendered":
        found = _from_prepared(recipe, limit, data_dir)
        if found is not None:
            return found
    if source == "prepared":
        near = near_prepared(recipe, data_dir)
        raise UserError(
            f"no whole set {recipe.name} of these options in {data_dir}{f' ({near})' if near else ''}: write it with "
            f"python -m data_gen.teapot --variant {chosen.name}, or choose the source 'rendered'"
        )
    return _rendered(recipe, limit, data_dir)


def _synthetic(recipe: Recipe) -> Teapot:
    recipe = dataclasses.replace(recipe, num_groups=len(recipe.variant.factors))
    latents = recipe.latents
    # One for each factor, and small.
    group_values = latents.groups[:, :_SYNTHETIC_GROUP_SIZE]
    rows = np.concatenate([latents.train, group_values.reshape(-1, latents.train.shape[1])])
    images = np.concatenate(list(recipe.images(rows, _fast())))
    groups = images[recipe.num_train :].reshape(*group_values.shape[:2], *recipe.image_shape)
    return Teapot(
        images[: recipe.num_train],
        latents.train,
        ImageGroups(groups, latents.labels, group_values),
        variant=recipe.variant,
        recipe=recipe,
        name="teapot_synthetic",
        source="synthetic",
        description=f"{recipe.num_train:,} images of {recipe.description()}",
    )


def _from_published(files: PublishedFiles, variant: Variant, data_dir: Path) -> Teapot:
    values = read_array(files.train, "latents")
    labels = np.zeros(0, np.int64) if files.metric is None else read_array(files.metric, "labels").astype(np.int64)
    shape = (files.image_size, files.image_size, 3)
    total = len(values) + len(labels) * files.group_size
    blocks = counted(files.images(), "reading 3D Teapot", total)
    path = data_dir / f"teapot_{variant.name}" / "published.npy"
    rows = packed_cache(path, files.origin, (total, math.prod(shape)), functools.partial(_flat, blocks))
    groups = rows[len(values) :].reshape(len(labels), files.group_size, *shape)
    return Teapot(
        rows[: len(values)].reshape(-1, *shape),
        values,
        ImageGroups(groups, labels) if len(labels) else None,
        variant=variant,
        recipe=None,
        name=f"teapot_{variant.name}",
        source="published",
        description=f"The published 3D Teapot images of InfoGAN-CR, variant {variant.name}.",
    )


def _from_prepared(recipe: Recipe, limit: int | None, data_dir: Path) -> Teapot | None:
    """A set on the disk: the one of this limit, or the first part of the whole one."""
    for held in (dataclasses.replace(recipe, limit=limit), recipe):
        files = find_prepared(held, data_dir)
        if files is not None:
            path = data_dir / held.name / "prepared.npy"
            blocks = counted(files.images(), f"reading {held.name}", _rows(held))
            rows = packed_cache(path, files.origin, _shape(held), functools.partial(_flat, blocks))
            return _teapot(rows, held, files.backend).limited(limit)
    return None


def _rendered(recipe: Recipe, limit: int | None, data_dir: Path) -> Teapot:
    """A set drawn now, or drawn before: the one of this limit, or the first part of the whole one."""
    wanted = dataclasses.replace(recipe, limit=limit)
    for held in (wanted, recipe):
        path = data_dir / held.name / "rendered.npy"
        rows = find_packed(path, _origin(held), _shape(held))
        if rows is not None:
            return _teapot(rows, held, _fast()).limited(limit)
    latents = np.concatenate([wanted.latents.train, wanted.group_rows()])
    blocks = counted(wanted.images(latents, _fast()), f"rendering {wanted.name}", _rows(wanted))
    path = data_dir / wanted.name / "rendered.npy"
    rows = packed_cache(path, _origin(wanted), _shape(wanted), functools.partial(_flat, blocks))
    return _teapot(rows, wanted, _fast())


def _teapot(rows: NDArray[np.uint8], recipe: Recipe, backend: str) -> Teapot:
    """A data set from rows of bytes, one an image, those of the groups last."""
    latents, count = recipe.latents, recipe.kept_train
    groups = None
    if recipe.kept_groups:
        images = rows[count:].reshape(recipe.kept_groups, GROUP_SIZE, *recipe.image_shape)
        groups = ImageGroups(images, latents.labels, latents.groups)
    return Teapot(
        rows[:count].reshape(count, *recipe.image_shape),
        latents.train,
        groups,
        variant=recipe.variant,
        recipe=recipe,
        name=recipe.name,
        source=recipe.source(backend),
        description=recipe.description(),
    )


def _fast() -> str:
    """The label of the fast back-end; `UserError` if it is not to be had."""
    return teapot_renderer.backend_version(teapot_renderer.choose_backend("fast")[0])


def _origin(recipe: Recipe) -> dict[str, Any]:
    backend = _fast()
    return {**recipe.contents(backend), **provenance(backend)}


def _rows(recipe: Recipe) -> int:
    return recipe.kept_train + recipe.kept_groups * GROUP_SIZE


def _shape(recipe: Recipe) -> tuple[int, int]:
    return _rows(recipe), math.prod(recipe.image_shape)


def _flat(blocks: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    return (block.reshape(len(block), -1) for block in blocks)


def _no_images(recipe: Recipe) -> NDArray[np.uint8]:
    return np.empty((0, *recipe.image_shape), np.uint8)


def main() -> None:
    """Renders 3D Teapot and writes it; see `--help`."""
    teapot_command.run()


if __name__ == "__main__":
    run_command(main)
