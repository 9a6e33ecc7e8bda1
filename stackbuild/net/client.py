"""One HTTP client for all: pooled, retried, resumed, bounded, redacted. Knows no protocol above HTTP."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from stackbuild import __version__
from stackbuild.core.digest import CHUNK
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.net.credentials import Credentials
from stackbuild.net.pools import HostSettings, Pools, Proxies, explain
from stackbuild.net.urls import Url, join, parse_url, redact

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_SAFE_TO_REPEAT = ("GET", "HEAD", "PUT", "DELETE")
Body = bytes | Callable[[], BinaryIO] | None


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds. Times in seconds.

    retries: after the first try, of a request or of a body that broke off. backoff doubles each time.
    max_wait: the longest that a server may make us wait. slow: a body that after `slow` seconds has come, or
    was taken, at less than `slow_rate` bytes a second is given up.
    """

    connect: float = 15.0
    read: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    max_wait: float = 30.0
    redirects: int = 8
    slow: float = 120.0
    slow_rate: int = 512


class Answer:
    """What a server said. headers: names in lower case. url: where it came from in the end, without secrets."""

    def __init__(self, reply: BaseHTTPResponse, url: str, resume: Callable[[int], BaseHTTPResponse] | None) -> None:
        self._reply, self._resume = reply, resume
        self.url = redact(url)
        self.status = int(reply.status)
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in reply.headers.items()}
        self._done = 0
        self._ended = False
        self._policy = Policy()
        self._started = time.monotonic()

    def bounded(self, policy: Policy) -> Answer:
        self._policy = policy
        return self

    def read(self, size: int = CHUNK) -> bytes:
        """At most `size` bytes of the body; b"" at its end. Raises NetworkError: broken off, cut, too slow."""
        while True:
            try:
                data = self._reply.read1(size, decode_content=False) if size > 0 else b""
            except Exception as error:
                why = explain(error)
                if why is None:
                    raise
                self._reply.close()
                if self._resume is None:
                    raise NetworkError(f"{self.url} broke off after {self._done} bytes", why=why) from error
                self._reply = self._resume(self._done)
                continue
            self._done += len(data)
            self._ended = self._ended or (not data and size > 0)
            seconds = time.monotonic() - self._started
            if seconds > self._policy.slow and self._done < seconds * self._policy.slow_rate:
                raise NetworkError(f"{self.url} is too slow", why=f"{self._done} bytes in {seconds:.0f} seconds")
            return data

    def body(self, limit: int) -> bytes:
        """All of a small body. Raises NetworkError if more than `limit` bytes come."""
        data = bytearray()
        while piece := self.read(min(CHUNK, limit + 1)):
            data += piece
            if len(data) > limit:
                raise NetworkError(f"{self.url} sends too much", why=f"more than {limit} bytes")
        return bytes(data)

    def close(self) -> None:
        """Back into the pool if the body was read to its end, else away."""
        if self._ended or getattr(self._reply, "length_remaining", None) == 0:
            self._reply.drain_conn()
        else:
            self._reply.close()


@dataclass(frozen=True, slots=True)
class Request:
    """One request. auth: the value of an Authorization header; goes to this server alone, through no redirect."""

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = None
    length: int | None = None
    auth: str = field(default="", repr=False)
    proxy: str | None = None
    repeat: bool = False


