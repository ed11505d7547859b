"""The rules of the house: who imports whom, and what no file may contain. Each rule is also shown to bite."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MIN_DOCUMENTED = 0.9

ROOMS = ("run", "training", "models", "metrics", "data_gen", "teapot_renderer", "common", "benchmarks", "tests")
# What each room may import of the others. The programs at the end join everything and are imported by nothing.
ALLOWED = {
    "run": {"training", "common"},
    "training": {"models", "metrics", "data_gen", "common"},
    "models": set(),
    "metrics": {"common"},
    "data_gen": {"teapot_renderer", "common"},
    "teapot_renderer": {"common"},
    "common": set(),
    "benchmarks": {"training", "models", "metrics", "data_gen", "teapot_renderer", "common"},
    "tests": set(ROOMS),
}
IMPORTERS = ("import_module", "__import__")
GIN_ROOMS = {"run", "training", "tests"}
# Packages that take seconds to import: some rooms load them only when they are used, one never.
HEAVY = {"tensorflow", "keras", "tensorflow_datasets"}
LAZY_ROOMS = {"data_gen", "metrics", "common", "run"}
FREE_OF_HEAVY_ROOMS = {"teapot_renderer"}
# Commands of the metrics that score named data sets, which they load when they run.
LAZY_COMMANDS = {"metrics/__main__.py", "metrics/shape_classifier.py"}
PRINTING_FILES = {"run.py", "common/errors.py", "common/output.py"}
MACHINE_PATH = re.compile(r"(?<![\w.:/~$})-])/(?:work|tmp|root|home|Users|mnt)/")
TEXT_SUFFIXES = {".py", ".md", ".gin", ".txt", ".toml", ".cff", ".yml", ".yaml", ".json", ".html", ".css", ".cfg", ""}


def project_files() -> list[str]:
    """The files under version control, and those that are not ignored and so soon may be; as relative paths."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0 and listing.stdout:
        names = listing.stdout.decode().strip("\0").split("\0")
        return sorted(name for name in names if (ROOT / name).is_file())
    kept = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in kept if not any(_is_left_out(part) for part in path.parts))


def _is_left_out(part: str) -> bool:
    hidden = part.startswith(".") and part not in {".ci", ".gitignore"}
    return hidden or part in {"data", "runs", "__pycache__"}


FILES = project_files()
SOURCES = [name for name in FILES if name.endswith(".py")]
TEXTS = [name for name in FILES if PurePosixPath(name).suffix in TEXT_SUFFIXES]


@dataclass(frozen=True)
class Import:
    """One imported module, by its full dotted name."""

    module: str
    line: int
    when_loaded: bool  # False: inside a function, or for type checkers only


def room_of(name: str) -> str:
    """The top folder of a file, or the name of a program that stands at the top."""
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else PurePosixPath(name).stem


