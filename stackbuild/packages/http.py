"""The HTTP side of fetching packages: urllib3's pool as a Downloader; no retries of its own beyond urllib3's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from stackbuild import __version__
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.packages.fetch import CONNECTIONS, Answer


class HttpDownloader:
    """Kept-alive connections, one pool for each proxy. proxy=None is the environment's."""

    def __init__(self, *, timeout: float = 30.0, retries: int = 3) -> None:
        self._timeout, self._retries = timeout, retries
        self._pools: dict[str, Any] = {}

    def _pool(self, url: str, proxy: str | None) -> Any:
        import os
        from urllib.request import proxy_bypass_environment

        import urllib3

        parts = urlsplit(url)
        if proxy is None:
            names = (
                (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper())
                if parts.scheme != "http"
                else ("http_proxy",)
            )
            proxy = next((os.environ[n] for n in names if os.environ.get(n)), "")
            if proxy and proxy_bypass_environment(parts.hostname or ""):
                proxy = ""
        if proxy not in self._pools:
            options: dict[str, Any] = {
                "timeout": urllib3.Timeout(connect=self._timeout, read=self._timeout),
                "retries": urllib3.Retry(
                    self._retries, redirect=5, backoff_factor=0.2, backoff_max=5, respect_retry_after_header=False,
                    status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False, allowed_methods=None,
                ),
                "maxsize": CONNECTIONS,
                "headers": {"user-agent": f"stackbuild/{__version__}", "accept-encoding": "identity"},
            }  # fmt: skip
            made = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
            self._pools.setdefault(proxy, made)
        return self._pools[proxy]

    @contextmanager
    def get(self, url: str, *, headers: Mapping[str, str], proxy: str | None) -> Iterator[Answer]:
        import urllib3

        pool = self._pool(url, proxy)
        try:
            response = pool.request("GET", url, headers={**pool.headers, **headers}, preload_content=False,
                                    decode_content=False)  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(url, error) from None
        answer = _Answer(response, url)
        try:
            yield answer
        finally:
            if answer.whole:
                response.release_conn()
            else:
                response.close()


class _Answer:
    def __init__(self, response: Any, url: str) -> None:
        self._response, self._url = response, url
        self.status: int = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self.whole = False

    def read(self, size: int) -> bytes:
        import urllib3

        try:
            data: bytes = self._response.read(size)
        except urllib3.exceptions.IncompleteRead:
            return b""  # the caller knows how much was to come
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(self._url, error) from None
        self.whole = self.whole or not data
        return data


def _unreachable(url: str, error: Exception) -> NetworkError:
    reason: Any = getattr(error, "reason", None) or error
    why = str(getattr(reason, "_message", "") or reason).rpartition(">: ")[2]
    return NetworkError(
        f"cannot reach {urlsplit(url).netloc}",
        why=f"{url}: {why}",
        hints=(Hint("check the network, the proxy settings and the source's URL"),),
    )
