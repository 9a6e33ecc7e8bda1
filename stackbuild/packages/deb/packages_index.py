"""Packages and dpkg's status file as records of an index; hostile stanzas are left out and counted."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator

from stackbuild.core.digest import Digest, hex_of
from stackbuild.packages.deb.control import decode
from stackbuild.packages.index import Index, Record, build
from stackbuild.packages.package import Package

_WANTED = re.compile(
    r"^(package|version|architecture|multi-arch|priority|essential|important|protected|source|section|size|sha256|"
    r"filename|pre-depends|depends|conflicts|breaks|recommends|suggests|replaces|enhances|provides|status):"
    r"[ \t]*(.*(?:\n[ \t].*)*)",
    re.M | re.I,
)
_NAMES = re.compile(r"(?:^|[,|])\s*([A-Za-z0-9][^\s,|(:\[<]*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}\Z")
_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[A-Za-z0-9.+~:-]{1,254}\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))(?!.*//)(?!/)[!-~]{1,1024}\Z")
_MENTIONS = ("pre-depends", "depends", "conflicts", "breaks", "recommends", "suggests", "replaces", "enhances",
             "provides")  # fmt: skip


def build_index(data: bytes) -> bytes:
    """The index file of an uncompressed Packages file. Cost: about 2 seconds for 63,000 stanzas."""
    skipped = 0

    def records() -> Iterator[Record]:
        nonlocal skipped
        for block in decode(data).replace("\r", "").split("\n\n"):
            record = _record(_fields(block), file_needed=True)
            if record is not None:
                yield record
            elif block.strip():
                skipped += 1

    collecting = gc.isenabled()
    gc.disable()  # a million small values that all stay and form no cycles: looking for some is in vain
    try:
        every = list(records())
        return build(every, skipped)
    finally:
        if collecting:
            gc.enable()


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in _WANTED.findall(block):
        fields.setdefault(name.lower(), " ".join(value.split()) if "\n" in value or "\t" in value else value.rstrip())
    return fields


def _record(fields: dict[str, str], *, file_needed: bool) -> Record | None:
    """The record of a stanza, or None if it describes no package that could be installed."""
    get = fields.get
    name, version, architecture = get("package", ""), get("version", ""), get("architecture", "")
    path = get("filename", "").removeprefix("./")
    size, sha256 = get("size", ""), get("sha256", "").lower()
    if not (_NAME.match(name) and _VERSION.match(version) and _ARCHITECTURE.match(architecture)):
        return None
    if not file_needed:
        size = sha256 = path = ""
    elif not (_SHA256.match(sha256) and _PATH.match(path) and size.isascii() and size.isdigit() and len(size) < 13):
        return None
    flags = "e" if get("essential") == "yes" else ""
    if get("important") == "yes" or get("protected") == "yes":
        flags += "i"
    provides = get("provides", "")
    mentions = [name, *_NAMES.findall(",".join([fields[field] for field in _MENTIONS if field in fields]))]
    source = get("source", name).partition(" ")[0]
    return Record(
        (name, version, architecture, get("multi-arch", ""), get("priority", ""), flags,
         source if _NAME.match(source) else name, get("section", ""), size, sha256, path, get("pre-depends", ""),
         get("depends", ""), get("conflicts", ""), get("breaks", ""), get("recommends", ""), provides),
        mentions,
        [n for n in _NAMES.findall(provides) if n != name] if provides else (),
        bool(flags) or get("priority") in ("required", "important", "standard"),
    )  # fmt: skip


def record_of(control: bytes, *, path: str, size: int, sha256: Digest) -> Record | None:
    """The record of a package file by its own control file; None if that describes no package."""
    fields = _fields(re.split(r"\n(?:[ \t]*\n)+", decode(control).replace("\r", "").strip("\n"))[0])
    fields |= {"filename": path, "size": str(size), "sha256": hex_of(sha256)}
    return _record(fields, file_needed=True)


def held(status: bytes) -> frozenset[str]:
    """The names that dpkg is told to keep as they are ("hold ok installed")."""
    names = set()
    for block in re.split(r"\n(?:[ \t]*\n)+", decode(status).replace("\r", "")):
        fields = _fields(block)
        if fields.get("status", "").split()[:1] == ["hold"]:
            names.add(fields.get("package", ""))
    return frozenset(names)


def installed(status: bytes) -> tuple[Index, tuple[Package, ...]]:
    """What a dpkg status text (status.d files joined by empty lines) says is there: an index and its packages.

    A package counts if dpkg's files of it are in place ("install ok installed" and half-way states
    that hold files); a status.d stanza has no Status field and counts. Raises nothing.
    """
    records = []
    for block in re.split(r"\n(?:[ \t]*\n)+", decode(status).replace("\r", "")):
        fields = _fields(block)
        state = fields.get("status", "install ok installed").split()
        if state[-1:] in (["not-installed"], ["config-files"], []):
            continue
        record = _record(fields, file_needed=False)
        if record is not None:
            records.append(record)
    index = Index(build(records))
    return index, tuple(index.all(None))
