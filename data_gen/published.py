"""Files as their publisher has them: found in a folder, or fetched from one of several servers, and checked."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import UserError
from data_gen.download import download

_SEARCH_DEPTH = 4
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file that somebody publishes.

    Args:
        name: its name.
        mirrors: its addresses, those to be tried first in front.
        md5: of its bytes, in hexadecimal; empty if it is not known.
        size: in bytes; `None` if it is not known.
    """

    name: str
    mirrors: tuple[str, ...]
    md5: str = ""
    size: int | None = None

    def is_at(self, path: Path) -> bool:
        """Whether a file is this one, as far as is known of it."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return not self.md5 or md5_of(path) == self.md5


def md5_of(path: Path) -> str:
    """The MD5 of a file's bytes, in hexadecimal: what publishers tell. It finds damage, not malice."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fetch(file: PublishedFile, folder: Path, *, attempts: int = 4, pause: float = 2.0) -> Path:
    """Fetches a published file from the first of its mirrors that has it, unless it is there already.

    What has arrived is kept when a connection breaks, see `data_gen.download`. A mirror that gives something else, such
    as a page of words, is passed over.

    Args:
        file: what is wanted.
        folder: where it is put, under its own name.
        attempts: how often each mirror is tried without any new byte. Default: 4.
        pause: seconds before the second attempt, doubled for each further one. Default: 2.

    Returns:
        where it is.

    Raises:
        UserError: if something else of this name is there, or no mirror has the file.
    """
    path = folder / file.name
    if path.is_file():
        if file.is_at(path):
            return path
        raise UserError(f"{path} is there, but it is not the published {file.name}; move it away and try again")
    failures: list[str] = []
    for url in file.mirrors:
        try:
            download(url, path, attempts=attempts, pause=pause)
        except UserError as error:
            failures.append(str(error))
            continue
        if file.is_at(path):
            return path
        size = path.stat().st_size
        path.unlink()
        failures.append(f"{url} gave {size:,} bytes that are not the published {file.name}")
    raise UserError(
        f"no server gave {file.name}: {'; '.join(failures)}; get it in another way and put it into {folder}"
    )


def find_files(raw_dir: Path, names: Sequence[str]) -> list[Path]:
    """All files of these names in a folder, up to four levels deep and sorted; or the file given, if it is one of them.

    Args:
        raw_dir: the folder, or a file.
        names: the names, in any case of letters.
    """
    wanted = {name.lower() for name in names}
    if raw_dir.is_file():
        return [raw_dir] if raw_dir.name.lower() in wanted else []
    return sorted(here / file for here, _, files in walked(raw_dir) for file in files if file.lower() in wanted)


def walked(raw_dir: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Goes through a folder of published files, up to four levels deep, as all that look for something there do.

    Hidden folders, such as those of sets that are being written, are passed over.

    Args:
        raw_dir: the folder; nothing comes of one that is not there.

    Yields:
        a folder, and the names of the folders and files in it, sorted. Those folders are gone through next that are
        left in the list.
    """
    for folder, folders, files in os.walk(raw_dir):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, folders, sorted(files)
        if len(here.relative_to(raw_dir).parts) >= _SEARCH_DEPTH:
            folders.clear()


def looks_like_a_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an HTML page, which servers send in place of files."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))
