"""Names of images in registries: HOST/PATH[:TAG][@DIGEST]. Asks no registry and knows no default one."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from stackbuild.core.digest import Digest, parse_digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.oci.documents import shown

HUB = "docker.io"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?\Z")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*\Z")  # distribution-spec, "Pulling manifests"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """One name. host: with its port, as written. tag: "" if only the digest was given."""

    host: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        text = f"{self.host}/{self.path}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def version(self) -> str:
        """What a manifest is asked for by: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def at(self, digest: Digest) -> Reference:
        """The same, by digest alone."""
        return replace(self, tag="", digest=digest)


def parse_reference(text: str) -> Reference:
    """ "registry.example.com/team/x:1.0@sha256:…", a leading "docker://" allowed. No tag and no digest: "latest".

    A name without a host is refused: which registry it means differs from machine to machine. docker.io/debian is
    docker.io/library/debian, as engines read it.
    Raises UsageError.
    """
    rest = text.removeprefix("docker://")
    rest, at, digest_text = rest.partition("@")
    digest: Digest | None = None
    if at:
        try:
            digest = parse_digest(digest_text)
        except ValueError:
            raise _refused(text, "what follows `@` is not sha256:… with 64 digits") from None
    host, slash, path = rest.partition("/")
    if not slash or not _is_host(host):
        raise UsageError(
            f"`{shown(text)}` does not say which registry it is in",
            why="a reference is HOST/PATH[:TAG][@DIGEST]; HOST has a dot or a port, or is localhost",
            hints=(Hint(f"write the registry's host in front: registry.example.com/{shown(rest)}"),),
        )
    path, colon, tag = path.partition(":")
    if not _PATH.match(path) or len(path) > 255:
        raise _refused(text, "the path is lower-case letters, digits and single separators")
    if colon and not _TAG.match(tag):
        raise _refused(text, "a tag is at most 128 letters, digits, `.`, `_` and `-`")
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, tag or ("" if digest else "latest"), digest)


def _refused(text: str, why: str) -> UsageError:
    return UsageError(f"`{shown(text)}` is not an image reference", why=why)


def _is_host(text: str) -> bool:
    if not _HOST.match(text):
        return False
    return "." in text or ":" in text or text == "localhost"


def server_of(host: str) -> str:
    """The host that answers for a registry of this name: what docker.io calls itself is a web site."""
    return f"registry-1.{HUB}" if host == HUB else host


def is_loopback(host: str) -> bool:
    """Whether a host (with or without a port) can only be this machine: plain HTTP is allowed there."""
    name = host.rpartition(":")[0] if re.search(r":[0-9]+\Z", host) and not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
