"""MNIST: the idx files of the publisher and everything that can be wrong with them, parts, miniature, download."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gzip
import hashlib
import http.server
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen import command, mnist
from data_gen.dataset import ArrayDataset
from data_gen.folders import damaged_files
from data_gen.idx import read_idx
from data_gen.published import PublishedFile, fetch, find_files

ROOT = Path(__file__).resolve().parents[1]
PAGE = b"<!DOCTYPE html><html><body>not found</body></html>"


def idx_bytes(array: np.ndarray, kind: int = 0x08) -> bytes:
    """An array as the publisher stores it."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


def write_files(folder: Path, train: int = 40, test: int = 20, packed: bool = True, dotted: bool = False) -> None:
    """Four files in the layout of MNIST, with random images whose first pixel is their number."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(count)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for what, array in ((f"images{'.' if dotted else '-'}idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            data = idx_bytes(array)
            name = f"{prefix}-{what}.gz" if packed else f"{prefix}-{what}"
            (folder / name).write_bytes(gzip.compress(data, mtime=0) if packed else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four small files."""
    write_files(tmp_path / "raw" / "deep" / "er")
    return tmp_path / "raw" / "deep" / "er"


def load(raw_dir: Path, **options: Any) -> Any:
    return data_gen.load("mnist", raw_dir=raw_dir, **options)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_every_type(kind: int, dtype: str, packed: bool, tmp_path: Path) -> None:
    array = np.arange(-60, 60).astype(dtype).reshape(4, 5, 6)
    data = idx_bytes(array, kind)
    (tmp_path / "file").write_bytes(gzip.compress(data) if packed else data)
    read = read_idx(tmp_path / "file")
    assert (read.array == array).all()
    assert read.array.dtype == np.dtype(dtype)
    assert read.sha256 == hashlib.sha256(data).hexdigest()


GOOD = idx_bytes(np.zeros((3, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no idx file .it starts with nothing"),
        (b"\0\0\x08", "no idx file .it starts with 00 00 08"),
        (b"PK\3\4" + bytes(99), "no idx file .it starts with 50 4b 03 04"),
        (b"\0\0\x07\1" + GOOD[4:], "no idx file"),
        (b"\0\0\x08\0" + GOOD[4:], "no idx file"),
        (b"\0\0\x08\x05" + GOOD[4:], "no idx file"),
        (GOOD[:10], "ends within its sizes"),
        (GOOD[:-1], r"sizes \(3, 28, 28\) need 2,352 bytes, it holds 2,351"),
        (GOOD + b"\0", "need 2,352 bytes, it holds more"),
        (b"\0\0\x08\3" + b"\xff" * 12, "claims to hold"),
        (gzip.compress(GOOD)[:-9], "damaged or truncated"),
        (gzip.compress(GOOD)[:-5] + b"\1\2\3\4\5", "damaged or truncated"),
        (gzip.compress(GOOD)[:10] + b"\xff" * 30, "damaged or truncated"),
        (gzip.compress(GOOD + b"\0"), "holds more"),
        (PAGE, "a web page, not the file"),
        (b"\xef\xbb\xbf  <html>", "a web page"),
    ],
)
def test_damaged_idx_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_the_published_files(raw_dir: Path) -> None:
    dataset = data_gen.load("mnist", split="train", raw_dir=raw_dir)
    assert (dataset.name, dataset.source, dataset.num_examples) == ("mnist", "published", 60_000)
    assert dataset.image_shape == (28, 28, 1)
    assert dataset.factors_at(range(10)).ravel().tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.factor_space is None
    assert dataset.factor_names == ("digit",)
    assert dataset.images_at([0]).sum() == 27_525
    test = dataset.held_out
    assert test is not None
    assert (test.name, test.num_examples, test.held_out) == ("mnist_test", 10_000, None)
    assert test.factors_at(range(10)).ravel().tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = np.bincount(dataset.factors_at(np.arange(60_000)).ravel())
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_the_tutorials_division_leaves_the_first_images_out(raw_dir: Path) -> None:
    whole = data_gen.load("mnist", raw_dir=raw_dir)
    train = data_gen.load("mnist", raw_dir=raw_dir, split="train_55000")
    validation = data_gen.load("mnist", raw_dir=raw_dir, split="validation_5000")
    assert (train.num_examples, validation.num_examples) == (55_000, 5_000)
    assert (train.images_at([0, 54_999]) == whole.images_at([5_000, 59_999])).all()
    assert (validation.images_at([0, 4_999]) == whole.images_at([0, 4_999])).all()
    assert train.held_out is not None
    assert train.held_out.num_examples == 10_000


@pytest.mark.parametrize("layout", ["packed", "plain", "dotted", "one file"])
def test_files_are_found_however_they_are_kept(layout: str, tmp_path: Path) -> None:
    write_files(tmp_path / "a" / "b", packed=layout != "plain" and layout != "dotted", dotted=layout == "dotted")
    where = tmp_path / "a" / "b" / "t10k-labels-idx1-ubyte.gz" if layout == "one file" else tmp_path
    dataset = load(where)
    assert (dataset.name, dataset.source, dataset.num_examples) == ("mnist_custom", "custom", 40)
    assert dataset.images_at(range(40))[:, 0, 0, 0].tolist() == list(range(40))
    assert dataset.held_out.images_at(range(20))[:, 0, 0, 0].tolist() == list(range(20))
    assert load(where, split="all").factors_at(range(60)).ravel().tolist() == [n % 10 for n in (*range(40), *range(20))]


def test_the_published_set_is_preferred_and_told_from_others(raw_dir: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "a")
    with pytest.raises(UserError, match="have the layout of MNIST but are not the published ones"):
        load(tmp_path, source="published")
    (tmp_path / "z").mkdir()
    for path in (raw_dir / "mnist").glob("*.gz"):
        (tmp_path / "z" / path.name).symlink_to(path)
    assert load(tmp_path).name == "mnist"
    assert load(tmp_path, source="published").name == "mnist"
    assert load(tmp_path, source="custom").name == "mnist_custom"


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("train-images-idx3-ubyte.gz", PAGE, "train-images.*a web page"),
        (
            "train-labels-idx1-ubyte.gz",
            gzip.compress(idx_bytes(np.zeros(39, np.uint8))),
            "one label for each of the 40",
        ),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx_bytes(np.full(20, 10, np.uint8))), "labels reach up to 10"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx_bytes(np.zeros((20, 32, 32), np.uint8))), r"\(20, 32, 32\)"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx_bytes(np.zeros((0, 28, 28), np.uint8))), r"\(0, 28, 28\)"),
        ("train-images-idx3-ubyte.gz", gzip.compress(GOOD)[:-20], "damaged or truncated"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, file: str, data: bytes, message: str) -> None:
    (folder / file).write_bytes(data)
    with pytest.raises(UserError, match=message):
        load(folder)


