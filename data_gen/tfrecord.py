"""Writes data sets as TFRecord shards that `tfds.builder_from_directory` opens.

A set is written shard by shard into a working folder, see `data_gen.folders`. A run that was stopped, at any moment and
by any means, goes on after its last finished shard and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import atomic_file, sha256_of
from common.progress import progress
from common.tensorflow_start import import_tensorflow
from data_gen.folders import (
    CHECKSUMS,
    PROGRESS,
    Files,
    finished_files,
    is_present,
    keep_only,
    put_in_place,
    working,
    write_record,
)
from data_gen.pixel_statistics import sums_of_shard

EXAMPLES_PER_SHARD = 46_080
MAX_SHARDS = 10_000

_FORMAT = 1
_KINDS = ("image", "label", "float", "text", "integer", "doubles", "floats")

Example = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Feature:
    """One field of an example.

    Args:
        kind: `image` (given as the bytes of a PNG file), `label` (an integer, -1 for none), `float` (one number in
            single precision), `text`, `integer`, `doubles` (an array of numbers in double precision) or `floats` (one
            in single precision).
        shape: height, width and channels of an image; shape of the doubles or floats.
        num_classes: how many labels there are.
    """

    kind: str
    shape: tuple[int, ...] | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"a feature has kind {self.kind!r}; allowed: {', '.join(_KINDS)}")


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a data set with a name of its own, such as `train`.

    Args:
        name: letters, digits and underscores.
        num_examples: how many examples, at least 1.
        examples: makes the examples from one number up to before another one, in order.
        shards: over how many files they are spread evenly. Default: one for every 46,080 examples.
    """

    name: str
    num_examples: int
    examples: Callable[[int, int], Iterator[Example]]
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written.

    Args:
        name: the data set's name, letters, digits and underscores.
        version: its version, three numbers with dots.
        features: the fields of an example, the same in all splits.
        splits: the parts, at least one.
        contents: all that determines the examples, or a fingerprint of it; a set with other contents is another set.
        description: for people; says where the data come from.
        homepage: where the published data are. Default: none.
        provenance: with which versions of libraries the examples are made; recorded. A stopped run goes on with the
            same versions only, but a whole set made with others is the same set. Default: nothing.
    """

    name: str
    version: str
    features: Mapping[str, Feature]
    splits: tuple[Split, ...]
    contents: str | Mapping[str, Any]
    description: str
    homepage: str = ""
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def shards(self) -> list[tuple[Split, int]]:
        """All shards in the order in which they are written: their split, and their number in it."""
        return [(split, shard) for split in self.splits for shard in range(split.num_shards())]

    def file_name(self, split: Split, shard: int) -> str:
        """The name of a shard's file."""
        return f"{self.name}-{split.name}.tfrecord-{shard:05d}-of-{split.num_shards():05d}"

    def record(self) -> dict[str, Any]:
        """What the plan says, for comparison with what a folder holds."""
        record = {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "features": {key: list(dataclasses.astuple(feature)) for key, feature in self.features.items()},
            "contents": self.contents,
            "description": self.description,
            "homepage": self.homepage,
        }
        sizes = {
            split.name: {"num_examples": split.num_examples, "shards": split.num_shards()} for split in self.splits
        }
        # Sets of training images alone, without provenance, are recorded as they always were, so that they are known.
        record.update(sizes["train"] if set(sizes) == {"train"} else {"splits": sizes})
        if self.provenance:
            record["provenance"] = self.provenance
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
    record = plan.record()
    if is_present(record, folder, overwrite):
        return folder
    with working(folder) as path:
        if is_present(record, folder, overwrite):
            # Another process has finished it meanwhile.
            shutil.rmtree(path, ignore_errors=True)
            return folder
        import_tensorflow()
        done = finished_files(record, path)
        keep_only(path, {*done, PROGRESS} if done else set())
        _write_shards(plan, path, done)
        with tensorflow_disk_errors(path):
            write_info(plan, path, done)
        for name in ("dataset_info.json", "features.json"):
            done[name] = {"sha256": sha256_of(path / name)}
        write_record(path / CHECKSUMS, record, done)
        put_in_place(path, folder)
    return folder


