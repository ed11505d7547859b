"""Every reader of foreign bytes against damaged files: what is not read is refused, and nothing else ever happens.

SPOUT_FIRE=2000 gives each reader so many files, other ones every time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pickle
import resource
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import corruption
import numpy as np
import pytest
from corruption import FIRE, damaged, damaged_text
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.pickled_arrays import read_pickled
from data_gen import archives, cifar10, dsprites_files, folders, idx, image_files, inventory, mat, npz, sketchy
from data_gen import pixel_statistics as pixels
from data_gen.archives import BadFileError
from data_gen.png import encode_png
from data_gen.tfrecord import Feature
from metrics.files import read_arrays
from teapot_renderer.bezier import NEWELL
from teapot_renderer.meshes import load_mesh

MEMORY = 1 << 30
"""Bytes that a reader may take for a file of some kilobytes: what claims more is refused before it gets any."""


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Lets this process grow by `MEMORY` only; beyond it Python raises MemoryError."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader of files.

    Args:
        whole: small files that it reads.
        read: reads one.
        refusals: what it raises for others.
        suffix: of the file's name.
        words: of a text, to put in places of others.
    """

    whole: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...] = (UserError,)
    suffix: str = ""
    words: tuple[str, ...] = ()


def everything_in(path: Path) -> list[bytes]:
    """All files of a container that can be read; their names lead nowhere else."""
    found = []
    with archives.open_container(path) as container:
        for member in container.members:
            assert not member.name.startswith("/")
            assert ".." not in member.name.split("/")
            with contextlib.suppress(BadFileError):
                found.append(container.read(member))
    return found


def all_arrays(path: Path) -> list[Any]:
    return [npz.read_array(path, name) for name in npz.array_names(path)]


def decoded(path: Path) -> Any:
    return [np.asarray(image_files.decode(path.read_bytes(), channels)) for channels in (1, 3)]


def dsprites(path: Path) -> Any:
    return list(dsprites_files.packed_blocks(dsprites_files.inspect(path)))


def configuration(path: Path) -> Any:
    from training.configuration import load

    return load([path])


def numbers() -> dict[str, np.ndarray]:
    return {"codes": np.arange(12.0).reshape(4, 3), "factors": np.ones((4, 2), np.int64)}


def dsprites_archives() -> list[bytes]:
    """Without and with the pickled description that the published one has, and that is never read."""
    described = corruption.dsprites_grid(metadata=np.array({"title": "dSprites"}, dtype=object))
    return [corruption.npz_file(arrays, True) for arrays in (corruption.dsprites_grid(), described)]


def pickles() -> list[bytes]:
    content = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "name": b"x", "more": (None, 1.5)}
    return [pickle.dumps(content, protocol) for protocol in range(6)]


def teapot_models() -> list[bytes]:
    model = {
        "meshLinearTransform": np.eye(4, 3),
        "ppcaB": np.arange(9.0),
        "faces": np.array([[0, 1, 2], [1, 2, 3]]),
        "other": {"x": 1},
    }
    return [pickle.dumps(model, 2), pickle.dumps(model, 5)]


TETRAHEDRON = b"# a solid\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1/1 2/2 4/3\nf -4 -2 -1\nf 2//1 3//1 4//1\n"
IMAGES = {"a/1.png": b"\x89PNG", "a/2.jpg": bytes(900), "b.txt": b"text"}
RECORDS = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n{"step": 3}\n'


def patches() -> list[bytes]:
    lines = NEWELL.read_text().splitlines()
    first = [line for line in lines if line and not line.startswith("#")][1:18]
    return ["\n".join(["1", *first]).encode()]


def records(path: Path) -> Any:
    from training.records import read_records, series

    return series(read_records(path), "")


GIN = """experiment.name = 'fire'
experiment.model = @ibgan()
experiment.total_steps = 10
ibgan.beta = 0.2
ibgan.z_dim = %size
size = 4
experiment.optimizers = {'encoder': @encoder/adam()}
encoder/adam.learning_rate = 1e-4
evaluation.metrics = ('mig', 'sap')
traversal:
  rows = 3
  steps = 4
"""
GIN_WORDS = (
    "import os",
    "from os import system",
    "@os.system()",
    "include 'x'",
    "@",
    "%",
    "(",
    "{",
    "'",
    "nan",
    "1e999",
)
OBJ_WORDS = (
    "v",
    "f",
    "nan",
    "inf",
    "-1",
    "0",
    "99999999999999999999",
    "1e400",
    "1/2/3/4",
    "\\",
    "#",
    "vn",
    "mtllib /x",
)