def imports_of(name: str, tree: ast.AST) -> Iterator[Import]:
    """All imports of a file: at the top, inside functions, relative ones, and by name through importlib."""
    package = PurePosixPath(name).parent.parts

    def walk(node: ast.AST, when_loaded: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, when_loaded)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from . import name` at the top of the tree names the module itself.
            for target in [module] if module else [alias.name for alias in node.names]:
                yield Import(target, node.lineno, when_loaded)
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(IMPORTERS):
            target_node = node.args[0]
            if isinstance(target_node, ast.Constant) and isinstance(target_node.value, str):
                yield Import(target_node.value, node.lineno, when_loaded)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, when_loaded and not is_function and not for_types)

    yield from walk(tree, True)


def import_errors(name: str, tree: ast.AST) -> Iterator[str]:
    """What a file imports against the rules of its room."""
    room = room_of(name)
    if room not in ALLOWED:
        yield f"{name}: {room!r} is no room of this house; {', '.join(ROOMS)} are"
        return
    for item in imports_of(name, tree):
        top = item.module.split(".")[0]
        where = f"{name}:{item.line}"
        if top == "gin" and room not in GIN_ROOMS:
            yield f"{where}: gin is for training/ and run.py only"
        elif top in HEAVY and room in FREE_OF_HEAVY_ROOMS:
            yield f"{where}: {room} does without {top}"
        elif top in HEAVY and room in LAZY_ROOMS and item.when_loaded:
            yield f"{where}: {room} imports {top} only inside functions"
        elif top in ROOMS and top != room and top not in ALLOWED[room]:
            lazy_command = name in LAZY_COMMANDS and top == "data_gen" and not item.when_loaded
            if not lazy_command:
                yield f"{where}: {room} may not import {item.module}"


def may_print(name: str) -> bool:
    """Whether a file speaks to people directly."""
    return name in PRINTING_FILES or room_of(name) in {"tests", "benchmarks"} or name.endswith("/__main__.py")


def statement_errors(name: str, tree: ast.AST) -> Iterator[str]:
    """Asserts, bare excepts, stray prints and overlong functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and room_of(name) != "tests":
            yield f"{name}:{node.lineno}: assert vanishes under -O; raise an error"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{name}:{node.lineno}: a bare except also catches Ctrl-C; name the errors"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            if not may_print(name):
                yield f"{name}:{node.lineno}: print; use common.output"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {lines} lines; at most {MAX_FUNCTION_LINES}"


def line_errors(name: str, text: str) -> Iterator[str]:
    """Overlong files and paths of somebody's machine."""
    lines = text.splitlines()
    if name.endswith(".py") and len(lines) > MAX_FILE_LINES:
        yield f"{name}: {len(lines)} lines; at most {MAX_FILE_LINES}"
    for number, line in enumerate(lines, 1):
        if MACHINE_PATH.search(line):
            yield f"{name}:{number}: a path of one machine: {line.strip()[:80]}"


def layout_errors(names: list[str]) -> Iterator[str]:
    """Files that must not be where they are."""
    for name in names:
        if name.startswith("gin/") and name.endswith(".py"):
            yield f"{name}: Python here would shadow the package gin"


def documented(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The public names of a module (itself, classes, functions, methods) and whether each has a docstring."""
    yield "module", ast.get_docstring(tree) is not None

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, bool]]:
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name[0] == "_":
                continue
            yield prefix + node.name, ast.get_docstring(node) is not None
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    yield from walk(tree.body, "")


def undocumented(sources: dict[str, str]) -> tuple[float, list[str]]:
    """The share of public names with a docstring, and the names without."""
    found = [
        (f"{name}: {public}", has)
        for name, text in sources.items()
        if room_of(name) != "tests"
        for public, has in documented(ast.parse(text))
    ]
    return sum(has for _, has in found) / max(1, len(found)), [name for name, has in found if not has]


def errors_of(name: str, text: str) -> list[str]:
    """All that is wrong with one Python file."""
    tree = ast.parse(text)
    return [*import_errors(name, tree), *statement_errors(name, tree), *line_errors(name, text)]


def test_the_project_is_found() -> None:
    assert {"run.py", "tests/test_architecture.py", "common/errors.py"} <= set(SOURCES)


def test_sources_keep_the_rules() -> None:
    found = [error for name in SOURCES for error in errors_of(name, (ROOT / name).read_text(encoding="utf-8"))]
    assert found == []


def test_texts_name_no_machine() -> None:
    found = [error for name in TEXTS for error in line_errors(name, (ROOT / name).read_text(encoding="utf-8"))]
    assert found == []


def test_layout() -> None:
    assert list(layout_errors(FILES)) == []


def test_public_names_are_documented() -> None:
    share, missing = undocumented({name: (ROOT / name).read_text(encoding="utf-8") for name in SOURCES})
    assert share > MIN_DOCUMENTED, f"{share:.0%} have a docstring; without: {missing}"


def test_light_rooms_load_no_tensorflow() -> None:
    rooms = [room for room in sorted(LAZY_ROOMS | FREE_OF_HEAVY_ROOMS) if (ROOT / room).is_dir()] + ["run"]
    code = f"import sys, {', '.join(rooms)}; print(sorted({HEAVY!r} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_folder_gin_does_not_shadow_the_package() -> None:
    code = "import gin; gin.parse_config"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


BAD = [
    ("models/a.py", "import gin", "gin is for"),
    ("models/a.py", "def f():\n    from gin import config", "gin is for"),
    ("models/a.py", "from data_gen.factors import Factor", "models may not import data_gen.factors"),
    ("models/a.py", "from common.errors import UserError", "models may not import common"),
    ("models/networks/a.py", "from ...metrics import mig", "models may not import metrics"),
    ("models/a.py", "def f():\n    import training.loop", "models may not import training"),
    ("models/a.py", "import importlib\nimportlib.import_module('metrics.mig')", "models may not import metrics"),
    ("models/a.py", "__import__('metrics')", "models may not import metrics"),
    ("metrics/mig.py", "from models import ibgan", "metrics may not import models"),
    ("metrics/mig.py", "from ..models import ibgan", "metrics may not import models"),
    ("metrics/mig.py", "from .. import models", "metrics may not import models"),
    ("metrics/mig.py", "def f():\n    import data_gen", "metrics may not import data_gen"),
    ("metrics/__main__.py", "import data_gen", "metrics may not import data_gen"),
    ("metrics/mig.py", "import tensorflow as tf", "only inside functions"),
    ("data_gen/a.py", "from training import loop", "data_gen may not import training"),
    ("data_gen/a.py", "import metrics.mig", "data_gen may not import metrics"),
    ("data_gen/a.py", "import tensorflow_datasets as tfds", "only inside functions"),
    ("data_gen/a.py", "try:\n    import keras\nexcept ImportError:\n    pass", "only inside functions"),
    ("teapot_renderer/a.py", "from data_gen import factors", "teapot_renderer may not import data_gen"),
    ("teapot_renderer/a.py", "def f():\n    import tensorflow", "does without tensorflow"),
    ("training/a.py", "import teapot_renderer", "training may not import teapot_renderer"),
    ("training/a.py", "import run", "training may not import run"),
    ("common/a.py", "import data_gen", "common may not import data_gen"),
    ("run.py", "from models import ibgan", "run may not import models"),
    ("run.py", "import tensorflow", "only inside functions"),
    ("benchmarks/a.py", "from tests import conftest", "benchmarks may not import tests"),
    ("tools/a.py", "import numpy", "no room"),
    ("models/a.py", "assert True", "assert"),
    ("models/a.py", "try:\n    f()\nexcept:\n    pass", "bare except"),
    ("training/a.py", "print('x')", "print"),
    ("training/a.py", "def f():\n" + "    g()\n" * MAX_FUNCTION_LINES, "lines"),
    ("training/a.py", "g()\n" * (MAX_FILE_LINES + 1), "lines"),
    ("training/a.py", "PATH = '/" + "tmp/x'", "path of one machine"),
    ("training/a.py", "# see /" + "work/shared", "path of one machine"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD)
def test_rules_can_fail(name: str, text: str, expected: str) -> None:
    errors = errors_of(name, text)
    assert len(errors) == 1
    assert expected in errors[0]


GOOD = [
    ("run.py", "import gin\nfrom training import start\nprint('x')"),
    ("training/a.py", "import gin\nimport tensorflow\nimport data_gen, models.ibgan, metrics\nfrom . import loop"),
    ("metrics/__main__.py", "def main():\n    import data_gen\n    print('x')"),
    ("data_gen/a.py", "import teapot_renderer\ndef f():\n    import tensorflow"),
    ("data_gen/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tensorflow"),
    ("models/a.py", "import tensorflow, keras\nfrom .latents import Normal\nfrom ginseng import root"),
    ("tests/a.py", "import gin, training\nassert True\nprint('x')"),
    ("training/a.py", "PAGE = 'https://example.org/" + "work/index.html'\nRATIO = 'a/" + "tmp/b'"),
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_rules_allow_what_they_should(name: str, text: str) -> None:
    assert errors_of(name, text) == []


def test_layout_rule_can_fail() -> None:
    assert len(list(layout_errors(["gin/__init__.py", "gin/base/ibgan.gin"]))) == 1


def test_documentation_rule_can_fail() -> None:
    text = '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...\n    def _g(self): ...\ndef h(): "Doc."\n'
    share, missing = undocumented({"models/a.py": text, "tests/a.py": "def f(): ..."})
    assert share == pytest.approx(3 / 4)
    assert missing == ["models/a.py: A.f"]
