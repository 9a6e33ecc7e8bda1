"""The client keeps its promises to a server that fails, lies, stalls or asks for more than its due."""

from __future__ import annotations

import io
import socket
import ssl
import subprocess
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import NetworkError
from stackbuild.net.client import Client, Policy
from stackbuild.net.credentials import Credentials
from stackbuild.net.pools import HostSettings, Proxies
from stackbuild.net.urls import parse_url, redact
from tests.net.servers import QuietServer, Reply, Seen, always, serving

DATA = bytes(range(256)) * 400


def client(**more: Any) -> tuple[Client, list[float]]:
    """A client that does not really wait, and the pauses that it would have made."""
    pauses: list[float] = []
    return Client(sleep=pauses.append, policy=Policy(connect=5, read=5), **more), pauses


def fetch(mine: Client, url: str, limit: int) -> bytes:
    with mine.get(url) as answer:
        return answer.body(limit)


def test_connections_are_kept_alive() -> None:
    with serving(lambda seen: Reply(body=DATA)) as server:
        mine, _ = client()
        for _ in range(5):
            assert fetch(mine, f"{server.url}/x", 1 << 20) == DATA
        assert len(server.connections) == 1


@pytest.mark.parametrize("fault", [Reply(hang_up=True), Reply(503), Reply(429), Reply(500)])
def test_what_fails_for_a_moment_is_tried_again(fault: Reply) -> None:
    replies = [fault, fault, Reply(body=b"ok")]
    with serving(lambda seen: replies.pop(0)) as server:
        mine, pauses = client()
        assert fetch(mine, f"{server.url}/x", 10) == b"ok"
        assert len(pauses) == 2 and all(0 < pause < 2 for pause in pauses)


def test_what_keeps_failing_is_an_error_with_the_place() -> None:
    with serving(lambda seen: Reply(hang_up=True)) as server:
        mine, pauses = client()
        with pytest.raises(NetworkError, match=r"no answer from http://127\.0\.0\.1.*/x\?… \(5 tries\)"):
            fetch(mine, f"{server.url}/x?key=hidden", 10)
        assert len(pauses) == 4


def test_a_post_is_not_sent_twice() -> None:
    with serving(lambda seen: Reply(hang_up=True)) as server:
        mine, _ = client()
        with pytest.raises(NetworkError):
            with mine.send("POST", f"{server.url}/x", body=b"once", length=4):
                pass
        assert len(server.seen) == 1


def test_a_server_may_ask_to_wait_but_not_for_years() -> None:
    asked = ["3", "31536000"]
    with serving(lambda seen: Reply(503, headers={"Retry-After": asked.pop(0)})) as server:
        mine, pauses = client()
        with pytest.raises(NetworkError, match="asks to wait 31536000 seconds"):
            fetch(mine, f"{server.url}/x", 10)
        assert pauses == [3.0]


def test_a_download_that_breaks_off_goes_on_where_it_was() -> None:
    def answer(seen: Seen) -> Reply:
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        headers = {"ETag": '"1"'}
        if start:
            assert seen.headers["if-range"] == '"1"'
            headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        return Reply(206 if start else 200, DATA[start:], headers, cut=30_000)

    with serving(answer) as server:
        mine, _ = client()
        assert fetch(mine, f"{server.url}/x", 1 << 20) == DATA
        assert len(server.seen) == 4


@pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"1"'}], ids=["none", "weak"])
def test_bytes_of_two_versions_are_never_joined(etag: dict[str, str]) -> None:
    with serving(lambda seen: Reply(body=DATA, headers=etag, cut=1000)) as server:
        mine, _ = client()
        with pytest.raises(NetworkError, match="broke off after"):
            fetch(mine, f"{server.url}/x", 1 << 20)
        assert len(server.seen) == 1
    with serving(lambda seen: Reply(body=DATA, headers={"ETag": '"1"'}, cut=1000)) as server:
        with pytest.raises(NetworkError, match="could not be resumed: status 200"):
            fetch(mine, f"{server.url}/x", 1 << 20)


def test_more_than_the_limit_is_not_read() -> None:
    with serving(lambda seen: Reply(body=DATA)) as server:
        mine, _ = client()
        with pytest.raises(NetworkError, match="sends too much"):
            fetch(mine, f"{server.url}/x", 1000)


