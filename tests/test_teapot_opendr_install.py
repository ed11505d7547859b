"""Tests of the command that installs OpenDR: what it asks of other programs, and what it says when they fail.

The other programs are stand-ins; nothing is fetched, built or installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from teapot_renderer import install_opendr, opendr_import, osmesa
from teapot_renderer.osmesa import CommandFailed, Libraries, Recorder

ROOT = Path(__file__).resolve().parent.parent
OSMESA = "usr/lib/x86_64-linux-gnu/libOSMesa.so.8"

PLAN = """Reading package lists...
The following NEW packages will be installed:
  libosmesa6 libglu1-mesa
Need to get 48.2 MB of archives.
'http://host.example/pool/gcc-12-base_12.2.0-14%2bdeb12u1_amd64.deb' gcc-12-base_12.2.0-14+deb12u1_amd64.deb 37 MD5Sum:8
'http://host.example/pool/libc6_2.36-9_amd64.deb' libc6_2.36-9_amd64.deb 2759320 MD5Sum:8d
'http://host.example/pool/libstdc%2b%2b6_12.2.0-14_amd64.deb' libstdc++6_12.2.0-14_amd64.deb 612604 MD5Sum:d5
'http://host.example/pool/libllvm15_15.0.6-4%2bb1_amd64.deb' libllvm15_1%3a15.0.6-4+b1_amd64.deb 23000000 SHA256:9ad0
'http://host.example/pool/libglu1-mesa_9.0.2-1.1_amd64.deb' libglu1-mesa_9.0.2-1.1_amd64.deb 178084
'http://host.example/pool/libosmesa6_22.3.6-1_amd64.deb' libosmesa6_22.3.6-1_amd64.deb 2906728 MD5Sum:37
"""

# `apt-get -c FILE ...`: knows its packages only with lists of its own, which `update` gets.
APT_GET = """#!/bin/sh
echo "$@" >> "$CALLS"
own=$(sed -n 's/^Dir::State::lists "\\(.*\\)";$/\\1/p' "$2")
case "$3" in
    update) [ -z "$OFFLINE" ] && touch "$own/host.example_Packages" || exit 100 ;;
    install) [ -e "$own/host.example_Packages" ] || { echo 'E: Unable to locate package libosmesa6'; exit 100; }
        cat "$PLAN" ;;
    download) shift 3; for one; do touch "${one%=*}.deb"; done ;;
esac
"""
# `dpkg-deb -x FILE FOLDER`.
DPKG_DEB = """#!/bin/sh
folder="$3/usr/lib/x86_64-linux-gnu"
mkdir -p "$folder"
case "$2" in
    *libosmesa6.deb) touch "$folder/libOSMesa.so.8" ;;
    *libglu1-mesa.deb) touch "$folder/libGLU.so.1" ;;
    *libllvm15.deb) touch "$folder/libLLVM-15.so.1" ;;
