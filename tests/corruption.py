"""Damages small files at random, and makes the valid ones that are damaged."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

EXAMPLES = int(os.environ.get("SPOUT_FIRE", "60"))
"""How many damaged files each reader gets."""

FIRE = settings(
    max_examples=EXAMPLES,
    derandomize="SPOUT_FIRE" not in os.environ,
    # Hangs only: a machine may be busy.
    deadline=30_000,
    database=None,
    suppress_health_check=list(HealthCheck),
)

_HUGE = (0xFF, 0x7F, 0x80, 0x00)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file after one to four accidents: flips, cuts, insertions, deletions, copies, and fields of huge numbers."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 8, 64, 512)))
        match draw(st.sampled_from(("flip", "set", "huge", "cut", "insert", "delete", "copy", "head"))):
            case "flip":
                if data:
                    data[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[place : place + length] = draw(st.binary(min_size=length, max_size=length))
            case "huge":
                data[place : place + length] = bytes([draw(st.sampled_from(_HUGE))]) * length
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(max_size=length))
            case "delete":
                del data[place : place + length]
            case "copy":
                other = draw(st.integers(0, max(0, len(data) - 1)))
                data[place : place + length] = data[other : other + length]
            case "head":
                # Most of what a reader believes stands in front.
                if data:
                    data[draw(st.integers(0, min(len(data) - 1, 64)))] = draw(st.integers(0, 255))
    return bytes(data)


@st.composite
def damaged_text(draw: st.DrawFn, whole: str, words: tuple[str, ...]) -> bytes:
    """A text in which lines and words are lost, repeated or replaced; or one that is damaged as bytes are."""
    if draw(st.booleans()):
        return draw(damaged(whole.encode()))
    lines = whole.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        parts = lines[place].split(" ")
        word = draw(st.sampled_from(words))
        match draw(st.sampled_from(("word", "line", "twice", "lost"))):
            case "word":
                parts[draw(st.integers(0, len(parts) - 1))] = word
                lines[place] = " ".join(parts)
            case "line":
                lines.insert(place, word)
            case "twice":
                lines.insert(place, lines[place])
            case "lost":
                lines[place] = ""
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def idx_file(array: np.ndarray) -> bytes:
    """An idx file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def npz_file(arrays: Mapping[str, Any], compressed: bool = False) -> bytes:
    """An `.npz` archive."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def dsprites_grid(**changes: Any) -> dict[str, Any]:
    """The arrays of a grid of two shapes and three scales, as it is cut out of the published archive of dSprites."""
    classes, values = np.zeros((6, 6), np.int64), np.zeros((6, 6))
    classes[:, 1], classes[:, 2] = np.repeat([0, 1], 3), np.tile([0, 1, 2], 2)
    values[:, 1], values[:, 2] = classes[:, 1] + 1, np.linspace(0.5, 1, 6)[classes[:, 2]]
    return {"imgs": np.zeros((6, 64, 64), np.uint8), "latents_classes": classes, "latents_values": values, **changes}


def npy_file(array: Any) -> bytes:
    """An `.npy` file; of objects a pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_claim(shape: str, descr: str = "<f4", data: bytes = b"") -> bytes:
    """An `.npy` file whose header claims any shape."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def mat_file(packed: bool = False, **arrays: Any) -> bytes:
    """A MATLAB file of version 5."""
    import scipy.io

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=packed)
    return buffer.getvalue()


def zip_file(files: Mapping[str, bytes], packed: bool = False) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_file(files: Mapping[str, bytes], packed: bool = False) -> bytes:
    """A tar archive, gzipped or not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def tar_of(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> bytes:
    """A tar archive of one member of any kind, without its bytes."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info.tobuf() + bytes(1024)


def image_file(kind: str = "PNG", size: tuple[int, int] = (12, 10), mode: str = "RGB") -> bytes:
    """An image of noise."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if channels > 1 else pixels[:, :, 0], mode).save(buffer, kind)
    return buffer.getvalue()


class Malicious:
    """What makes a file when its pickle is read as Python reads pickles."""

    def __init__(self, proof: str) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.proof,)


def malicious_pickle(proof: str, protocol: int = 2) -> bytes:
    """A pickle that makes the folder `proof` if it is trusted."""
    return pickle.dumps(Malicious(proof), protocol)


def batch_pickle(labels: Any = None, rows: Any = None, count: int = 4, **more: Any) -> bytes:
    """A batch of CIFAR-10 as its publisher writes them."""
    data = np.zeros((count, 3072), np.uint8) if rows is None else rows
    entries = {b"data": data, b"labels": [number % 10 for number in range(count)] if labels is None else labels}
    return pickle.dumps({**entries, **{key.encode(): value for key, value in more.items()}}, 2)


def packed(data: bytes) -> bytes:
    """Bytes, gzipped, always in the same way."""
    return gzip.compress(data, mtime=0)
