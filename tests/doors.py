"""Ways to a server on loopback: TLS under a certificate authority of its own, and a proxy that asks for a password."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.archive import Archive, Handler
from tests.machine import need
from tests.net.servers import QuietServer


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The certificate of a new authority, and what a server named localhost needs that is vouched for by it alone."""
    ca, key, request, cert = (folder / name for name in ("ca.pem", "key.pem", "request.pem", "cert.pem"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost\n")

    def openssl(*words: str | Path) -> None:
        subprocess.run([need("openssl"), *words], check=True, capture_output=True, timeout=30)

    openssl("req", "-x509", *curve, "-subj", "/CN=Test CA", "-keyout", folder / "ca.key", "-out", ca)
    openssl("req", *curve[:-2], "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", names, "-out", cert)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return ca, context


class Proxy:
    """A proxy that answers for every http host from one archive, and makes tunnels to this machine for https.

    login: "user:password" that it asks for. asked: the host of each request that it let through.
    """

    def __init__(self, made: Archive, password: str = "") -> None:
        self.login, self.asked = password, list[str]()
        self._server = QuietServer(("127.0.0.1", 0), partial(_Door, self, made, directory=str(made.folder)))
        self.url = f"http://{password + '@' if password else ''}127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Door(Handler):
    def __init__(self, proxy: Proxy, *args: Any, **named: Any) -> None:
        self.proxy = proxy
        super().__init__(*args, **named)

    def _let_in(self, host: str) -> bool:
        said = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        if self.proxy.login and base64.b64decode(said).decode() != self.proxy.login:
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.proxy.asked.append(host)
        return True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self._let_in(parts.netloc):
            self.path = parts.path
            super().do_GET()

    def do_CONNECT(self) -> None:
        if not self._let_in(self.path):
            return
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), timeout=30) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pass_on, args=(far, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, far)
            back.join(timeout=10)
        self.close_connection = True


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass
