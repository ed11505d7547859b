"""Writes data sets as TFRecord shards that `tfds.builder_from_directory` opens.

A set is written into a working folder beside its place, shard by shard; every finished shard is recorded with its
SHA-256. When all are there, the description is added and the folder is renamed: what stands in its place is whole. A
run that was stopped, at any moment and by any means, goes on after its last finished shard and ends with the same
bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_file, sha256_of, write_text
from common.locks import locked
from common.progress import progress

CHECKSUMS = "checksums.json"
PROGRESS = "progress.json"
EXAMPLES_PER_SHARD = 46_080
MAX_SHARDS = 10_000

_FORMAT = 1
_KINDS = ("image", "label", "float", "text")

Example = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Feature:
    """One field of an example.

    Args:
        kind: `image` (given as the bytes of a PNG file), `label` (an integer), `float` (one number) or `text`.
        shape: height, width and channels of an image.
        num_classes: how many labels there are.
    """

    kind: str
    shape: tuple[int, int, int] | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"a feature has kind {self.kind!r}; allowed: {', '.join(_KINDS)}")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written.

    Args:
        name: the data set's name, letters, digits and underscores.
        version: its version, three numbers with dots.
        features: the fields of an example.
        num_examples: how many examples, at least 1.
        examples: makes the examples from one number up to before another one, in order.
        contents: a fingerprint of all that determines the examples; a set with another one is another set.
        description: for people; says where the data come from.
        homepage: where the published data are. Default: none.
        shards: over how many files they are spread evenly. Default: one for every 46,080 examples.
    """

    name: str
    version: str
    features: Mapping[str, Feature]
    num_examples: int
    examples: Callable[[int, int], Iterator[Example]]
    contents: str
    description: str
    homepage: str = ""
    shards: int | None = None

    def num_shards(self) -> int:
        """Over how many files the examples are spread; `UserError` if that is not possible."""
        if self.shards is None:
            return -(-self.num_examples // EXAMPLES_PER_SHARD)
        most = min(self.num_examples, MAX_SHARDS)
        if not 1 <= self.shards <= most:
            raise UserError(f"{self.shards} shards for {self.num_examples:,} images; give a number from 1 to {most:,}")
        return self.shards

    def bounds(self, shard: int) -> tuple[int, int]:
        """The first example of a shard, and the one after its last."""
        shards = self.num_shards()
        return shard * self.num_examples // shards, (shard + 1) * self.num_examples // shards

    def file_name(self, shard: int) -> str:
        """The name of a shard's file."""
        return f"{self.name}-train.tfrecord-{shard:05d}-of-{self.num_shards():05d}"

    def record(self) -> dict[str, Any]:
        """What the plan says, for comparison with what a folder holds."""
        record = {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "features": {key: list(dataclasses.astuple(feature)) for key, feature in self.features.items()},
            "num_examples": self.num_examples,
            "shards": self.num_shards(),
            "contents": self.contents,
            "description": self.description,
            "homepage": self.homepage,
        }
        # As it reads after it was written: lists for tuples.
        written: dict[str, Any] = json.loads(json.dumps(record))
        return written


def write_dataset(plan: Plan, data_dir: Path, overwrite: bool = False) -> Path:
    """Writes a data set to `data_dir/<name>/<version>`, or finds that it is there already.

    Args:
        plan: what is to be written.
        data_dir: the folder of all data sets.
        overwrite: write it anew even if a set stands there, which is replaced at the end. Default: refuse if that
            is another set or a damaged one, and do nothing if it is the same.

    Returns:
        the folder, with shards, `features.json`, `dataset_info.json` and `checksums.json`.

    Raises:
        UserError: if another set stands there, or another process is writing it.
    """
    folder = data_dir / plan.name / plan.version
    plan.num_shards()
    if folder.exists() and not overwrite:
        _check_present(plan, folder)
        return folder
    working = folder.with_name(f".{plan.version}.partial")
    working.mkdir(parents=True, exist_ok=True)
    with _alone(working):
        done = _finished_shards(plan, working)
        _write_shards(plan, working, done)
        with _tensorflow_disk_errors(working):
            _write_info(plan, working, done)
        for name in ("dataset_info.json", "features.json"):
            done[name] = {"sha256": sha256_of(working / name)}
        write_text(working / CHECKSUMS, json.dumps({"plan": plan.record(), "files": done}, indent=1) + "\n")
        _put_in_place(working, folder)
    return folder


def damaged_files(folder: Path) -> list[str]:
    """Compares a written data set with its checksums.

    Args:
        folder: what `write_dataset` returned.

    Returns:
        the names of missing or changed files; all of them, if there are no checksums.
    """
    record = _read_json(folder / CHECKSUMS)
    if record is None:
        return [CHECKSUMS]
    return [name for name, about in record["files"].items() if not _is_whole(folder / name, about)]


def _check_present(plan: Plan, folder: Path) -> None:
    record = _read_json(folder / CHECKSUMS)
    if record is None or record["plan"] != plan.record():
        raise UserError(
            f"{folder} holds another data set (other source, limit, shards or version); choose another --data_dir, "
            "or --overwrite it"
        )
    damaged = damaged_files(folder)
    if damaged:
        raise UserError(f"{folder}: {', '.join(damaged)} missing or changed since written; --overwrite it")
    _clean(folder)


@contextlib.contextmanager
def _alone(working: Path) -> Iterator[None]:
    try:
        with locked(working, wait=False):
            yield
    except BlockingIOError:
        raise UserError(f"another process is writing {working}; wait for it, or choose another --data_dir") from None


def _finished_shards(plan: Plan, working: Path) -> dict[str, dict[str, Any]]:
    """What an earlier run of the same plan has finished; everything else in the working folder is removed."""
    record = _read_json(working / PROGRESS)
    done: dict[str, dict[str, Any]] = {}
    if record is not None and record["plan"] == plan.record():
        done = {name: about for name, about in record["files"].items() if _is_whole(working / name, about)}
    kept = {*done, PROGRESS} if done else set()
    for path in working.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return done


def _write_shards(plan: Plan, working: Path, done: dict[str, dict[str, Any]]) -> None:
    """Writes and records what is missing; `done` then holds all shards, in order."""
    missing = [shard for shard in range(plan.num_shards()) if plan.file_name(shard) not in done]
    total = sum(stop - start for start, stop in map(plan.bounds, missing))
    examples = progress(
        (example for shard in missing for example in plan.examples(*plan.bounds(shard))),
        f"writing {plan.name}",
        total=total,
        unit="image",
    )
    for shard in missing:
        start, stop = plan.bounds(shard)
        name = plan.file_name(shard)
        with _tensorflow_disk_errors(working / name), atomic_file(working / name) as temporary:
            size = _write_shard(temporary, plan.features, itertools.islice(examples, stop - start))
            checksum = sha256_of(temporary)
        done[name] = {"sha256": checksum, "examples": stop - start, "example_bytes": size}
        write_text(working / PROGRESS, json.dumps({"plan": plan.record(), "files": done}))
    # Only now does the bar learn that there is nothing more.
    next(examples, None)
    ordered = {plan.file_name(shard): done[plan.file_name(shard)] for shard in range(plan.num_shards())}
    done.clear()
    done.update(ordered)


def _write_shard(path: Path, features: Mapping[str, Feature], examples: Iterator[Example]) -> int:
    import tensorflow as tf

    size = 0
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for example in examples:
            data = _serialized(features, example, tf.train.Example())
            size += len(data)
            writer.write(data)
    return size


@contextlib.contextmanager
def _tensorflow_disk_errors(path: Path) -> Iterator[None]:
    """Turns TensorFlow's own errors about files into those of the operating system."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, "no space left", str(path)) from error
    except tf.errors.PermissionDeniedError as error:
        raise OSError(errno.EACCES, "permission denied", str(path)) from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def _serialized(features: Mapping[str, Feature], example: Example, message: Any) -> bytes:
    """An example as TFDS stores it, with the keys in order, so that equal examples are equal bytes."""
    fields = message.features.feature
    for key, feature in features.items():
        value = example[key]
        if feature.kind == "label":
            fields[key].int64_list.value.append(int(value))
        elif feature.kind == "float":
            fields[key].float_list.value.append(float(value))
        else:
            fields[key].bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _write_info(plan: Plan, working: Path, done: Mapping[str, Mapping[str, Any]]) -> None:
    import tensorflow_datasets as tfds

    shards = [done[plan.file_name(shard)] for shard in range(plan.num_shards())]
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[shard["examples"] for shard in shards],
        num_bytes=sum(shard["example_bytes"] for shard in shards),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=working,
        features=tfds.features.FeaturesDict({key: _connector(feature) for key, feature in plan.features.items()}),
        split_infos=[split],
        version=plan.version,
        check_data=False,
        description=plan.description,
        homepage=plan.homepage,
    )


def _connector(feature: Feature) -> Any:
    import numpy as np
    import tensorflow_datasets as tfds

    if feature.kind == "image":
        return tfds.features.Image(shape=feature.shape, encoding_format="png")
    if feature.kind == "label":
        return tfds.features.ClassLabel(num_classes=feature.num_classes)
    if feature.kind == "float":
        return tfds.features.Tensor(shape=(), dtype=np.float32)
    return tfds.features.Text()


def _put_in_place(working: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(working, folder)
    _clean(folder)


def _clean(folder: Path) -> None:
    """Removes what the writing leaves around a whole set."""
    (folder / PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(folder.with_name(f".{folder.name}.old"), ignore_errors=True)


def _is_whole(path: Path, about: Mapping[str, Any]) -> bool:
    return path.is_file() and sha256_of(path) == about["sha256"]


def _read_json(path: Path) -> dict[str, Any] | None:
    """A record that this module has written, or `None` if there is none or it is something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("plan"), dict):
        return None
    files = record.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(about, dict) and "sha256" in about for about in files.values()
    ):
        return None
    return record
