"""Files in a zip or tar archive, or in a folder: listed and read where they are, never unpacked into the file system.

Names decide nothing about what an archive is; its first bytes do. The order is that of the names, with numbers in them
compared as numbers, whatever the container is, so that the same files give the same data set.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from common.errors import UserError
from common.files import made_folder
from data_gen.published import looks_like_a_page, walked

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_BYTES = 1 << 30
"""A file in an archive above this size is no image."""

_TAIL_BYTES = 32 << 20
_LITTER_FOLDERS = ("__MACOSX",)
_LITTER_FILES = ("thumbs.db", "desktop.ini")
_ZIP_HEADER_BYTES = 30
# Python turns no longer ones into numbers.
_NUMBERS = re.compile(r"(\d{1,4000})")
_ADVICE = "get the file anew"


class BadFileError(Exception):
    """A file that cannot be used; the message is the reason in a few words, the same for all files of the kind."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive or folder.

    Args:
        name: its path in there, with `/`.
        offset: where in the archive it starts: its header in a zip, its bytes in a tar.
        size: bytes that it takes there.
        length: bytes that it has unpacked.
        is_packed: whether it is compressed on its own.
        checksum: CRC-32 of its bytes; `None` if the container has none.
        problem: why it cannot be read, in a few words; empty if nothing is known against it.
    """

    name: str
    offset: int = 0
    size: int = 0
    length: int = 0
    is_packed: bool = False
    checksum: int | None = None
    problem: str = ""

    @property
    def is_image(self) -> bool:
        """Whether its name is that of an image."""
        return self.name.lower().endswith(IMAGE_SUFFIXES)


class Container:
    """The files of an archive or folder; `close` it, or use it in a `with` statement.

    Args:
        members: all files but litter, sorted by `order_of`.
        read: gives the bytes of one; may be called by several threads at once.
        close: lets go of the archive. Default: nothing is open.
    """

    def __init__(self, members: Iterable[Member], read: Any, close: Any = None) -> None:
        self.members = sorted(members, key=lambda member: order_of(member.name))
        self._read = read
        self._close = close

    def read(self, member: Member) -> bytes:
        """The bytes of a file.

        Raises:
            BadFileError: if it cannot be read; the message is the reason.
        """
        if member.problem:
            raise BadFileError(member.problem)
        if member.length > MOST_BYTES:
            raise BadFileError("too large")
        data: bytes = self._read(member)
        return data

    def close(self) -> None:
        """Lets go of the archive."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def order_of(name: str) -> tuple[Any, ...]:
    """What names are sorted by: folder by folder, numbers as numbers (`9.jpg` before `10.jpg`), then as they are."""
    parts = []
    for part in name.split("/"):
        # Odd positions are digits, so that numbers are only compared with numbers.
        pieces = _NUMBERS.split(part)
        parts.append(tuple(int(piece) if index % 2 else piece for index, piece in enumerate(pieces)))
    return (tuple(parts), name)


def is_litter(name: str) -> bool:
    """Whether a file is what operating systems leave behind: `__MACOSX`, `._x`, `.DS_Store`, `Thumbs.db`."""
    *folders, file = name.split("/")
    if any(folder in _LITTER_FOLDERS or folder.startswith(".") for folder in folders):
        return True
    return file.startswith(".") or file.lower() in _LITTER_FILES


def identity_of(path: Path) -> dict[str, Any]:
    """What tells an archive from another one, without reading it whole: its size and the SHA-256 of its last 32 MiB.

    At its end a zip has the checksums of all files, and a gzip that of everything. A tar has none, so that its time of
    change counts as well; of a folder all names, sizes and times do.
    """
    if path.is_dir():
        digest, count = hashlib.sha256(), 0
        for name, status in _walk(path):
            known = "-" if status is None else f"{status.st_size} {status.st_mtime_ns}"
            digest.update(f"{name!r} {known}\n".encode())
            count += 1
        return {"kind": "folder", "files": count, "sha256": digest.hexdigest()}
    about = path.stat()
    with open(path, "rb") as file:
        kind = _kind_of(path, file.read(512))
        file.seek(max(0, about.st_size - _TAIL_BYTES))
        identity = {"kind": kind, "size": about.st_size, "tail_sha256": hashlib.sha256(file.read()).hexdigest()}
    if kind == "tar":
        identity["modified"] = about.st_mtime_ns
    return identity