def test_credentials_do_not_follow_a_redirect_to_another_server(tmp_path: Path) -> None:
    with serving(lambda seen: Reply(body=b"ok")) as other:
        with serving(lambda seen: Reply(302, headers={"Location": f"{other.url}/there"})) as server:
            mine, _ = client(credentials=Credentials({"HOME": str(tmp_path)}, apt=tmp_path))
            with mine.send("GET", f"{server.url}/x", auth="Bearer secret") as answer:
                assert answer.body(10) == b"ok"
            fetch(mine, server.url.replace("http://", "http://me:secret@") + "/x", 10)
        assert [seen.headers.get("authorization", "") for seen in server.seen] == [
            "Bearer secret",
            "Basic bWU6c2VjcmV0",
        ]
        assert ["authorization" in seen.headers for seen in other.seen] == [False, False]


def test_redirects_end() -> None:
    with serving(lambda seen: Reply(302, headers={"Location": seen.path + "x"})) as server:
        mine, _ = client()
        with pytest.raises(NetworkError, match="redirects in circles"):
            fetch(mine, f"{server.url}/x", 10)
    for place in ("file:///etc/passwd", "ftp://example.com/", "http://[::bad/"):
        elsewhere = Reply(302, headers={"Location": place})
        with serving(partial(always, elsewhere)) as server:
            with pytest.raises(NetworkError, match=r"not a valid|invalid place"):
                fetch(mine, f"{server.url}/x", 10)


def test_a_proxy_is_used_and_told_its_own_password_alone() -> None:
    with serving(lambda seen: Reply(body=b"by proxy")) as proxy:
        through = proxy.url.replace("http://", "http://p:q@")
        mine, _ = client(proxies=Proxies.of({"http_proxy": through, "no_proxy": "direct.example.com"}))
        assert fetch(mine, "http://archive.example.com/x", 100) == b"by proxy"
        assert proxy.seen[0].path == "http://archive.example.com/x"
        assert proxy.seen[0].headers["proxy-authorization"] == "Basic cDpx"
    chosen = Proxies("http://p", "http://s", ("example.org", ".example.net:8080"))
    for url, proxy_url in (
        ("http://a.example.org/", ""), ("http://example.com/", "http://p"), ("https://example.com/", "http://s"),
        ("http://a.example.net:8080/", ""), ("http://a.example.net/", "http://p"), ("http://127.0.0.1/", ""),
    ):  # fmt: skip
        assert chosen.choose(parse_url(url)) == proxy_url, url


def test_errors_show_no_secret() -> None:
    mine, _ = client()
    with pytest.raises(NetworkError) as found:
        fetch(mine, "http://user:secret@127.0.0.1:1/x?X-Signature=secret", 10)
    assert "secret" not in str(found.value) and "http://127.0.0.1:1/x?…" in str(found.value)
    assert redact("https://me:secret@example.com/a\x1b[2J?k=secret#f") == "https://example.com/a?…"


def test_https_is_verified_and_an_extra_ca_is_taken(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *words: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"https://localhost:{server.server_address[1]}/"
    try:
        with pytest.raises(NetworkError, match="certificate is not trusted") as found:
            fetch(client()[0], url, 10)
        assert any("ca-certificates" in hint.command for hint in found.value.hints)
        for settings in (HostSettings(ca=str(cert)), HostSettings(insecure=True)):
            assert fetch(client(settings={"localhost": settings})[0], url, 10) == b"ok"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_body_that_is_taken_too_slowly_is_given_up() -> None:
    size = 64 << 20
    with socket.create_server(("127.0.0.1", 0)) as server:

        def sip() -> None:
            line, _ = server.accept()
            with line:
                while line.recv(1024):
                    time.sleep(0.01)

        threading.Thread(target=sip, daemon=True).start()
        mine = Client(policy=Policy(connect=5, read=5, retries=0, slow=0.3, slow_rate=1 << 30))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(NetworkError, match=r"/x is too slow: \d+ bytes in"):
            with mine.send("PUT", url, body=lambda: io.BytesIO(bytes(size)), length=size):
                pass
