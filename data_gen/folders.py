"""Folders of data sets that are written over hours: whole or not there, and gone on with where they were stopped.

A set is written into a working folder beside its place. A record in it says what is written (the plan) and which files
are finished, with their SHA-256; only what the record vouches for is kept when a stopped run goes on. At the end the
folder gets its checksums and is renamed: what stands in its place is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import made_folder, sha256_of, write_text
from common.locks import locked

CHECKSUMS = "checksums.json"
PROGRESS = "progress.json"

Files = dict[str, dict[str, Any]]
"""Finished files by name, which may have folders in it: `sha256`, and what else is to be remembered of each."""


def working_folder(folder: Path) -> Path:
    """Where a set is written before it is whole."""
    return folder.with_name(f".{folder.name}.partial")


@contextlib.contextmanager
def working(folder: Path) -> Iterator[Path]:
    """Gives the working folder of a set, made if missing, to this process alone.

    Raises:
        UserError: if another process is writing the set.
    """
    path = working_folder(folder)
    try:
        with made_folder(path), locked(path, wait=False):
            yield path
    except BlockingIOError:
        raise UserError(f"another process is writing {path}; wait for it, or choose another --data_dir") from None


def read_record(path: Path) -> dict[str, Any] | None:
    """A record of this module: `plan` and `files`; `None` if there is none or it is something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("plan"), dict):
        return None
    files = record.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(about, dict) and "sha256" in about for about in files.values()
    ):
        return None
    return record


def write_record(path: Path, plan: Mapping[str, Any], files: Files, **more: Any) -> None:
    """Writes a record that `read_record` reads."""
    write_text(path, json.dumps({"plan": plan, "files": files, **more}, indent=1) + "\n")


def damaged_files(folder: Path) -> list[str]:
    """Compares a whole set with its checksums.

    Args:
        folder: where the set stands.

    Returns:
        the names of missing or changed files; the checksums themselves, if there are none.
    """
    record = read_record(folder / CHECKSUMS)
    if record is None:
        return [CHECKSUMS]
    return [name for name, about in record["files"].items() if not _is_whole(folder / name, about)]


def differences(plan: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two plans differ: their entries, and those of their contents and provenance; sorted."""
    first, second = _entries(plan), _entries(other)
    return sorted(key for key in {*first, *second} if first.get(key, _ABSENT) != second.get(key, _ABSENT))


_ABSENT = object()


def _entries(plan: Mapping[str, Any]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in plan.items():
        entries.update(value if key in ("contents", "provenance") and isinstance(value, dict) else {key: value})
    return entries


def is_present(plan: Mapping[str, Any], folder: Path, overwrite: bool) -> bool:
    """Whether a set stands in its place already, undamaged.

    Args:
        plan: the set's.
        folder: its place.
        overwrite: whether it will be written anew whatever stands there; then the answer is no.

    Raises:
        UserError: if something else stands there, or the set is not whole.
    """
    if overwrite or not folder.exists():
        return False
    record = read_record(folder / CHECKSUMS)
    if record is None:
        raise UserError(
            f"{folder} holds another data set, or one without its checksums; choose another --data_dir, or --overwrite "
            "it"
        )
    # With which versions of libraries a whole set was made does not matter.
    if differ := differences({**record["plan"], "provenance": None}, {**plan, "provenance": None}):
        raise UserError(
            f"{folder} holds another data set (it differs in {', '.join(differ)}); choose another --data_dir, or "
            "--overwrite it"
        )
    damaged = damaged_files(folder)
    if damaged:
        raise UserError(f"{folder}: {', '.join(damaged)} missing or changed since written; --overwrite it")
    clean(folder)
    return True


def finished_files(plan: Mapping[str, Any], path: Path) -> Files:
    """What an earlier run of the same plan, with the same versions, has finished in a working folder.

    Args:
        plan: what is to be written.
        path: the working folder.
    """
    record = read_record(path / PROGRESS)
    if record is None or record["plan"] != plan:
        return {}
    return {name: about for name, about in record["files"].items() if _is_whole(path / name, about)}


def keep_only(path: Path, names: set[str]) -> None:
    """Removes all files of a folder but these, and the folders that are empty then."""
    for folder, folders, files in os.walk(path, topdown=False):
        here = Path(folder)
        for file in files:
            if (here / file).relative_to(path).as_posix() not in names:
                (here / file).unlink()
        for name in folders:
            with contextlib.suppress(OSError):
                (here / name).rmdir()


def put_in_place(path: Path, folder: Path) -> None:
    """Lets a working folder take a set's place; what stood there is removed after."""
    old = _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(path, folder)
    clean(folder)


def clean(folder: Path) -> None:
    """Removes what the writing leaves around a whole set."""
    (folder / PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _is_whole(path: Path, about: Mapping[str, Any]) -> bool:
    return path.is_file() and sha256_of(path) == about["sha256"]
