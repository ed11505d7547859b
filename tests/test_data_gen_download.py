"""Downloads: whole, resumed, restarted, or refused with what to do, against a local server."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from common.locks import locked
from data_gen import download as module
from data_gen.download import download

DATA = np.random.default_rng(0).bytes(1_000_003)
STEP = 400_000


class Server(http.server.ThreadingHTTPServer):
    """A server whose answers break in the way a test asks for.

    `break_after` cuts every answer after so many bytes, `ranges` is whether parts can be asked for, `failures` are
    status codes that come first, `data` and `tag` are the file and its version.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.tag = DATA, '"one"'
        self.break_after: int | None = None
        self.ranges, self.announce = True, True
        self.failures: list[int] = []
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.npz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range", server.tag) == server.tag:
            start = int(re.sub(r"\D", "", wanted))
            if start >= len(server.data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        else:
            self.send_response(200)
        if server.announce:
            self.send_header("Content-Length", str(len(server.data) - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        body = server.data[start:]
        self.wfile.write(body if server.break_after is None else body[: server.break_after])
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.npz"
    assert download(server.url, path, pause=0) == path
    assert path.read_bytes() == DATA
    download(server.url, path, pause=0)
    assert server.asked == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.npz"]


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.break_after = STEP
    download(server.url, tmp_path / "file.npz", attempts=2, pause=0)
    assert (tmp_path / "file.npz").read_bytes() == DATA
    assert server.asked == [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = STEP
    with pytest.raises(UserError, match=r"400,000 of 1,000,003 bytes; 400,000 bytes are kept, so run this again"):
        download(server.url, tmp_path / "file.npz", attempts=1, pause=0)
    assert not (tmp_path / "file.npz").exists()
    server.break_after = None
    download(server.url, tmp_path / "file.npz", pause=0)
    assert (tmp_path / "file.npz").read_bytes() == DATA
    assert server.asked == [None, f"bytes={STEP}-"]


@pytest.mark.parametrize("kind", ["other tag", "other size without tag", "no ranges", "record lost", "too long"])
def test_parts_of_different_files_never_mix(server: Server, tmp_path: Path, kind: str) -> None:
    server.break_after = STEP
    if kind == "other size without tag":
        server.tag = ""
    with pytest.raises(UserError):
        download(server.url, tmp_path / "file.npz", attempts=1, pause=0)
    server.break_after = None
    part = tmp_path / ".file.npz.part"
    if kind == "no ranges":
        server.ranges = False
    elif kind == "record lost":
        part.with_name(".file.npz.part.json").unlink()
        part.write_bytes(b"x" * STEP)
    elif kind == "too long":
        part.write_bytes(b"x" * (len(DATA) + 5))
    else:
        server.data, server.tag = DATA[::-1] + b"more", '"two"' if server.tag else ""
    download(server.url, tmp_path / "file.npz", pause=0)
    assert (tmp_path / "file.npz").read_bytes() == server.data


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    server.break_after = STEP
    with pytest.raises(UserError):
        download(server.url, tmp_path / "file.npz", attempts=1, pause=0)
    (tmp_path / ".file.npz.part").write_bytes(DATA)
    download(server.url, tmp_path / "file.npz", pause=0)
    assert (tmp_path / "file.npz").read_bytes() == DATA


def test_a_size_that_is_not_announced(server: Server, tmp_path: Path) -> None:
    server.announce = False
    download(server.url, tmp_path / "file.npz", pause=0)
    assert (tmp_path / "file.npz").read_bytes() == DATA


def test_moments_of_trouble_pass_and_lasting_trouble_ends(server: Server, tmp_path: Path) -> None:
    server.failures = [503, 429]
    download(server.url, tmp_path / "file.npz", attempts=3, pause=0)
    server.failures = [500] * 9
    with pytest.raises(UserError, match="the server answered 500"):
        download(server.url, tmp_path / "other.npz", attempts=3, pause=0)
    assert len(server.failures) == 6


def test_a_missing_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    server.failures = [404]
    with pytest.raises(UserError, match=r"could not fetch http.*file.npz: the server answered 404"):
        download(server.url, tmp_path / "file.npz", pause=0)
    assert len(server.asked) == 1
    assert not list(tmp_path.iterdir())


def test_no_server_and_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=r"refused; 0 bytes are kept.*put it at .*file.npz"):
        download("http://127.0.0.1:9/file.npz", tmp_path / "file.npz", attempts=2, pause=0)
    for url in ("file:///etc/passwd", "ftp://example.org/x", "nonsense"):
        with pytest.raises(UserError, match="no http or https address"):
            download(url, tmp_path / "file.npz")


def test_two_processes_do_not_write_the_same_part(server: Server, tmp_path: Path) -> None:
    part = tmp_path / ".file.npz.part"
    part.write_bytes(b"of the other process")
    with locked(part, wait=False), pytest.raises(UserError, match=r"another process is fetching .*file.npz; wait"):
        download(server.url, tmp_path / "file.npz", pause=0)
    assert part.read_bytes() == b"of the other process"
    assert server.asked == []


def test_a_kill_between_two_versions_does_not_mix_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.break_after = STEP
    with pytest.raises(UserError):
        download(server.url, tmp_path / "file.npz", attempts=1, pause=0)
    server.data, server.tag, server.break_after = DATA[::-1], '"two"', None
    write_text = module.write_text

    def write_and_die(path: Path, text: str) -> None:
        write_text(path, text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_text", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            download(server.url, tmp_path / "file.npz", pause=0)
    download(server.url, tmp_path / "file.npz", pause=0)
    assert (tmp_path / "file.npz").read_bytes() == DATA[::-1]


def test_folders_that_were_made_for_nothing_are_removed(server: Server, tmp_path: Path) -> None:
    server.failures = [404]
    with pytest.raises(UserError, match="404"):
        download(server.url, tmp_path / "deep" / "er" / "file.npz", pause=0)
    assert not list(tmp_path.iterdir())