class Client:
    """Safe for several threads. Makes no connection before it is asked to.

    settings: by host or host:port. proxies: None for none. sleep, policy: for tests.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        proxies: Proxies | None = None,
        settings: Mapping[str, HostSettings] | None = None,
        policy: Policy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.credentials = credentials
        self.settings = dict(settings or {})
        self.policy = policy or Policy()
        self._pools = Pools(proxies or Proxies(), self.settings, self.policy.connect, self.policy.read)
        self._sleep = sleep

    @contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        repeat: bool | None = None,
    ) -> Iterator[Answer]:
        """GET with retries, redirects and, if the body breaks off, resumption by Range.

        proxy: a proxy's URL, "DIRECT" for none, None for the environment's. Any status is an answer;
        raises NetworkError if none comes. Credentials of the host are sent if there are any. repeat: False: no retries.
        """
        with self.send("GET", url, headers=headers, proxy=proxy, repeat=repeat) as answer:
            yield answer

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        length: int | None = None,
        auth: str | None = None,
        proxy: str | None = None,
        repeat: bool | None = None,
    ) -> Iterator[Answer]:
        """Any request. body: bytes, or a function that opens a stream of `length` bytes (again for each try).

        auth: None looks credentials up by host, "" sends none. repeat: whether it may be sent again after a
        failure; None: as the method's meaning allows. Only GET and HEAD follow redirects.
        """
        place = parse_url(url)
        again = method in _SAFE_TO_REPEAT if repeat is None else repeat
        request = Request(method, place, dict(headers or {}), body, length, auth or "", proxy, again)
        reply, final = self._follow(request, look_up=auth is None)
        resume = None
        if method == "GET" and reply.status in (200, 206):
            resume = self._resumer(final, reply)
        answer = Answer(reply, final.url.text, resume).bounded(self.policy)
        try:
            yield answer
        finally:
            answer.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._pools.clear()

    # One request, as often as it takes

    def _follow(self, request: Request, *, look_up: bool) -> tuple[BaseHTTPResponse, Request]:
        """The last answer of a chain of redirects, and the request that it answers."""
        for _ in range(self.policy.redirects + 1):
            if look_up:
                login = self.credentials.for_url(request.url) if self.credentials is not None else None
                request = replace(request, auth=login.basic if login is not None else "")
            reply = self._try(request)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or not location or request.method not in ("GET", "HEAD"):
                return reply, request
            reply.close()
            target = parse_url(join(request.url.text, location))
            if request.url.scheme == "https" and target.scheme != "https":
                raise NetworkError(
                    f"{redact(request.url.text)} leads to an unprotected place",
                    why=f"it redirects to {redact(location)}",
                )
            kept = request.auth if target.server == request.url.server else ""
            request = replace(request, url=target, auth=kept)
        raise NetworkError(f"{redact(request.url.text)} redirects in circles", why=f"more than {self.policy.redirects}")

    def _try(self, request: Request) -> BaseHTTPResponse:
        """One request with retries. The last answer is returned whatever its status."""
        tries = self.policy.retries if request.repeat else 0
        for number in range(tries + 1):
            try:
                body = request.body if not callable(request.body) else partial(self._paced, request.body, request.url)
                reply = self._pools.send(request.method, request.url, self._headers(request), body, request.proxy)
            except Exception as error:
                why = explain(error)
                if why is None:
                    raise
                if number == tries or why.startswith("the certificate"):
                    raise self._no_answer(request, why, number) from error
                self._sleep(self._pause(number))
                continue
            if reply.status not in _RETRIED or number == tries:
                return reply
            pause = self._asked_pause(request, reply, number)
            reply.close()
            self._sleep(pause)
        raise AssertionError("the loop returns or raises")

    def _paced(self, source: Callable[[], BinaryIO], url: Url) -> BinaryIO:
        return cast(BinaryIO, _Paced(source(), self.policy, url.text))

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"user-agent": f"stackbuild/{__version__}", "accept-encoding": "identity"}
        headers.update({name.lower(): value for name, value in request.headers.items()})
        if request.auth:
            headers["authorization"] = request.auth
        if request.length is not None:
            headers["content-length"] = str(request.length)
        return headers

    def _pause(self, number: int) -> float:
        return min(self.policy.max_wait, self.policy.backoff * 2.0**number) * (0.75 + random.random() / 2)

    def _asked_pause(self, request: Request, reply: BaseHTTPResponse, number: int) -> float:
        """How long to wait before the next try; what the server asks for counts, within bounds."""
        asked = _retry_after(reply.headers.get("retry-after", ""))
        if asked is None:
            return self._pause(number)
        if asked > self.policy.max_wait:
            reply.close()
            raise NetworkError(
                f"{redact(request.url.text)} is not available",
                why=f"status {reply.status}; the server asks to wait {asked:.0f} seconds",
                hints=(Hint("try again later"),),
            )
        return asked

    def _no_answer(self, request: Request, why: str, number: int) -> NetworkError:
        hints: tuple[Hint, ...] = ()
        if why.startswith("the certificate"):
            hints = (
                Hint("install the system's certificates", "apt-get install ca-certificates"),
                Hint(f'or trust its own: [registries."{request.url.host}"] ca = "FILE"'),
            )
        elif "name" in why:
            hints = (Hint("check the name, the network and the proxy settings (https_proxy)"),)
        tries = f" ({number + 1} tries)" if number else ""
        return NetworkError(f"no answer from {redact(request.url.text)}{tries}", why=why, hints=hints)

    def _resumer(self, request: Request, first: BaseHTTPResponse) -> Callable[[int], BaseHTTPResponse] | None:
        """A function that goes on with a body that broke off, or None if the server cannot."""
        start = _range_start(request.headers)
        validator = first.headers.get("etag") or first.headers.get("last-modified") or ""
        if start is None or validator.startswith("W/") or (not validator and start == 0):
            return None
        left = self.policy.retries

        def resume(done: int) -> BaseHTTPResponse:
            nonlocal left
            left -= 1
            if left < 0:
                raise NetworkError(f"{redact(request.url.text)} keeps breaking off", why=f"{done} bytes came")
            self._sleep(self._pause(self.policy.retries - left - 1))
            headers = {k: v for k, v in request.headers.items() if k.lower() not in ("range", "if-range")}
            headers["range"] = f"bytes={start + done}-"
            if validator:
                headers["if-range"] = validator
            reply = self._try(replace(request, headers=headers))
            if reply.status != 206 or not reply.headers.get("content-range", "").startswith(f"bytes {start + done}-"):
                status = reply.status
                reply.close()
                raise NetworkError(
                    f"{redact(request.url.text)} broke off after {done} bytes",
                    why=f"it could not be resumed: status {status}",
                )
            return reply

        return resume


class _Paced:
    """A stream that is being sent. Raises NetworkError if the other side takes it too slowly."""

    def __init__(self, stream: BinaryIO, policy: Policy, url: str) -> None:
        self._stream, self._policy, self._url = stream, policy, url
        self._taken, self._started = 0, time.monotonic()

    def read(self, size: int = -1) -> bytes:
        seconds = time.monotonic() - self._started
        if seconds > self._policy.slow and self._taken < seconds * self._policy.slow_rate:
            raise NetworkError(f"{redact(self._url)} is too slow", why=f"{self._taken} bytes in {seconds:.0f} seconds")
        data = self._stream.read(size)
        self._taken += len(data)
        return data

    def close(self) -> None:
        self._stream.close()


def _range_start(headers: Mapping[str, str]) -> int | None:
    """Where the asked range begins; 0 without one; None for one that we did not write."""
    for name, value in headers.items():
        if name.lower() == "range":
            start = value.removeprefix("bytes=").removesuffix("-")
            return int(start) if start.isdigit() else None
    return 0


def _retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None if it asks for nothing sound."""
    text = text.strip()[:100]
    if text.isdigit():
        return float(text[:12])
    try:
        until: float = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, until - time.time())
