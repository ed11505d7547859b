"""Files and folders that are whole or not there, and what killed writers leave."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
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
    half = tmp_path / ".a.0.partial" / "new"
    (half / "deep").mkdir(parents=True)
    (half / "deep" / "file").touch()
    (half / "file").touch()
    # Killed between the two renames, or before the old folder was removed.
    (half.parent / "old_0").mkdir()
    (half.parent / "old_0" / "older").touch()
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
    with contextlib.ExitStack() as stack:

        def begin_the_next(folder: Path) -> None:
            monkeypatch.undo()
            names.append(stack.enter_context(atomic(tmp_path / "result")))

        with atomic(tmp_path / "result") as temporary:
            names.append(temporary)
            monkeypatch.setattr("common.files._sync_folder", begin_the_next)
        assert names[0] == names[1]
        assert names[1].exists()


def test_processes_that_replace_the_same_folder_do_not_meet(tmp_path: Path) -> None:
    """Each puts its own in the place of what is there, again and again; the last one's stays, whole."""
    children = []
    for name in ("a", "b", "c"):
        child = os.fork()
        if not child:
            try:
                for turn in range(40):
                    with atomic_folder(tmp_path / "result") as temporary:
                        for file in range(3):
                            (temporary / f"{name}_{turn}_{file}").touch()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert names_in(tmp_path) == {"result"}
    assert len({name.rpartition("_")[0] for name in names_in(tmp_path / "result")}) == 1
    assert len(names_in(tmp_path / "result")) == 3


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong at the last moment, what was there is put back."""
    target, rename = tmp_path / "a", os.rename
    target.mkdir()
    (target / "old").touch()

    def refuse(source: Path, to: Path) -> None:
        if source.name == "new":
            raise PermissionError(errno.EACCES, "Permission denied", str(to))
        rename(source, to)

    monkeypatch.setattr("common.files.os.rename", refuse)
    with pytest.raises(PermissionError), atomic_folder(target) as temporary:
        (temporary / "new").touch()
    assert names_in(tmp_path) == {"a"}
    assert names_in(target) == {"old"}


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_folder_without_a_name_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(UserError, match="name another"), atomic_folder(path):
        pass
    assert names_in(tmp_path) == {"inner"}
    assert names_in(tmp_path / "inner") == set()


def test_folders_above_a_name_that_is_too_long_do_not_stay(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        write_text(tmp_path / "new" / ("x" * 300) / "a", "text")
    assert names_in(tmp_path) == set()


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space") as caught, atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "no space")
    assert caught.value.filename == str(tmp_path / "a")
