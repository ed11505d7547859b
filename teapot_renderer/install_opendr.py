"""Builds OpenDR into the environment of the Python that runs this: `python -m teapot_renderer.install_opendr`.

OpenDR 0.78 and chumpy 0.70 are taken as they were published, checked by their SHA-256. Neither installs by a plain pip:
their set-up programs want numpy, Cython and pip itself beside them, which pip's isolated builds withhold. OpenDR draws
with libOSMesa; where the system has none, a private copy is fetched (`teapot_renderer.osmesa`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.arguments import CommandParser
from common.errors import UserError, disk_error, run_command
from common.locks import locked
from common.output import answer, say
from teapot_renderer.opendr_import import INSTALL, UNRELATED, VERSIONS
from teapot_renderer.osmesa import (
    PREFIX_OF_WORK,
    CommandFailed,
    Libraries,
    Recorder,
    private_libraries,
    system_libraries,
)

ROOT = Path(__file__).resolve().parent.parent
SHA256 = {
    "chumpy": "a0275c2018784ca1302875567dc81761f5fd469fab9f3ac0f3e7c39e9180350a",
    "opendr": "dce7efd7a0b25d3451c581303a01465ca82b15229f5272ae1d9573fe8927a6c2",
}

# How to reach an index is kept; what else a user has set for pip's other tasks must not redirect this one.
_KEPT_PIP_VARIABLES = re.compile(
    r"PIP_(CACHE_DIR|CERT|CLIENT_CERT|CONFIG_FILE|CONSTRAINT|DEFAULT_TIMEOUT|EXTRA_INDEX_URL|FIND_LINKS|INDEX_URL"
    r"|KEYRING_PROVIDER|NO_CACHE_DIR|NO_INDEX|PROXY|RETRIES|RESUME_RETRIES|TIMEOUT|TRUSTED_HOST)$"
)
# The last two reach builds from a pip that runs around this one.
_DROPPED_VARIABLES = re.compile(r"PIP_|PYTHONWARNINGS$|SETUPTOOLS_USE_DISTUTILS$|_PYPROJECT_HOOKS_|PEP517_")
_PROBE = "#include <limits.h>\n#include <stdio.h>\n#include <Python.h>\nint probe(void) { return 0; }\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see `--help`. Returns the exit code."""
    parser = CommandParser(INSTALL, "Builds OpenDR, the reference renderer, into this Python's environment.")
    parser.add_argument("--private", action="store_true", help="take a private libOSMesa even if the system has one")
    parser.add_argument(
        "--optional", action="store_true", help="where it cannot be done, say so in one line and end well (exit code 0)"
    )
    parser.add_argument("--check", action="store_true", help="only draw something, and say with what")
    options = parser.parse_args(arguments)
    if options.check:
        answer(drawn())
        return 0
    try:
        install(private=options.private, brief=options.optional)
    except (UserError, OSError) as error:
        reason = disk_error(error) if isinstance(error, OSError) else error
        if reason is None:
            raise
        if isinstance(error, CommandFailed) and not options.optional:
            say("\n".join(f"  {line}" for line in error.tail))
        full = f"OpenDR is not installed, the fast back-end draws until then: {reason}"
        if not options.optional:
            raise UserError(full) from None
        say(f"{' '.join(full.split())}; to try again: {INSTALL}")
    return 0


def install(private: bool = False, brief: bool = False) -> None:
    """Builds and installs OpenDR if it does not work yet, and tries it out.

    Args:
        private: take a private libOSMesa even if the system has one.
        brief: do not tell every step.

    Raises:
        UserError: if it cannot be done here; the message says why, and what to install.
    """
    home = Path(sys.prefix) / "share" / "spout-opendr"
    if _works(home if private else None):
        return
    _refuse_what_cannot_be(home)
    with locked(home, wait=True):
        if _works(home if private else None):
            return
        for left_over in home.glob(f"{PREFIX_OF_WORK}*"):
            shutil.rmtree(left_over)
        recorder = Recorder(home / "install.log", environment())
        say(f"Installing OpenDR {VERSIONS['opendr']}, the reference renderer (once; one to three minutes).")
        tell = (lambda _: None) if brief else say
        try:
            with tempfile.TemporaryDirectory(prefix=PREFIX_OF_WORK, dir=home) as name:
                recorder.environment["TMPDIR"] = name
                compiler = _compiler(Path(name), recorder)
                libraries = (None if private else system_libraries(recorder)) or private_libraries(home, recorder, tell)
                _build_and_install(Path(name), recorder, compiler, libraries, tell)
                del recorder.environment["TMPDIR"]
            tell("Trying it out.")
            _try_out(recorder)
        except CommandFailed as error:
            raise CommandFailed(f"{error} (all that was said: {recorder.log})", error.tail) from None
        say(f"OpenDR {VERSIONS['opendr']} is installed and draws, with {libraries.osmesa}.")


