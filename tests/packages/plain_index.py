"""The index of a Packages file the plain way, stanza by stanza and field by field: what the fast reader must equal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stackbuild.packages.package import Package

MENTIONS = [
    "pre-depends",
    "depends",
    "conflicts",
    "breaks",
    "recommends",
    "suggests",
    "replaces",
    "enhances",
    "provides",
]
NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}")


@dataclass
class PlainIndex:
    """packages, in order; the names in the order in which they are mentioned; who provides what; how many were bad."""

    packages: list[Package] = field(default_factory=list)
    mentioned: list[str] = field(default_factory=list)
    providers: dict[str, list[Package]] = field(default_factory=dict)
    skipped: int = 0


def plain_index(data: bytes) -> PlainIndex:
    """What Index answers about build_index(data)."""
    found = PlainIndex()
    for block in data.replace(b"\r", b"").split(b"\n\n"):
        fields = fields_of(block)
        package = package_of(fields)
        if package is None:
            found.skipped += bool(block.strip())
            continue
        found.packages.append(package)
        provided = [n for n in names(fields.get("provides", b"")) if n != package.name]
        for name in [package.name, *(n for f in MENTIONS for n in names(fields.get(f, b"")))]:
            if name not in found.providers:
                found.mentioned.append(name)
                found.providers[name] = []
        for name in dict.fromkeys(provided):
            found.providers[name].append(package)
    return found


def fields_of(block: bytes) -> dict[str, bytes]:
    """Names in lower case; a line that starts with a blank goes on with the field above it; of two the first counts."""
    fields: list[tuple[str, list[bytes]]] = []
    for line in block.split(b"\n"):
        start = re.match(rb"([!-9;-~]+):", line)
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1][1].append(line)
        elif start:
            fields.append((start[1].decode().lower(), [line[start.end() :]]))
        else:
            fields.append(("", []))
    found: dict[str, bytes] = {}
    for name, lines in fields:
        value = b"\n".join(lines).lstrip(b" \t")
        one_line = b"\n" not in b"\n".join(lines) and b"\t" not in value
        found.setdefault(name, value.rstrip(b" ") if one_line else b" ".join(value.split()))
    return found


def package_of(fields: dict[str, bytes]) -> Package | None:
    def get(name: str) -> bytes:
        return fields.get(name, b"")

    path, sha256 = get("filename").removeprefix(b"./"), get("sha256").lower()
    steps = path.split(b"/")
    good = (
        NAME.fullmatch(get("package"))
        and re.fullmatch(rb"([0-9]{1,9}:)?[A-Za-z0-9.+:~-]{1,254}", get("version"))
        and re.fullmatch(rb"[a-z0-9][a-z0-9-]{0,31}", get("architecture"))
        and re.fullmatch(rb"[0-9]{1,12}", get("size"))
        and re.fullmatch(rb"[0-9a-f]{64}", sha256)
        and re.fullmatch(rb"[!-~]{1,1024}", path)
        and not {b".", b".."} & set(steps)
        and b"" not in steps[:-1]
    )
    if not good:
        return None
    source = get("source").partition(b" ")[0]
    important = b"yes" in (get("important"), get("protected"))

    def text(name: str) -> str:
        return get(name).decode("utf-8", "surrogateescape")

    return Package(
        text("package"), text("version"), text("architecture"), text("multi-arch"), text("priority"),
        "e" * (get("essential") == b"yes") + "i" * important,
        source.decode() if NAME.fullmatch(source) else text("package"),
        text("section"), int(get("size")), sha256.decode(), path.decode(), text("pre-depends"), text("depends"),
        text("conflicts"), text("breaks"), text("recommends"), text("provides"),
    )  # fmt: skip


def names(text: bytes) -> list[str]:
    """The names in a relation field."""
    found = []
    for part in re.split(rb"[,|]", text):
        match = re.match(rb"\s*([A-Za-z0-9][^\s,|(:\[<]*)", part)
        if match:
            found.append(match[1].decode("utf-8", "surrogateescape"))
    return found
