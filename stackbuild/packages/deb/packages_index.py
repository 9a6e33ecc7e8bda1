"""Packages and dpkg's status file as records of an index; hostile stanzas are left out and counted.

Tens of thousands of stanzas are read in a second, so the usual stanza costs few calls: one regex for its fields, one
for the line that they make. A stanza that does not fit the second is read again, field by field.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from stackbuild.core import forked
from stackbuild.core.digest import Digest, hex_of
from stackbuild.packages.deb.multiarch import qualified
from stackbuild.packages.index import Index, Records, build, joined
from stackbuild.packages.package import Package

_COLUMNS = (
    b"Package", b"Version", b"Architecture", b"Multi-Arch", b"Priority", b"", b"Source", b"Section", b"Size", b"SHA256",
    b"Filename", b"Pre-Depends", b"Depends", b"Conflicts", b"Breaks", b"Recommends", b"Provides",
)  # fmt: skip
"""The fields of Package in its order; b"" stands for its flags."""
_MENTIONS = (
    b"Package", b"Pre-Depends", b"Depends", b"Conflicts", b"Breaks", b"Recommends", b"Suggests", b"Replaces",
    b"Enhances", b"Provides",
)  # fmt: skip
"""The fields that name packages, in the order in which apt numbers the names."""
_FLAGS = (b"Essential", b"Important", b"Protected")
_CANONICAL = {name.lower(): name for name in (*_COLUMNS, *_MENTIONS, *_FLAGS, b"Status") if name}
_NO_COLUMNS, _NO_MENTIONS = (b"",) * len(_COLUMNS), (b"",) * len(_MENTIONS)
_BASE = frozenset((b"required", b"important", b"standard"))

_FIELD = re.compile(rb"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", re.M)
_NAMES = re.compile(rb"(?:^|[,|])\s*([A-Za-z0-9][^\s,|(:\[<]*)")
_NAME = rb"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}"
_ANY = rb"[^\t]*\t"
_LINE = (
    _NAME + rb"\t(?:[0-9]{1,9}:)?[A-Za-z0-9.+:~-]{1,254}\t[a-z0-9][a-z0-9-]{0,31}\t" + _ANY * 3 + _NAME + rb"\t" + _ANY
)
_OFFERED = re.compile(
    _LINE + rb"[0-9]{1,12}\t[0-9a-f]{64}\t(?!(?:[!-~]*/)?\.{1,2}[/\t])(?![!-~]*//)(?!/)[!-~]{1,1024}\t"
)
_INSTALLED = re.compile(_LINE + rb"\t\t\t")
_STANZAS = re.compile(rb"\n(?:[ \t]*\n)+")
PART = 1 << 20
"""Bytes of a Packages file that are worth a process of their own."""


def build_index(data: bytes) -> bytes:
    """The index file of an uncompressed Packages file. Cost: about a second for 63,000 stanzas, on two processors."""
    if b"\r" in data:
        data = data.replace(b"\r", b"")
    with _no_collecting():
        return build(joined(forked.each(_read_part, _parts(data))))


def _parts(data: bytes) -> list[memoryview]:
    """The file in two, between stanzas, if it is large and there are two processors."""
    middle = data.find(b"\n\n", len(data) // 2)
    if len(data) < PART or middle < 0 or len(os.sched_getaffinity(0)) < 2:
        return [memoryview(data)]
    return [memoryview(data)[:middle], memoryview(data)[middle + 2 :]]


def _read_part(part: memoryview) -> Records:
    data = bytes(part)
    blocks, tabs = data.split(b"\n\n"), b"\t" in data
    del data  # it is as large as all that is made of it
    return _read(blocks, _OFFERED, tabs=tabs)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """A million small values that all stay and form no cycles: looking for some is in vain."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read(blocks: Iterable[bytes], good: re.Pattern[bytes], *, tabs: bool = True, careful: bool = False) -> Records:
    """The stanzas whose line is `good`, as records. tabs: some may hold one. careful: field by field from the start."""
    names: list[bytes] = []
    lines: list[bytes] = []
    mentions: list[bytes] = []
    provides: list[tuple[int, list[bytes]]] = []
    base: list[int] = []
    skipped = 0
    written: set[bytes] = set()
    blocks = blocks if isinstance(blocks, list) else list(blocks)
    for block in blocks:
        found = [] if careful else _FIELD.findall(block)
        fields = dict(found)
        written.update(fields)
        doubled = len(found) != len(fields)
        line = _line(fields)
        folded = b"\n" in line or (tabs and b"\t" in block) or b" \t" in line or line.endswith(b" ")
        if doubled or folded or not good.match(line):
            fields = _careful(block, good)
            line = _line(fields)
            if not good.match(line):
                skipped += bool(block.strip())
                continue
        number, name = len(lines), fields[b"Package"]
        if b"Provides" in fields:
            provides.append((number, [n for n in _NAMES.findall(fields[b"Provides"]) if n != name]))
        if b"" in fields or fields.get(b"Priority") in _BASE:
            base.append(number)
        lines.append(line)
        names.append(name)
        mentions += map(fields.get, _MENTIONS, _NO_MENTIONS)
    if any(_CANONICAL.get(name.lower(), name) != name for name in written):  # "DEPENDS:": no other look is worth it
        return _read(blocks, good, careful=True)
    return Records(lines, names, _mentioned(mentions), provides, base, skipped)


