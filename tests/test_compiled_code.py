"""Where compiled code is kept: nowhere that another user may write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common import compiled_code
from common.compiled_code import keep_compiled_code


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, on a machine whose sources are read-only."""
    # What is set here is what is taken back at the end.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(compiled_code.os, "access", lambda path, mode: False)
    monkeypatch.setattr(compiled_code.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_of_our_own_is_taken_each_time(read_only: Path) -> None:
    for _ in range(2):
        os.environ["NUMBA_CACHE_DIR"] = ""
        keep_compiled_code(__file__)
        assert os.environ["NUMBA_CACHE_DIR"] == str(read_only / f"spout_numba_{os.getuid()}")
    assert (read_only / f"spout_numba_{os.getuid()}").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("what", ["open to all", "a link", "a file"])
def test_a_folder_that_others_may_write_to_is_not_taken(read_only: Path, what: str) -> None:
    folder = read_only / f"spout_numba_{os.getuid()}"
    if what == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif what == "a link":
        (read_only / "elsewhere").mkdir()
        folder.symlink_to(read_only / "elsewhere")
    else:
        folder.write_text("")
    keep_compiled_code(__file__)
    taken = Path(os.environ["NUMBA_CACHE_DIR"])
    assert taken != folder
    assert taken.parent == read_only
    assert taken.stat().st_mode & 0o077 == 0


def test_what_the_user_has_chosen_stays(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "chosen")
    keep_compiled_code(__file__)
    assert os.environ["NUMBA_CACHE_DIR"] == "chosen"


def test_where_the_sources_may_be_written_nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    keep_compiled_code(str(tmp_path / "source.py"))
    assert os.environ["NUMBA_CACHE_DIR"] == ""
