"""What the documents name is there: gin files, links, modules, modes, flags, options. No metric or set is missing."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from unittest import mock

import pytest

import data_gen
from metrics import registry
from training.configuration import _option_classes

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "gin" / "README.md", *(ROOT / "zoo").rglob("README.md")]
)
NO_OPTIONS = {"load", "py", "gin", "md", "npz", "tar"}
OF_OTHERS = ("pytest", "venv", "pip")
"""Modules of the commands that are not ours."""
FLAGS_OF_OTHERS = {"no-cuda", "gpu"}


def named(document: Path, pattern: str) -> Iterator[re.Match[str]]:
    return re.finditer(pattern, document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    titles = [found.group(1) for found in named(document, r"(?m)^#+ (.+)$")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document: Path) -> None:
    import run

    wrong = []
    # Files that the reader is told to make: their name, a colon, and what is in them.
    made = {found.group(1) for found in named(document, r"(?m)^`([\w/.]+)`:$")}
    for found in named(document, r"gin/[\w*/]+\.gin"):
        if not list(ROOT.glob(found.group())) and "NAME" not in found.group() and found.group() not in made:
            wrong.append(found.group())
    for found in named(document, r"(?:\]\(|src=\")([^)\s\"]+)(?:\)|\")"):
        target, _, anchor = found.group(1).partition("#")
        if "://" in target:
            continue
        path = (document.parent / target) if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(found.group(1))
    for found in named(document, r"python -m ([a-z]\w*(?:\.\w+)*)"):
        path = ROOT.joinpath(*found.group(1).split("."))
        if f"{path.relative_to(ROOT)}.py" in made:
            continue
        if found.group(1) not in OF_OTHERS and not (path.is_dir() or path.with_suffix(".py").is_file()):
            wrong.append(found.group())
    wrong += [found.group() for found in named(document, r"--mode=(\w+)") if found.group(1) not in run.MODES]
    assert not wrong


@functools.cache
def flags_of(module: str) -> set[str]:
    """The flags that the help of a command names; its module, or `run`."""
    if module == "run":
        import run

        return set(run.FLAGS)
    path = ROOT.joinpath(*module.split("."))
    found = importlib.import_module(f"{module}.__main__" if path.is_dir() else module)
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [module, "--help"]),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        found.main()
    return set(re.findall(r"(?<![\w-])--(\w+)", said.getvalue()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_that_a_document_gives_to_a_command_exist(document: Path) -> None:
    wrong = []
    made = {found.group(1) for found in named(document, r"(?m)^`([\w/.]+)\.py`:$")}
    # A command ends with its line, unless that ends with a backslash, or with the mark of code in a text.
    for found in named(document, r"python (?:run\.py|-m (\w[\w.]*\w))((?:\\\n|[^\n`])*)"):
        module = found.group(1) or "run"
        if module in OF_OTHERS or module.replace(".", "/") in made:
            continue
        given = re.findall(r"(?<![\w-])--(\w+)", re.sub(r"\s#.*", "", found.group(2)))
        wrong += [f"{module} --{flag}" for flag in given if flag not in flags_of(module)]
    assert not wrong


def test_flags_that_the_documents_explain_exist() -> None:
    modules = {"run"}
    explained: dict[str, Path] = {}
    for document in DOCUMENTS:
        modules |= {found.group(1) for found in named(document, r"python -m ((?:data_gen|metrics)(?:\.\w+)*)")}
        explained |= {found.group(1): document for found in named(document, r"`--([a-z][\w-]*)")}
    known = set().union(*(flags_of(module) for module in modules - {"data_gen.toy"}))
    assert len(explained) > 30
    assert not {flag: str(page) for flag, page in explained.items() if flag not in known | FLAGS_OF_OTHERS}


def test_every_metric_and_data_set_has_its_line() -> None:
    metrics, data = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("metrics.md", "data.md"))
    rows = "\n".join(line for line in metrics.splitlines() if line.startswith("| "))
    assert not [name for name in registry.names() if f"`{name}`" not in rows]
    assert not [name for name in data_gen.MODULES if f"\n| `{name}` |" not in data]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_a_document_names_exist(document: Path) -> None:
    options = {name: {field.name for field in fields(cls)} for name, cls in _option_classes().items()}
    wrong = [
        found.group()
        for found in named(document, rf"(?<![\w./])({'|'.join(options)})\.([a-z]\w*)(?!\w*\()")
        if found.group(2) not in options[found.group(1)] and found.group(2) not in NO_OPTIONS
    ]
    assert not wrong
