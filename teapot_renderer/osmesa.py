"""Finds libOSMesa and libGLU, with which OpenDR draws, or gets a private copy of them.

Where the system has none, Debian's and Ubuntu's own tools fetch the packages from the system's own package sources,
check their signatures, and unpack them into a folder. That needs no rights and changes nothing outside the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from common.errors import UserError

APT_PACKAGES = ("libosmesa6", "libglu1-mesa")
PREFIX_OF_WORK = ".work-"
"""Of folders that are removed at the end, and by the next run if there was no end."""
ADVICE = f"sudo apt-get install {' '.join(APT_PACKAGES)}"

_NAMES = {"OSMesa": ("libOSMesa.so.8", "libOSMesa.so.6"), "GLU": ("libGLU.so.1",)}
_LINES_OF_TAIL, _WIDTH = 15, 200
# These run the interpreter itself: a second copy of them in one process would be a mistake.
_OF_THE_SYSTEM = re.compile(r"libc6|libc-|libgcc-|gcc-|libstdc\+\+|libcrypt1")

# Loads the libraries as OpenDR will, and says from where they came.
_LOADER = """
import ctypes, sys
for names in sys.argv[1:]:
    for name in names.split():
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        stem = name.split(".")[0] + ".so"
        print(next(line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if stem in line))
        break
    else:
        sys.exit(1)
"""


class CommandFailed(UserError):
    """Another program failed; `tail` holds its last lines."""

    def __init__(self, message: str, tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.tail = tuple(tail)


class Recorder:
    """Runs other programs and writes what they say into one file.

    Args:
        log: the file; it is begun anew. None: nothing is written.
        environment: of the programs.
    """

    def __init__(self, log: Path | None, environment: Mapping[str, str]) -> None:
        self.log = log
        self.environment = dict(environment)
        if log is not None:
            log.write_text("", encoding="utf-8")

    def run(self, command: Sequence[str], folder: Path, what: str, **environment: str) -> str:
        """Runs a program to its end.

        Args:
            command: the program and its arguments.
            folder: where it runs.
            what: it does, for the message: `<what> failed`.
            environment: variables besides those of all programs.

        Returns:
            what it said, on both of its outputs.

        Raises:
            CommandFailed: if it ends with another code than 0, or cannot be started.
        """
        self._write(f"$ {' '.join(command)}\n")
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            output, code = done.stdout, done.returncode
        except OSError as error:
            output, code = str(error), -1
        self._write(f"{output}[exit code {code}]\n")
        if code != 0:
            raise CommandFailed(f"{what} failed", [line[:_WIDTH] for line in output.splitlines()[-_LINES_OF_TAIL:]])
        return output

    def _write(self, text: str) -> None:
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as handle:
                handle.write(text)


class Libraries(NamedTuple):
    """The two libraries, and where they are a private copy: those and all that they need in turn."""

    osmesa: Path
    glu: Path
    private: tuple[Path, ...]


class Package(NamedTuple):
    """A package of the distribution, as apt would install it."""

    name: str
    version: str
    size: int


def system_libraries(recorder: Recorder) -> Libraries | None:
    """The libraries that the system's loader finds; None if it does not find both."""
    command = [sys.executable, "-c", _LOADER, *(" ".join(names) for names in _NAMES.values())]
    try:
        osmesa, glu = recorder.run(command, Path(sys.prefix), "loading libOSMesa").splitlines()
    except (CommandFailed, ValueError):
        return None
    return Libraries(Path(osmesa), Path(glu), ())


def private_libraries(home: Path, recorder: Recorder, tell: Callable[[str], None]) -> Libraries:
    """The libraries in a folder of our own, which is filled first if need be.

    Args:
        home: the folder for the folder.
        recorder: runs apt.
        tell: shows what is being done.

    Raises:
        UserError: if they cannot be had here; the message says why and what to install.
    """
    folder = home / "osmesa"
    libraries = _libraries_in(folder, recorder)
    if libraries is not None:
        return libraries
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(
                "libOSMesa and libGLU are not installed, and there is no apt-get to fetch them with; install Mesa's "
                f"off-screen library (on Debian or Ubuntu: {ADVICE})"
            )
    with tempfile.TemporaryDirectory(prefix=PREFIX_OF_WORK, dir=home) as name:
        work = Path(name)
        try:
            packages = _download(work, recorder, tell)
        except CommandFailed as error:
            raise CommandFailed(
                "libOSMesa is not installed, and apt-get cannot fetch it (no network, or a release that no longer has "
                f"it?); where it has: {ADVICE}",
                error.tail,
            ) from None
        for package in packages:
            recorder.run(["dpkg-deb", "-x", str(package), str(work / folder.name)], work, "unpacking")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(work / folder.name, folder)
    libraries = _libraries_in(folder, recorder)
    if libraries is None:
        shutil.rmtree(folder)
        raise UserError(f"libOSMesa was fetched but cannot be loaded, see {recorder.log}; instead: {ADVICE}")
    return libraries


