"""What there is of the data sets in the folders of data, and whether it is whole."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError, near_matches
from data_gen import names
from data_gen.folders import CHECKSUMS, PROGRESS, damaged_files, read_record
from data_gen.pixel_statistics import Sums, added, means_and_deviations, records_of, sums_of_shard
from data_gen.published import walked
from data_gen.tfrecord import Feature

_PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared set in the folder of data.

    Args:
        path: where it stands, `<data_dir>/<name>/<version>`.
        size: bytes of all its files.
        splits: the number of examples of each split; empty if that is not recorded.
        finished: whether it is whole, and not a working folder.
    """

    path: Path
    size: int
    splits: Mapping[str, int]
    finished: bool

    @property
    def name(self) -> str:
        """What the set is called."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Its version, or the layout of its files."""
        return self.path.name.removeprefix(".").removesuffix(_PARTIAL)

    @property
    def belongs_to(self) -> str | None:
        """The name in `data_gen.names()` that it was made by, see `made_by`."""
        return made_by(self.name)


def made_by(called: str) -> str | None:
    """Which of `data_gen.names()` has made what is called so: the longest that its name begins with; `None` if none."""
    known = [name for name in names() if called == name or called.startswith(f"{name}_")]
    return max(known, key=len, default=None)


def prepared_sets(data_dir: Path) -> list[Prepared]:
    """All sets in a folder of data, sorted by path; also those that are being written."""
    found = []
    for path in sorted(data_dir.glob("*/*")) if data_dir.is_dir() else ():
        is_partial = path.name.startswith(".") and path.name.endswith(_PARTIAL)
        if not path.is_dir() or (path.name.startswith(".") and not is_partial):
            continue
        record = read_record(path / (PROGRESS if is_partial else CHECKSUMS))
        if record is not None or (path / "dataset_info.json").is_file():
            found.append(Prepared(path, _size_of(path), _splits(record), not is_partial))
    return found


def cached_files(data_dir: Path) -> list[Path]:
    """Files of unpacked images that `load` keeps, see `data_gen.packed`."""
    return sorted(data_dir.glob("*/*.npy")) if data_dir.is_dir() else []


def _splits(record: dict[str, Any] | None) -> dict[str, int]:
    if record is None:
        return {}
    plan = record["plan"]
    if isinstance(plan.get("splits"), dict):
        counts = {name: about.get("num_examples") for name, about in plan["splits"].items() if isinstance(about, dict)}
        return {name: count for name, count in counts.items() if isinstance(count, int)}
    return {"train": plan["num_examples"]} if isinstance(plan.get("num_examples"), int) else {}


