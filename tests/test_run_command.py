"""The command line of `run.py`: help at once, bad input in one line, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs

_WITHOUT_TENSORFLOW = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "gin", "numpy"):
            raise AssertionError(name + " is imported")

sys.meta_path.insert(0, Refuse())
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""


def without_tensorflow(*flags: str) -> subprocess.CompletedProcess[str]:
    """Runs `run.py` in a Python that fails at the import of TensorFlow, Keras, gin or NumPy."""
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW, *flags],
        cwd=tiny_runs.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_given_without_tensorflow(flag: str) -> None:
    result = without_tensorflow(flag)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for word in ("--gin_file", "--gin_param", "--mode", "--run_dir", "--checkpoint", "train", "benchmark"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mod=train"], ["Unknown command line flag 'mod'", "--help"]),
        (["--gin_fil=x"], ["gin_fil", "--help"]),
        (["--mode=fly"], ["mode", "fly", "traverse"]),
        (["train"], ["unexpected argument 'train'", "--help"]),
        (["--gin_file"], ["gin_file"]),
        ([], ["--gin_file=gin/NAME.gin", "--run_dir"]),
        (["--mode=evaluate"], ["--gin_file=gin/NAME.gin", "--run_dir"]),
        (["--run_dir="], ["--run_dir"]),
    ],
)
def test_bad_flags_are_refused_without_tensorflow(flags: list[str], words: list[str]) -> None:
    assert_refused(without_tensorflow(*flags), *words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gin_file=gin/ibgann.gin"], ["'gin/ibgann.gin' is not there", "gin/ibgan.gin"]),
        (["--run_dir={folder}"], ["holds no run"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, flags: list[str], words: list[str]) -> None:
    folder = tmp_path / "run"
    assert_refused(tiny_runs.run(*(flag.format(folder=folder) for flag in flags)), *words)
    assert not folder.exists()


def test_describe_prints_one_json_object_and_writes_nothing(tmp_path: Path) -> None:
    before = set(tiny_runs.ROOT.iterdir())
    result = subprocess.run(
        [sys.executable, str(tiny_runs.ROOT / "run.py"), "--gin_file=gin/ibgan.gin", "--mode=describe"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=tiny_runs.TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    described = json.loads(result.stdout)
    assert described["model"] == "IBGAN"
    networks = {name: network["trainable_parameters"] for name, network in described["networks"].items()}
    assert networks == {
        "encoder": 2_260,
        "generator": 1_179_489,
        "reconstructor": 2_283_488,
        "discriminator": 2_213_329,
    }
    assert described["trainable_parameters"] == sum(networks.values())
    assert described["configuration"]["experiment"]["model"]["beta"] == 0.141
    assert described["configuration"]["data"]["name"] == "dsprites"
    assert not list(Path(tmp_path).iterdir())
    assert set(tiny_runs.ROOT.iterdir()) == before


def test_streams_that_are_closed_are_done_without() -> None:
    for redirection in (">&-", "2>&-", ">&- 2>&- <&-"):
        for flag, code in (("--help", 0), ("--nope", 2)):
            command = f"'{sys.executable}' run.py {flag} {redirection}"
            result = subprocess.run(
                ["bash", "-c", command], cwd=tiny_runs.ROOT, capture_output=True, text=True, timeout=60
            )
            assert result.returncode == code, (redirection, result.stderr)
            assert "Traceback" not in result.stderr
            # Nothing goes to the other stream instead.
            assert code == 0 or result.stdout == ""


def test_home_is_known_behind_an_equals_sign(tmp_path: Path) -> None:
    """Shells leave `--run_dir=~/a` as it is."""
    result = subprocess.run(
        [sys.executable, "run.py", "--mode=traverse", "--run_dir=~/a"],
        cwd=tiny_runs.ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=tiny_runs.TIMEOUT,
    )
    assert_refused(result, f"{tmp_path}/a holds no run")


def test_an_interrupt_that_arrives_as_another_error_is_told_as_one() -> None:
    """What Python raises in a function that C++ calls may be told as an error of its own kind."""
    program = """
import os, signal
from common.errors import run_command

# A shell's background jobs ignore it, and so do those that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000000))
    except KeyboardInterrupt:
        raise ValueError("as a tensor") from None

run_command(main)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tiny_runs.ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")