def _libraries_in(folder: Path, recorder: Recorder) -> Libraries | None:
    """What was unpacked there, if nothing is missing."""
    files = {path.name: path for path in folder.glob("**/lib/*/lib*.so.*")}
    found = [next((files[name] for name in names if name in files), None) for names in _NAMES.values()]
    osmesa, glu = found
    if osmesa is None or glu is None:
        return None
    places = dict.fromkeys(str(path.parent) for path in files.values())
    try:
        command = ["ldd", str(osmesa), str(glu)]
        answer = recorder.run(command, folder, "ldd", LD_LIBRARY_PATH=os.pathsep.join(places))
    except CommandFailed:
        return None
    if "not found" in answer:
        return None
    needed = [Path(path) for path in re.findall(r"=> (/.*?) \(0x", answer)]
    private = [osmesa, glu, *(path for path in needed if path.is_relative_to(folder))]
    return Libraries(osmesa, glu, tuple(dict.fromkeys(private)))


def _download(work: Path, recorder: Recorder, tell: Callable[[str], None]) -> list[Path]:
    """Downloads the packages, and what they need, into `work`; gives their files."""
    (work / "status").touch()
    for part in ("state/lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    lists = Path("/var/lib/apt/lists")
    try:
        return _download_with(_configuration(work, lists), work, recorder, tell)
    except CommandFailed:
        # The system has no lists of packages, as in many containers, or old ones: get some for ourselves.
        configuration = _configuration(work, work / "state/lists")
        # One source of several may be out of order; whether the others suffice, the next step tells.
        with contextlib.suppress(CommandFailed):
            recorder.run(["apt-get", "-c", str(configuration), "update"], work, "apt-get update")
        return _download_with(configuration, work, recorder, tell)


def _download_with(configuration: Path, work: Path, recorder: Recorder, tell: Callable[[str], None]) -> list[Path]:
    apt = ["apt-get", "-c", str(configuration)]
    plan = recorder.run([*apt, "install", "--print-uris", "-y", *APT_PACKAGES], work, "asking apt-get for libOSMesa")
    wanted = needed_packages(plan)
    if not {package.name for package in wanted}.issuperset(APT_PACKAGES):
        raise CommandFailed("apt-get does not say which packages libOSMesa needs", plan.splitlines()[-_LINES_OF_TAIL:])
    tell(f"Getting libOSMesa: {len(wanted)} packages, {sum(package.size for package in wanted) / 1e6:.0f} MB.")
    exact = [f"{package.name}={package.version}" for package in wanted]
    # Anew: an attempt with old lists may have left older packages.
    folder = work / "packages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    recorder.run([*apt, "download", *exact], folder, "apt-get download")
    return sorted(folder.glob("*.deb"))


def needed_packages(plan: str) -> list[Package]:
    """Reads the answer of `apt-get install --print-uris`, and leaves out what every system has and must have once.

    Args:
        plan: lines such as `'http://.../libz_1%3a1.2_amd64.deb' libz_1%3a1.2_amd64.deb 86684 SHA256:...`.
    """
    packages = []
    for line in plan.splitlines():
        match = re.match(r"'[^']+' (?P<name>[^_ ]+)_(?P<version>[^_ ]+)_[^_ ]+\.deb (?P<size>\d+)", line)
        if match and not _OF_THE_SYSTEM.match(match["name"]):
            packages.append(Package(match["name"], unquote(match["version"]), int(match["size"])))
    return packages


def _configuration(work: Path, lists: Path) -> Path:
    """apt's configuration: the system's sources and keys, and nothing written outside `work`.

    The empty status file says that nothing is installed, so that the answer is complete and does not depend on the
    system, nor on its being in order.
    """
    lines = [
        f'Dir::State "{work}/state";',
        f'Dir::State::lists "{lists}";',
        f'Dir::State::status "{work}/status";',
        f'Dir::Cache "{work}/cache";',
        f'Dir::Log "{work}";',
        'APT::Install-Recommends "false";',
        'APT::Install-Suggests "false";',
        'Acquire::Languages "none";',
        'Acquire::Retries "2";',
        'Acquire::http::Timeout "30";',
        'Acquire::https::Timeout "30";',
        'Debug::NoLocking "true";',
        # What the system does after its own updates.
        "#clear APT::Update::Pre-Invoke;",
        "#clear APT::Update::Post-Invoke;",
        "#clear APT::Update::Post-Invoke-Success;",
    ]
    if os.geteuid() == 0:
        # Else apt gives up its rights, and with them those to write here.
        lines.append('APT::Sandbox::User "root";')
    path = work / "apt.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
