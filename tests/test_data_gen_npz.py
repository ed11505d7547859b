"""Large `.npz` files: written in blocks, gone on with, read in blocks, damage refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from data_gen.npz import LargeArray, array_header, array_names, read_array, read_blocks, write_npz

ROWS, BLOCK = 70, 16
DATA = np.random.default_rng(0).integers(0, 256, (ROWS, 4, 5, 3), dtype=np.uint8)
SMALL = {"latents": np.linspace(0.0, 1.0, 7), "about": np.array('{"who": "é"}')}


class Stop(Exception):
    """Stands for whatever ends a run."""


def large(dtype: str = "|u1", piece: int = 8, made: list[int] | None = None, stop_at: int = ROWS) -> LargeArray:
    """The array of these tests; `made` learns where the making begins, and at `stop_at` it ends."""

    def rows(start: int) -> Iterator[np.ndarray]:
        if made is not None:
            made.append(start)
        for first in range(start, ROWS, piece):
            if first >= stop_at:
                raise Stop
            yield DATA[first : first + piece]

    encode: Callable[[np.ndarray], np.ndarray] = np.asarray if dtype == "|u1" else (lambda rows: rows / 255.0)
    return LargeArray(DATA.shape, dtype, 1, BLOCK, rows, encode)


def ignore(checksums: list[int]) -> None:
    """Keeps nothing."""


@pytest.mark.parametrize(("dtype", "expected"), [("|u1", DATA), ("<f8", DATA / 255.0)])
def test_numpy_reads_what_was_written(dtype: str, expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    kept: list[list[int]] = []
    write_npz(path, SMALL, "imgs", large(dtype), [], lambda checksums: kept.append(list(checksums)))
    with np.load(path, allow_pickle=False) as archive:
        assert archive["imgs"].dtype == np.dtype(dtype)
        assert (archive["imgs"] == expected).all()
        assert (archive["latents"] == SMALL["latents"]).all()
        assert str(archive["about"]) == '{"who": "é"}'
    assert [len(checksums) for checksums in kept] == [1, 2, 3, 4, 5]
    assert array_names(path) == ["latents", "about", "imgs"]
    assert array_header(path, "imgs")[:2] == (DATA.shape, np.dtype(dtype))
    assert (np.concatenate(list(read_blocks(path, "imgs", 9))) == expected).all()
    assert read_array(path, "about") == SMALL["about"]


@pytest.mark.parametrize("stop_at", [0, 8, 16, 40, 64])
@pytest.mark.parametrize("harm", ["none", "tail", "first block", "shorter"])
def test_a_stopped_file_is_gone_on_with(stop_at: int, harm: str, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.npz", tmp_path / "data.npz"
    write_npz(whole, SMALL, "imgs", large(), [], ignore)
    kept: list[int] = []

    def keep(checksums: list[int]) -> None:
        kept[:] = checksums

    with pytest.raises(Stop):
        write_npz(path, SMALL, "imgs", large(stop_at=stop_at), [], keep)
    assert len(kept) == stop_at // BLOCK
    data = bytearray(path.read_bytes())
    start = data.index(DATA[0].tobytes()) if stop_at else len(data)
    survivors = len(kept)
    if harm == "tail":
        data += b"garbage" * 1000
    elif harm == "first block" and kept:
        data[start + 5] ^= 1
        survivors = 0
    elif harm == "shorter" and kept:
        del data[start + len(kept) * BLOCK * DATA[0].size - 1 :]
        survivors -= 1
    path.write_bytes(data)
    made: list[int] = []
    write_npz(path, SMALL, "imgs", large(piece=16, made=made), kept, ignore)
    assert made == [survivors * BLOCK]
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("count", [ROWS - 1, ROWS + 1])
def test_rows_must_fill_the_array(count: int, tmp_path: Path) -> None:
    rows = np.zeros((count, 4, 5, 3), np.uint8)
    array = LargeArray(DATA.shape, "|u1", 1, BLOCK, lambda start: iter(np.split(rows, range(BLOCK, count, BLOCK))))
    with pytest.raises(ValueError, match=r"rows are missing|has place for"):
        write_npz(tmp_path / "data.npz", SMALL, "imgs", array, [], ignore)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(DATA[30].tobytes())] ^= 1
    path.write_bytes(data)


def _other_file(path: Path) -> None:
    path.write_bytes(b"<html>no such page</html>")


def _pickle(path: Path) -> None:
    np.savez(path, imgs=np.array([{"a": 1}], dtype=object))


def _column_order(path: Path) -> None:
    np.savez(path, imgs=np.asfortranarray(DATA))


def _wrong_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("imgs.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (9, 9)})
        member.write(b"short")


@pytest.mark.parametrize("harm", [_truncate, _flip, _other_file, _pickle, _column_order, _wrong_header])
def test_damage_is_named(harm: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    write_npz(path, SMALL, "imgs", large(), [], ignore)
    harm(path)
    with pytest.raises(UserError, match=rf"{path}: damaged or truncated .*; delete it and get or make the file anew"):
        list(read_blocks(path, "imgs", 10))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, images=DATA)
    with pytest.raises(UserError, match=r"no array 'imgs' in it \(it holds images\)"):
        array_header(path, "imgs")
    assert (np.concatenate(list(read_blocks(path, "images", 100))) == DATA).all()
