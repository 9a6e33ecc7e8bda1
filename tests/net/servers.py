"""A server on a free loopback port that misbehaves as a test says: for faults that no real one can be made to show."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request as it came. headers: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """length: what Content-Length claims; None: the truth. cut: bytes of the body after which the line is dropped."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    cut: int | None = None
    hang_up: bool = False  # without any answer


def always(reply: Reply, seen: Seen) -> Reply:
    """The same answer whatever was asked: `partial(always, reply)` is one for `serving`."""
    return reply


class QuietServer(ThreadingHTTPServer):
    """A server whose clients may break off: that is what is tested, and no output."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None: ...


@dataclass
class Server:
    url: str
    host: str
    seen: list[Seen]
    connections: set[tuple[str, int]]


@contextmanager
def serving(answer: Callable[[Seen], Reply]) -> Iterator[Server]:
    """A server that answers each request with what `answer` gives."""
    seen: list[Seen] = []
    connections: set[tuple[str, int]] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client has gone
                self.close_connection = True

        def reply(self) -> None:
            connections.add(self.client_address)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            seen.append(request)
            given = answer(request)
            if given.hang_up:
                self.close_connection = True
                return
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body) if given.length is None else given.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body[: given.cut])
            if given.cut is not None or given.length is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_CONNECT = reply

        def log_message(self, *words: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        host = f"127.0.0.1:{server.server_address[1]}"
        yield Server(f"http://{host}", host, seen, connections)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
