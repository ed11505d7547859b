"""Fetches a published file, and goes on where an earlier attempt stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import UserError
from common.files import made_folder, write_text
from common.locks import locked
from common.progress import progress

_BLOCK_BYTES = 1 << 18
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)


class _TryAgainError(Exception):
    """The network failed in a way that may pass."""


@dataclasses.dataclass(frozen=True)
class _Version:
    """Which version of the file the server has: its size, and its ETag or date. Parts of two versions never mix."""

    size: int | None
    validator: str


def download(url: str, path: Path, *, attempts: int = 4, pause: float = 2.0, timeout: float = 60.0) -> Path:
    """Fetches a file over HTTP, unless it is there already.

    What has arrived is kept beside `path` (`.<name>.part`) when the connection breaks or the process ends, and a later
    call asks for the rest only. The file gets its name when all bytes that the server announced are there. What is in
    it is for the caller to check.

    Args:
        url: where it is, http or https.
        path: where to put it.
        attempts: how often to try without any new byte before giving up. Default: 4.
        pause: seconds before the second attempt, doubled for each further one. Default: 2.
        timeout: seconds to wait for the server. Default: 60.

    Returns:
        `path`.

    Raises:
        UserError: if the server does not have the file or cannot be reached, or another process is fetching it.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} is no http or https address; give one")
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.part")
    with made_folder(path.parent), _for_this_process_alone(part, path):
        # Another process may have been quicker.
        if not path.is_file():
            _fetch_all(url, path, part, attempts, pause, timeout)
    return path


@contextlib.contextmanager
def _for_this_process_alone(part: Path, path: Path) -> Iterator[None]:
    """Makes the file of what has arrived and locks it; it stays the same file, and goes if nothing has arrived."""
    part.touch()
    try:
        with locked(part, wait=False):
            try:
                yield
            finally:
                if not _size(part):
                    part.unlink(missing_ok=True)
                    _record_of(part).unlink(missing_ok=True)
    except BlockingIOError:
        raise UserError(f"another process is fetching {path}; wait for it, then run this again") from None


def _fetch_all(url: str, path: Path, part: Path, attempts: int, pause: float, timeout: float) -> None:
    """Asks for what is missing until the file is whole, and gives it its name; arguments as those of `download`."""
    failures, most = 0, _size(part)
    while True:
        try:
            _fetch_rest(url, part, timeout)
            break
        except _TryAgainError as error:
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= attempts:
                raise UserError(
                    f"could not fetch {url}: {error}; {_size(part):,} bytes are kept, so run this again to go on, "
                    f"or fetch it in another way and put it at {path}"
                ) from error
            time.sleep(pause * 2 ** (failures - 1))
    os.replace(part, path)
    _record_of(part).unlink(missing_ok=True)


def _fetch_rest(url: str, part: Path, timeout: float) -> None:
    """Asks for what is missing and appends it; returns when the file is whole."""
    have, known = _size(part), _read_version(part)
    if known is None:
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "spout", "Accept-Encoding": "identity"})
    if have and known is not None:
        request.add_header("Range", f"bytes={have}-")
        if known.validator and not known.validator.startswith("W/"):
            request.add_header("If-Range", known.validator)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            _refused(url, error, part, have)
        return
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with response:
        start, version = _answered(response)
        if start and (start != have or (known is not None and version != known)):
            os.truncate(part, 0)
            raise _TryAgainError("the server has another version of the file than before")
        if not start:
            # Before the record tells of the new version: a kill in between must not leave bytes of one under the name
            # of the other.
            os.truncate(part, 0)
        write_text(_record_of(part), json.dumps({"url": url, **dataclasses.asdict(version)}))
        remaining = None if version.size is None else version.size - start
        with open(part, "r+b") as handle:
            handle.seek(start)
            handle.truncate()
            _append(handle, response, f"fetching {part.name[1:-5]}", remaining)
            handle.flush()
            os.fsync(handle.fileno())
    if version.size is not None and _size(part) != version.size:
        raise _TryAgainError(f"the connection ended after {_size(part):,} of {version.size:,} bytes")


def _append(handle: IO[bytes], response: Any, description: str, remaining: int | None) -> None:
    """Copies an answer to a file; errors of the network and of the disk are kept apart."""

    def blocks() -> Iterator[bytes]:
        left = remaining
        while left is None or left > 0:
            try:
                block = response.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left))
            except http.client.IncompleteRead as error:
                yield error.partial
                raise _TryAgainError("the connection ended early") from error
            except (OSError, http.client.HTTPException) as error:
                raise _TryAgainError(str(error) or type(error).__name__) from error
            if not block:
                return
            left = None if left is None else left - len(block)
            yield block

    total = None if remaining is None else -(-remaining // _BLOCK_BYTES)
    for block in progress(blocks(), description, total=total, unit=f"x{_BLOCK_BYTES >> 10}KiB"):
        handle.write(block)


def _answered(response: Any) -> tuple[int, _Version]:
    """At which byte an answer starts, and which version of the file it is from."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if found is None:
            raise _TryAgainError("the server's answer does not say which part of the file it is")
        return int(found[1]), _Version(int(found[2]), validator)
    length = response.headers.get("Content-Length", "")
    return 0, _Version(int(length) if length.isdigit() else None, validator)


def _refused(url: str, error: urllib.error.HTTPError, part: Path, have: int) -> None:
    """Tells an answer that is an error: a finished file, a moment's trouble, or a file that is not there."""
    if error.code == 416 and have:
        known = _read_version(part)
        if known is not None and known.size == have:
            return
        os.truncate(part, 0)
        raise _TryAgainError("the server has another version of the file than before")
    if error.code in _TRANSIENT_STATUS:
        raise _TryAgainError(f"the server answered {error.code} {error.reason}")
    raise UserError(
        f"could not fetch {url}: the server answered {error.code} {error.reason}; look for the file elsewhere"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _record_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_version(part: Path) -> _Version | None:
    try:
        record = json.loads(_record_of(part).read_text(encoding="utf-8"))
        return _Version(record["size"], str(record["validator"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
