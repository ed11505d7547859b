"""`python -m metrics`: what it prints, and that every bad file ends in one line and exit code 2."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from metrics.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


def arrays() -> dict[str, np.ndarray]:
    """A representation that is perfect in three codes and has a fourth that is dead."""
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(size=(30, 20, 3)), np.ones((30, 20, 1))], axis=2)
    labels = np.arange(30) % 3
    groups[np.arange(30), :, labels] = 0.5
    codes = np.concatenate([rng.normal(size=(500, 3)), np.ones((500, 1))], axis=1)
    return {"group_codes": groups, "group_labels": labels, "codes": codes}


def save(path: Path, **values: object) -> Path:
    np.savez(path, **values)  # type: ignore[arg-type]
    return path


@pytest.fixture
def codes_file(tmp_path: Path) -> Path:
    return save(tmp_path / "codes.npz", **arrays())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metrics", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_json_is_one_object_on_standard_output(codes_file: Path) -> None:
    result = run("--codes", str(codes_file), "--json", "--seed", "3")
    assert result.returncode == 0
    assert result.stderr == ""
    record = json.loads(result.stdout)
    assert set(record["metrics"]) == {"factor_vae", "factor_vae_revised", "ibgan_factor_vae"}
    assert record["metrics"]["factor_vae"]["score"] == 1.0
    assert record["metrics"]["factor_vae"]["active_codes"] == [0, 1, 2]
    assert record["preset"] == "paper"
    assert record["seed"] == 3


def test_the_table_names_what_was_degenerate(codes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--codes", str(codes_file), "--metrics", "factor_vae, factor_vae_revised"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["metric", "score"]
    assert lines[1].split() == ["factor_vae", "1.0000"]
    assert "1 of 4 codes never change" in lines[2]
    assert "ibgan" not in "".join(lines)


def test_help_and_list_teach(capsys: pytest.CaptureFixture[str]) -> None:
    result = run("--help")
    assert result.returncode == 0
    for word in ("group_codes", "group_labels", "(M, L, D)", "factor_vae_revised", "numpy.savez", "--preset"):
        assert word in result.stdout
    assert main(["--list"]) == 0
    assert "InfoGAN-CR (Lin et al., ICML 2020)" in capsys.readouterr().out
    assert main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["factor_vae"]["needs"] == ["group_codes", "group_labels"]


def test_the_command_starts_without_heavy_packages() -> None:
    code = (
        "import sys, metrics.__main__; heavy = {'tensorflow', 'keras', 'scipy', 'sklearn', 'matplotlib', 'gin'}; "
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


def test_unknown_arrays_are_named_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", **arrays(), factor=np.zeros(3), extra=np.zeros(3))
    assert main(["--codes", str(path), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["metrics"]["factor_vae"]["score"] == 1.0
    assert "no metric reads: factor, extra" in captured.err
    assert "'factors'" in captured.err


def changed(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (arrays() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed(group_labels=None), "suffices for no metric"),
        (changed(group_labels=None, group_codes=None, codes=None, x=np.zeros(3)), "none of the arrays"),
        (changed(group_codes=np.zeros((4, 5))), "group_codes must have 3 axes; its shape is (4, 5)"),
        (changed(group_codes=np.full((30, 20, 4), np.nan)), "NaN or infinite"),
        (changed(group_codes=np.full((30, 20, 4), "a")), "group_codes must hold real numbers"),
        (changed(group_labels=np.zeros(29)), "(30,), one label per group; its shape is (29,)"),
        (changed(group_labels=np.full(30, 0.5)), "whole numbers"),
        (changed(codes=np.zeros((500, 3))), "same number of codes"),
        (changed(codes=np.zeros(500)), "codes must have 2 axes"),
        (changed(codes=np.array([{}, []], dtype=object)), "Python objects, which are never unpickled"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, values: dict[str, object], words: str) -> None:
    path = save(tmp_path / "wrong.npz", **values)
    with pytest.raises(UserError) as error:
        main(["--codes", str(path)])
    assert words in str(error.value)


def test_a_missing_array_is_named_with_its_near_match(tmp_path: Path) -> None:
    values = arrays()
    values["codes_groups"] = values.pop("group_codes")
    with pytest.raises(UserError, match="factor_vae needs group_codes; there is codes, group_labels"):
        main(["--codes", str(save(tmp_path / "a.npz", **values)), "--metrics", "factor_vae"])


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("codes,labels\n1,2\n")


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"codes": [1, 2]}))


def write_single_array(path: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, np.zeros((3, 4)))


def write_truncated(path: Path) -> None:
    save(path, **arrays())
    path.write_bytes(path.read_bytes()[:-2000])


def write_damaged(path: Path) -> None:
    save(path, **arrays())
    data = bytearray(path.read_bytes())
    data[600:700] = bytes(100)
    path.write_bytes(bytes(data))


def write_other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("codes.npy", b"not an array")


def write_huge_claim(path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 10, 10), }"
    header += b" " * (118 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("group_codes.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    "write",
    [
        write_nothing,
        write_text,
        write_pickle,
        write_single_array,
        write_truncated,
        write_damaged,
        write_other_zip,
        write_huge_claim,
        Path.mkdir,
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "bad.npz"
    write(path)
    with pytest.raises(UserError, match=r"bad\.npz"):
        main(["--codes", str(path)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--codes", "no/such/file.npz"], "no such file"),
        ([], "--codes is missing"),
        (["--codes", "x.npz", "--metrics", "factor_va"], "did you mean 'factor_vae"),
        (["--codes", "x.npz", "--preset", "slow"], "invalid choice: 'slow'"),
        (["--codes", "x.npz", "--seed", "-1"], "--seed is -1"),
        (["--codes", "x.npz", "--seed", "a"], "invalid int value"),
        (["--code", "x.npz"], "did you mean '--codes'"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        main(arguments)
    assert words in str(error.value)


def test_errors_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    write_truncated(path)
    result = run("--codes", str(path), "--json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