def open_container(path: Path, scratch: Path | None = None) -> Container:
    """Lists an archive or a folder.

    Args:
        path: a zip, a tar, a gzipped tar, or a folder.
        scratch: the folder in which a gzipped tar is unpacked into a nameless file, which is gone when it is closed or
            the process ends; made if missing. Default: that of the system.

    Returns:
        its files.

    Raises:
        UserError: if it is missing, damaged, a web page, no archive, or holds a name that leads out of it.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; check the path")
    with open(path, "rb") as file:
        kind = _kind_of(path, file.read(512))
    if kind == "zip":
        return _open_zip(path)
    return _open_tar(path, scratch if kind == "tar.gz" else None, kind == "tar.gz")


def find_containers(raw_dir: Path, names: Iterable[str]) -> list[Path]:
    """Archives and folders of these names, up to four levels deep, in the order of the names.

    Args:
        raw_dir: the folder to search; if it is a file, or has itself one of the names, it is the only one found.
        names: in any case of letters.
    """
    wanted = [name.lower() for name in names]
    if raw_dir.is_file():
        return [raw_dir]
    if raw_dir.name.lower() in wanted:
        return [raw_dir]
    found: list[Path] = []
    for here, folders, files in walked(raw_dir):
        found += [here / name for name in (*files, *folders) if name.lower() in wanted]
        # What is in a folder that is found is not looked at.
        folders[:] = [name for name in folders if name.lower() not in wanted]
    return sorted(found, key=lambda path: (wanted.index(path.name.lower()), path))


def _kind_of(path: Path, head: bytes) -> str:
    if not head:
        raise UserError(f"{path} is empty; {_ADVICE}")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if head[257:262] == b"ustar" or _is_old_tar(head):
        return "tar"
    if looks_like_a_page(head):
        raise UserError(
            f"{path} is a web page and no archive: the server sent a page in place of the file; open the address in a "
            "browser, and download the file from there"
        )
    raise UserError(f"{path} is neither a zip nor a tar archive, gzipped or not; {_ADVICE}, or unpack it into a folder")


def _is_old_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _check_name(path: Path, name: str) -> str:
    """The name as it is used, or a `UserError`: whoever made such an archive wants to write elsewhere."""
    clean = name.replace("\\", "/")
    parts = PurePosixPath(clean).parts
    if clean.startswith("/") or ".." in parts or "\0" in clean or re.match(r"[A-Za-z]:", clean):
        raise UserError(f"{path} holds the name {name!r}, which leads out of the archive; do not trust it, {_ADVICE}")
    return "/".join(part for part in parts if part != ".")


def _without_repeats(members: Iterable[Member]) -> Iterator[Member]:
    """All members; of those with the same name the later ones have a problem."""
    seen: set[str] = set()
    for member in members:
        yield dataclasses.replace(member, problem="name twice") if member.name in seen else member
        seen.add(member.name)


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """The files of a folder in the order of their names; no status for links that lead nowhere."""
    top = os.fspath(path)
    for folder, folders, files in os.walk(top):
        folders.sort()
        below = os.path.relpath(folder, top)
        front = "" if below == os.curdir else f"{below.replace(os.sep, '/')}/"
        for file in sorted(files):
            name = front + file
            if is_litter(name):
                continue
            try:
                yield name, os.stat(os.path.join(folder, file))
            except OSError:
                yield name, None


def _open_folder(path: Path) -> Container:
    members = []
    for name, status in _walk(path):
        if status is None:
            members.append(Member(name, problem="link to nowhere"))
        elif not stat.S_ISREG(status.st_mode):
            members.append(Member(name, problem="no plain file"))
        else:
            members.append(Member(name, size=status.st_size, length=status.st_size))

    top = os.fspath(path)

    def read(member: Member) -> bytes:
        try:
            with open(f"{top}/{member.name}", "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            raise BadFileError("gone") from None
        except PermissionError:
            raise BadFileError("permission denied") from None
        except OSError:
            raise BadFileError("input/output error") from None

    return Container(members, read)


def _open_zip(path: Path) -> Container:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, zipfile.BadZipFile):
            raise
        size = path.stat().st_size
        raise UserError(f"{path}: damaged or truncated zip archive ({size:,} bytes; {error}); {_ADVICE}") from error
    members, end = [], path.stat().st_size
    for info in infos:
        name = _check_name(path, info.filename)
        if not name or info.is_dir() or is_litter(name):
            continue
        mode = info.external_attr >> 16
        problem = ""
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            problem = "link" if stat.S_ISLNK(mode) else "no plain file"
        elif not 0 <= info.header_offset <= info.header_offset + info.compress_size <= end:
            problem = "damaged in the archive"
        elif info.flag_bits & 1:
            problem = "encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = "unknown compression"
        packed = info.compress_type == zipfile.ZIP_DEFLATED
        members.append(Member(name, info.header_offset, info.compress_size, info.file_size, packed, info.CRC, problem))
    file = open(path, "rb")  # noqa: SIM115 - closed by the container
    return Container(_without_repeats(members), lambda member: _read_zipped(file.fileno(), member), file.close)


def _read_zipped(descriptor: int, member: Member) -> bytes:
    """Reads a file of a zip by its place: several threads at once, and ten times faster than `zipfile`."""
    header = os.pread(descriptor, _ZIP_HEADER_BYTES, member.offset)
    if len(header) < _ZIP_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise BadFileError("damaged in the archive")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    data = os.pread(descriptor, member.size, member.offset + _ZIP_HEADER_BYTES + names)
    if len(data) != member.size:
        raise BadFileError("damaged in the archive")
    if member.is_packed:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than announced shows a file that is longer than it says.
            data = inflate.decompress(data, member.length + 1)
        except zlib.error:
            raise BadFileError("damaged in the archive") from None
    if len(data) != member.length or zlib.crc32(data) != member.checksum:
        raise BadFileError("damaged in the archive")
    return data


def _open_tar(path: Path, scratch: Path | None, is_gzipped: bool) -> Container:
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(open(path, "rb"))
        try:
            if is_gzipped:
                file = stack.enter_context(_unpacked(file, scratch))
            members = list(_tar_members(path, file))
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            size = path.stat().st_size
            raise UserError(f"{path}: damaged or truncated tar archive ({size:,} bytes; {error}); {_ADVICE}") from error
        kept = stack.pop_all()
    descriptor = file.fileno()

    def read(member: Member) -> bytes:
        data = os.pread(descriptor, member.length, member.offset)
        if len(data) != member.length:
            raise BadFileError("damaged in the archive")
        return data

    return Container(_without_repeats(members), read, kept.close)


def _unpacked(file: IO[bytes], scratch: Path | None) -> IO[bytes]:
    """What is in a gzipped file, in a file without a name."""
    with contextlib.nullcontext() if scratch is None else made_folder(scratch):
        plain: IO[bytes] = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - handed on
        try:
            with gzip.GzipFile(fileobj=file) as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
            plain.flush()
            plain.seek(0)
        except BaseException:
            plain.close()
            raise
    return plain


def _tar_members(path: Path, file: IO[bytes]) -> Iterator[Member]:
    end = os.fstat(file.fileno()).st_size
    with tarfile.open(fileobj=file, mode="r:", errorlevel=2) as archive:
        for info in archive:
            name = _check_name(path, info.name)
            if not name or info.isdir() or is_litter(name):
                continue
            problem = ""
            if info.issym() or info.islnk():
                problem = "link"
            elif not info.isreg() or info.issparse():
                problem = "no plain file"
            elif info.offset_data + info.size > end:
                raise tarfile.ReadError("unexpected end of data")
            yield Member(name, info.offset_data, info.size, info.size, problem=problem)
        # At a header that is damaged or missing `tarfile` ends as if all were well; an archive ends with zeros.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of the archive where it should be")
