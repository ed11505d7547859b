"""README's section on the library is run as it stands, in order, in a folder of its own."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs

README = tiny_runs.ROOT / "README.md"
EXPORTED = "runs/factor_vae_dsprites"


def blocks() -> Iterator[tuple[str, str]]:
    """The fenced blocks of the section: `python`, with empty lines before it so that line numbers are README's; or
    the command lines of one without a language."""
    text = README.read_text(encoding="utf-8")
    start = text.index("**Use it as a library**")
    end = text.index("\n## ", start)
    for found in re.finditer(r"(?ms)^```(\w*)\n(.*?)^```", text):
        if start < found.start() < end:
            yield found.group(1), "\n" * text[: found.start(2)].count("\n") + found.group(2)
        else:
            assert found.group(1) != "python", "an example that no test runs"


def run_module(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line `python -m module ...`, in this process."""
    words = shlex.split(line)
    assert words[:2] == ["python", "-m"]
    monkeypatch.setattr(sys, "argv", words[2:])
    importlib.import_module(words[2]).main()


def run_export(line: str) -> None:
    """The line that exports a run: here of one whose networks are as they were initialized."""
    from training import modes
    from training.configuration import load
    from training.experiment import build
    from training.run_folder import RunFolder

    words = shlex.split(line)
    assert words[:4] == ["python", "run.py", f"--run_dir={EXPORTED}", "--mode=export"]
    bindings = [word.removeprefix("--gin_param=") for word in words[4:]]
    experiment = build(load(["gin/factor_vae_dsprites.gin"], [*tiny_runs.PLAIN, *bindings])[0])
    assert experiment.configuration.experiment.name == Path(EXPORTED).name
    modes.export(experiment, RunFolder(EXPORTED))


def test_the_examples_of_the_library_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tiny_runs.ROOT))
    for name in ("SPOUT_DATA_DIR", "SPOUT_RAW_DIR"):
        monkeypatch.delenv(name, raising=False)
    names: dict[str, Any] = {}
    for language, text in blocks():
        if language == "python":
            exec(compile(text, README, "exec"), names)
            continue
        for line in text.split("\n"):
            if "--mode=export" in line:
                run_export(line)
            elif line:
                run_module(line, monkeypatch)
    capsys.readouterr()

    # What the text beside the examples says of them.
    assert int(names["model"].step.numpy()) == 10
    assert names["codes"].shape == (1080, 6)
    assert np.isfinite([names["mig"], names["factor_vae"], *names["gaps"]]).all()
    image = names["image"]
    assert (image.shape, image.dtype) == ((128, 128, 3), np.uint8)
    assert (image[0, 0] == 255).all()
    assert 0.05 < (image < 255).any(axis=2).mean() < 0.8, "a teapot, and ground around it"
    assert names["images"].shape == (50, 64, 64, 1)
    assert set(np.unique(names["images"])) == {0.0, 1.0}
    np.testing.assert_allclose(names["by_onnx"], names["by_tensorflow"], atol=1e-5)
    assert np.ptp(names["by_onnx"], axis=0).max() > 1e-3
