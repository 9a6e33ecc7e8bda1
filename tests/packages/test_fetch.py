"""Package files come whole and checked, over few connections, on from where they broke off; or the error says why."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.core.events import BytesFetched, Event
from stackbuild.core.paths import StorePaths
from stackbuild.net.client import Client, Policy
from stackbuild.packages.fetch import CONNECTIONS, Fetcher, Wanted
from tests.machine import free_port


class Server(ThreadingHTTPServer):
    """Serves `files`; counts connections; `cut`: paths whose body ends after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.ranges: list[str] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            start = int(asked[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = self.server.cut.pop(self.path, None)
        self.wfile.write(body[start:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(timeout=10)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def fetcher(tmp_path: Path, events: list[Event]) -> Fetcher:
    return Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)), events.append)


def put(server: Server, path: str, body: bytes, *, urls: tuple[str, ...] = ()) -> Wanted:
    server.files[path] = body
    digest = Digest("sha256:" + hashlib.sha256(body).hexdigest())
    return Wanted(digest, len(body), path.strip("/"), urls or (server.url + path,))


def test_many_files_over_few_connections(server: Server, fetcher: Fetcher, events: list[Event]) -> None:
    wanted = [put(server, f"/{n}.deb", b"%d" % n * 5000) for n in range(40)]
    fetcher.fetch(wanted)
    assert all(fetcher.path(w.digest).read_bytes() == server.files[f"/{w.name}"] for w in wanted)
    assert server.connections <= CONNECTIONS
    total = sum(w.size for w in wanted)
    assert events[-1] == BytesFetched("packages", total, total)
    assert not list((fetcher.paths.packages / "partial").iterdir())


def test_what_is_there_is_not_fetched_again(server: Server, fetcher: Fetcher) -> None:
    wanted = put(server, "/a.deb", b"a" * 100)
    fetcher.fetch([wanted, wanted])
    before = server.connections
    fetcher.fetch([wanted])
    Fetcher(fetcher.paths, fetcher.downloader, offline=True).fetch([wanted])
    assert server.connections == before


def test_a_download_goes_on_where_it_broke_off(server: Server, fetcher: Fetcher) -> None:
    wanted = put(server, "/big.deb", bytes(range(256)) * 20000)
    server.cut["/big.deb"] = 3_000_000
    with pytest.raises(NetworkError, match=r"big\.deb"):
        fetcher.fetch([wanted])
    assert not fetcher.path(wanted.digest).exists()
    fetcher.fetch([wanted])
    assert fetcher.path(wanted.digest).read_bytes() == server.files["/big.deb"]
    assert server.ranges and int(server.ranges[-1][6:-1]) > 0


def test_wrong_bytes_are_refused_and_not_gone_on_from(server: Server, fetcher: Fetcher) -> None:
    wanted = put(server, "/a.deb", b"right" * 100)
    server.files["/a.deb"] = b"wrong" * 100
    with pytest.raises(NetworkError) as found:
        fetcher.fetch([wanted])
    assert found.value.what == f"a.deb from 127.0.0.1:{server.server_port} has the wrong digest"
    assert server.url in found.value.why and not fetcher.path(wanted.digest).exists()
    server.files["/a.deb"] = b"right" * 100
    fetcher.fetch([wanted])


def test_a_partial_file_of_other_bytes_does_no_harm(server: Server, fetcher: Fetcher) -> None:
    wanted = put(server, "/a.deb", b"right" * 100)
    partial = fetcher.paths.packages / "partial" / wanted.digest[7:]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"evil" * 10)
    with pytest.raises(NetworkError, match="wrong digest"):
        fetcher.fetch([wanted])
    fetcher.fetch([wanted])
    partial.write_bytes(b"x" * 1000)
    fetcher.path(wanted.digest).unlink()
    fetcher.fetch([wanted])
    assert fetcher.path(wanted.digest).read_bytes() == b"right" * 100


def test_more_bytes_than_promised_are_refused(server: Server, fetcher: Fetcher) -> None:
    wanted = put(server, "/a.deb", b"a" * 100)
    server.files["/a.deb"] = b"a" * 101
    with pytest.raises(NetworkError, match="larger than promised"):
        fetcher.fetch([wanted])


def test_the_next_place_is_tried(server: Server, fetcher: Fetcher) -> None:
    urls = (f"http://127.0.0.1:{free_port()}/a.deb", server.url + "/absent", server.url + "/a.deb")
    fetcher.fetch([put(server, "/a.deb", b"a" * 10, urls=urls)])


def test_a_package_that_is_gone_says_what_replaces_it(server: Server, fetcher: Fetcher) -> None:
    digest = Digest("sha256:" + "0" * 64)
    gone = Wanted(digest, 5, "curl 7.88-1", (server.url + "/c.deb",), gone=lambda: [Hint("there is curl 7.88-2")])
    with pytest.raises(NetworkError) as found:
        fetcher.fetch([gone])
    assert found.value.what == f"curl 7.88-1 is no longer on 127.0.0.1:{server.server_port}"
    assert found.value.hints[0].text == "there is curl 7.88-2"
    with pytest.raises(NetworkError, match="no source offers"):
        fetcher.fetch([Wanted(digest, 5, "curl 7.88-1", ())])


def test_a_server_that_refuses_is_named(server: Server, fetcher: Fetcher) -> None:
    port = free_port()
    wanted = put(server, "/a.deb", b"a", urls=(f"http://127.0.0.1:{port}/a.deb",))
    with pytest.raises(NetworkError, match=f"127.0.0.1:{port}"):
        fetcher.fetch([wanted])


def test_offline_names_what_is_missing(server: Server, fetcher: Fetcher) -> None:
    offline = Fetcher(fetcher.paths, fetcher.downloader, offline=True)
    with pytest.raises(NetworkError, match="--offline") as found:
        offline.fetch([put(server, "/a.deb", b"a")])
    assert "a.deb" in found.value.why


def test_a_file_url_is_read_in_place(tmp_path: Path, fetcher: Fetcher, server: Server) -> None:
    (tmp_path / "a b.deb").write_bytes(b"local")
    wanted = put(server, "/x", b"local", urls=(f"file://{tmp_path}/a%20b.deb",))
    fetcher.fetch([wanted])
    assert fetcher.path(wanted.digest).read_bytes() == b"local" and (tmp_path / "a b.deb").exists()
    with pytest.raises(NetworkError, match="no longer on the local archive"):
        fetcher.fetch([put(server, "/y", b"other", urls=(f"file://{tmp_path}/absent",))])


def test_two_processes_may_fetch_the_same_file(server: Server, fetcher: Fetcher) -> None:
    """Here: two threads with fetchers of their own, which share nothing but the store."""
    wanted = put(server, "/a.deb", b"a" * 3_000_000)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Fetcher(fetcher.paths, Client()).fetch([wanted])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not failures
    assert hashlib.sha256(fetcher.path(wanted.digest).read_bytes()).hexdigest() == wanted.digest[7:]
    assert not list((fetcher.paths.packages / "partial").iterdir())
