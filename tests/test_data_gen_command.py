"""The commands `python -m data_gen` and `python -m data_gen.<name>`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import data_gen
from common.errors import UserError
from data_gen import color_dsprites, command, dsprites

ROOT = Path(__file__).resolve().parents[1]


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_list_names_every_set() -> None:
    listed = run_module("data_gen")
    assert listed.returncode == 0
    assert all(f"\n{name}\n" in f"\n{listed.stdout}" for name in data_gen.names())
    assert "737,280" in listed.stdout


@pytest.mark.parametrize("arguments", [["data_gen"], *([f"data_gen.{name}", "--help"] for name in data_gen.names())])
def test_help_is_quick(arguments: list[str]) -> None:
    """Neither TensorFlow nor TFDS is imported for it."""
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: code = end.code\n"
        "assert not code, code\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_teaches() -> None:
    text = run_module("data_gen.dsprites", "--help").stdout
    for word in ("--raw_dir", "--limit", "--download", dsprites.OFFICIAL_URL, "reconstructed", "subgrid", "examples:"):
        assert word in text
    assert max(map(len, text.splitlines())) < 130


def test_bad_input_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = run_module("data_gen.dsprites", "--source", "oficial", "--data_dir", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: unknown source 'oficial' of dsprites; did you mean 'official'?\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limt", "3"], "unrecognized arguments: --limt 3; did you mean '--limit'"),
        (["--limit", "many"], "--limit: 'many' is no whole number"),
        (["--limit", "-3"], "limit is -3"),
        (["--limit"], "expected one argument"),
        (["--limit", "5", "--shards", "6"], "6 shards for 5 images; give a number from 1 to 5"),
        (["--raw_dir", "/no/such/folder"], "/no/such/folder: no such file"),
        (["--source", "official", "--raw_dir", "."], "download .*npz from https"),
    ],
)
def test_bad_flags_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        command.prepare("dsprites", arguments=["--source", "reconstructed", *arguments])
    assert not list(tmp_path.iterdir())


def test_a_small_version_is_written_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--source", "synthetic", "--limit", "12", "--shards", "2", "--data_dir", str(tmp_path)]
    for _ in range(2):
        command.prepare("dsprites", version="2.1.0", arguments=arguments)
        told = capsys.readouterr().out
        assert "dsprites_synthetic_limit12: 12 images, source synthetic" in told
        assert f"tfds.builder_from_directory('{tmp_path}/dsprites_synthetic_limit12/2.1.0')" in told
    folder = tmp_path / "dsprites_synthetic_limit12" / "2.1.0"
    assert len(list(folder.glob("*tfrecord*"))) == 2
    with pytest.raises(UserError, match="holds another data set"):
        command.prepare("dsprites", version="2.1.0", arguments=[*arguments, "--shards", "3"])
    command.prepare("dsprites", version="2.1.0", arguments=[*arguments, "--shards", "3", "--overwrite"])
    assert len(list(folder.glob("*tfrecord*"))) == 3


def test_download_fetches_into_the_raw_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def no_network(url: str, path: Path) -> None:
        asked.append((url, path))
        path.write_bytes(b"<html>")

    monkeypatch.setattr(dsprites, "download", no_network)
    arguments = ["--download", "--raw_dir", str(tmp_path), "--data_dir", str(tmp_path / "data")]
    with pytest.raises(UserError, match=r"npz: damaged or truncated \(6 bytes"):
        command.prepare("dsprites", fetch=dsprites._download, arguments=arguments)
    assert asked == [(dsprites.OFFICIAL_URL, tmp_path / dsprites.OFFICIAL_NAME)]


def test_color_dsprites_is_not_written_whole() -> None:
    with pytest.raises(UserError, match="has 377,487,360 images, too many for files; give a --limit"):
        color_dsprites._too_many(type("Large", (), {"name": "color_dsprites", "num_examples": 377_487_360})())