esac
"""
# `ldd OSMESA GLU`: the loader finds LLVM where it is told to look.
LDD = """#!/bin/sh
echo "  libLLVM-15.so.1 => $LD_LIBRARY_PATH/libLLVM-15.so.1 (0x00007f4fb)"
echo "  libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4fa)"
[ -z "$BROKEN" ] || echo "  libz3.so.4 => not found"
"""


class Calls(Recorder):
    """Keeps the commands instead of running them, with what was in their environment; fails where `fails` says so."""

    def __init__(self, fails: Callable[[str], bool] = lambda command: False, says: str = "") -> None:
        super().__init__(None, {})
        self.commands: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.fails, self.says = fails, says

    def run(self, command: Sequence[str], folder: Path, what: str, **environment: str) -> str:
        self.commands.append(" ".join(command))
        self.environments.append(environment)
        if self.fails(self.commands[-1]):
            raise CommandFailed(f"{what} failed", ["the last line"])
        return self.says


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A machine with apt-get, dpkg-deb and ldd, and without network where OFFLINE is set; its calls are in `calls`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB), ("ldd", LDD)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "plan").write_text(PLAN)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    for name in ("OFFLINE", "BROKEN"):
        monkeypatch.delenv(name, raising=False)
    environment = {**os.environ, "CALLS": str(tmp_path / "calls"), "PLAN": str(tmp_path / "plan")}
    return Recorder(tmp_path / "log", environment)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "an environment" / "share"
    folder.mkdir(parents=True)
    return folder


def test_needed_packages_leave_out_the_c_library() -> None:
    found = [tuple(package) for package in osmesa.needed_packages(PLAN)]
    assert found == [
        ("libllvm15", "1:15.0.6-4+b1", 23_000_000),
        ("libglu1-mesa", "9.0.2-1.1", 178_084),
        ("libosmesa6", "22.3.6-1", 2_906_728),
    ]


def test_a_private_copy_is_fetched_once(machine: Recorder, home: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = osmesa.private_libraries(home, machine, told.append)
    folder = home / "osmesa"
    assert found.osmesa == folder / OSMESA
    assert [path.name for path in found.private] == ["libOSMesa.so.8", "libGLU.so.1", "libLLVM-15.so.1"]
    assert all(path.is_relative_to(folder) for path in found.private)
    assert told == ["Getting libOSMesa: 3 packages, 26 MB."]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert re.findall(r"apt\.conf ([a-z]+)", "\n".join(calls)) == ["install", "update", "install", "download"]
    assert calls[-1].endswith("download libllvm15=1:15.0.6-4+b1 libglu1-mesa=9.0.2-1.1 libosmesa6=22.3.6-1")
    # Nothing else is left, and the second time nothing is fetched.
    assert [path.name for path in home.iterdir()] == ["osmesa"]
    assert osmesa.private_libraries(home, machine, told.append) == found
    assert len(told) == 1


def test_apt_writes_only_into_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user, sandbox in ((0, ['APT::Sandbox::User "root";']), (1000, [])):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        lines = osmesa._configuration(tmp_path, tmp_path / "state/lists").read_text().splitlines()
        assert [line for line in lines if line.startswith("APT::Sandbox")] == sandbox
        folders = [re.findall(r'"(.*)"', line)[0] for line in lines if line.startswith("Dir::")]
        assert len(folders) == 5
        assert all(Path(folder).is_relative_to(tmp_path) for folder in folders)
        assert "#clear APT::Update::Post-Invoke;" in lines


def test_without_network_nothing_is_left(machine: Recorder, home: Path) -> None:
    machine.environment["OFFLINE"] = "1"
    with pytest.raises(
        CommandFailed, match=r"apt-get cannot fetch it .*no network.*apt-get install libosmesa6"
    ) as error:
        osmesa.private_libraries(home, machine, lambda _: None)
    assert error.value.tail == ("E: Unable to locate package libosmesa6",)
    assert list(home.iterdir()) == []


def test_a_release_without_osmesa_is_reported(machine: Recorder, home: Path, tmp_path: Path) -> None:
    lines = [line for line in PLAN.splitlines() if "libosmesa6_" not in line]
    (tmp_path / "plan").write_text("\n".join(lines))
    with pytest.raises(CommandFailed, match="a release that no longer has it"):
        osmesa.private_libraries(home, machine, lambda _: None)


def test_libraries_that_do_not_load_are_removed(machine: Recorder, home: Path) -> None:
    machine.environment["BROKEN"] = "1"
    with pytest.raises(UserError, match="was fetched but cannot be loaded"):
        osmesa.private_libraries(home, machine, lambda _: None)
    assert list(home.iterdir()) == []


def test_without_apt_the_message_says_what_to_install(
    machine: Recorder, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no apt-get.*sudo apt-get install libosmesa6 libglu1-mesa"):
        osmesa.private_libraries(home, machine, lambda _: None)


def test_the_systems_libraries_are_those_the_loader_finds(tmp_path: Path) -> None:
    recorder = Calls(says="/usr/lib/libOSMesa.so.8.0.0\n/usr/lib/libGLU.so.1.3.1\n")
    found = osmesa.system_libraries(recorder)
    assert found == Libraries(Path("/usr/lib/libOSMesa.so.8.0.0"), Path("/usr/lib/libGLU.so.1.3.1"), ())
    assert osmesa.system_libraries(Calls(lambda command: True)) is None
    # The real loader, asked for the C library and for one that is not there.
    names = {"C": ("nothing.so.1", "libm.so.6")}
    code = [sys.executable, "-c", osmesa._LOADER, *(" ".join(value) for value in names.values())]
    real = Recorder(None, dict(os.environ))
    assert Path(real.run(code, tmp_path, "loading").strip()).name.startswith("libm")
    with pytest.raises(CommandFailed):
        real.run([*code, "nothing.so.1"], tmp_path, "loading")


def test_linker_flags_lead_to_the_libraries(tmp_path: Path) -> None:
    folder = tmp_path / "a 'link' folder"
    private = [tmp_path / "x y" / "libOSMesa.so.8", tmp_path / "x y" / "libGLU.so.1", tmp_path / "z" / "libLLVM.so"]
    flags = install_opendr.linker_flags(folder, Libraries(private[0], private[1], tuple(private)))
    words = shlex.split(flags)
    assert words[0] == f"-L{folder}"
    assert words[words.index("-rpath") + 2] == f"{tmp_path / 'x y'}:{tmp_path / 'z'}"
    assert words.index("-Wl,--no-as-needed") < words.index(str(private[2])) < words.index("-Wl,--as-needed")
    links = {path.name: path.readlink() for path in folder.iterdir()}
    assert links == {
        "libOSMesa.so": private[0],
        "libGL.so": private[0],
        "libstdc++.so": private[0],
        "libGLU.so": private[1],
    }
    (tmp_path / "second").mkdir()
    system = install_opendr.linker_flags(tmp_path / "second" / "link", Libraries(private[0], private[1], ()))
    assert shlex.split(system) == [f"-L{tmp_path / 'second' / 'link'}"]


def test_the_environment_of_pip_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TARGET", "PREFIX", "ONLY_BINARY", "REQUIRE_HASHES", "NO_DEPS", "REQUIREMENT", "USER"):
        monkeypatch.setenv(f"PIP_{name}", "1")
    for name in ("PYTHONWARNINGS", "_PYPROJECT_HOOKS_BUILD_BACKEND", "SETUPTOOLS_USE_DISTUTILS"):
        monkeypatch.setenv(name, "error")
    kept = {"PIP_INDEX_URL": "https://host.example", "PIP_CERT": "ca", "PIP_NO_INDEX": "1", "HTTPS_PROXY": "p"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "base_prefix", sys.prefix + "x")
    found = install_opendr.environment()
    assert found.items() >= kept.items()
    assert found["PYTHONNOUSERSITE"] == "1"
    ours = {name for name in found if name.startswith("PIP_")} - kept.keys() - set(os.environ) | {"PIP_USER"}
    assert found["PIP_USER"] == "0"
    assert ours <= {"PIP_USER", "PIP_NO_INPUT", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_COLOR", "PIP_ROOT_USER_ACTION"}
    gone = {"PIP_TARGET", "PIP_PREFIX", "PIP_ONLY_BINARY", "PIP_REQUIRE_HASHES", "PIP_NO_DEPS", "PIP_REQUIREMENT"}
    assert not found.keys() & (gone | {"PYTHONWARNINGS", "_PYPROJECT_HOOKS_BUILD_BACKEND", "SETUPTOOLS_USE_DISTUTILS"})


def test_a_missing_compiler_and_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_opendr.shutil, "which", lambda name: None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}-dev"
    pattern = rf"a C compiler and Python's headers.*sudo apt-get install gcc libc6-dev {re.escape(version)}$"
    with pytest.raises(UserError, match=pattern):
        install_opendr._compiler(tmp_path, Calls())
    (tmp_path / "Python.h").touch()
    with pytest.raises(UserError, match=r"a C compiler; on Debian or Ubuntu: sudo apt-get install gcc libc6-dev$"):
        install_opendr._compiler(tmp_path, Calls())


def test_a_compiler_is_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(install_opendr.shutil, "which", lambda name: name if name == "gcc" else None)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "x86_64-linux-gnu-gcc -pthread")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()
    recorder = Calls()
    assert install_opendr._compiler(tmp_path, recorder) == "gcc"
    assert recorder.commands == [f"gcc -I{tmp_path} -shared -fPIC probe.c -o probe.so"]
    with pytest.raises(CommandFailed, match=r"gcc cannot compile a module of Python.*libc6-dev"):
        install_opendr._compiler(tmp_path, Calls(lambda command: True))


def test_the_build_takes_the_published_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-O1")
    monkeypatch.delenv("LDFLAGS", raising=False)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "opendr.whl").touch()
    recorder, told = Calls(), []  # type: ignore[var-annotated]
    libraries = Libraries(tmp_path / "libOSMesa.so.8", tmp_path / "libGLU.so.1", ())
    install_opendr._build_and_install(tmp_path, recorder, "gcc-12", libraries, told.append)
    needed, build, install = recorder.commands
    assert needed.endswith(f"install -r {ROOT / 'requirements-opendr.txt'}")
    options = "--no-build-isolation --no-deps --no-binary chumpy,opendr --no-cache-dir --require-hashes"
    assert f"-m pip wheel {options} -r pins.txt -w wheels" in build
    assert install.endswith(f"--no-index --no-deps --force-reinstall {tmp_path / 'wheels' / 'opendr.whl'}")
    flags = recorder.environments[1]
    assert (flags["CC"], flags["CFLAGS"]) == ("gcc-12", "-O1 -Wno-incompatible-pointer-types")
    assert flags["LDFLAGS"] == f"-L{tmp_path / 'link'}"
    pins = (tmp_path / "pins.txt").read_text().splitlines()
    assert [pin.split()[0] for pin in pins] == ["chumpy==0.70", "opendr==0.78"]
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}$", pin) for pin in pins)
    assert not re.search(r"https?://|--index-url", " ".join(recorder.commands))


def test_the_requirements_stand_for_themselves() -> None:
    lines = (ROOT / "requirements-opendr.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[<>=]", line)[0] for line in lines if line and line[0] not in "#-"}
    assert names == {
        "numpy",
        "scipy",
        "matplotlib",
        "six",
        "opencv-python-headless",
        "Cython",
        "setuptools",
        "wheel",
    }
    assert "-c requirements.txt" in lines


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment where nothing stands against an installation, in a folder of its own."""
    managed, absent = importlib.metadata.PackageNotFoundError, {"opendr-toolkit"}

    def version(name: str) -> str:
        if name in absent:
            raise managed(name)
        return "3.0.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return tmp_path / "env" / "share" / "spout-opendr"


