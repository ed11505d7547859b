"""What the documents name is there: gin files, links, modules, modes and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from training.configuration import _option_classes

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "gin" / "README.md", *(ROOT / "zoo").rglob("README.md")]
)
NO_OPTIONS = {"load", "py", "gin", "md", "npz", "tar"}


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
        if found.group(1) not in ("pytest", "venv", "pip") and not (path.is_dir() or path.with_suffix(".py").is_file()):
            wrong.append(found.group())
    wrong += [found.group() for found in named(document, r"--mode=(\w+)") if found.group(1) not in run.MODES]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_a_document_names_exist(document: Path) -> None:
    options = {name: {field.name for field in fields(cls)} for name, cls in _option_classes().items()}
    wrong = [
        found.group()
        for found in named(document, rf"(?<![\w./])({'|'.join(options)})\.([a-z]\w*)(?!\w*\()")
        if found.group(2) not in options[found.group(1)] and found.group(2) not in NO_OPTIONS
    ]
    assert not wrong
