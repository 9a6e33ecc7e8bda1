"""URLs as values: what may be asked for, what may be shown to a person, what counts as the same server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from stackbuild.core.errors import NetworkError
from stackbuild.core.text import harmless


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL taken apart. text: without user and password. user, password: decoded, "" if none."""

    text: str
    scheme: str
    host: str
    port: int
    path: str
    user: str = ""
    password: str = ""

    @property
    def server(self) -> tuple[str, str, int]:
        """What credentials belong to: scheme, host and port."""
        return (self.scheme, self.host, self.port)


def parse_url(text: str) -> Url:
    """Raises NetworkError for anything but a sound http or https URL."""
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise NetworkError(f"not a valid URL: {redact(text)}", why=str(error)) from None
    if parts.scheme not in ("http", "https") or not host or any(c <= " " or c == "\x7f" for c in text):
        raise NetworkError(f"not a valid http or https URL: {redact(text)}")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Url(plain, parts.scheme, host, port, parts.path or "/", user, password)


def join(base: str, location: str) -> str:
    """Where a Location header leads, seen from `base`."""
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise NetworkError(f"{redact(base)} leads to an invalid place", why=str(error)) from None


def redact(text: str) -> str:
    """A URL as an error or a log may show it: no user, password or query (signed URLs carry keys there)."""
    text = harmless(text)
    head, mark, _ = text.partition("?")
    head = head.partition("#")[0]
    scheme, separator, rest = head.partition("://")
    if separator:
        netloc, slash, path = rest.partition("/")
        head = scheme + separator + netloc.rpartition("@")[2] + slash + path
    return (head + ("?…" if mark else ""))[:300]