def test_a_fit_place_is_taken(place: Path) -> None:
    install_opendr._refuse_what_cannot_be(place)
    assert place.is_dir()


def test_unfit_places_are_refused(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(expected: str) -> None:
        with pytest.raises(UserError, match=expected):
            install_opendr._refuse_what_cannot_be(place)
        assert not place.exists()

    with monkeypatch.context() as here:
        here.setattr(sys, "platform", "darwin")
        refused("Linux only, not on darwin")
    with monkeypatch.context() as here:
        here.setattr(importlib.metadata, "version", lambda name: "3.0.0")
        refused("pip uninstall opendr-toolkit opendr")
    with monkeypatch.context() as here:
        here.setattr(importlib.util, "find_spec", lambda name: None)
        refused("has no pip.*ensurepip")
    with monkeypatch.context() as here:
        (tmp_path / "EXTERNALLY-MANAGED").touch()
        here.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
        here.setattr(sys, "base_prefix", sys.prefix)
        refused("managed by the system; make an environment of your own")
    (tmp_path / "env").touch()
    with pytest.raises(UserError, match=r"cannot be made .*make an environment of your own"):
        install_opendr._refuse_what_cannot_be(place)


def _check_answer(**values: str) -> str:
    return "a warning of TensorFlow\n" + json.dumps({"osmesa": "/usr/lib/libOSMesa.so.8", **values}) + "\nbye\n"


def test_what_works_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorders: list[Calls] = []

    def recorder(log: Path | None, environment: Any) -> Calls:
        assert log is None
        recorders.append(Calls(says=_check_answer(sha256="1")))
        return recorders[-1]

    monkeypatch.setattr(install_opendr, "Recorder", recorder)
    install_opendr.install()
    assert "OpenDR 0.78 is installed and draws, with /usr/lib/libOSMesa.so.8" in capsys.readouterr().err
    assert len(recorders) == 1
    assert not place.exists()
    # One that draws with the system's library is not private.
    assert install_opendr._works(None)
    assert not install_opendr._works(place)
    recorders.clear()
    monkeypatch.setattr(install_opendr, "Recorder", lambda log, environment: Calls(lambda command: True))
    assert not install_opendr._works(None)


def test_an_installation_that_does_not_draw_is_taken_out() -> None:
    recorder = Calls(lambda command: " -c " in command)
    with pytest.raises(CommandFailed, match="drawing with OpenDR failed"):
        install_opendr._try_out(recorder)
    assert recorder.commands[-1].endswith("pip uninstall -y chumpy opendr")
    # No answer is no drawing either.
    with pytest.raises(CommandFailed, match="drawing with OpenDR failed"):
        install_opendr._try_out(Calls(says="nothing"))


def test_it_is_tried_beside_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    recorder = Calls(says=_check_answer(sha256="1"))
    install_opendr._try_out(recorder)
    found = [[word for word in ("import tensorflow", "'--check'") if word in line] for line in recorder.commands]
    assert found == [["'--check'"], ["import tensorflow", "'--check'"], ["import tensorflow", "'--check'"]]
    crashing = Calls(lambda command: "import tensorflow" in command, _check_answer(sha256="1"))
    with pytest.raises(CommandFailed):
        install_opendr._try_out(crashing)
    assert "uninstall" in crashing.commands[-1]


@pytest.mark.parametrize(
    "error", [UserError("no pip"), CommandFailed("apt failed", ["a", "b"]), PermissionError(13, "x")]
)
def test_failures_are_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(private: bool, brief: bool) -> None:
        raise error

    monkeypatch.setattr(install_opendr, "install", install)
    assert install_opendr.main(["--optional"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "the fast back-end draws until then" in lines[0]
    assert lines[0].endswith(f"to try again: {opendr_import.INSTALL}")
    with pytest.raises(UserError, match="OpenDR is not installed, the fast back-end draws until then"):
        install_opendr.main([])
    assert capsys.readouterr().err == ("  a\n  b\n" if isinstance(error, CommandFailed) else "")


def test_other_programs_are_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "log", {"PATH": os.environ["PATH"], "A": "1"})
    assert recorder.run(["sh", "-c", "echo $A$B; pwd"], tmp_path, "echo", B="2") == f"12\n{tmp_path.resolve()}\n"
    lines = "; ".join(f"echo {number}" for number in range(30))
    with pytest.raises(CommandFailed, match="counting failed") as error:
        recorder.run(["sh", "-c", f"{lines}; exit 3"], tmp_path, "counting")
    assert error.value.tail == tuple(str(number) for number in range(15, 30))
    with pytest.raises(CommandFailed, match="nothing failed"):
        recorder.run(["no-such-program"], tmp_path, "nothing")
    log = (tmp_path / "log").read_text()
    assert "[exit code 3]" in log
    assert "$ no-such-program" in log


def test_the_command_is_at_once_where_opendr_works() -> None:
    if opendr_import.opendr_problem() is not None:
        pytest.skip(f"NOT TESTED: OpenDR cannot be used here: {opendr_import.opendr_problem()}")
    command = [sys.executable, "-m", "teapot_renderer.install_opendr"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"OpenDR 0\.78 is installed and draws, with .*libOSMesa.*\.\n", result.stderr)
    unknown = subprocess.run([*command, "--nonsense"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