def tfrecords() -> list[bytes]:
    """A shard of two examples, with checksums that are right for what is in it."""
    return [_shard(encode_png(np.full((4, 4, 1), 7, np.uint8)))]


def _shard(image: bytes) -> bytes:
    import tensorflow as tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    example = tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
    return b"".join(_framed(example) for _ in range(2))


def _framed(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    """The masked CRC-32C of the format."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


FEATURES = {"image": Feature("image", shape=(4, 4, 1))}


def shard(path: Path) -> Any:
    """What `python -m data_gen verify` does with a shard."""
    sums, trouble = inventory._examined(path, {"examples": 2}, FEATURES)
    assert all("\n" not in text for text in trouble)
    return sums or trouble


def example(path: Path) -> Any:
    """Damage within a record whose checksums are right."""
    framed = path.with_suffix(".tfrecord")
    framed.write_bytes(_framed(path.read_bytes()))
    try:
        return shard(framed)
    finally:
        framed.unlink()


def examples() -> list[bytes]:
    data = tfrecords()[0]
    return [data[12 : len(data) // 2 - 4]]


def features(path: Path) -> Any:
    """One of Sketchy's arrays."""
    array = sketchy._array(path)
    return array if array.ndim else array[()]


READERS: dict[str, Reader] = {
    "idx": Reader(lambda: [corruption.idx_file(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))], idx.read_idx),
    "idx.gz": Reader(lambda: [corruption.packed(corruption.idx_file(np.arange(24, dtype=np.uint8)))], idx.read_idx),
    "npz": Reader(
        lambda: [corruption.npz_file(numbers(), packed) for packed in (False, True)], all_arrays, suffix=".npz"
    ),
    "npy": Reader(lambda: [corruption.npy_file(np.ones((3, 4), np.float32))], npz.read_npy, suffix=".npy"),
    "codes": Reader(
        lambda: [corruption.npz_file(numbers(), packed) for packed in (False, True)], read_arrays, suffix=".npz"
    ),
    "dsprites": Reader(dsprites_archives, dsprites, suffix=".npz"),
    "mat": Reader(
        lambda: [
            corruption.mat_file(packed, X=np.zeros((4, 3, 2), np.uint8), y=np.ones((2, 1)), z=np.array(["text"]))
            for packed in (False, True)
        ],
        functools.partial(mat.read_mat, names=("X", "y")),
    ),
    "zip": Reader(lambda: [corruption.zip_file(IMAGES, packed) for packed in (False, True)], everything_in),
    "tar": Reader(lambda: [corruption.tar_file(IMAGES)], everything_in),
    "tar.gz": Reader(lambda: [corruption.tar_file(IMAGES, True)], everything_in),
    "images": Reader(
        lambda: [
            *(corruption.image_file(kind) for kind in image_files.FORMATS),
            *(corruption.image_file("PNG", mode=mode) for mode in ("L", "LA", "RGBA")),
        ],
        decoded,
        (BadFileError,),
    ),
    "png": Reader(
        lambda: [encode_png(np.zeros((5, 4, 3), np.uint8)), corruption.image_file("PNG", mode="L")],
        lambda path: pixels.decode_png(path.read_bytes()),
        (ValueError,),
    ),
    "pickle": Reader(pickles, read_pickled),
    "pickle.entries": Reader(pickles, functools.partial(read_pickled, only=("data", "labels"))),
    "cifar10": Reader(
        lambda: [corruption.batch_pickle()],
        lambda path: cifar10._of_pickle(path, "batch", path.read_bytes()),
    ),
    "cifar10.bin": Reader(lambda: [bytes(3073 * 2)], lambda path: cifar10._of_binary(path, "batch", path.read_bytes())),
    "teapot.pkl": Reader(teapot_models, load_mesh, suffix=".pkl"),
    "obj": Reader(lambda: [TETRAHEDRON], load_mesh, suffix=".obj", words=OBJ_WORDS),
    "bpt": Reader(patches, functools.partial(load_mesh, fineness=2), suffix=".bpt", words=(*OBJ_WORDS, "3 3", "10000")),
    "gin": Reader(lambda: [GIN.encode()], configuration, suffix=".gin", words=GIN_WORDS),
    "record": Reader(
        lambda: [json.dumps({"plan": {"name": "x"}, "files": {"a": {"sha256": "0"}}}).encode()], folders.read_record, ()
    ),
    "metrics.jsonl": Reader(lambda: [RECORDS], records),
    "tfrecord": Reader(tfrecords, shard, ()),
    "example": Reader(examples, example, ()),
    "sketchy": Reader(
        lambda: [corruption.npy_file(np.array(["x/bear/1.png", "x/saw/2.png"]))], features, suffix=".npy"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all examples are written here, one over the other."""
    return tmp_path_factory.mktemp("fire")


@functools.cache
def read_whole(name: str, folder: Path) -> list[Any]:
    """What a reader gives for whole files; all that it imports is imported then."""
    reader, found = READERS[name], []
    for number, data in enumerate(reader.whole()):
        path = folder / f"whole{number}{reader.suffix}"
        path.write_bytes(data)
        found.append(reader.read(path))
    return found


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, folder: Path) -> None:
    assert all(found is not None for found in read_whole(name, folder))


@pytest.mark.parametrize("name", READERS)
@FIRE
@given(data=st.data())
def test_damaged_files_are_read_or_refused(name: str, folder: Path, data: st.DataObject) -> None:
    reader = READERS[name]
    read_whole(name, folder)
    whole = data.draw(st.sampled_from(reader.whole()))
    strategy = damaged_text(whole.decode(), reader.words) if reader.words else damaged(whole)
    path = folder / f"damaged{reader.suffix}"
    path.write_bytes(data.draw(strategy))
    before = set(folder.iterdir())
    with little_memory():
        try:
            reader.read(path)
        except reader.refusals as refusal:
            text = str(refusal)
            assert text
            assert "\n" not in text
            assert "fit into memory" not in text
    assert set(folder.iterdir()) == before


NAMES = ("../out", "/out", "a/../../out", "..", "a/../..", "C:/out", "a\\..\\..\\out")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [corruption.zip_file, corruption.tar_file])
def test_names_lead_nowhere_else(name: str, make: Callable[..., bytes], tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "archive").write_bytes(make({"a.png": b"x", name: b"escaped"}))
    before = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(UserError):
        everything_in(inner / "archive")
    assert sorted(tmp_path.rglob("*")) == before


LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


@pytest.mark.parametrize("kind", LINKS)
def test_links_and_devices_are_not_followed(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    archive = tmp_path / "archive"
    for target in ("secret", str(tmp_path / "secret"), "/dev/zero"):
        archive.write_bytes(corruption.tar_of("a.png", kind, target))
        with archives.open_container(archive) as container:
            (member,) = container.members
            with pytest.raises(BadFileError, match=r"link|no plain file"):
                container.read(member)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_run_nothing(protocol: int, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    malicious = corruption.malicious_pickle(str(proof), protocol)
    path = tmp_path / "file.pkl"
    path.write_bytes(malicious)
    array = corruption.npy_file(np.array([corruption.Malicious(str(proof))], dtype=object))
    codes = tmp_path / "codes.npz"
    codes.write_bytes(corruption.npz_file({"codes": np.array([corruption.Malicious(str(proof))], dtype=object)}))
    features = tmp_path / "features.npy"
    features.write_bytes(array)
    for read in (
        lambda: read_pickled(malicious),
        lambda: load_mesh(path),
        lambda: cifar10._of_pickle(path, "batch", malicious),
        lambda: read_arrays(codes),
        lambda: npz.read_array(codes, "codes"),
        lambda: npz.read_npy(features),
        lambda: sketchy._array(features),
    ):
        with pytest.raises(UserError):
            read()
    assert not proof.exists()


@pytest.mark.parametrize(
    "line",
    ["import proof_module", "from proof_module import x", "import os", "from __gin__ import dynamic_registration"],
)
def test_gin_files_run_nothing(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gin itself would import any module that is found, which runs it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "proof_module.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'proof')!r})\n")
    outer, inner = tmp_path / "outer.gin", tmp_path / "inner.gin"
    outer.write_text(f"include '{inner}'\n{GIN}")
    inner.write_text(f"{line}\n")
    for path in (inner, outer):
        with pytest.raises(UserError, match="'import' is not allowed in gin files"):
            configuration(path)
    assert not (tmp_path / "proof").exists()


CLAIMS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "npy": (corruption.npy_claim("(100000000000, 10)"), npz.read_npy),
    "npz": (corruption.zip_file({"codes.npy": corruption.npy_claim("(100000000000, 10)")}), read_arrays),
    "idx": (b"\0\0\x08\x03" + b"\x00\xff\xff\xff" + b"\0\0\0\x1c" * 2, idx.read_idx),
    "tar": (corruption.tar_of("a.png", size=1 << 40), everything_in),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    data, read = CLAIMS[name]
    path = tmp_path / "claim"
    path.write_bytes(data)
    with little_memory(), pytest.raises(UserError) as refusal:
        read(path)
    assert "fit into memory" not in str(refusal.value)


def test_little_memory_bites() -> None:
    with little_memory(), pytest.raises(MemoryError):
        np.ones(2 * MEMORY, np.uint8)
