"""CIFAR-10: the archives of the publisher in both layouts, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen import cifar10
from data_gen.labeled import LabeledDataset

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
COUNT = 6


class Evil:
    """What an attacker would put into a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def rows_of(batch: int) -> tuple[np.ndarray, list[int]]:
    """Images in the order of the publisher, whose red is their number, with labels."""
    rows = np.random.default_rng(batch).integers(0, 256, (COUNT, 3072), dtype=np.uint8)
    rows[:, :1024] = (np.arange(COUNT) + batch * COUNT)[:, None]
    return rows, [(number + batch) % 10 for number in range(COUNT)]


def python_files(protocol: int = 2) -> dict[str, bytes]:
    files = {}
    for batch, name in enumerate(BATCHES):
        rows, labels = rows_of(batch)
        # Keys as bytes and names as text, as Python 2 has written them.
        held = {b"batch_label": b"batch", b"labels": labels, b"data": rows, b"filenames": ["a.png"] * COUNT}
        files[name] = pickle.dumps(held, protocol=protocol)
    files["batches.meta"] = pickle.dumps({b"label_names": list(cifar10.CLASSES)}, protocol=protocol)
    return files


def binary_files() -> dict[str, bytes]:
    files = {}
    for batch, name in enumerate(BATCHES):
        rows, labels = rows_of(batch)
        files[f"{name}.bin"] = np.concatenate([np.array(labels, np.uint8)[:, None], rows], axis=1).tobytes()
    return files


def tar_of(files: dict[str, bytes], folder: str = "cifar-10-batches-py") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1)


def load(raw_dir: Path, **options: Any) -> LabeledDataset:
    dataset = data_gen.load("cifar10", raw_dir=raw_dir, data_dir=raw_dir / "data", **options)
    assert isinstance(dataset, LabeledDataset)
    return dataset


@pytest.mark.parametrize("layout", ["python", "python 3", "binary", "folder", "keras", "one file"])
def test_the_publishers_layouts_are_read(layout: str, tmp_path: Path) -> None:
    where = tmp_path
    if layout == "binary":
        (tmp_path / "cifar-10-binary.tar.gz").write_bytes(tar_of(binary_files(), "cifar-10-batches-bin"))
    elif layout == "folder":
        for name, data in python_files().items():
            path = tmp_path / "deep" / "cifar-10-batches-py" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    else:
        name = "cifar-10-batches-py.tar.gz" if layout == "keras" else "cifar-10-python.tar.gz"
        (tmp_path / name).write_bytes(tar_of(python_files(4 if layout == "python 3" else 2)))
        where = tmp_path / name if layout == "one file" else tmp_path
    dataset = data_gen.load("cifar10", raw_dir=where, data_dir=tmp_path / "data")
    assert isinstance(dataset, LabeledDataset)
    assert (dataset.name, dataset.source, dataset.image_shape) == ("cifar10_custom", "custom", (32, 32, 3))
    images = dataset.images_at(np.arange(30))
    assert images[:, 0, 0, 0].tolist() == list(range(30))
    rows, labels = rows_of(2)
    # Row by row of each color plane.
    assert (images[12:18].transpose(0, 3, 1, 2).reshape(6, 3072) == rows).all()
    assert dataset.factors_at(range(12, 18)).ravel().tolist() == labels
    assert dataset.factor_names == ("label",)
    assert dataset.class_names[3] == "cat"
    assert dataset.held_out is not None
    assert dataset.held_out.images_at(range(6))[:, 0, 0, 0].tolist() == list(range(30, 36))


def test_parts(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(tar_of(python_files()))
    assert load(tmp_path, split="test").num_examples == 6
    assert load(tmp_path, split="all").images_at(range(36))[:, 0, 0, 0].tolist() == list(range(36))
    limited = data_gen.load("cifar10", raw_dir=tmp_path, data_dir=tmp_path / "data", limit=4)
    assert limited.num_examples == 4
    assert limited.held_out is not None
    with pytest.raises(UserError, match="unknown split 'valid' of cifar10"):
        load(tmp_path, split="valid")


def test_published_files_are_known_by_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = python_files()
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(tar_of(files))
    with pytest.raises(UserError, match="has the source 'custom', not 'published'"):
        load(tmp_path, source="published")
    known = {name: hashlib.md5(files[name]).hexdigest() for name in BATCHES}
    monkeypatch.setattr(cifar10, "_BATCH_MD5", known)
    assert load(tmp_path, source="published").name == "cifar10"
    assert load(tmp_path).source == "published"


def changed(name: str, **entries: Any) -> bytes:
    """The archive with one batch that has other entries."""
    rows, labels = rows_of(0)
    return tar_of({**python_files(), name: pickle.dumps({"data": rows, "labels": labels, **entries}, protocol=2)})


ROWS = np.zeros((COUNT, 3072), np.uint8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is a web page and no archive"),
        (tar_of(python_files())[:-3000], "damaged or truncated tar archive"),
        (tar_of({**python_files(), "test_batch": pickle.dumps(Evil())}), "test_batch: .*refused|holds no dictionary"),
        (changed("test_batch", data=Evil()), "test_batch: .*refused"),
        (changed("test_batch", data=ROWS.astype(float)), "its data are no uint8"),
        (changed("test_batch", data=ROWS[:, 1:]), "its data are no uint8 of shape"),
        (changed("test_batch", data=ROWS[1:]), "test_batch has 5 images and 6 labels"),
        (changed("test_batch", labels=[10] * COUNT), "labels from 10 to 10; expected 0 to 9"),
        (changed("test_batch", labels="many"), "its labels are no list of integers"),
        (tar_of({**python_files(), "test_batch": b""}), "test_batch: .*not a whole pickle"),
        (tar_of({k: v for k, v in python_files().items() if k != "data_batch_3"}), "lacks data_batch_3"),
        (tar_of({"../test_batch": b""}, ""), "leads out of the archive"),
        (tar_of({**binary_files(), "test_batch.bin": b"x" * 3072}), "test_batch.bin has 3,072 bytes, no multiple"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "data",
)
def test_damaged_archives_are_refused(
    data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(data)
    with pytest.raises(UserError, match=message):
        load(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_of_a_name_that_is_there_twice_the_first_counts(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in [*python_files().items(), ("test_batch", b"other")]:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(stream.getvalue()))
    assert load(tmp_path, split="test").num_examples == COUNT


def test_a_missing_archive_is_named_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CIFAR-10 in .*download cifar-10-python.tar.gz from https://www.cs.tor"):
        load(tmp_path)


def test_the_miniature() -> None:
    first, again, other = cifar10.synthetic(), cifar10.synthetic(), cifar10.synthetic(seed=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (first.name, first.source, first.image_shape) == ("cifar10_synthetic", "synthetic", (32, 32, 3))
    assert np.bincount(first.factors_at(np.arange(512)).ravel()).min() >= 51
    assert first.held_out is not None
    assert first.held_out.num_examples == 256
