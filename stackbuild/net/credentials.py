"""Who we are to a host: apt's auth.conf, netrc, docker's and podman's auth files and their helpers. Sends nothing."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, HostError, NetworkError
from stackbuild.net.urls import Url

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_MAX_FILE = 1 << 20
_HUB = "docker.io"
_HUB_KEY = f"https://index.{_HUB}/v1/"  # what `docker login` and its helpers call it
HELPER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Login:
    """user and password, or an identity token (OAuth2 refresh token). None of the secrets is in its repr."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Credentials:
    """Looks credentials up, each time for one host alone.

    environ: the caller's environment (HOME, XDG_*, DOCKER_CONFIG, REGISTRY_AUTH_FILE, NETRC, PATH for helpers).
    apt: the folder with auth.conf and auth.conf.d/. helpers: settings' own choice, host -> helper's name.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        apt: Path = Path("/etc/apt"),
        helpers: Mapping[str, str] | None = None,
    ) -> None:
        self._environ, self._apt, self._helpers = environ, apt, dict(helpers or {})
        self._cache: dict[str, Login | None] = {}

    # Archives and other servers

    def for_url(self, url: Url) -> Login | None:
        """The login for a URL of a package archive or a download; never one of another host.

        From the URL itself, apt's auth.conf(.d), then netrc. A line without a scheme counts for https only
        (apt_auth.conf(5)): a password is not sent in the clear unless somebody wrote `http://`.
        """
        if url.user or url.password:
            return Login(url.user, url.password)
        files = [self._apt / "auth.conf", *sorted((self._apt / "auth.conf.d").glob("*.conf"))]
        netrc = self._environ.get("NETRC") or str(self._home / ".netrc")
        for file in [*files, Path(netrc)]:
            for machine, login in _machines(file):
                if _matches(machine, url):
                    return login
        return None

    @property
    def _home(self) -> Path:
        return Path(self._environ.get("HOME") or "/nonexistent")

    # Registries

    def for_registry(self, host: str, path: str = "") -> Login | None:
        """The login for a registry (host with its port) and the path of a repository; None: anonymous.

        In order: the helper that settings name; then each file of podman and docker, in it `credHelpers`,
        the longest `auths` key that fits, `credsStore`. Raises HostError if a helper fails.
        """
        key = f"{host}/{path}"
        if key not in self._cache:
            self._cache[key] = self._registry(host, path)
        return self._cache[key]

    def _registry(self, host: str, path: str) -> Login | None:
        server = _HUB_KEY if host == _HUB else host
        if host in self._helpers:
            return self._ask(self._helpers[host], server)
        for file in self._auth_files():
            tree = _json(file)
            helpers, store = tree.get("credHelpers"), tree.get("credsStore")
            for key in (host, server):
                if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
                    return self._ask(helpers[key], key)
            login = _from_auths(tree.get("auths"), host, path, file)
            if login is None and isinstance(store, str) and store:
                login = self._ask(store, server)
            if login is not None:
                return login
        return None

    def _auth_files(self) -> Iterator[Path]:
        environ = self._environ
        if environ.get("REGISTRY_AUTH_FILE"):
            yield Path(environ["REGISTRY_AUTH_FILE"])
        if environ.get("XDG_RUNTIME_DIR"):
            yield Path(environ["XDG_RUNTIME_DIR"]) / "containers/auth.json"
        yield Path(environ.get("XDG_CONFIG_HOME") or self._home / ".config") / "containers/auth.json"
        yield Path(environ.get("DOCKER_CONFIG") or self._home / ".docker") / "config.json"

    def _ask(self, helper: str, host: str) -> Login | None:
        """Docker's credential helper protocol: the host on stdin, JSON on stdout."""
        if not _HELPER.match(helper):
            raise HostError(f"the credential helper for {host} has no valid name", why=repr(helper)[:100])
        from stackbuild.core.process import run

        program = f"docker-credential-{helper}"
        ended = run([program, "get"], env=self._environ, stdin=host.encode(), timeout=HELPER_SECONDS, limit=_MAX_FILE)
        if ended.code:
            if b"not found" in ended.stdout + ended.stderr:
                return None
            raise HostError(
                f"the credential helper {program} failed for {host}",
                why=f"exit code {ended.code}",
                output=ended.stderr.decode(errors="replace")[-2000:],
                hints=(Hint("log in again with the tool that the helper belongs to"),),
            )
        try:
            tree = json.loads(ended.stdout)
            user, secret = tree["Username"], tree["Secret"]
            if not isinstance(user, str) or not isinstance(secret, str):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise HostError(f"the credential helper {program} gave no valid answer for {host}") from None
        return Login(token=secret) if user == "<token>" else Login(user, secret)


