"""A client of the distribution spec: manifests, blobs, tags of one registry. Knows no image and no layout.

Rules: plain HTTP only to this machine or where settings say `insecure`; a token goes to the registry's own
server alone, never along a Location or redirect to another; all that comes is bounded and, where it has a
digest, checked before it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, cast
from urllib.parse import urlencode, urlsplit

from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import Hint, NetworkError
from stackbuild.core.text import harmless
from stackbuild.net.client import Answer, Body, Client
from stackbuild.net.pools import HostSettings
from stackbuild.net.urls import join, parse_url, redact
from stackbuild.oci.descriptor import INDEXES, MANIFESTS, Descriptor
from stackbuild.oci.documents import MAX_DOCUMENT
from stackbuild.oci.manifest import Index, Manifest, parse_document
from stackbuild.oci.reference import Reference, is_loopback, server_of
from stackbuild.oci.registry_auth import Auth, login_refused

_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_MAX_PAGES = 1000
_MAX_TAGS = 1_000_000
_CHUNK = 8 << 20  # bytes of one PATCH, unless the server asks for more
_UPLOAD_TRIES = 3
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class Registry:
    """One registry. Connects when first asked; safe for several threads once `ping` was called."""

    def __init__(self, host: str, client: Client) -> None:
        self.host, self._client = host, client
        settings = client.settings.get(host) or HostSettings()
        self._plain = settings.insecure or is_loopback(host)
        self._base = f"https://{server_of(host)}"
        self._known = not self._plain
        self._auth = Auth(host, client, plain=self._plain)

    def ping(self) -> None:
        """Find out how it speaks: https, else (where that is allowed) plain http. Raises NetworkError.

        On this machine what answers plain http as a registry does is taken first: nobody can listen, and TLS costs
        more than all the rest of a push.
        """
        if self._known:
            return
        ways = ("https", "http")
        for number, scheme in enumerate(("http", *ways) if is_loopback(self.host) else ways):
            self._base = f"{scheme}://{self.host}"
            last = scheme == "http" and number > 0
            try:
                with self._client.send("GET", f"{self._base}/v2/", auth="", repeat=last) as answer:
                    if number or scheme == "https" or answer.status in (200, 401):
                        break
            except NetworkError:
                if last:
                    raise
        self._known = True

    @contextmanager
    def _send(
        self,
        method: str,
        url: str,
        path: str,
        actions: str = "pull",
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        length: int | None = None,
        repeat: bool | None = None,
    ) -> Iterator[Answer]:
        """A request with our right to it, which is renewed once after a 401. Only to the registry's own server."""
        self.ping()
        url = join(self._base + "/", url)
        own = parse_url(url).server == parse_url(self._base).server
        auth = self._auth.header(path, actions) if own else ""
        for last in (False, True):
            with self._client.send(
                method, url, headers=headers, body=body, length=length, auth=auth, repeat=repeat
            ) as answer:
                if answer.status != 401 or last or not own:
                    yield answer
                    return
                challenge = answer.headers.get("www-authenticate", "")
            auth = self._auth.challenged(challenge, path, actions)
            if not auth:
                raise login_refused(self.host, 401, False)

    def _failed(self, what: str, answer: Answer) -> NetworkError:
        """The error for an answer that is none of the expected, with the registry's own words (made harmless)."""
        if answer.status in (401, 403):
            login = self._client.credentials is not None and self._client.credentials.for_registry(self.host)
            refused = login_refused(self.host, answer.status, bool(login))
            return NetworkError(what, why=f"{refused.what} (status {answer.status})", hints=refused.hints)
        said = ""
        try:
            for item in json.loads(answer.body(1 << 16))["errors"][:3]:
                said += f"; {item.get('code', '')} {item.get('message', '')}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, NetworkError):
            pass
        return NetworkError(what, why=f"{answer.url} answers {answer.status}" + harmless(said)[:300])

    # Manifests

    def manifest(self, reference: Reference) -> Manifest | Index:
        """The manifest or index of a reference; its digest checked if the reference has one. Raises NetworkError."""
        found = self.find_manifest(reference)
        if found is None:
            raise NetworkError(
                f"{reference} does not exist",
                why=f"{self.host} has no such image, or does not show it to us",
                hints=(Hint("check the name and the tag; a private one needs a login"),),
            )
        return found

    def find_manifest(self, reference: Reference, actions: str = "pull") -> Manifest | Index | None:
        """As `manifest`; None if there is none. actions: what is to be done next, so that one token does for all."""
        url = f"/v2/{reference.path}/manifests/{reference.version}"
        with self._send("GET", url, reference.path, actions, headers={"accept": _ACCEPT}) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise self._failed(f"cannot read {reference}", answer)
            raw = answer.body(MAX_DOCUMENT)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
            said = answer.headers.get("docker-content-digest", "")
        expected = reference.digest or (said if said.startswith("sha256:") else "")
        if expected and digest_of(raw) != expected:
            raise NetworkError(f"{reference} has the wrong digest", why=f"expected {expected}, got {digest_of(raw)}")
        return parse_document(raw, str(reference), media_type)

    def has_manifest(self, reference: Reference) -> bool:
        """Whether it is there (HEAD); nothing is verified."""
        url = f"/v2/{reference.path}/manifests/{reference.version}"
        with self._send("HEAD", url, reference.path, headers={"accept": _ACCEPT}) as answer:
            if answer.status not in (200, 404):
                raise self._failed(f"cannot look for {reference}", answer)
            return answer.status == 200

    def put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> Digest:
        """Store a manifest or index under a tag or digest. Raises NetworkError."""
        url = f"/v2/{reference.path}/manifests/{reference.version}"
        headers = {"content-type": media_type}
        with self._send("PUT", url, reference.path, "pull,push", headers=headers, body=raw, length=len(raw)) as answer:
            if answer.status not in (200, 201, 202):
                raise self._failed(f"cannot store {reference}", answer)
            said = answer.headers.get("docker-content-digest", "")
        if said.startswith("sha256:") and said != digest_of(raw):
            raise NetworkError(
                f"{self.host} stored other bytes than were sent", why=f"it speaks of {harmless(said)[:80]}"
            )
        return digest_of(raw)

    # Blobs

    def has_blob(self, path: str, blob: Descriptor) -> bool:
        """Whether a repository has a blob of that size (HEAD)."""
        with self._send("HEAD", f"/v2/{path}/blobs/{blob.digest}", path, "pull,push") as answer:
            if answer.status == 404:
                return False
            if answer.status != 200:
                raise self._failed(f"cannot look for a blob in {self.host}/{path}", answer)
            return answer.headers.get("content-length", str(blob.size)) == str(blob.size)

    def open_blob(self, path: str, blob: Descriptor) -> BinaryIO:
        """A blob's bytes as they come: not verified, resumed if they break off. Raises NetworkError."""
        sending = self._send("GET", f"/v2/{path}/blobs/{blob.digest}", path)
        answer = sending.__enter__()
        if answer.status != 200:
            try:
                raise self._failed(f"{self.host}/{path} does not give the blob {blob.digest}", answer)
            finally:
                sending.__exit__(None, None, None)
        return cast(BinaryIO, _Body(answer, sending))

    def upload(
        self,
        path: str,
        blob: Descriptor,
        source: Callable[[], BinaryIO],
        *,
        mount_from: str = "",
    ) -> bool:
        """Store a blob. source: opens its bytes, again for each try. Returns whether bytes had to be sent.

        mount_from: a repository of the same registry that may have it. Raises NetworkError.
        """
        for last in range(1, _UPLOAD_TRIES + 1):
            location, minimum = self._begin(path, blob, mount_from)
            if not location:
                return False
            try:
                if not minimum and self._whole(location, path, blob, source):
                    return True
                self._pieces(location if minimum else self._begin(path, blob, "")[0], path, blob, source, minimum)
                return True
            except _TryAgain as error:
                if last == _UPLOAD_TRIES:
                    raise NetworkError(f"cannot store a blob in {self.host}/{path}", why=str(error)) from error
        raise AssertionError("the loop returns or raises")

    def _begin(self, path: str, blob: Descriptor, mount_from: str) -> tuple[str, int]:
        """Ask for an upload: its location ("" if the blob was mounted) and the least size of a chunk (0: any)."""
        url = f"/v2/{path}/blobs/uploads/"
        if mount_from:
            url += "?" + urlencode({"mount": blob.digest, "from": mount_from})
        with self._send("POST", url, path, "pull,push", length=0, repeat=True) as answer:
            if answer.status == 201 and mount_from:
                return "", 0
            if answer.status != 202:
                raise self._failed(f"cannot store a blob in {self.host}/{path}", answer)
            least = answer.headers.get("oci-chunk-min-length", "")
            return self._location(answer, url), int(least) if least.isdigit() and len(least) < 12 else 0

    def _location(self, answer: Answer, url: str) -> str:
        """Where an upload goes on. Behind a TLS proxy a registry may say http for its own https address."""
        location = answer.headers.get("location", "")
        if not location:
            raise NetworkError(f"{self.host} does not say where to send a blob", why=answer.url)
        target = parse_url(join(join(self._base + "/", url), location))
        if self._base.startswith("https:") and target.scheme == "http":
            if target.host != parse_url(self._base).host:
                raise NetworkError(f"{self.host} wants a blob sent to an unprotected place", why=redact(target.text))
            return self._base + target.text[len("http://" + urlsplit(target.text).netloc) :]
        return target.text

    def _whole(self, location: str, path: str, blob: Descriptor, source: Callable[[], BinaryIO]) -> bool:
        """Send a blob in one PUT. False: the server wants it in pieces."""
        url = location + ("&" if urlsplit(location).query else "?") + urlencode({"digest": blob.digest})
        headers = {"content-type": "application/octet-stream"}
        with (
            self._trying(),
            self._send(
                "PUT", url, path, "pull,push", headers=headers, body=source, length=blob.size, repeat=False
            ) as answer,
        ):
            if answer.status in (411, 413):
                return False
            self._stored(answer, path)
        return True

    def _pieces(self, location: str, path: str, blob: Descriptor, source: Callable[[], BinaryIO], minimum: int) -> None:
        """Send a blob as PATCHes and a closing PUT."""
        size = max(_CHUNK, minimum)
        done = 0
        stream = source()
        try:
            while piece := _read(stream, size):
                headers = {
                    "content-type": "application/octet-stream",
                    "content-range": f"{done}-{done + len(piece) - 1}",
                }
                with (
                    self._trying(),
                    self._send(
                        "PATCH",
                        location,
                        path,
                        "pull,push",
                        headers=headers,
                        body=piece,
                        length=len(piece),
                        repeat=False,
                    ) as answer,
                ):
                    if answer.status not in (201, 202, 204):
                        self._stored(answer, path)
                    location = self._location(answer, location)
                done += len(piece)
        finally:
            stream.close()
        url = location + ("&" if urlsplit(location).query else "?") + urlencode({"digest": blob.digest})
        with self._trying(), self._send("PUT", url, path, "pull,push", length=0, repeat=False) as answer:
            self._stored(answer, path)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """A connection that broke in the middle of an upload: the whole upload can be tried again."""
        try:
            yield
        except NetworkError as error:
            if error.what.startswith("no answer"):
                raise _TryAgain(str(error)) from error
            raise

    def _stored(self, answer: Answer, path: str) -> None:
        if answer.status >= 500 or answer.status in (404, 408, 416, 429):  # 404, 416: the upload is forgotten
            raise _TryAgain(f"status {answer.status}")
        if answer.status not in (200, 201, 202, 204):
            raise self._failed(f"cannot store a blob in {self.host}/{path}", answer)

    # Tags

    def tags(self, path: str) -> tuple[str, ...]:
        """All tags of a repository, in the registry's order. Raises NetworkError, also for endless pages."""
        url, found = f"/v2/{path}/tags/list", list[str]()
        seen = {url}
        while True:
            with self._send("GET", url, path) as answer:
                if answer.status != 200:
                    raise self._failed(f"cannot list the tags of {self.host}/{path}", answer)
                raw = answer.body(MAX_DOCUMENT)
                link = _NEXT.search(answer.headers.get("link", ""))
            try:
                page = json.loads(raw)["tags"] or []
                found += [tag for tag in page if isinstance(tag, str)]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise NetworkError(f"{self.host}/{path} gives no valid list of tags") from None
            if not link:
                return tuple(found)
            url = join(join(self._base + "/", url), link[1])
            if parse_url(url).server != parse_url(self._base).server:
                raise NetworkError(f"the list of tags of {self.host}/{path} leads elsewhere", why=redact(url))
            if url in seen or len(seen) >= _MAX_PAGES or len(found) > _MAX_TAGS:
                raise NetworkError(
                    f"the list of tags of {self.host}/{path} does not end", why=f"{len(seen)} pages came"
                )
            seen.add(url)


class _TryAgain(Exception):
    """This upload failed; a new one may not."""


class _Body:
    """The body of an answer as a stream that ends the request when it is closed."""

    def __init__(self, answer: Answer, sending: AbstractContextManager[Answer]) -> None:
        self._answer, self._sending = answer, sending
        self._open = True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self._answer.read(1 << 20), b""))
        return self._answer.read(size)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._sending.__exit__(None, None, None)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes, less only at the end."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return bytes(data)
