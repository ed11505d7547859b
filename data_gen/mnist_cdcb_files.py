"""The published pairs of MNIST-CDCB: PNG files of 512x256, x on the left, in an archive or in folders."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, near_matches
from data_gen.archives import BadFileError, Container, Member, find_containers, open_container
from data_gen.dataset import Dataset
from data_gen.factors import check_indices
from data_gen.image_files import decode
from data_gen.pairs import PairedDataset

ARCHIVE = "MNIST-CDCB-256Ims.tar.gz"
ARCHIVE_URL = "http://www.cvc.uab.es/lamp/wp-content/shared_files/cross-domain-disen/"
SIDE = 256

_NAMES = (ARCHIVE, "MNIST-CDCB-256Ims.tar", "MNIST-CDCB-256Ims", "MNIST-CDCB", "MNISTCDCB", "mnist_cdcb")
_FOLDERS = ("train", "test")
# Decoded pairs that are kept, because x and y of a pair are asked for one after the other.
_KEPT_PAIRS = 128


def find_published(raw_dir: Path, samples_too: bool = True) -> Path | None:
    """Where the published pairs are.

    Args:
        raw_dir: where they are looked for, or the folder or archive itself.
        samples_too: whether a folder without the folders `train` and `test` will do. Default: it will.

    Returns:
        an archive or a folder; `None` if there is none.
    """
    found = find_containers(raw_dir, _NAMES)
    if raw_dir.is_dir() and _has_parts(raw_dir):
        found.insert(0, raw_dir)
    for path in found:
        if path.is_file() and path.name.lower() in (ARCHIVE.lower(), ARCHIVE.lower().removesuffix(".gz")):
            return path
        if path.is_dir() and _has_parts(path):
            return path
    samples = [path for path in (*found, raw_dir) if path.is_dir() and any(path.glob("*.png"))]
    return samples[0] if samples_too and samples else None


def _has_parts(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in _FOLDERS)


def published_pairs(path: Path, scratch: Path, split: str, num_valid: int) -> PairedDataset:
    """The published pairs of a part of the set.

    Args:
        path: an archive or a folder, see `find_published`.
        scratch: where an archive that is packed is unpacked into a nameless file.
        split: `train`, `test`, or `valid`, the first of `train`. A folder without such folders in it is a sample, which
            is the same for `train` and `test`.
        num_valid: how many pairs `valid` has.

    Raises:
        UserError: if the container is damaged, or has no pairs of this part.
    """
    container = open_container(path, scratch)
    folders: dict[str, list[Member]] = {}
    for member in container.members:
        if member.name.lower().endswith(".png"):
            folders.setdefault(member.name.rpartition("/")[0].rpartition("/")[2], []).append(member)
    is_sample = not any(name in folders for name in _FOLDERS)
    if is_sample:
        members = [member for found in folders.values() for member in found]
        if not members:
            raise UserError(f"{path} holds no PNG files; the pairs of MNIST-CDCB are PNG files of 512x256")
        return _dataset(container, path, members, "mnist_cdcb_sample", f"published sample ({len(members):,})")
    wanted = "train" if split == "valid" else split
    if wanted not in folders:
        raise UserError(f"{path} has no folder {wanted!r} with PNG files{near_matches(wanted, tuple(folders))}")
    members = folders[wanted][:num_valid] if split == "valid" else folders[wanted]
    name = "mnist_cdcb" if split == "train" else f"mnist_cdcb_{split}"
    part = _dataset(container, path, members, name, "published")
    if split == "train" and "test" in folders:
        part.held_out = _dataset(container, path, folders["test"], "mnist_cdcb_test", "published")
    return part


def _dataset(container: Container, path: Path, members: list[Member], name: str, source: str) -> PairedDataset:
    reader = _Reader(container, path, members)
    sides = [_Half(reader, side, f"{name}_{'xy'[side]}", source) for side in (0, 1)]
    return PairedDataset(sides[0], sides[1], name=name, source=source, description="The published MNIST-CDCB pairs.")


class _Reader:
    """Decodes pairs when they are asked for."""

    def __init__(self, container: Container, path: Path, members: list[Member]) -> None:
        self._container, self._path = container, path
        self.members = members
        self.pair = functools.lru_cache(maxsize=_KEPT_PAIRS)(self._decoded)

    def _decoded(self, number: int) -> NDArray[np.uint8]:
        """A pair side by side, uint8 of shape (256, 512, 3)."""
        member = self.members[number]
        try:
            picture = decode(self._container.read(member), background="drop", orient=False)
        except BadFileError as error:
            raise UserError(f"{self._path}: {member.name} cannot be read ({error}); get the file anew") from error
        if picture.size != (2 * SIDE, SIDE):
            size = "x".join(map(str, picture.size))
            raise UserError(f"{self._path}: {member.name} has {size} pixels; pairs have {2 * SIDE}x{SIDE}")
        return np.asarray(picture)


class _Half(Dataset):
    """The left or the right half of published pairs."""

    def __init__(self, reader: _Reader, side: int, name: str, source: str) -> None:
        shape = (SIDE, SIDE, 3)
        super().__init__(name=name, source=source, image_shape=shape, num_examples=len(reader.members))
        self._reader = reader
        self._columns = slice(side * SIDE, (side + 1) * SIDE)

    def images_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        numbers = check_indices(indices, self.num_examples).tolist()
        images = np.empty((len(numbers), *self.image_shape), np.uint8)
        for image, number in zip(images, numbers, strict=True):
            image[...] = self._reader.pair(number)[:, self._columns]
        return images
