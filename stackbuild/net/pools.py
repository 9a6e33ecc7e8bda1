"""Kept-alive connections by proxy and trust, over urllib3. Sends one request once; deciding is the client's."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import HostError, NetworkError
from stackbuild.core.text import harmless
from stackbuild.net.urls import Url, parse_url, redact

if TYPE_CHECKING:
    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What settings say of one host. ca: more certificates to trust there, a PEM file.

    insecure: take a certificate that nobody vouches for; for a registry also plain HTTP.
    mirror: host[:port][/prefix] that a registry's images are asked from first.
    """

    insecure: bool = False
    ca: str = ""
    mirror: str = ""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy serves which URL: the usual variables. Each is a URL or "" for none."""

    http: str = ""
    https: str = ""
    without: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        """From http_proxy, https_proxy, all_proxy, no_proxy (either case; the lower one counts)."""

        def word(name: str) -> str:
            return environ.get(name) or environ.get(name.upper()) or ""

        every = word("all_proxy")
        without = tuple(item.strip().lower() for item in word("no_proxy").split(",") if item.strip())
        return cls(word("http_proxy") or every, word("https_proxy") or every, without)

    def choose(self, url: Url) -> str:
        """The proxy for a URL; "" for none. This machine itself is never asked for by way of a proxy."""
        if url.host in _LOOPBACK or url.host.startswith("127."):
            return ""
        for item in self.without:
            host, _, port = item.partition(":")
            host = host.removeprefix("*").lstrip(".")
            if item == "*" or ((url.host == host or url.host.endswith("." + host)) and port in ("", str(url.port))):
                return ""
        return self.https if url.scheme == "https" else self.http


class Pools:
    """urllib3's pool managers, one for each way of connecting. connect, read: seconds without any byte."""

    def __init__(self, proxies: Proxies, settings: Mapping[str, HostSettings], connect: float, read: float) -> None:
        self._proxies, self._settings = proxies, settings
        self._connect, self._read = connect, read
        self._managers: dict[tuple[str, str, HostSettings], PoolManager] = {}
        self._lock = threading.Lock()

    def send(self, method: str, url: Url, headers: Mapping[str, str], body: Any, proxy: str | None) -> BaseHTTPResponse:
        """One request, once; the body is not read. Raises urllib3's errors (see `explain`), OSError."""
        import urllib3

        manager = self._manager(url, proxy)
        stream = body() if callable(body) else body
        try:
            return manager.urlopen(
                method,
                url.text,
                headers=dict(headers),
                body=stream,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self._connect, read=self._read),
            )
        finally:
            if callable(body):
                stream.close()

    def _manager(self, url: Url, proxy: str | None) -> PoolManager:
        if proxy is None:
            proxy = self._proxies.choose(url)
        elif proxy.upper() == "DIRECT":  # apt's word
            proxy = ""
        trust = self._settings.get(f"{url.host}:{url.port}") or self._settings.get(url.host) or HostSettings()
        key = (url.scheme, proxy, trust if url.scheme == "https" else HostSettings())
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make(*key)
            return self._managers[key]

    def _make(self, scheme: str, proxy: str, trust: HostSettings) -> PoolManager:
        import urllib3

        if trust.insecure:  # the settings said so; a warning for each request would go to stderr past our events
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        tls = scheme == "https" or proxy.startswith("https:")  # to read all certificates takes a twentieth of a second
        common: dict[str, Any] = {"num_pools": 16, "maxsize": 8, "ssl_context": _context(trust) if tls else None}
        if not proxy:
            return urllib3.PoolManager(**common)
        if proxy.startswith("socks"):
            raise NetworkError(f"the proxy {redact(proxy)} cannot be used", why="only HTTP proxies are supported")
        place = parse_url(proxy if "://" in proxy else "http://" + proxy)
        headers = urllib3.make_headers()
        if place.user or place.password:
            headers = urllib3.make_headers(proxy_basic_auth=f"{place.user}:{place.password}")
        return urllib3.ProxyManager(place.text, proxy_headers=headers, **common)

    def clear(self) -> None:
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()


def _context(trust: HostSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if trust.ca:
        try:
            context.load_verify_locations(cafile=str(Path(trust.ca).expanduser()))
        except (OSError, ssl.SSLError) as error:
            raise HostError(f"the certificates in {trust.ca} cannot be used", why=str(error)) from error
    return context


def explain(error: Exception) -> str | None:
    """Why a request failed, in a few words without URLs (they may hold secrets); None: not a network's failure."""
    import urllib3.exceptions as known

    if isinstance(error, (known.SSLError, ssl.SSLError)):
        below = error.args[0] if error.args and isinstance(error.args[0], ssl.SSLError) else error
        if isinstance(below, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted: {below.verify_message}"
        reason = below.reason if isinstance(below, ssl.SSLError) else None
        return f"no TLS connection: {reason or 'handshake failed'}"
    if isinstance(error, known.NameResolutionError):
        return "the host's name cannot be resolved"
    if isinstance(error, known.NewConnectionError):  # before ConnectTimeoutError, which urllib3 makes its parent
        return str(error).rpartition(": ")[2] or "no connection"
    if isinstance(error, known.ConnectTimeoutError):
        return "it could not be reached in time"
    if isinstance(error, known.ReadTimeoutError):
        return "it sent nothing for too long"
    if isinstance(error, known.ProxyError):
        inner = error.original_error
        refused = str(inner).partition("Tunnel connection failed: ")[2]  # http.client's words for a CONNECT that failed
        return f"the proxy: {harmless(refused) or explain(inner) or type(inner).__name__}"
    if isinstance(error, known.IncompleteRead):
        return "the body is truncated"
    if isinstance(error, known.ProtocolError):
        cause = error.args[1] if len(error.args) > 1 else None
        if isinstance(cause, known.IncompleteRead):
            return "the body is truncated"
        return f"the connection broke: {type(cause).__name__}" if cause is not None else "the connection broke"
    if isinstance(error, known.LocationParseError):
        return "the URL is not valid"
    if isinstance(error, known.HTTPError):
        return type(error).__name__
    if isinstance(error, (ConnectionError, TimeoutError)):
        return error.strerror or type(error).__name__
    return None