def _size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def raw_files(raw_dir: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files and folders that fit one of some patterns, up to four levels deep; not what is in such folders."""
    found: list[Path] = []
    for here, folders, files in walked(raw_dir):
        fitting = [name for name in (*files, *folders) if any(_fits(here / name, pattern) for pattern in patterns)]
        found += [here / name for name in fitting]
        folders[:] = [name for name in folders if name not in fitting]
    return sorted(found)


def _fits(path: Path, pattern: str) -> bool:
    return PurePosixPath(path.as_posix().lower()).match(pattern.lower())


def chosen_sets(name: str, data_dir: Path) -> list[Prepared]:
    """The whole sets of this name in a folder of data; or all that the data set of this name has made.

    Raises:
        UserError: if there are none.
    """
    whole = [found for found in prepared_sets(data_dir) if found.finished]
    chosen = [found for found in whole if found.name == name] or [found for found in whole if found.belongs_to == name]
    if chosen:
        return chosen
    held = sorted({found.name for found in whole})
    if name in names():
        hint = f"; prepare it with python -m data_gen.{name}"
    else:
        hint = near_matches(name, held) if held else ""
    raise UserError(f"no prepared set {name!r} in {data_dir} (there are: {', '.join(held) or 'none'}){hint}")


@dataclasses.dataclass(frozen=True)
class Health:
    """What the examination of a prepared set has found.

    Args:
        errors: what is wrong, each naming its file; empty if all is well.
        remarks: what could not be compared.
        statistics: means and deviations of the pixels, by split and image field.
    """

    errors: list[str]
    remarks: list[str]
    statistics: dict[str, tuple[list[float], list[float]]]


def examine(found: Prepared) -> Health:
    """Compares a prepared set with what was recorded when it was written: checksums, counts, pixels."""
    record = read_record(found.path / CHECKSUMS)
    if record is None or not record["files"]:
        return Health([f"{CHECKSUMS} is missing or unreadable"], [], {})
    damaged = damaged_files(found.path)
    errors = [f"{name} is {'changed' if (found.path / name).is_file() else 'missing'}" for name in damaged]
    remarks = [f"{name} is not part of the set" for name in _strangers(found.path, record["files"])]
    try:
        features = _features(record["plan"])
    except (TypeError, ValueError) as error:
        return Health([*errors, f"{CHECKSUMS} does not tell the fields of an example ({error})"], remarks, {})
    if wrong := [name for name, about in record["files"].items() if not isinstance(about.get("examples", 0), int)]:
        return Health([*errors, f"{CHECKSUMS} does not tell how many examples are in {wrong[0]}"], remarks, {})
    if features is None:
        return Health(errors, [*remarks, "no TFRecord files: only the checksums were compared"], {})
    sums: dict[str, list[Sums]] = {}
    for name, about in record["files"].items():
        if "examples" not in about or name in damaged:
            continue
        pixels, trouble = _examined(found.path / name, about, features)
        errors += [f"{name}: {text}" for text in trouble]
        if "pixels" not in about:
            remarks.append(f"{name}: no statistics of its pixels were recorded")
        sums.setdefault(_split_of(name), []).append(pixels)
    errors += _wrong_counts(found.path, record)
    statistics = {
        f"{split} {key}": means_and_deviations(total)
        for split, parts in sums.items()
        for key, total in added(parts).items()
    }
    return Health(errors, remarks, statistics)


def _examined(path: Path, about: Mapping[str, Any], features: Mapping[str, Feature]) -> tuple[Sums, list[str]]:
    """The sums of a shard's pixels, and what is wrong with it."""
    import tensorflow as tf

    try:
        count = sum(1 for _ in records_of(os.fspath(path)))
        pixels = sums_of_shard(os.fspath(path), features)
    except (tf.errors.OpError, ValueError, IndexError) as error:
        return {}, [f"cannot be read ({' '.join(str(error).split())[:200]})"]
    trouble = []
    if count != about["examples"]:
        trouble.append(f"holds {count:,} examples, recorded were {about['examples']:,}")
    if "pixels" in about and pixels != about["pixels"]:
        trouble.append("its pixels have other sums than recorded")
    return pixels, trouble


def _features(plan: Mapping[str, Any]) -> dict[str, Feature] | None:
    """The fields of an example as they were recorded; `None` if the set has no examples."""
    features = plan.get("features")
    if not isinstance(features, dict):
        return None
    return {
        key: Feature(kind, tuple(shape) if shape is not None else None, num_classes)
        for key, (kind, shape, num_classes) in features.items()
    }


def _split_of(name: str) -> str:
    """The split in a file's name, `<set>-<split>.tfrecord-...`."""
    return name.partition(".tfrecord-")[0].rpartition("-")[2]


def _strangers(path: Path, files: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not recorded."""
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name not in files and name != CHECKSUMS:
            yield name


def _wrong_counts(path: Path, record: Mapping[str, Any]) -> list[str]:
    """How the counts in `dataset_info.json` differ from those recorded."""
    try:
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        told = {split["name"]: sum(int(length) for length in split["shardLengths"]) for split in info["splits"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return [f"dataset_info.json cannot be read ({error})"]
    counted: dict[str, int] = {}
    for name, about in record["files"].items():
        if "examples" in about:
            split = _split_of(name)
            counted[split] = counted.get(split, 0) + about["examples"]
    if told == counted == _splits(dict(record)):
        return []
    return [f"dataset_info.json tells of {told}, the plan of {_splits(dict(record))}, the shards of {counted}"]
