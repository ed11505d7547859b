"""What the kill campaign looks at: whether files are whole, what is in them, and what differs."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.files import sha256_of
from common.tensorflow_start import import_tensorflow

Check = Callable[[Path], None]
"""Reads a file; raises an error if it is not whole."""

_TEMPORARY = re.compile(r"^\..*|.*\.tempstate\d+$|.*\.tmp[0-9a-f]*$|.*_temp$|.*\.partial$")
"""Names under which files are written: ours, and those of TensorFlow's checkpoints."""

_NOT_COMPARED = (
    "environment.json",
    "timing.jsonl",
    "report.html",
    "checkpoint",
    "saved_model.pb",
    "fingerprint.pb",
    "metadata.json",
)
"""Names of files that hold times, versions, or an order that TensorFlow does not fix; they must be there, and whole."""

_UNNAMED_FOLDERS = ("events",)
"""Folders of files that have the time in their names: derived, written anew at each start."""


def files_in(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(here) / name for name in sorted(files))


def is_temporary(path: Path, folder: Path) -> bool:
    """Whether a file has, or lies under, a name that is not final; `folder` itself may be called anything."""
    return any(_TEMPORARY.match(part) for part in path.relative_to(folder).parts)


def half_written(folder: Path) -> list[str]:
    """The files of a folder that have their final names and are not whole, each with the reason.

    May be called while processes still write there: a file that goes away meanwhile is passed over.
    """
    found = []
    for path in files_in(folder):
        check = _CHECKS.get(path.suffix)
        if check is None and ".tfrecord-" in path.name:
            check = _records
        if check is None or is_temporary(path, folder) or _is_unnamed(path, folder):
            continue
        try:
            check(path)
        except FileNotFoundError:
            continue
        except Exception as error:
            if path.exists():
                reason = " ".join(str(error).split())[:200]
                found.append(f"{path.relative_to(folder)} is not whole ({type(error).__name__}: {reason})")
    return found


def contents(folder: Path) -> dict[str, str]:
    """Name to digest of all files that are functions of the configuration, and of the others name to a word."""
    found = {}
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        if _is_unnamed(path, folder):
            continue
        if path.name in _NOT_COMPARED or path.suffix == ".log":
            found[name] = "there"
        elif ".data-" in path.name:
            # The tensors in it are read by way of the index.
            found[name] = "there"
        else:
            found[name] = _DIGESTS.get(path.suffix, sha256_of)(path)
    return found


def compare(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What is missing, left over, or differs between two `contents`."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    for name, digest in found.items():
        if name not in expected:
            lines.append(f"{name} is left over")
        elif digest != expected[name]:
            lines.append(f"{name} differs")
    return lines


def litter(folder: Path) -> list[str]:
    """Files and folders under names that are not final."""
    found = []
    for here, folders, files in os.walk(folder):
        found += [str((Path(here) / name).relative_to(folder)) for name in (*folders, *files) if _TEMPORARY.match(name)]
    return [f"{name} is litter" for name in sorted(found)]


def _is_unnamed(path: Path, folder: Path) -> bool:
    return any(part in _UNNAMED_FOLDERS for part in path.relative_to(folder).parts[:-1])


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        json.loads(line)


def _ends_with(end: str) -> Check:
    def check(path: Path) -> None:
        if not path.read_text(encoding="utf-8").endswith(end):
            raise ValueError(f"it does not end with {end!r}")

    return check


def _picture(path: Path) -> None:
    with Image.open(path) as image:
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            image.load()


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} in it is damaged")


def _array(path: Path) -> None:
    np.load(path, mmap_mode="r", allow_pickle=False)


def _hdf5(path: Path) -> None:
    _hdf5_digest(path)


@functools.cache
def _tensorflow() -> Any:
    """TensorFlow, which takes nothing of a GPU: the commands need it."""
    import_tensorflow()
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf


def _records(path: Path) -> None:
    tf = _tensorflow()
    # Checks the checksum of each.
    for _ in tf.data.TFRecordDataset(os.fspath(path)):
        pass


def _saved_model(path: Path) -> None:
    if path.name == "saved_model.pb":
        _tensorflow()
        from tensorflow.core.protobuf import saved_model_pb2

        if not saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs:
            raise ValueError("it holds no graph")


def _tensors(path: Path) -> None:
    _tensors_digest(path)


def _tensors_digest(path: Path) -> str:
    """Of all tensors of a checkpoint or SavedModel, given its index; without its graph of objects."""
    reader = _tensorflow().train.load_checkpoint(os.fspath(path.with_suffix("")))
    found = []
    for name in reader.get_variable_to_shape_map():
        value = reader.get_tensor(name)
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
            # Keras numbers the variables that it exports in the order of a set, another one in each process.
            name = re.sub(r"^_all_variables/\d+/", "_all_variables/", name)
            found.append(f"{name} {hashlib.sha256(np.asarray(value).tobytes()).hexdigest()}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _hdf5_digest(file: Path | io.BytesIO) -> str:
    """Of all arrays of an HDF5 file, by name."""
    import h5py

    digest = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + np.asarray(item[()]).tobytes())

    with h5py.File(file, "r") as opened:
        opened.visititems(add)
    return digest.hexdigest()


def _keras_digest(path: Path) -> str:
    """Of the members of a `.keras` file but for its time."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for name in sorted(set(archive.namelist()) - set(_NOT_COMPARED)):
            data = archive.read(name)
            digest.update(name.encode())
            digest.update(_hdf5_digest(io.BytesIO(data)).encode() if name.endswith(".h5") else data)
    return digest.hexdigest()


_CHECKS: Mapping[str, Check] = {
    ".json": _json,
    ".jsonl": _lines,
    ".html": _ends_with("</html>\n"),
    ".gin": _ends_with("\n"),
    ".csv": _ends_with("\n"),
    ".md": _ends_with("\n"),
    ".png": _picture,
    ".gif": _picture,
    ".npz": _zip,
    ".keras": _zip,
    ".npy": _array,
    ".h5": _hdf5,
    ".index": _tensors,
    ".pb": _saved_model,
}
_DIGESTS: Mapping[str, Callable[[Path], str]] = {
    ".h5": _hdf5_digest,
    ".keras": _keras_digest,
    ".index": _tensors_digest,
}