def _mentioned(fields: Iterable[bytes]) -> list[bytes]:
    """The names in relation fields, in the order of the first time. A field or need seen before says nothing new."""
    needs = dict.fromkeys(b",".join(dict.fromkeys(fields)).split(b","))
    return list(dict.fromkeys(_NAMES.findall(b",".join(needs))))


def _line(fields: dict[bytes, bytes]) -> bytes:
    """A stanza as the index keeps it. Sets its source and flags among the fields."""
    source = fields.get(b"Source")
    if source is None:
        fields[b"Source"] = fields.get(b"Package", b"")
    elif b" " in source:
        fields[b"Source"] = source.partition(b" ")[0]
    if b"Essential" in fields or b"Important" in fields or b"Protected" in fields:
        flags = b"e" if fields.get(b"Essential") == b"yes" else b""
        flags += b"i" if b"yes" in (fields.get(b"Important"), fields.get(b"Protected")) else b""
        if flags:
            fields[b""] = flags
    return b"\t".join(map(fields.get, _COLUMNS, _NO_COLUMNS))


def _fields(block: bytes) -> dict[bytes, bytes]:
    """The fields of a stanza that matter, unfolded, under their usual names; of two the first counts."""
    fields: dict[bytes, bytes] = {}
    for written, value in _FIELD.findall(block):
        name = _CANONICAL.get(written.lower())
        if name is not None:
            unfolded = b" ".join(value.split()) if b"\n" in value or b"\t" in value else value.rstrip(b" ")
            fields.setdefault(name, unfolded)
    return fields


def _careful(block: bytes, good: re.Pattern[bytes]) -> dict[bytes, bytes]:
    """The fields of a stanza, mended where what is unusual does no harm."""
    fields = _fields(block)
    if good is _INSTALLED:  # no file is needed, and none is looked at
        fields.update(dict.fromkeys((b"Size", b"SHA256", b"Filename"), b""))
    else:
        fields[b"SHA256"] = fields.get(b"SHA256", b"").lower()
        fields[b"Filename"] = fields.get(b"Filename", b"").removeprefix(b"./")
    if not re.fullmatch(_NAME, fields.get(b"Source", b"").partition(b" ")[0]):
        fields.pop(b"Source", None)
    return fields


def records_of(control: bytes, *, path: str, size: int, sha256: Digest) -> Records:
    """A package file by its own control file, as one record; as none if that describes no package."""
    file = f"Filename: {path}\nSize: {size}\nSHA256: {hex_of(sha256)}\n".encode("utf-8", "surrogateescape")
    stanza = _STANZAS.split(control.replace(b"\r", b"").strip(b"\n"))[0]
    return _read([file + stanza], _OFFERED)  # of two the first counts


def _status_stanzas(status: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(Status, stanza) of a dpkg status text; the Status is b"" where none stands."""
    for block in _STANZAS.split(status.replace(b"\r", b"")):
        yield _fields(block).get(b"Status", b""), block


def held(status: bytes, native: str = "") -> frozenset[str]:
    """What dpkg is told to keep as it is ("hold ok installed"), by the names of multiarch.py."""
    stanzas = [_fields(block) for state, block in _status_stanzas(status) if state.split()[:1] == [b"hold"]]
    words = [
        [f.get(key, b"").decode("utf-8", "surrogateescape") for key in (b"Package", b"Architecture")] for f in stanzas
    ]
    return frozenset(qualified(name, architecture, native or architecture) for name, architecture in words)


def installed(status: bytes) -> tuple[Index, tuple[Package, ...]]:
    """What a dpkg status text (status.d files joined by empty lines) says is there: an index and its packages.

    A package counts if dpkg's files of it are in place ("install ok installed" and half-way states
    that hold files); a status.d stanza has no Status field and counts. Raises nothing.
    """
    gone = ([b"not-installed"], [b"config-files"])
    stanzas = [block for state, block in _status_stanzas(status) if state.split()[-1:] not in gone]
    index = Index(build(_read(stanzas, _INSTALLED)))
    return index, tuple(index.all(None))
