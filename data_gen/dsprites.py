"""dSprites: binary 64x64 pictures of three shapes at every combination of scale, orientation and position.

The published archive (Matthey et al., 2017) cannot be fetched everywhere, but its images are a function of the
factors: `reconstruct` draws them offline, all but exactly. As a command, this module writes either as TFRecord shards
with the schema of the `dsprites` of TFDS.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, run_command
from common.files import sha256_of
from common.progress import progress
from data_gen import Summary, dsprites_reconstruction
from data_gen.command import prepare
from data_gen.dataset import PackedDataset, limited_indices
from data_gen.download import download
from data_gen.dsprites_files import (
    FULL_SIZES,
    OFFICIAL_NAME,
    OFFICIAL_PAGE,
    OFFICIAL_URL,
    PACKED_BYTES,
    DspritesFile,
    Levels,
    count_images,
    factor_space,
    find_archives,
    full_levels,
    inspect,
    packed_blocks,
)
from data_gen.dsprites_reconstruction import reconstruct, reconstruct_all_packed
from data_gen.factors import check_indices
from data_gen.packed import find_packed, packed_cache, packed_origin

__all__ = ["SOURCES", "SUMMARY", "Dsprites", "load", "reconstruct", "synthetic"]

SOURCES = ("auto", "official", "reconstructed", "subgrid", "random", "synthetic")
SUMMARY = Summary(
    what="white squares, ellipses and hearts on black",
    images="737,280 of 64x64x1, binary",
    factors="shape 3, scale 6, orientation 40, x_position 32, y_position 32",
    files=f"{OFFICIAL_NAME} from {OFFICIAL_PAGE}; redrawn offline without it",
    license="Apache-2.0 (DeepMind)",
    raw_names=("dsprites*.npz",),
)

_PERIODIC_COLUMN = 2


class Dsprites(PackedDataset):
    """dSprites, whole or in part.

    In the full set, levels 0 and 39 of the orientation are the same picture: its values reach from 0 to 2 pi inclusive.

    Args:
        packed: uint8 of shape (n, 512), see `PackedDataset`.
        levels: the values of each factor's levels.
        **about: further arguments of `PackedDataset`.
    """

    def __init__(self, packed: NDArray[np.uint8], *, levels: Levels, **about: Any) -> None:
        super().__init__(packed, **about)
        self.levels = levels

    def values_at(self, indices: NDArray[Any] | Sequence[int]) -> NDArray[np.float32]:
        """The published `latents_values` of these images, float32 of shape (n, 5)."""
        classes = self.factors_at(indices)
        return np.stack([values[classes[:, column]] for column, values in enumerate(self.levels)], axis=1)

    def subset(self, indices: NDArray[np.int64], name: str) -> Dsprites:
        return Dsprites(
            np.array(self._packed[check_indices(indices, self.num_examples)]),
            levels=self.levels,
            classes=self.factors_at(indices),
            name=name,
            source=self.source,
            description=self.description,
            factors=self.factors,
        )


def synthetic(levels: Sequence[int] = (3, 3, 4, 8, 8)) -> Dsprites:
    """A miniature of dSprites without any file: a coarse grid of redrawn pictures.

    Args:
        levels: how many levels of each factor to keep, at most 3, 6, 40, 32 and 32; they are spread evenly.
            Default: 2,304 images.

    Returns:
        a data set with a full grid of its own.

    Raises:
        UserError: for numbers of levels that dSprites does not have.
    """
    if len(levels) != len(FULL_SIZES) or not all(
        1 <= size <= full for size, full in zip(levels, FULL_SIZES, strict=True)
    ):
        raise UserError(f"levels are {tuple(levels)}; give five numbers from 1 to at most {FULL_SIZES}")
    kept = [_spread(size, FULL_SIZES[column], column == _PERIODIC_COLUMN) for column, size in enumerate(levels)]
    space = factor_space(tuple(levels))
    classes = space.classes_of(np.arange(space.size))
    full_classes = np.stack([kept[column][classes[:, column]] for column in range(len(kept))], axis=1)
    return Dsprites(
        _drawn(full_classes),
        levels=tuple(values[chosen] for values, chosen in zip(full_levels(), kept, strict=True)),
        name="dsprites_synthetic",
        source="synthetic",
        factor_space=space,
        description=f"A coarse grid of {space.size:,} redrawn dSprites images, for tests and first tries.",
    )


def load(
    *,
    data_dir: Path,
    raw_dir: Path,
    source: str = "auto",
    limit: int | None = None,
    levels: Sequence[int] | None = None,
) -> Dsprites:
    """Loads dSprites; see `data_gen.load`.

    Args:
        data_dir: where the bit-packed images are kept.
        raw_dir: where `.npz` files are looked for, or one such file.
        source: `official`, the published archive; `reconstructed`, all images redrawn offline; `subgrid`, a smaller
            full grid cut out of the archive; `random`, images drawn from it; `synthetic`, a miniature; `auto`, the
            official one if it is there, else the reconstructed one. Default: `auto`.
        limit: how many images to keep. Default: all.
        levels: those of `synthetic`, for that source only.

    Raises:
        UserError: if the file is missing or damaged.
    """
    if levels is not None and source != "synthetic":
        raise UserError(f"levels are an option of the source 'synthetic', not of {source!r}; leave them out")
    if source == "synthetic":
        dataset = synthetic() if levels is None else synthetic(levels)
    elif source in ("subgrid", "random"):
        dataset = _from_file(raw_dir, source)
    else:
        found = None if source == "reconstructed" else _official(data_dir, raw_dir)
        if found is None and source == "official":
            raise UserError(
                f"no official dSprites archive in {raw_dir}, nor packed in {data_dir}: download {OFFICIAL_NAME} from "
                f"{OFFICIAL_URL} into {raw_dir} (python -m data_gen.dsprites --download does that), "
                "or choose the source 'reconstructed', which is drawn offline"
            )
        dataset = found if found is not None else _reconstructed(data_dir, limit)
    if limit is None or limit >= dataset.num_examples:
        return dataset
    return dataset.subset(limited_indices(dataset.num_examples, limit), f"{dataset.name}_limit{limit}")


def _official(data_dir: Path, raw_dir: Path, full_sizes: tuple[int, ...] = FULL_SIZES) -> Dsprites | None:
    """The published images, packed on first use; `None` if there is neither the archive nor what it was packed into."""
    cache, total = data_dir / "dsprites" / "packed.npy", math.prod(full_sizes)
    shape = (total, PACKED_BYTES)
    for path in find_archives(raw_dir):
        if path.name == OFFICIAL_NAME or count_images(path) == total:
            origin = {"archive_sha256": sha256_of(path)}
            packed = packed_cache(cache, origin, shape, functools.partial(_official_blocks, path, full_sizes))
            break
    else:
        recorded = packed_origin(cache)
        found = None if recorded is None else find_packed(cache, recorded, shape)
        if found is None:
            return None
        packed = found
    return Dsprites(
        packed,
        levels=full_levels(full_sizes),
        name="dsprites",
        source="official",
        factor_space=factor_space(full_sizes),
        description="The published dSprites images.",
    )


def _official_blocks(path: Path, full_sizes: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    file = inspect(path, full_sizes)
    if file.kind != "official":
        raise UserError(
            f"{path} is named like the official dSprites archive but holds {len(file.classes):,} images "
            f"({file.kind}), not all {math.prod(full_sizes):,}; rename it, and get the official one from {OFFICIAL_URL}"
        )
    return packed_blocks(file, lambda starts: progress(starts, "packing dSprites", unit="block"))


def _reconstructed(data_dir: Path, limit: int | None, full_sizes: tuple[int, ...] = FULL_SIZES) -> Dsprites:
    """All images redrawn, kept in a file; or only those that a limit keeps, if there is no such file."""
    cache = data_dir / "dsprites_reconstructed" / "packed.npy"
    origin = {"generator_sha256": sha256_of(dsprites_reconstruction.__file__)}
    space = factor_space(full_sizes)
    shape = (space.size, PACKED_BYTES)
    about: dict[str, Any] = {
        "levels": full_levels(full_sizes),
        "source": "reconstructed",
        "description": "The dSprites images, redrawn from their factors; not the published file.",
    }
    packed = find_packed(cache, origin, shape)
    if packed is None and limit is not None and limit < space.size:
        classes = space.classes_of(limited_indices(space.size, limit))
        name = f"dsprites_reconstructed_limit{limit}"
        return Dsprites(_drawn(classes), classes=classes, factors=space.factors, name=name, **about)
    if packed is None:
        packed = packed_cache(cache, origin, shape, _redrawn_blocks)
    return Dsprites(packed, factor_space=space, name="dsprites_reconstructed", **about)


def _redrawn_blocks() -> list[NDArray[np.uint8]]:
    def watch(kinds: range) -> Iterable[int]:
        return progress(kinds, "redrawing dSprites", unit="kind")

    return [reconstruct_all_packed(watch)]


def _drawn(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.packbits(reconstruct(classes).reshape(len(classes), -1), axis=1)


def _from_file(raw_dir: Path, kind: str) -> Dsprites:
    held, damaged = [], None
    others: list[str] = []
    for path in find_archives(raw_dir):
        if count_images(path) is None and not raw_dir.is_file():
            others.append(str(path))
            continue
        try:
            file = inspect(path)
        except UserError as error:
            damaged = damaged or error
            continue
        if file.kind == kind:
            return _of_file(file)
        held.append(f"{path} ({file.kind})")
    if damaged is not None:
        raise damaged
    passed = f" (damaged, or of another kind: {', '.join(others[:5])})" if others else ""
    raise UserError(
        f"no dSprites file of the kind {kind!r} in {raw_dir}; found: {', '.join(held) or 'no dSprites file at all'}"
        f"{passed}; give the file or its folder as raw_dir, or choose another source"
    )


def _of_file(file: DspritesFile) -> Dsprites:
    count = len(file.classes)
    space = factor_space(tuple(len(values) for values in file.levels))
    about: dict[str, Any] = {"levels": file.levels, "name": f"dsprites_{file.kind}"}
    packed = np.concatenate(list(packed_blocks(file)))
    if file.kind == "random":
        return Dsprites(
            packed,
            classes=file.classes,
            factors=space.factors,
            source=f"real sample ({count:,})",
            description=f"{count:,} of the published dSprites images, drawn at random.",
            **about,
        )
    return Dsprites(
        packed,
        factor_space=space,
        source=f"real subset ({count:,})",
        description=f"{count:,} of the published dSprites images, a grid of {'x'.join(map(str, space.sizes))} levels.",
        **about,
    )


def _spread(size: int, full: int, periodic: bool) -> NDArray[np.int64]:
    """Levels spread evenly; around a circle the last one, which equals the first, is left out."""
    if periodic and size < full:
        return np.arange(size, dtype=np.int64) * (full - 1) // size
    return np.linspace(0, full - 1, size).round().astype(np.int64)


def _download(raw_dir: Path, flags: argparse.Namespace) -> None:
    del flags
    path = raw_dir if raw_dir.suffix == ".npz" else raw_dir / OFFICIAL_NAME
    download(OFFICIAL_URL, path)
    inspect(path)


def main() -> None:
    """Writes dSprites as TFRecord shards; see `--help`."""
    prepare(
        "dsprites",
        homepage=OFFICIAL_PAGE,
        version="2.1.0",
        fetch=_download,
        teaching=f"""where the data come from:
  The published archive is {OFFICIAL_NAME}
  from {OFFICIAL_URL}
  Put it anywhere under --raw_dir, or let --download fetch it there. Without it, all
  737,280 images are redrawn offline in seconds, and the result is called
  dsprites_reconstructed, here and in every report.

sources:
  auto           the official archive if it is there, else reconstructed
  official       the published archive
  reconstructed  all images redrawn from their factors
  subgrid        a smaller full grid cut out of the archive, found by its contents
  random         images drawn from the archive at random, found by their contents
  synthetic      a coarse grid of 2,304 redrawn images, for tests and first tries

examples:
  python -m data_gen.dsprites                        everything, redrawn or official
  python -m data_gen.dsprites --limit 10000          a small version, always the same images
  python -m data_gen.dsprites --download --source official
""",
    )


if __name__ == "__main__":
    run_command(main)
