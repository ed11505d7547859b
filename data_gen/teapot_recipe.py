"""What determines a 3D Teapot set: its recipe. From it come the set's name, its latents, its images and its record."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import math
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import teapot_renderer
from common.errors import UserError
from common.files import sha256_of
from data_gen.teapot_latents import GROUP_SIZE, NUM_TRAIN, Floats, Latents, Variant, groups_within, published_stream
from teapot_renderer.mesh import Mesh
from teapot_renderer.meshes import UTAH, load_mesh
from teapot_renderer.obj import UPS
from teapot_renderer.rendering import MAX_SAMPLES, MAX_SIDE

MAX_IMAGE_SIZE = 1024
MAX_SEED = 2**32 - 1
MAX_TRAIN = 100_000_000
MAX_GROUPS = 1_000_000

# Images that one core draws in one go: few enough for the memory.
_BLOCK_IMAGES, _BLOCK_BYTES = 128, 4 << 20
_LIBRARIES = {"opendr": ("opendr", "chumpy"), "fast": ("numba",)}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A 3D Teapot set, before anything is drawn.

    Args:
        variant: which latents there are.
        image_size: height and width in pixels. Default: 64.
        num_train: training images; the groups' latents depend on it. Default: 200,000.
        num_groups: groups of 100 images. Default: 500, for the variant up_light 300.
        limit: keep the first so many training images, and so many whole groups as have no more images than that, but
            at least one for each factor. Default: all.
        seed: of the latents. Default: 1, the published one.
        samples: samples in a pixel, a square number. Default: 16.
        mesh: `utah`, or the path of a mesh. Default: `utah`.
        fineness: into how many quadrilaterals a side of Utah's patches is cut. Default: 10.
        up: which axis of a mesh file points up, `z` or `y`. Default: `z`.

    Raises:
        UserError: for values out of their ranges.
    """

    variant: Variant
    image_size: int = 64
    num_train: int = NUM_TRAIN
    num_groups: int | None = None
    limit: int | None = None
    seed: int = 1
    samples: int = 16
    mesh: str = UTAH
    fineness: int = 10
    up: str = "z"

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("image_size", self.image_size, 1, MAX_IMAGE_SIZE),
            ("num_train", self.num_train, 1, MAX_TRAIN),
            ("num_groups", self.num_groups, 0, MAX_GROUPS),
            ("limit", self.limit, 1, None),
            ("seed", self.seed, 0, MAX_SEED),
            ("samples", self.samples, 1, MAX_SAMPLES),
        ):
            if value is not None and (value < least or (most is not None and value > most)):
                allowed = f"at least {least}" if most is None else f"from {least} to {most}"
                raise UserError(f"{name} is {value}; give a number {allowed}")
        if self.up not in UPS:
            raise UserError(f"up is {self.up!r}; allowed: {', '.join(UPS)}")
        side = math.isqrt(self.samples)
        if side**2 != self.samples:
            raise UserError(f"samples is {self.samples}; give a square number: 1, 4, 9, 16, ... {MAX_SAMPLES}")
        if self.image_size * side > MAX_SIDE:
            raise UserError(
                f"image_size {self.image_size} with {self.samples} samples makes {self.image_size * side} samples in a "
                f"row; at most {MAX_SIDE}, so give less of one of them"
            )

    @property
    def name(self) -> str:
        """The set's name: variant and mesh, and what is unlike the published set."""
        parts = ["teapot", self.variant.name, _word(self.mesh)]
        parts += [f"{self.image_size}px"] if self.image_size != 64 else []
        parts += [f"seed{self.seed}"] if self.seed != 1 else []
        parts += [f"limit{self.limit}"] if self.limit is not None else []
        return "_".join(parts)

    @property
    def kept_train(self) -> int:
        """How many training images the limit keeps."""
        return self.num_train if self.limit is None else min(self.limit, self.num_train)

    @property
    def kept_groups(self) -> int:
        """How many groups the limit keeps."""
        groups = self.variant.num_groups if self.num_groups is None else self.num_groups
        return groups if self.limit is None else groups_within(self.limit, self.variant, groups)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return (self.image_size, self.image_size, 3)

    @property
    def block_images(self) -> int:
        """How many images one core draws in one go."""
        return max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // math.prod(self.image_shape)))

    @functools.cached_property
    def loaded_mesh(self) -> Mesh:
        """The mesh; `UserError` if there is none or it is damaged."""
        return load_mesh(self.mesh, self.fineness, self.up)

    @functools.cached_property
    def latents(self) -> Latents:
        """What is drawn: the first training images and groups of the stream, which the limit leaves as it is."""
        stream = published_stream(self.variant, self.seed, self.num_train, self.kept_groups)
        return dataclasses.replace(stream, train=np.array(stream.train[: self.kept_train]))

    def group_rows(self) -> Floats:
        """The latents of all groups' images, one row an image."""
        return self.latents.groups.reshape(-1, len(self.variant.factors))

    def images(self, latents: Floats, backend: str, workers: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Draws images, as they are asked for.

        Args:
            latents: float64 of shape (n, number of factors).
            backend: the label of a back-end, as `teapot_renderer.backend_version` gives it.
            workers: how many cores draw. Default: all.

        Returns:
            uint8 of shape (at most `block_images`, height, width, 3), n images in all.

        Raises:
            UserError: at once, if the mesh cannot be drawn, or the back-end is not to be had.
        """
        starts = range(0, len(latents), self.block_images)
        blocks = (self.variant.scenes(latents[start : start + self.block_images]) for start in starts)
        try:
            return teapot_renderer.render_blocks(
                self.loaded_mesh,
                blocks,
                size=self.image_size,
                backend=backend_of(backend),
                samples=self.samples,
                workers=workers,
            )
        except ValueError as error:
            raise UserError(f"{self.loaded_mesh.name}: {error}") from None

    def source(self, backend: str) -> str:
        """Where the images come from, for reports."""
        name = backend if backend_of(backend) == "opendr" else f"the {backend_of(backend)} back-end"
        return f"rendered by {name}, {self.loaded_mesh.name}"

    def description(self) -> str:
        """What the set is, for people."""
        variant = self.variant
        stand_in = (
            " The mesh is a stand-in: that of the published images is not public, so that these show the same scenes "
            "with another teapot."
        )
        return (
            f"3D Teapot of InfoGAN-CR, variant {variant.name} ({variant.published_name}): {variant.meaning}. Latents "
            f"of seed {self.seed}: {', '.join(variant.factor_names)}; angles in radians. {self.kept_train:,} training "
            f"images, and {self.kept_groups:,} groups of {GROUP_SIZE} in each of which one latent keeps its value. "
            f"{self.samples} samples in a pixel.{stand_in if self.mesh == UTAH else ''}"
        )

    def contents(self, backend: str) -> dict[str, Any]:
        """All that determines the set, for its record."""
        mesh = self.loaded_mesh
        return {
            "variant": self.variant.name,
            "published_name": self.variant.published_name,
            "factors": list(self.variant.factor_names),
            "seed": self.seed,
            "num_train": self.num_train,
            "train_images": self.kept_train,
            "groups": self.kept_groups,
            "group_size": GROUP_SIZE,
            "image_size": self.image_size,
            "samples": self.samples,
            "mesh": mesh.name,
            "mesh_sha256": mesh.fingerprint(),
            "backend": backend,
        }


def backend_of(label: str) -> str:
    """The name of the back-end with this label, which is its name and version."""
    return label.split()[0]


def provenance(backend: str) -> dict[str, str]:
    """The versions of all that an image passes through.

    Args:
        backend: the label of a back-end.

    Returns:
        name to version, for Python and libraries; of the renderer the SHA-256 of its sources.
    """
    folder = Path(teapot_renderer.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    libraries = {name: _version(name) for name in ("numpy", *_LIBRARIES[backend_of(backend)])}
    return {"python": platform.python_version(), **libraries, "teapot_renderer_sha256": digest.hexdigest()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _word(mesh: str) -> str:
    """A mesh as a part of a name."""
    return UTAH if mesh == UTAH else re.sub(r"[^a-z0-9]+", "_", Path(mesh).stem.lower()).strip("_") or "mesh"