def drawn() -> dict[str, str]:
    """Draws a square before the camera in this process and compares pixels with what they must be.

    Returns:
        `osmesa`: the path of the loaded library; `sha256`: of the images.

    Raises:
        UserError: if OpenDR cannot be used, or draws something else.
    """
    import numpy as np

    from teapot_renderer.mesh import Mesh
    from teapot_renderer.opendr_backend import OpendrRenderer
    from teapot_renderer.scene import DirectionalLight, Scenes

    corners = np.array([[-0.1, 0.0, -0.1], [0.1, 0.0, -0.1], [0.1, 0.0, 0.1], [-0.1, 0.0, 0.1]])
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), "square")
    albedo = np.array([0.3, 0.5, 0.9])
    light = DirectionalLight(np.array([[0.0, -0.6, 0.8]]))
    scenes = Scenes(np.eye(3)[None], albedo[None], np.zeros(1), light)
    digest = hashlib.sha256()
    for samples in (1, 4):
        image = OpendrRenderer(mesh, 64, samples).draw(scenes)[0]
        expected = 255.0 * np.minimum(albedo * (light.intensity * 0.6 + light.ambient), 1.0)
        # The square covers the pixels 11 to 52.
        if np.abs(image[12:52, 12:52] - expected).max() > 1.0 or (image[:10] != 255).any():
            raise UserError(f"OpenDR draws {image[32, 32]} where {np.rint(expected)} must be, with {samples} samples")
        digest.update(image.tobytes())
    with open("/proc/self/maps", encoding="utf-8") as maps:
        osmesa = next((line.split(None, 5)[5].strip() for line in maps if "libOSMesa" in line), "")
    return {"osmesa": osmesa, "sha256": digest.hexdigest()}


