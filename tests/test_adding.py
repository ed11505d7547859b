"""docs/adding.md is followed word for word in a copy of the suite, and what comes out of it works."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_architecture
import tiny_runs

DOCUMENT = tiny_runs.ROOT / "docs" / "adding.md"
COPIED = ("training", "models", "metrics", "data_gen", "teapot_renderer", "common", "gin")
MADE = ("models/toy.py", "gin/toy.gin", "metrics/toy.py", "data_gen/toy.py", "tests/test_toy.py")

# One process for everything, because TensorFlow takes seconds to import.
DRIVER = """
import inspect, json, os, pathlib, runpy, sys

def command(*words):
    sys.argv = list(words)
    try:
        if words[0].endswith(".py"):
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as stopped:
        print(json.dumps({"command": words[0], "code": stopped.code}), flush=True)

# First of all, because it says how many devices TensorFlow has.
command(
    "run.py", "--gin_file=gin/toy.gin", "--run_dir=run", "--gin_param=experiment.total_steps = 2",
    "--gin_param=experiment.strategy = 'mirrored'", "--gin_param=experiment.devices = 2",
    "--gin_param=traversal.rows = 1", "--gin_param=traversal.steps = 2", "--gin_param=evaluation.preset = 'fast'",
)
command("data_gen.toy", "--limit", "100")
command("metrics", "--codes", "codes.npz", "--metrics", "toy", "--json")
sys.path.insert(0, "tests")
import test_toy
pathlib.Path("scratch").mkdir()
for name, test in vars(test_toy).items():
    if name.startswith("test_"):
        test(*[pathlib.Path("scratch")] * len(inspect.signature(test).parameters))
        print(json.dumps({"test": name}), flush=True)
"""


def steps() -> Iterator[tuple[str, str, str]]:
    """What the document says to do: a file, where in it (nothing: it is new), and the text."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for found in re.finditer(r"(?ms)^`([\w/.]+)`(?:, ([^\n]+))?:\n\n```\w*\n(.*?)^```$", text):
        yield found.group(1), found.group(2) or "", found.group(3)


def follow(tree: Path) -> None:
    """Does it."""
    for name, place, text in steps():
        path = tree / name
        if not place:
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if place == "among the imports":
            number = max(number for number, line in enumerate(lines) if line.startswith("from metrics."))
        elif place == "at its end":
            number = len(lines) - 1
        else:
            (constant,) = re.fullmatch(r"in `(\w+)`", place).groups()  # type: ignore[union-attr]
            number = next(number for number, line in enumerate(lines) if re.match(rf"{constant}\b.*\{{$", line))
        lines[number + 1 : number + 1] = ["\n\n", text] if place == "at its end" else [text]
        path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite in which the document was followed."""
    folder = tmp_path_factory.mktemp("adding")
    for name in COPIED:
        shutil.copytree(tiny_runs.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in ("run.py", "pyproject.toml", "tests/helpers.py"):
        shutil.copy(tiny_runs.ROOT / name, folder / name)
    follow(folder)
    return folder


def test_the_document_says_all_there_is_to_do() -> None:
    assert tuple(name for name, place, _ in steps() if not place) == MADE
    fenced = re.findall(r"(?m)^```\w*$", DOCUMENT.read_text(encoding="utf-8"))
    assert len(fenced) == 2 * len(list(steps())), "an example that no test uses"


def test_the_examples_keep_the_rules_of_the_house(tree: Path) -> None:
    for name in MADE:
        if name.endswith(".py"):
            text = (tree / name).read_text(encoding="utf-8")
            assert test_architecture.errors_of(name, text) == []
            documented = [public for public, has in test_architecture.documented(ast.parse(text)) if has]
            assert name.startswith("tests/") or len(documented) >= 3
    checked = [name for name in (*MADE, "models/__init__.py", "data_gen/__init__.py") if name.endswith(".py")]
    words = [sys.executable, "-m", "ruff", "check", "--no-cache", *checked]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_was_added_trains_measures_and_writes(tree: Path) -> None:
    factors = np.random.default_rng(0).integers(0, 3, (50, 2))
    np.savez(tree / "codes.npz", codes=factors[:, ::-1].astype(np.float32), factors=factors)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPOUT_")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    codes = {answer["command"]: answer["code"] for answer in answers if "command" in answer}
    assert codes == {"data_gen.toy": 0, "metrics": 0, "run.py": 0}, done.stderr
    scores = next(answer["metrics"] for answer in answers if "metrics" in answer)
    assert scores["toy"]["score"] == pytest.approx(1.0)
    assert (tree / "data" / "toy_limit100" / "1.0.0" / "dataset_info.json").is_file()
    result = json.loads((tree / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["step"] == 2
    assert set(result["scores"]) == {"toy", "mig"}
    assert 0.0 < result["scores"]["toy"] < 1.0
    assert (tree / "run" / "report.html").is_file()
    tests = [answer["test"] for answer in answers if "test" in answer]
    assert tests == ["test_the_model", "test_the_metric", "test_the_data"], done.stderr[-3000:]
