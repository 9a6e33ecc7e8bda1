"""A few lines of text as a Debian index, for tests of the resolver."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from stackbuild.packages.deb.packages_index import build_index
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question, Resolution
from stackbuild.packages.index import Index
from stackbuild.packages.package import Archive
from stackbuild.packages.pin import Pin
from stackbuild.stack.request import parse_request

MAIN = Archive("Example/stable", "Example", "stable", "stable")
BACKPORTS = Archive("Example/backports", "Example", "stable-backports", "backports", priority=100)


def stanza(name: str, version: str = "1", **fields: str) -> str:
    """One package: `depends="a | b"`, `essential="yes"`; "_" stands for "-" in a field's name."""
    said = {
        "package": name,
        "version": version,
        "architecture": "amd64",
        "filename": f"pool/{name}_{version}.deb".replace(":", "%3a"),
        "size": "9",
        "sha256": hashlib.sha256(f"{name}{version}".encode()).hexdigest(),
        "priority": "optional",
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    return "".join(f"{key}: {value}\n" for key, value in said.items())


def index(*stanzas: str) -> Index:
    return Index(build_index("\n".join(stanzas).encode()))


def answer(
    stanzas: Sequence[str],
    *requests: str,
    variant: str = "custom",
    backports: Sequence[str] = (),
    status: str = "",
    recommends: bool = False,
    keep: dict[str, str] | None = None,
    pins: Sequence[Pin] = (),
) -> Resolution:
    """The resolution of the requests over these stanzas."""
    asked = tuple(map(parse_request, requests))
    question = Question(asked, "amd64", variant, recommends, status.encode(), keep, pins=tuple(pins))
    pairs = [(index(*stanzas), MAIN)] + ([(index(*backports), BACKPORTS)] if backports else [])
    return resolve_indexes(question, pairs)


def names(resolution: Resolution) -> list[str]:
    return [p.package.name for p in resolution.packages]


def versions(resolution: Resolution) -> dict[str, str]:
    return {p.package.name: p.package.version for p in resolution.packages}