def test_a_damaged_set_does_not_hide_a_whole_one(folder: Path) -> None:
    write_files(folder.parent / "ab")
    (folder.parent / "ab" / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert load(folder.parent).num_examples == 40


def test_missing_files_are_named_with_where_to_get_them(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"download train-images-idx3.* from https://ossci.* into .*empty.mnist"):
        load(tmp_path / "empty")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"only t10k-images.*the four files must lie in one folder"):
        load(folder)
    with pytest.raises(UserError, match="unknown split 'trian' of mnist; did you mean 'train'"):
        load(folder, split="trian")


def test_the_miniature(tmp_path: Path) -> None:
    first, again = mnist.synthetic(), mnist.synthetic()
    other = mnist.synthetic(seed=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (first.name, first.source, first.image_shape) == ("mnist_synthetic", "synthetic", (28, 28, 1))
    test = first.held_out
    assert test is not None
    assert np.bincount(first.factors_at(np.arange(512)).ravel()).min() >= 51
    # A nearest neighbor tells the digits of the held-out images: the classes are clearly different.
    known, asked = (part.images_at(np.arange(part.num_examples)).reshape(-1, 784) / 255.0 for part in (first, test))
    distances = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
    labels = first.factors_at(distances.argmin(axis=1)).ravel()
    assert (labels == test.factors_at(np.arange(256)).ravel()).mean() > 0.9
    assert len({image.tobytes() for image in first.images_at(np.arange(512))}) == 512
    for split, count in (("train", 512), ("test", 256), ("all", 768), ("train_55000", 470), ("validation_5000", 42)):
        assert load(tmp_path, source="synthetic", split=split).num_examples == count
    with pytest.raises(UserError, match="num_examples is 3; give at least 20"):
        mnist.synthetic(num_examples=3)
    one = np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.int64)
    alone = mnist.Digits(one, one, "mnist_custom", "custom", "one digit")
    assert alone.split("train").num_examples == 1
    with pytest.raises(UserError, match="one image to train on, of which train_55000 would leave none"):
        alone.split("train_55000")


def test_a_limit_keeps_what_is_held_out(folder: Path) -> None:
    dataset = load(folder, limit=7)
    assert (dataset.name, dataset.num_examples) == ("mnist_custom_limit7", 7)
    assert dataset.held_out.num_examples == 20