def environment() -> dict[str, str]:
    """The variables for pip, compiler and apt: this process's, without those that would lead them astray."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if _KEPT_PIP_VARIABLES.match(name) or not _DROPPED_VARIABLES.match(name)
    }
    kept.update(LC_ALL="C", PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_COLOR="1")
    kept["PIP_ROOT_USER_ACTION"] = "ignore"
    if sys.prefix != sys.base_prefix:
        kept["PYTHONNOUSERSITE"] = "1"
    return kept


def _works(home: Path | None) -> bool:
    """Whether OpenDR draws in a new process, and says so; with a library below `home`, if one is given."""
    try:
        found = _check(Recorder(None, environment()))
    except UserError:
        return False
    if home is not None and not Path(found["osmesa"]).is_relative_to(home.resolve()):
        return False
    say(f"OpenDR {VERSIONS['opendr']} is installed and draws, with {found['osmesa']}.")
    return True


def _check(recorder: Recorder, before: str = "", after: str = "") -> dict[str, Any]:
    """What `drawn` gives in a new process, with statements before and after it."""
    code = f"{before}\nfrom teapot_renderer.install_opendr import main\nmain(['--check'])\n{after}\n"
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    output = recorder.run([sys.executable, "-c", code], ROOT, "drawing with OpenDR", PYTHONPATH=path)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise CommandFailed("drawing with OpenDR failed", output.splitlines())
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _try_out(recorder: Recorder) -> None:
    """Draws in new processes: alone, and where TensorFlow is installed, also before and after its import."""
    try:
        alone = _check(recorder)
        if importlib.util.find_spec("tensorflow") is not None:
            load = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow"
            for found in (_check(recorder, before=load), _check(recorder, after=load)):
                if found != alone:
                    raise CommandFailed("drawing the same beside TensorFlow failed", [str(alone), str(found)])
    except CommandFailed:
        # Whoever asks for OpenDR next would crash.
        with contextlib.suppress(CommandFailed):
            recorder.run([*_pip(), "uninstall", "-y", *VERSIONS], ROOT, "pip uninstall")
        raise


def _refuse_what_cannot_be(home: Path) -> None:
    """Raises where this environment cannot take OpenDR; makes the folder for logs and libraries."""
    make_one = "make an environment of your own (python3 -m venv .venv) and run this with its Python"
    if not sys.platform.startswith("linux"):
        raise UserError(f"OpenDR is built on Linux only, not on {sys.platform}")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(UNRELATED)
        raise UserError(f"{UNRELATED} is here, whose package is also named opendr: pip uninstall {UNRELATED} opendr")
    managed = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    if sys.prefix == sys.base_prefix and managed.exists():
        raise UserError(f"the Python in {sys.prefix} is managed by the system; {make_one}")
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"the environment in {sys.prefix} has no pip; get it by: {sys.executable} -m ensurepip")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be made ({error.strerror}); {make_one}") from None


def _compiler(work: Path, recorder: Recorder) -> str:
    """The command of a C compiler that compiles and links a module of this Python."""
    configured = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    compilers = [name for name in configured if name and shutil.which(shlex.split(name)[0])]
    folders = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    missing, packages = [], []
    if not compilers:
        missing.append("a C compiler")
        packages += ["gcc", "libc6-dev"]
    if not any((Path(folder) / "Python.h").exists() for folder in folders):
        missing.append("Python's headers (Python.h)")
        packages.append("python{}.{}-dev".format(*sys.version_info))
    if missing:
        advice = f"sudo apt-get install {' '.join(packages)}"
        raise UserError(f"to build it, this is missing: {' and '.join(missing)}; on Debian or Ubuntu: {advice}")
    (work / "probe.c").write_text(_PROBE, encoding="utf-8")
    command = [*shlex.split(compilers[0]), *(f"-I{folder}" for folder in sorted(folders))]
    try:
        recorder.run([*command, "-shared", "-fPIC", "probe.c", "-o", "probe.so"], work, "compiling")
    except CommandFailed as error:
        message = (
            f"{compilers[0]} cannot compile a module of Python; on Debian or Ubuntu: sudo apt-get install libc6-dev"
        )
        raise CommandFailed(message, error.tail) from None
    return compilers[0]


def _build_and_install(
    work: Path, recorder: Recorder, compiler: str, libraries: Libraries, tell: Callable[[str], None]
) -> None:
    tell("Installing what OpenDR needs (requirements-opendr.txt).")
    requirements = ROOT / "requirements-opendr.txt"
    recorder.run([*_pip(), "install", "-r", str(requirements)], work, f"installing {requirements.name}")
    tell("Building chumpy and OpenDR.")
    pins = [f"{name}=={version} --hash=sha256:{SHA256[name]}" for name, version in VERSIONS.items()]
    (work / "pins.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    command = [*_pip(), "wheel", "--no-build-isolation", "--no-deps", "--no-binary", ",".join(VERSIONS)]
    # The cache may hold a build that was made for another environment's libraries.
    command += ["--no-cache-dir", "--require-hashes", "-r", "pins.txt", "-w", "wheels"]
    flags = {
        "CC": compiler,
        # Newer compilers call it an error that OpenDR passes a pointer without `const`.
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} -Wno-incompatible-pointer-types".strip(),
        "LDFLAGS": f"{linker_flags(work / 'link', libraries)} {os.environ.get('LDFLAGS', '')}".strip(),
    }
    recorder.run(command, work, "fetching or building chumpy and OpenDR", **flags)
    wheels = sorted(str(path) for path in (work / "wheels").glob("*.whl"))
    recorder.run(
        [*_pip(), "install", "--no-index", "--no-deps", "--force-reinstall", *wheels], work, "installing OpenDR"
    )


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip"]


def linker_flags(folder: Path, libraries: Libraries) -> str:
    """Makes a folder with the names by which OpenDR's set-up asks for libraries, and the flags that lead there.

    It asks for OSMesa, GL, GLU and stdc++. The functions of GL are all in libOSMesa, and of C++ there are none, so
    that neither needs to be installed; nor do the development files, as OpenDR brings the headers.

    Args:
        folder: to make.
        libraries: to link with.

    Returns:
        for LDFLAGS, quoted as distutils wants it.
    """
    folder.mkdir()
    for name, library in (("OSMesa", "osmesa"), ("GL", "osmesa"), ("stdc++", "osmesa"), ("GLU", "glu")):
        (folder / f"lib{name}.so").symlink_to(getattr(libraries, library))
    flags = [f"-L{folder}"]
    if libraries.private:
        # All of them are named, and first: one that names a place of its own for what it needs, as LLVM does, would
        # not be asked for the place that is given here. The old kind of path comes before the environment's.
        path = os.pathsep.join(dict.fromkeys(str(library.parent) for library in libraries.private))
        flags += ["-Wl,--disable-new-dtags", "-Xlinker", "-rpath", "-Xlinker", path]
        flags += ["-Wl,--no-as-needed", *map(str, libraries.private), "-Wl,--as-needed"]
    return " ".join(re.sub(r"([\s\"'\\])", r"\\\1", flag) for flag in flags)


if __name__ == "__main__":
    run_command(main)
