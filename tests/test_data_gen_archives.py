"""Archives and folders: the same files whatever holds them, and nothing that a hostile or broken one can do."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from data_gen.archives import BadFileError, find_containers, identity_of, is_litter, open_container, order_of
from data_gen.image_miniatures import Files, write_folder, write_tar, write_zip

FILES = [
    ("set/10.jpg", b"ten"),
    ("set/9.jpg", b"nine" * 1000),
    ("set/b/1.png", b"one"),
    ("set/note.txt", b"words"),
    ("__MACOSX/set/._9.jpg", b"x"),
    ("set/._10.jpg", b"x"),
    ("set/.DS_Store", b"x"),
    ("set/Thumbs.db", b"x"),
    ("set/.git/2.jpg", b"x"),
]
KEPT = ["set/9.jpg", "set/10.jpg", "set/b/1.png", "set/note.txt"]


def _folder(path: Path, files: Files) -> Path:
    return write_folder(path.with_suffix(""), files)


CONTAINERS: dict[str, Callable[[Path, Files], Path]] = {
    "a.zip": write_zip,
    "a.tar": write_tar,
    "a.tar.gz": write_tar,
    "a.tgz": write_tar,
    "a.folder": _folder,
    "no_suffix": lambda path, files: write_tar(path, files),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_same_files_in_the_same_order_from_any_container(kind: str, tmp_path: Path) -> None:
    path = CONTAINERS[kind](tmp_path / kind, FILES)
    with open_container(path, tmp_path / "scratch") as container:
        assert [member.name for member in container.members] == KEPT
        assert {member.name: container.read(member) for member in container.members} == dict(FILES[:4])
        assert [member.is_image for member in container.members] == [True, True, True, False]
    if kind.endswith("gz"):
        assert list((tmp_path / "scratch").iterdir()) == []


def test_order_is_that_of_numbers_and_folders() -> None:
    names = ["b/1.jpg", "a10.jpg", "a9.jpg", "a/2.jpg", "a/10.jpg", "a09.jpg", "10/x", "9/x"]
    assert sorted(names, key=order_of) == [
        "9/x",
        "10/x",
        "a/2.jpg",
        "a/10.jpg",
        "a09.jpg",
        "a9.jpg",
        "a10.jpg",
        "b/1.jpg",
    ]
    long = ["9" * 9000, "1" * 9000, "x" + "5" * 5000]
    assert sorted(long, key=order_of) == [long[1], long[0], long[2]]


def test_litter() -> None:
    assert all(is_litter(name) for name, _ in FILES[4:])
    assert not any(is_litter(name) for name in KEPT)


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "C:\\x.jpg", "..\\x.jpg"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_names_that_lead_out_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = CONTAINERS[kind](tmp_path / kind, [("good.jpg", b"x"), (name, b"x")])
    with pytest.raises(UserError, match="leads out of the archive; do not trust it"):
        open_container(path, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [kind]


def _tar_with(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def _info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (_info("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (_info("a.jpg", tarfile.LNKTYPE, "../b.jpg"), "link"),
        (_info("a.jpg", tarfile.CHRTYPE), "no plain file"),
        (_info("a.jpg", tarfile.FIFOTYPE), "no plain file"),
    ],
)
def test_links_and_devices_in_a_tar_are_not_read(info: tarfile.TarInfo, reason: str, tmp_path: Path) -> None:
    with open_container(_tar_with(tmp_path / "a.tar", info, _info("b.jpg", size=3))) as container:
        with pytest.raises(BadFileError, match=f"^{reason}$"):
            container.read(container.members[0])
        assert container.read(container.members[1]) == b"xxx"


def _zip_with(path: Path, change: Callable[[zipfile.ZipInfo], None], data: bytes = b"hello" * 9) -> Path:
    info = zipfile.ZipInfo("a.jpg")
    change(info)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    ("mode", "reason"), [(stat.S_IFLNK | 0o777, "link"), (stat.S_IFCHR | 0o600, "no plain file"), (0o644, "")]
)
def test_links_and_devices_in_a_zip_are_not_read(mode: int, reason: str, tmp_path: Path) -> None:
    path = _zip_with(tmp_path / "a.zip", lambda info: setattr(info, "external_attr", mode << 16))
    with open_container(path) as container:
        assert container.members[0].problem == reason


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damage_inside_a_zip_is_found(method: int, tmp_path: Path) -> None:
    path = _zip_with(tmp_path / "a.zip", lambda info: setattr(info, "compress_type", method), os.urandom(5000))
    if method == zipfile.ZIP_LZMA:
        with open_container(path) as container, pytest.raises(BadFileError, match="unknown compression"):
            container.read(container.members[0])
        return
    data = bytearray(path.read_bytes())
    data[1000] ^= 255
    path.write_bytes(data)
    with open_container(path) as container, pytest.raises(BadFileError, match="damaged in the archive"):
        container.read(container.members[0])


def test_an_encrypted_file_is_told(tmp_path: Path) -> None:
    path = _zip_with(tmp_path / "a.zip", lambda info: None)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with open_container(path) as container:
        assert container.members[0].problem == "encrypted"


def test_a_file_that_is_longer_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    path = _zip_with(
        tmp_path / "a.zip", lambda info: setattr(info, "compress_type", zipfile.ZIP_DEFLATED), bytes(50_000_000)
    )
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    with open_container(path) as container, pytest.raises(BadFileError, match="damaged in the archive"):
        container.read(container.members[0])


def test_repeated_names_are_told_and_the_first_is_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"one"), ("./a.jpg", b"two"), ("b.jpg", b"three")])
    with open_container(path) as container:
        assert [(member.name, member.problem) for member in container.members] == [
            ("a.jpg", ""),
            ("a.jpg", "name twice"),
            ("b.jpg", ""),
        ]
        assert container.read(container.members[0]) == b"one"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>Google Drive - Virus scan warning", "is a web page and no archive"),
        (b"<html>", "is a web page and no archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(600), "neither a zip nor a tar archive"),
        (b"PK\x03\x04" + bytes(100), r"damaged or truncated zip archive \(104 bytes"),
        (gzip.compress(b"words" * 1000), "damaged or truncated tar archive"),
        (gzip.compress(bytes(5000))[:-9], "damaged or truncated tar archive"),
        (b"\x1f\x8b" + bytes(50), "damaged or truncated tar archive"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=message):
        open_container(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_archives_that_are_cut_off_are_told(kind: str, part: float, tmp_path: Path) -> None:
    path = CONTAINERS[kind](tmp_path / kind, [(f"{number}.jpg", os.urandom(3000)) for number in range(10)])
    size = 10 * 3584 if kind == "a.tar" else path.stat().st_size
    path.write_bytes(path.read_bytes()[: int(part * size)])
    with pytest.raises(UserError, match="damaged or truncated"):
        open_container(path, tmp_path)


def test_folders_keep_links_to_files_and_tell_dead_ones(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [("a.jpg", b"one")])
    (folder / "b.jpg").symlink_to(folder / "a.jpg")
    (folder / "c.jpg").symlink_to(folder / "nowhere.jpg")
    os.mkfifo(folder / "d.jpg")
    with open_container(folder) as container:
        assert [member.problem for member in container.members] == ["", "", "link to nowhere", "no plain file"]
        assert container.read(container.members[1]) == b"one"
        (folder / "a.jpg").unlink()
        with pytest.raises(BadFileError, match="gone"):
            container.read(container.members[0])
    with pytest.raises(UserError, match="no such file or folder"):
        open_container(tmp_path / "none")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz", "a.folder"])
def test_identity_follows_the_contents(kind: str, tmp_path: Path) -> None:
    def made(name: str, data: bytes) -> Path:
        (tmp_path / name).mkdir()
        path = CONTAINERS[kind](tmp_path / name / kind, [("a.jpg", data), ("b.jpg", b"same")])
        for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
            os.utime(each, (1000, 1000))
        return path

    first, other = made("one", b"one"), made("two", b"longer")
    assert identity_of(first) == identity_of(first)
    assert identity_of(first) != identity_of(other)


def test_containers_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "Set.ZIP").write_bytes(b"")
    (tmp_path / "set" / "set").mkdir(parents=True)
    # A set that is being written, and one that lies too deep.
    for hidden in (tmp_path / ".set.partial", tmp_path / "1" / "2" / "3" / "4" / "5"):
        hidden.mkdir(parents=True)
        (hidden / "set.zip").write_bytes(b"")
    assert find_containers(tmp_path, ("set.zip", "set")) == [tmp_path / "deep" / "er" / "Set.ZIP", tmp_path / "set"]
    assert find_containers(tmp_path / "set", ("set",)) == [tmp_path / "set"]
    assert find_containers(tmp_path / "deep" / "er" / "Set.ZIP", ("x",)) == [tmp_path / "deep" / "er" / "Set.ZIP"]
    assert find_containers(tmp_path, ("other",)) == []
