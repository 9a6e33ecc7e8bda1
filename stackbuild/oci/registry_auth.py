"""The right to ask a registry: challenges, Basic and Bearer tokens by scope. Sends nothing but the token request."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from stackbuild.core.errors import Hint, NetworkError
from stackbuild.net.client import Client
from stackbuild.net.urls import parse_url, redact
from stackbuild.oci.reference import is_loopback

_MAX_TOKEN = 1 << 20
_WORD = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a WWW-Authenticate header asks for (RFC 9110; distribution's token scheme). scheme: in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""


def parse_challenge(text: str) -> Challenge:
    """The first challenge that we can answer; an unknown one has its scheme alone."""
    scheme, _, rest = text.strip()[:4096].partition(" ")
    words = {key.lower(): quoted or bare for key, quoted, bare in _WORD.findall(rest)}
    return Challenge(scheme.lower(), words.get("realm", ""), words.get("service", ""))


class Auth:
    """Authorization headers for one registry. plain: whether plain HTTP was allowed for it."""

    def __init__(self, host: str, client: Client, *, plain: bool) -> None:
        self._host, self._client, self._plain = host, client, plain
        self._challenge: Challenge | None = None
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def header(self, path: str, actions: str) -> str:
        """What to send now, "" if nothing was asked for yet. actions: "pull" or "pull,push"."""
        with self._lock:
            if self._challenge is None:
                return ""
            return self._header(self._challenge, path, actions)

    def challenged(self, text: str, path: str, actions: str) -> str:
        """The header that answers a 401; a token that was refused is asked for anew. Raises NetworkError."""
        with self._lock:
            challenge = parse_challenge(text)
            if challenge.scheme not in ("basic", "bearer"):
                raise NetworkError(
                    f"{self._host} asks for a login that is not known here", why=f"scheme {challenge.scheme[:40]!r}"
                )
            self._challenge = challenge
            self._tokens.pop(_scope(path, actions), None)
            return self._header(challenge, path, actions)

    def _header(self, challenge: Challenge, path: str, actions: str) -> str:
        login = self._client.credentials.for_registry(self._host, path) if self._client.credentials else None
        if challenge.scheme == "basic":
            return login.basic if login is not None and not login.token else ""
        scope = _scope(path, actions)
        if scope not in self._tokens:
            self._tokens[scope] = self._token(challenge, path, scope)
        return "Bearer " + self._tokens[scope]

    def _token(self, challenge: Challenge, path: str, scope: str) -> str:
        """A Bearer token from the place that the registry names, for the scope that *we* need."""
        login = self._client.credentials.for_registry(self._host, path) if self._client.credentials else None
        realm = parse_url(challenge.realm)
        if realm.scheme != "https" and not (self._plain or is_loopback(realm.host)):
            raise NetworkError(
                f"{self._host} wants its login sent in the clear", why=f"its token server is {redact(challenge.realm)}"
            )
        asked = {"service": challenge.service, "scope": scope} if scope else {"service": challenge.service}
        method, body, auth, url = "GET", None, "", challenge.realm
        headers = {}
        if login is not None and login.token:
            method = "POST"
            asked |= {"grant_type": "refresh_token", "refresh_token": login.token, "client_id": "stackbuild"}
            body = urlencode(asked).encode()
            headers["content-type"] = "application/x-www-form-urlencoded"
        else:
            auth = login.basic if login is not None else ""
            url += ("&" if urlsplit(url).query else "?") + urlencode(asked)
        with self._client.send(method, url, headers=headers, body=body, auth=auth, repeat=True) as answer:
            raw = answer.body(_MAX_TOKEN)
            if answer.status != 200:
                raise login_refused(self._host, answer.status, login is not None)
        try:
            tree = json.loads(raw)
            token = tree.get("token") or tree.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NetworkError(f"the token server of {self._host} gave no token", why=redact(challenge.realm))
        return token


def login_refused(host: str, status: int, known: bool) -> NetworkError:
    """The error for a registry that does not let us."""
    return NetworkError(
        f"{host} refuses the login" if known else f"{host} asks for a login, and there is none for it",
        why=f"status {status}",
        hints=(Hint("log in; podman's and docker's logins are used too", f"podman login {host}"),),
    )


def _scope(path: str, actions: str) -> str:
    return f"repository:{path}:{actions}" if path else ""
