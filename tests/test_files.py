"""Files and folders that are whole or not there, and what killed writers leave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from common.files import atomic_file, atomic_folder, write_text


def names_in(folder: Path) -> set[str]:
    """What a folder holds, hidden names too."""
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_writer_has_left_is_taken_over(tmp_path: Path) -> None:
    """A process that is killed leaves its temporary file; who writes next leaves none."""
    for _ in range(2):
        child = os.fork()
        if not child:
            with atomic_file(tmp_path / "a.txt") as temporary:
                temporary.write_text("half of a long text")
                os._exit(0)
        os.waitpid(child, 0)
        assert names_in(tmp_path) == {".a.txt.0.partial"}
    write_text(tmp_path / "a.txt", "whole")
    assert names_in(tmp_path) == {"a.txt"}
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_what_was_left_is_no_part_of_what_is_written(tmp_path: Path) -> None:
    (tmp_path / ".a.0.partial").write_text("left by a killed process")
    with atomic_file(tmp_path / "a") as temporary, open(temporary, "r+b") as handle:
        handle.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_writers_of_the_same_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as first, atomic_file(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    # The outer one was renamed last.
    assert (tmp_path / "a").read_text() == "first"
    assert names_in(tmp_path) == {"a"}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_a_killed_process_has_half_filled(there: bool, tmp_path: Path) -> None:
    target = tmp_path / "a"
    if there:
        target.mkdir()
        (target / "old").touch()
    half = tmp_path / ".a.0.partial"
    (half / "deep").mkdir(parents=True)
    (half / "deep" / "file").touch()
    (half / "file").touch()
    # Killed between the two renames, or before the old folder was removed.
    (tmp_path / ".a.old.partial").mkdir()
    (tmp_path / ".a.old.partial" / "older").touch()
    with atomic_folder(target) as temporary:
        assert names_in(temporary) == set()
        (temporary / "new").touch()
    assert names_in(tmp_path) == {"a"}
    assert names_in(target) == {"new"}


def test_errors_leave_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(TypeError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text(b"neither")  # type: ignore[arg-type]
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "b") as temporary:
        temporary.mkdir()
    assert names_in(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    name = "a" * 250
    with pytest.raises(OSError, match="name too long") as raised, atomic_file(tmp_path / name):
        pass
    assert raised.value.filename == str(tmp_path / name)


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_what_the_next_writer_has_begun_is_left_alone(
    atomic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next writer takes the temporary name as soon as it is free: right after the renaming."""
    names: list[Path] = []

    def begin_the_next(folder: Path) -> None:
        names[0].mkdir() if atomic is atomic_folder else names[0].touch()

    with atomic(tmp_path / "result") as temporary:
        names.append(temporary)
        monkeypatch.setattr("common.files._sync_folder", begin_the_next)
    assert names[0].exists()
