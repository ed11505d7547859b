"""Imports OpenDR 0.78 and chumpy 0.70, both as they were published in 2019 and 2020, into today's Python.

What they miss is lent to them while they are imported: names that numpy 2 and scipy no longer have, and a function that
Python 3.11 dropped. Afterwards numpy, scipy and `inspect` are as they were.

OpenDR draws with Mesa, which compiles its shading by LLVM. TensorFlow brings an LLVM of its own and shows its names to
the whole process; Mesa would call those and crash. RTLD_DEEPBIND makes OpenDR's libraries prefer their own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import shlex
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError

VERSIONS = {"chumpy": "0.70", "opendr": "0.78"}
"""The releases that this module knows how to import; they are the last ones."""


def _this_python() -> str:
    python = Path(sys.executable)
    with contextlib.suppress(ValueError, OSError):
        python = python.relative_to(Path.cwd())
    return shlex.quote(str(python))


INSTALL = f"{_this_python()} -m teapot_renderer.install_opendr"
"""What to type to install OpenDR for the Python that runs this."""
UNRELATED = "opendr-toolkit"
"""A robotics package that also installs a package named `opendr`."""
_NEEDED = ("scipy", "six", "cv2", "chumpy", "opendr")
_ALIASES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str, "unicode": str}
"""What chumpy imports from numpy. OpenDR takes these names over, so they must be Python's own types."""


class OpendrMissing(UserError):
    """OpenDR cannot be used here; the message says why, and what to do."""


class Opendr(NamedTuple):
    """The modules of OpenDR that the back-end uses."""

    chumpy: Any
    camera: Any
    lighting: Any
    renderer: Any


def opendr_modules() -> Opendr:
    """OpenDR's modules, imported at the first call (1 to 2 seconds).

    Raises:
        OpendrMissing: if OpenDR, or something it needs, is not installed or cannot be loaded.
    """
    problem = opendr_problem()
    if problem is not None:
        raise OpendrMissing(f"OpenDR cannot be used: {problem}; run: {INSTALL}")
    modules, _ = _imported()
    return Opendr(*modules)


def opendr_problem() -> str | None:
    """Why OpenDR cannot be used here, in a few words; None if it can.

    What is not installed is found without importing anything. Only where all is there, it is imported to be sure.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    strange = _strange_package([name for name in VERSIONS if name not in missing])
    if strange is not None:
        return strange
    if missing:
        return f"not installed: {', '.join(missing)}"
    return _imported()[1]


def _strange_package(names: list[str]) -> str | None:
    """What is strange about the packages of these names: others than those that are meant, or other versions."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(UNRELATED)
        return f"{UNRELATED}, an unrelated package with the same name, is installed: pip uninstall {UNRELATED} opendr"
    for name in names:
        wanted = VERSIONS[name]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"there is a package named {name}, but it was not installed from {name} {wanted}; remove it"
        if version != wanted:
            return f"{name} {version} is installed; needed: {wanted}"
    return None


@functools.cache
def _imported() -> tuple[tuple[Any, ...], str | None]:
    """OpenDR's modules, or none and the reason; tried once in a process."""
    # Mesa shall draw in the thread that asks. A thread of its own is no faster here, and a forked process, which does
    # not inherit it, would wait for it for ever.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    # Nor shall it write into the home folder, and complain where it cannot; it would save 50 ms.
    os.environ.setdefault("MESA_SHADER_CACHE_DISABLE", "true")
    before = set(sys.modules)
    try:
        with _lent_names():
            chumpy = importlib.import_module("chumpy")
            _lend_for_good(importlib.import_module("chumpy.ch"))
        with _own_libraries():
            importlib.import_module("opendr.contexts.ctx_mesa")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modules = [importlib.import_module(f"opendr.{name}") for name in ("camera", "lighting", "renderer")]
    except Exception as error:  # A package of 2019 may fail in any way; whatever it is, it is the answer.
        for name in set(sys.modules) - before:
            if name.split(".")[0] in VERSIONS:
                del sys.modules[name]
        return (), f"its import fails with {type(error).__name__}: {' '.join(str(error).split())}"
    return (chumpy, *modules), None


@contextlib.contextmanager
def _lent_names() -> Iterator[None]:
    """Lends chumpy what it imports from numpy, scipy and `inspect`, and takes it back."""
    lent: list[tuple[Any, str]] = []

    def lend(owner: Any, name: str, value: Any) -> None:
        # Not hasattr: numpy answers it with a warning.
        if name not in vars(owner):
            setattr(owner, name, value)
            lent.append((owner, name))

    interface = "scipy.sparse.linalg.interface"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in _ALIASES.items():
            lend(np, name, value)
        lend(inspect, "getargspec", _getargspec)
        linalg = importlib.import_module("scipy.sparse.linalg")
        try:
            importlib.import_module(interface)
            stub = None
        except ImportError:
            stub = types.ModuleType(interface)
            vars(stub)["LinearOperator"] = linalg.LinearOperator
            sys.modules[interface] = stub
        try:
            yield
        finally:
            for owner, name in lent:
                delattr(owner, name)
            if stub is not None:
                del sys.modules[interface]


def _lend_for_good(module: Any) -> None:
    """Gives chumpy.ch an `inspect` of its own: it asks for `getargspec` also later, when lambdas become nodes."""
    own = types.ModuleType("inspect")
    vars(own).update({**vars(inspect), "getargspec": _getargspec})
    module.inspect = own


class _Arguments(NamedTuple):
    """What `inspect.getargspec` gave before Python 3.11."""

    args: list[str]
    varargs: str | None
    keywords: str | None
    defaults: tuple[Any, ...] | None


def _getargspec(function: Any) -> _Arguments:
    return _Arguments(*inspect.getfullargspec(function)[:4])


@contextlib.contextmanager
def _own_libraries() -> Iterator[None]:
    """Loads OpenDR's extension so that its libraries prefer their own functions, and finds it its constants.

    The extension says `from _constants import *` and means the module beside it, as in Python 2.
    """
    constants = importlib.import_module("opendr.contexts._constants")
    before = sys.modules.get("_constants")
    flags = sys.getdlopenflags()
    sys.modules["_constants"] = constants
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
    try:
        yield
    finally:
        sys.setdlopenflags(flags)
        if before is None:
            del sys.modules["_constants"]
        else:
            sys.modules["_constants"] = before
