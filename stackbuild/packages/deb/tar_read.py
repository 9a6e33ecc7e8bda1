"""Reads the tar inside a .deb, strictly: what dpkg would refuse, or lose without a word, is an error here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stackbuild.core.errors import NetworkError

_BLOCK = 512
_ZERO = bytes(_BLOCK)
_KINDS = {0x30: "file", 0: "file", 0x37: "file", 0x31: "hardlink", 0x32: "symlink", 0x33: "char", 0x34: "block"}
_KINDS.update({0x35: "dir", 0x36: "fifo"})
_LONGEST = 4096  # PATH_MAX: no name of an installed file is longer


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the archive. path: as in deb's own words without the leading "./"; b"" is the root.

    data: where its content begins in the archive; size in bytes. target: of a symlink as it is, of a
    hard link as a path like `path`.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    data: int
    target: bytes = b""
    major: int = 0
    minor: int = 0


def members(tar: memoryview | bytes, name: str) -> Iterator[Member]:
    """The entries of a tar archive (ustar or GNU, as dpkg-deb writes; deb(5)), in its order.

    Raises NetworkError: damaged, truncated, or a name that would leave the root. `name` is the file's, for it.
    """
    at, end = 0, len(tar)
    long_name = long_link = b""
    while True:
        head = bytes(tar[at : at + _BLOCK])
        if len(head) < _BLOCK:
            raise _bad(name, "the archive in it ends in the middle of an entry")
        if head == _ZERO:
            return
        _check_sum(head, name)
        kind, size = head[156], _number(head[124:136], name)
        data = at + _BLOCK
        at = data + size + (-size % _BLOCK)
        if data + size > end:
            raise _bad(name, "the archive in it ends in the middle of a file")
        if kind in (0x4C, 0x4B):  # GNU: the next entry's long name or link
            text = bytes(tar[data : data + size]).rstrip(b"\0")
            if size > _LONGEST:
                raise _bad(name, "a name in it is too long")
            if kind == 0x4C:
                long_name = text
            else:
                long_link = text
            continue
        yield _member(head, kind, size, data, long_name, long_link, name)
        if kind not in (0, 0x30, 0x37):
            at = data  # dpkg: only files have content, whatever the size field says
        long_name = long_link = b""


def _member(head: bytes, kind: int, size: int, data: int, long_name: bytes, long_link: bytes, name: str) -> Member:
    if kind not in _KINDS:
        raise _bad(name, f"an entry in it is of an unsupported type {chr(kind)!r}")
    what = _KINDS[kind]
    raw = long_name or _text(head[:100])
    if not long_name and head[257:263] == b"ustar\0" and head[345]:
        raw = _text(head[345:500]) + b"/" + raw
    target = long_link or _text(head[157:257])
    if what == "file" and raw.endswith(b"/"):
        what = "dir"  # the old form
    path = _plain(raw, name)
    if what in ("symlink", "hardlink") and not target:
        raise _bad(name, f"the link {path!r} in it has no target")
    if not path and what != "dir":
        raise _bad(name, "its root is not a directory")
    return Member(
        path,
        what,
        _number(head[100:108], name) & 0o7777,
        _number(head[108:116], name),
        _number(head[116:124], name),
        _number(head[136:148], name),
        size if what == "file" else 0,
        data,
        _plain(target, name) if what == "hardlink" else target if what == "symlink" else b"",
        _number(head[329:337], name) if what in ("char", "block") else 0,
        _number(head[337:345], name) if what in ("char", "block") else 0,
    )


def _plain(raw: bytes, name: str) -> bytes:
    """A path without "./", doubled and trailing slashes. Raises for "..", a newline or a NUL."""
    if b"\n" in raw or b"\0" in raw:
        raise _bad(name, f"a name in it holds a character that dpkg refuses: {raw!r:.200}")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _bad(name, f"a path in it leaves the root: {raw!r:.200}")
    if parts and parts[-1].startswith(b".wh."):
        raise _bad(name, f"a name in it means a deletion in an image layer: {raw!r:.200}")
    return b"/".join(parts)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, name: str) -> int:
    """Octal text, or GNU's base 256."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if value >= 1 << 62:
            raise _bad(name, "a number in the archive in it is out of range")
        return value
    text = field.strip(b"\0 ")
    try:
        return int(text or b"0", 8)
    except ValueError:
        raise _bad(name, f"the archive in it is damaged: {field!r} is not a number") from None


def _check_sum(head: bytes, name: str) -> None:
    found = sum(head) - sum(head[148:156]) + 8 * 0x20
    if found != _number(head[148:156], name):
        raise _bad(name, "the archive in it is damaged: a header has the wrong checksum")


def _bad(name: str, why: str) -> NetworkError:
    return NetworkError(f"{name} is not a sound Debian package", why=why)