def _write_shards(plan: Plan, path: Path, done: Files) -> None:
    """Writes and records what is missing; `done` then holds all shards, in order."""
    names = [plan.file_name(split, shard) for split, shard in plan.shards()]
    missing = [(split, shard) for split, shard in plan.shards() if plan.file_name(split, shard) not in done]
    ranges = _ranges(missing)
    examples = progress(
        (example for split, start, stop in ranges for example in split.examples(start, stop)),
        f"writing {plan.name}",
        total=sum(stop - start for _, start, stop in ranges),
        unit="image",
    )
    for split, shard in missing:
        start, stop = split.bounds(shard)
        name = plan.file_name(split, shard)
        with tensorflow_disk_errors(path / name), atomic_file(path / name) as temporary:
            size = _write_shard(temporary, plan.features, itertools.islice(examples, stop - start))
            checksum = sha256_of(temporary)
        done[name] = {"sha256": checksum, "examples": stop - start, "example_bytes": size}
        with tensorflow_disk_errors(path / name):
            done[name]["pixels"] = sums_of_shard(os.fspath(path / name), plan.features)
        write_record(path / PROGRESS, plan.record(), done)
    # Only now does the bar learn that there is nothing more.
    next(examples, None)
    ordered = {name: done[name] for name in names}
    done.clear()
    done.update(ordered)


def _ranges(shards: Sequence[tuple[Split, int]]) -> list[tuple[Split, int, int]]:
    """The examples of shards; neighbors are one range, because to start making examples may take its time."""
    ranges: list[tuple[Split, int, int]] = []
    for split, shard in shards:
        start, stop = split.bounds(shard)
        if ranges and ranges[-1][0] is split and ranges[-1][2] == start:
            start = ranges.pop()[1]
        ranges.append((split, start, stop))
    return ranges


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
def tensorflow_disk_errors(path: Path) -> Iterator[None]:
    """Turns TensorFlow's own errors about files into those of the operating system."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, "no space left", str(path)) from error
    except tf.errors.PermissionDeniedError as error:
        raise OSError(errno.EACCES, "permission denied", str(path)) from error
    except tf.errors.OpError as error:
        if "File too large" in str(error):
            raise OSError(errno.EFBIG, "file too large", str(path)) from error
        raise OSError(errno.EIO, str(error), str(path)) from error


def _serialized(features: Mapping[str, Feature], example: Example, message: Any) -> bytes:
    """An example as TFDS stores it, with the keys in order, so that equal examples are equal bytes."""
    fields = message.features.feature
    for key, feature in features.items():
        value = example[key]
        if feature.kind in ("label", "integer"):
            fields[key].int64_list.value.append(int(value))
        elif feature.kind == "float":
            fields[key].float_list.value.append(float(value))
        elif feature.kind == "doubles":
            # An example has no numbers in double precision, but TFDS reads them from bytes.
            fields[key].bytes_list.value.append(np.asarray(value, "<f8").tobytes())
        elif feature.kind == "floats":
            fields[key].float_list.value.extend(np.asarray(value, np.float32).ravel().tolist())
        else:
            fields[key].bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def write_info(plan: Plan, path: Path, done: Files) -> None:
    """Writes what TFDS wants to know of a set: `dataset_info.json` and `features.json`.

    Args:
        plan: what was written.
        path: where the shards are.
        done: of each shard the number of `examples`, and their `example_bytes`. The sums of its `pixels` are added
            where they are missing.
    """
    import tensorflow_datasets as tfds

    for name, about in done.items():
        if "pixels" not in about:
            about["pixels"] = sums_of_shard(os.fspath(path / name), plan.features)
    splits = []
    for split in plan.splits:
        shards = [done[plan.file_name(split, shard)] for shard in range(split.num_shards())]
        lengths, size = [shard["examples"] for shard in shards], sum(shard["example_bytes"] for shard in shards)
        splits.append(tfds.core.SplitInfo(name=split.name, shard_lengths=lengths, num_bytes=size))
    tfds.folder_dataset.write_metadata(
        data_dir=path,
        features=tfds.features.FeaturesDict({key: connector(feature) for key, feature in plan.features.items()}),
        split_infos=splits,
        version=plan.version,
        check_data=False,
        description=plan.description,
        homepage=plan.homepage,
    )


def connector(feature: Feature) -> Any:
    """What TFDS calls a feature: a `tfds.features.FeatureConnector`."""
    import tensorflow_datasets as tfds

    if feature.kind == "image":
        return tfds.features.Image(shape=feature.shape, encoding_format="png")
    if feature.kind == "label":
        return tfds.features.ClassLabel(num_classes=feature.num_classes)
    if feature.kind == "float":
        return tfds.features.Tensor(shape=(), dtype=np.float32)
    if feature.kind == "integer":
        return tfds.features.Tensor(shape=(), dtype=np.int64)
    if feature.kind == "doubles":
        return tfds.features.Tensor(shape=feature.shape, dtype=np.float64, encoding="bytes")
    if feature.kind == "floats":
        return tfds.features.Tensor(shape=feature.shape, dtype=np.float32)
    return tfds.features.Text()