def test_files_are_found_in_any_case_and_not_too_deep(tmp_path: Path) -> None:
    deep = tmp_path / "1" / "2" / "3" / "4"
    (deep / "5").mkdir(parents=True)
    for path in (deep / "5" / "a.gz", deep / "A.gz", tmp_path / "b.gz"):
        path.write_bytes(b"")
    assert find_files(tmp_path, ("a.gz",)) == [deep / "A.gz"]
    assert find_files(tmp_path / "b.gz", ("a.gz",)) == []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder that is served on this machine, and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_mirror_that_gives_something_else_is_passed_over(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    (folder / "page").write_bytes(PAGE)
    (folder / "good").write_bytes(GOOD)
    md5 = hashlib.md5(GOOD).hexdigest()
    file = PublishedFile("data.gz", (f"{address}none", f"{address}page", f"{address}good"), md5, len(GOOD))
    target = tmp_path / "raw"
    assert fetch(file, target, attempts=1, pause=0).read_bytes() == GOOD
    (folder / "good").unlink()
    assert fetch(file, target, attempts=1, pause=0) == target / "data.gz"
    (target / "data.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"data.gz is there, but it is not the published data.gz; move it away"):
        fetch(file, target, attempts=1, pause=0)
    (target / "data.gz").unlink()
    with pytest.raises(UserError, match=r"no server gave data.gz: .*404.*gave 50 bytes that are not the published"):
        fetch(file, target, attempts=1, pause=0)
    assert not (target / "data.gz").exists()


def test_download_fetches_all_four_files(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = site
    write_files(folder)
    (folder / "page").write_bytes(PAGE)
    files = tuple(
        dataclasses.replace(
            file,
            mirrors=(f"{address}page", f"{address}{file.name}"),
            md5=hashlib.md5((folder / file.name).read_bytes()).hexdigest(),
            size=None,
        )
        for file in mnist.FILES
    )
    monkeypatch.setattr(mnist, "FILES", files)
    mnist._download(tmp_path / "raw", argparse.Namespace())
    assert load(tmp_path / "raw").num_examples == 40
    assert sorted(path.name for path in (tmp_path / "raw" / "mnist").iterdir()) == sorted(f.name for f in files)


def test_published_files_are_known_by_size_and_checksum(raw_dir: Path) -> None:
    for file in mnist.FILES:
        assert file.is_at(raw_dir / "mnist" / file.name)
        assert len(file.mirrors) == 3
    assert not mnist.FILES[0].is_at(raw_dir / "mnist" / mnist.FILES[1].name)


def _command(data_dir: Path, *more: str) -> None:
    arguments = ["--source", "synthetic", "--limit", "60", "--shards", "3", "--data_dir", str(data_dir), *more]
    command.prepare("mnist", version="3.0.1", arguments=arguments)


def test_both_parts_are_written_and_a_killed_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow_datasets as tfds

    script = (
        "import os, signal; from pathlib import Path; from data_gen import command; import tests.test_data_gen_mnist\n"
        "encode, count = command.encode_png, iter(range(10**9))\n"
        "def stop(image): next(count) == 70 and os.kill(os.getpid(), signal.SIGKILL); return encode(image)\n"
        f"command.encode_png = stop; tests.test_data_gen_mnist._command(Path({str(tmp_path)!r}))"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = tmp_path / "mnist_synthetic_limit60" / "3.0.1"
    assert not folder.exists()
    # The first shards are whole, and stay as they are.
    kept = {path.name: path.stat().st_mtime_ns for path in folder.with_name(".3.0.1.partial").glob("mnist*")}
    assert len(kept) == 3
    _command(tmp_path)
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert "60 images, and 60 held out, source synthetic" in capsys.readouterr().out
    _command(tmp_path / "other")
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = tmp_path / "other" / "mnist_synthetic_limit60" / "3.0.1"
    assert written == {path.name: path.read_bytes() for path in other.iterdir()}
    assert damaged_files(folder) == []
    builder = tfds.builder_from_directory(str(folder))
    whole = mnist.synthetic()
    assert isinstance(whole.held_out, ArrayDataset)
    for split, part in (("train", whole), ("test", whole.held_out)):
        kept_part = part.limited(60)
        examples = list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))
        assert len(examples) == 60
        for number in (0, 59):
            assert (examples[number]["image"] == kept_part.images_at([number])[0]).all()
            assert examples[number]["label_digit"] == kept_part.factors_at([number])[0, 0]
    assert os.listdir(folder.parent) == ["3.0.1"]