def _small(file: Path) -> str:
    try:
        if not file.is_file():
            return ""
        with open(file, "rb") as stream:
            return stream.read(_MAX_FILE).decode(errors="replace")
    except OSError:  # another user's file: as if it were not there
        return ""


def _json(file: Path) -> dict[str, Any]:
    text = _small(file)
    if not text.strip():
        return {}
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise NetworkError(f"{file} is not a valid auth file", why="it is no JSON object")
    return tree


def _from_auths(auths: Any, host: str, path: str, file: Path) -> Login | None:
    """The entry of the longest key that is the host, or the host and the first parts of the path."""
    if not isinstance(auths, dict):
        return None
    plain = {_plain_key(key): entry for key, entry in auths.items()}
    parts = [host, *(part for part in path.split("/") if part)]
    for count in range(len(parts), 0, -1):
        entry = plain.get("/".join(parts[:count]))
        if isinstance(entry, dict) and entry:
            return _login(entry, file)
    return None


def _plain_key(key: str) -> str:
    """Docker writes "https://host/v1/" for some hosts, podman "host/team"."""
    if key == _HUB_KEY:
        return _HUB
    _, separator, rest = key.partition("://")
    if not separator:
        return key.rstrip("/")
    return rest.partition("/")[0]


def _login(entry: dict[str, Any], file: Path) -> Login | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login(token=token)
    text = entry.get("auth")
    if not isinstance(text, str) or not text:
        return None  # docker leaves an empty entry where a helper holds the secret
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise NetworkError(f"{file} is not a valid auth file", why="an `auth` is not base64 of USER:PASSWORD") from None
    return Login(user, password)


def _machines(file: Path) -> Iterator[tuple[str, Login]]:
    """(machine, login) of a netrc or auth.conf file, in order; `default` is never used: it is for any host."""
    text = _small(file)
    words = iter(" ".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).split())
    machine, fields = "", dict[str, str]()
    for word in words:
        if word in ("machine", "default"):
            if machine and fields:
                yield machine, Login(fields.get("login", ""), fields.get("password", ""))
            machine, fields = next(words, "") if word == "machine" else "", {}
        elif word in ("login", "password"):
            fields.setdefault(word, next(words, ""))
    if machine and fields:
        yield machine, Login(fields.get("login", ""), fields.get("password", ""))


def _matches(machine: str, url: Url) -> bool:
    """apt_auth.conf(5): [scheme://]host[:port][/path]; without a scheme only https."""
    scheme, separator, rest = machine.partition("://")
    if not separator:
        scheme, rest = "https", machine
    netloc, slash, path = rest.partition("/")
    host, _, port = netloc.partition(":")
    if scheme != url.scheme or host.lower() != url.host:
        return False
    if (int(port) if port.isdigit() else 443 if scheme == "https" else 80) != url.port:
        return False
    prefix = slash + path
    return url.path.startswith(prefix) and (
        not prefix.rstrip("/") or prefix.endswith("/") or url.path[len(prefix) : len(prefix) + 1] in ("", "/")
    )
