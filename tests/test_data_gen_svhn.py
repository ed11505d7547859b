"""SVHN: the publisher's MATLAB files, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

import data_gen
from common.errors import UserError
from data_gen import svhn
from data_gen.labeled import LabeledDataset
from data_gen.mat import read_mat

COUNTS = {"train": 12, "test": 5, "extra": 7}


def images_of(name: str) -> np.ndarray:
    """Random images (n, 32, 32, 3) whose first pixel tells their number."""
    images = np.random.default_rng(len(name)).integers(0, 256, (COUNTS[name], 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNTS[name])
    return images


def write(folder: Path, name: str, packed: bool = True, **arrays: Any) -> Path:
    """A file as the publisher has it, whose digits count up from 1; 10 stands for 0."""
    labels = (np.arange(COUNTS[name]) % 10 + 1).astype(np.uint8)[:, None]
    held = {"X": images_of(name).transpose(1, 2, 3, 0), "y": labels, **arrays}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_32x32.mat"
    scipy.io.savemat(path, {key: value for key, value in held.items() if value is not None}, do_compression=packed)
    return path


def load(raw_dir: Path, **options: Any) -> LabeledDataset:
    dataset = data_gen.load("svhn", raw_dir=raw_dir, **options)
    assert isinstance(dataset, LabeledDataset)
    return dataset


@pytest.mark.parametrize("packed", [True, False])
def test_the_publishers_files_are_read(packed: bool, tmp_path: Path) -> None:
    for name in COUNTS:
        write(tmp_path / "deep", name, packed)
    dataset = load(tmp_path)
    assert (dataset.name, dataset.source, dataset.num_examples) == ("svhn_custom", "custom", 12)
    assert (dataset.images_at(range(12)) == images_of("train")).all()
    assert dataset.factors_at(range(12)).ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert dataset.factor_names == ("digit",)
    assert dataset.held_out is not None
    assert (dataset.held_out.images_at(range(5)) == images_of("test")).all()
    both = load(tmp_path, split="train_extra")
    assert (both.num_examples, both.name) == (19, "svhn_custom_train_extra")
    assert (both.images_at(range(12, 19)) == images_of("extra")).all()
    assert load(tmp_path, split="test").held_out is None
    assert load(tmp_path / "deep" / "train_32x32.mat").held_out is not None


def test_nothing_is_held_out_where_the_test_images_are_missing(tmp_path: Path) -> None:
    write(tmp_path, "train")
    assert load(tmp_path).held_out is None
    with pytest.raises(
        UserError, match=r"no test_32x32.mat in .*: download it from http://ufldl.*--split test --downl"
    ):
        load(tmp_path, split="test")
    with pytest.raises(UserError, match=r"no train_32x32.mat of the source 'published'"):
        load(tmp_path, source="published")
    with pytest.raises(UserError, match="unknown split 'tets' of svhn; did you mean 'test'"):
        load(tmp_path, split="tets")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": None}, "has no array X"),
        ({"X": None, "y": None, "z": [1]}, "has no array X and no array y"),
        ({"X": np.zeros((32, 32, 3, 12))}, "X is float64 of shape"),
        ({"X": np.zeros((28, 28, 3, 12), np.uint8)}, r"X is uint8 of shape \(28, 28, 3, 12\)"),
        ({"X": {"a": 1}}, "X is no full array of real numbers"),
        ({"y": np.zeros((11, 1), np.uint8)}, "expected 12 labels"),
        ({"y": np.zeros((12, 1), np.uint8)}, "other values than the whole numbers from 1 to 10"),
        ({"y": np.full((12, 1), 11, np.uint8)}, "other values than the whole numbers from 1 to 10"),
        ({"y": np.full((12, 1), 1.5)}, "other values than the whole numbers from 1 to 10"),
        ({"y": np.full((12, 1), np.nan)}, "other values than the whole numbers from 1 to 10"),
    ],
)
def test_files_with_something_else_in_them_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, "train", **arrays)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 100, 128, 150, 5_000, -1])
def test_truncated_files_are_refused(kept: int, tmp_path: Path) -> None:
    path = write(tmp_path, "train", packed=kept != 5_000)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"train_32x32.mat") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UserError, match="is a web page, not the file"):
        load(tmp_path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(4_000))
    with pytest.raises(UserError, match="no MATLAB file of version 5"):
        load(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_file_is_read_or_refused(packed: bool, tmp_path: Path) -> None:
    """Some bytes at the start, where all sizes are, change; the reader of SciPy ends the process on such files."""
    rng = np.random.default_rng(0)
    path = write(tmp_path, "train", packed)
    whole, refused = path.read_bytes(), []
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(120, 260, rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            load(tmp_path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all(message.startswith((f"{path}", f"no {path.name}")) for message in refused)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", "i8", "u8", "i1", "u4"])
def test_arrays_of_every_type(dtype: str, tmp_path: Path) -> None:
    arrays = {"a": np.arange(24, dtype=dtype).reshape(2, 3, 4), "bc": np.array([[7]], dtype), "d": np.zeros((0, 3))}
    for packed in (False, True):
        scipy.io.savemat(tmp_path / "file.mat", {"other": "text", **arrays}, do_compression=packed)
        read = read_mat(tmp_path / "file.mat", tuple(arrays))
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            assert (read[name] == array).all()
            assert read[name].shape == array.shape


def test_the_miniature() -> None:
    first, again, other = svhn.synthetic(), svhn.synthetic(), svhn.synthetic(seed=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (first.name, first.source, first.image_shape) == ("svhn_synthetic", "synthetic", (32, 32, 3))
    assert svhn.synthetic("train_extra").num_examples == 1_536
    assert first.held_out is not None
    assert first.held_out.num_examples == 256
