"""Normalised entries to layer bytes: the only place that writes a layer. Decides nothing about what is in one.

Form: one ustar header per entry, the name in its `name` field as it is (the `prefix` field is never used).
What that cannot hold (names and link targets over 100 bytes, ids over 2097151, sizes over 8 GiB, times
before 1970, xattrs) goes into PAX records before it. Names are bytes: those that are not UTF-8 stay as they are.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from stackbuild.core.changes import Changes
from stackbuild.core.clock import EPOCH
from stackbuild.core.digest import CHUNK, Digest, HashingWriter, finish
from stackbuild.core.errors import StepError
from stackbuild.oci.changes import is_whiteout_name, whiteout, with_ancestors
from stackbuild.oci.compression import PIECE, Pipeline, compress
from stackbuild.oci.tree_read import Stat, TreeReader

__all__ = [
    "END", "DiffIdOf", "Entry", "LayerWriter", "Readable", "Written",
    "compress", "entries_of", "header", "padding", "write_changes",
]  # fmt: skip

BLOCK = 512
END = bytes(2 * BLOCK)
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
_MAX_ID = 0o7777777
_MAX_OCTAL = 0o77777777777


@dataclass(frozen=True, slots=True)
class Entry:
    """One normalised tar entry.

    path: relative, no leading or trailing slash; b"" is the root directory itself.
    mode: permission bits incl. setuid, setgid, sticky. size: bytes of content; 0 unless a file.
    target: a symlink's text, or the path of a hard link's first name. mtime: seconds since 1970.
    xattrs: by full name: b"security.capability", b"user.x".
    """

    path: bytes
    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = EPOCH
    size: int = 0
    target: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A layer that was written. diff_id: of the tar; digest and size: of the bytes as stored.

    entries: how many were added; a ready fragment counts as one.
    """

    diff_id: Digest
    digest: Digest
    size: int
    entries: int


class Readable(Protocol):
    """Anything that content can be read from."""

    def read(self, size: int = -1, /) -> bytes: ...


def padding(size: int) -> bytes:
    """The zero bytes that fill content of `size` bytes up to whole blocks."""
    return bytes(-size % BLOCK)


def _block(name: bytes, kind: bytes, entry: Entry, size: int, target: bytes) -> bytes:
    """One header block; numbers that do not fit are written as 0 (the PAX record holds them)."""
    mtime = entry.mtime if 0 <= entry.mtime <= _MAX_OCTAL else 0
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000%b%07o\0%07o\0%b" % (
        name[:100].ljust(100, b"\0"),
        entry.mode,
        entry.uid if entry.uid <= _MAX_ID else 0,
        entry.gid if entry.gid <= _MAX_ID else 0,
        size if size <= _MAX_OCTAL else 0,
        mtime,
        kind,
        target[:100].ljust(100, b"\0"),
        bytes(64),
        entry.major,
        entry.minor,
        bytes(167),
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """One PAX record, "LENGTH KEY=VALUE\\n", where LENGTH counts itself (POSIX pax)."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) + len(rest) != length:
        length += 1
    return b"%d%b" % (length, rest)


def _records(entry: Entry, name: bytes) -> bytes:
    found: list[tuple[bytes, bytes]] = []
    if len(name) > 100:
        found.append((b"path", name))
    if len(entry.target) > 100:
        found.append((b"linkpath", entry.target))
    if entry.size > _MAX_OCTAL:
        found.append((b"size", b"%d" % entry.size))
    if entry.uid > _MAX_ID:
        found.append((b"uid", b"%d" % entry.uid))
    if entry.gid > _MAX_ID:
        found.append((b"gid", b"%d" % entry.gid))
    if not 0 <= entry.mtime <= _MAX_OCTAL:
        found.append((b"mtime", b"%d" % entry.mtime))
    for key in sorted(entry.xattrs):
        if b"=" in key or b"\n" in key or not key:
            raise StepError("an extended attribute cannot be stored in a layer", why=f"its name is {key!r}")
        found.append((b"SCHILY.xattr." + key, entry.xattrs[key]))
    if any(not _is_utf8(value) for key, value in found if key in (b"path", b"linkpath")):
        found.insert(0, (b"hdrcharset", b"BINARY"))  # POSIX: the values that follow are bytes, not UTF-8
    return b"".join(_record(key, value) for key, value in found)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def header(entry: Entry) -> bytes:
    """The header block or blocks of an entry; the same entry gives the same bytes. Raises StepError."""
    _check(entry)
    name = entry.path
    if entry.kind == "dir":
        name = name + b"/" if name else b"./"
    records = b""
    if entry.xattrs or len(name) > 100 or len(entry.target) > 100 or not _fits(entry):
        records = _records(entry, name)
    block = _block(name, _TYPES[entry.kind], entry, entry.size, entry.target)
    if not records:
        return block
    pax = Entry(b"", "file", 0o644, mtime=0)
    return _block(b"@PaxHeader", b"x", pax, len(records), b"") + records + padding(len(records)) + block


def _fits(entry: Entry) -> bool:
    return entry.uid <= _MAX_ID and entry.gid <= _MAX_ID and entry.size <= _MAX_OCTAL and 0 <= entry.mtime <= _MAX_OCTAL


def _check(entry: Entry) -> None:
    """Refuse what no reader would read back as it was meant."""
    why = ""
    if entry.kind not in _TYPES:
        why = f"unknown kind {entry.kind!r}"
    elif b"\0" in entry.path or b"\0" in entry.target or entry.path[:1] == b"/" or entry.path[-1:] == b"/":
        why = "its path or target is not a plain relative path"
    elif entry.path == b"" and entry.kind != "dir":
        why = "only a directory can be the root"
    elif b".." in entry.path and b".." in entry.path.split(b"/"):
        why = "its path has `..`"
    elif entry.size and entry.kind != "file":
        why = "only a file has content"
    elif not 0 <= entry.mode <= 0o7777 or min(entry.uid, entry.gid, entry.size, entry.major, entry.minor) < 0:
        why = "its mode, ids or size are out of range"
    elif max(entry.major, entry.minor) > _MAX_ID:
        why = "its device number is too big for a tar archive"
    elif bool(entry.target) != (entry.kind in ("symlink", "hardlink")):
        why = "a link needs a target, and nothing else has one"
    if why:
        raise StepError(f"cannot store {entry.path!r} in a layer", why=why)


class _Tar(ABC):
    """Entries in the order in which the caller gives them to the bytes of an archive."""

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> None: ...

    def add(self, entry: Entry, content: Readable | bytes | memoryview | None = None) -> None:
        """One entry. content: exactly `entry.size` bytes, else StepError (it changed while it was read)."""
        self._write(header(entry))
        if entry.kind != "file":
            return
        seen = 0
        if isinstance(content, bytes | memoryview):
            seen = len(content)
            self._write(content)
        elif content is not None:
            while seen <= entry.size and (piece := content.read(min(CHUNK, entry.size - seen + 1))):
                seen += len(piece)
                self._write(piece)
        if seen != entry.size:
            came = "more" if seen > entry.size else str(seen)
            why = f"{entry.size} bytes were expected, {came} came"
            raise StepError(f"{os.fsdecode(entry.path)} changed while it was read", why=why)
        if seen % BLOCK:
            self._write(padding(seen))


class DiffIdOf(_Tar):
    """The diff ID of a layer that is written later: of the same entries, in the same order."""

    def __init__(self) -> None:
        self._tar = hashlib.sha256()

    def _write(self, data: bytes | memoryview) -> None:
        self._tar.update(data)

    def close(self) -> Digest:
        """With the end of the archive."""
        self._tar.update(END)
        return finish(self._tar)


class LayerWriter(_Tar):
    """Entries in the order in which the caller gives them to a stored layer.

    Content is cut into pieces of `PIECE` bytes, each compressed as a member of its own; memory stays
    at a few MiB. Use as a context manager, so that threads end when something fails.
    """

    def __init__(self, out: BinaryIO, compression: str = "gzip") -> None:
        self._out = HashingWriter(out)
        self._pipeline = Pipeline(self._out.write, compression)
        self._tar = hashlib.sha256()
        self._buffer = bytearray()
        self._entries = 0

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipeline.abort()

    def _write(self, data: bytes | memoryview) -> None:
        self._tar.update(data)
        self._buffer += data
        while len(self._buffer) >= PIECE:
            piece = bytes(memoryview(self._buffer)[:PIECE])
            del self._buffer[:PIECE]
            self._pipeline.piece(piece)

    def add(self, entry: Entry, content: Readable | bytes | memoryview | None = None) -> None:
        super().add(entry, content)
        self._entries += 1

    def member(self, tar: bytes | memoryview, compressed: bytes) -> None:
        """A ready fragment: tar bytes without END, and the same compressed by `compress`. Joined as it is."""
        if len(tar) % BLOCK:
            raise ValueError("a fragment is whole tar blocks")
        self._flush(last=False)
        self._tar.update(tar)
        self._pipeline.ready(compressed)
        self._entries += 1

    def _flush(self, *, last: bool) -> None:
        if self._buffer:
            self._pipeline.piece(bytes(self._buffer), last=last)
            self._buffer.clear()

    def close(self) -> Written:
        """Write the end of the archive in the last member; `out` itself stays open."""
        self._write(END)
        self._flush(last=True)
        self._pipeline.close()
        return Written(finish(self._tar), self._out.digest, self._out.size, self._entries)


def write_changes(
    changes: Changes,
    out: BinaryIO,
    *,
    epoch: int = EPOCH,
    compression: str = "gzip",
) -> Written:
    """The layer that makes these changes: of `entries_of`. Raises StepError as that does."""
    with LayerWriter(out, compression) as writer:
        for entry, content in entries_of(changes, epoch):
            writer.add(entry, content)
        return writer.close()


def entries_of(changes: Changes, epoch: int) -> Iterator[tuple[Entry, Readable | None]]:
    """The entries that make these changes, and a file's content, which is to be read before the next is asked for.

    Sorted by path, ancestors with their metadata, deletions as `.wh.NAME`.
    Content is read below `changes.root` and no link is followed. Entries that are one inode there are
    hard links of the first of them. epoch: the time of every entry (seconds since 1970).
    The root directory is in it only if `present` names it (as b"").
    Sockets are left out: no archive can hold one. xattrs kept: see host/attributes.py.
    Raises StepError for content that changes while it is read, and for names that mean a whiteout.
    """
    present = with_ancestors(changes.present, changes.deleted)
    names = {**dict.fromkeys(present, False), **{whiteout(path): True for path in changes.deleted}}
    if len(names) != len(present) + len(changes.deleted):
        raise StepError("a file of the tree has a name that means a deletion in an image layer", why="`.wh.` is taken")
    first: dict[tuple[int, int], bytes] = {}
    with TreeReader(changes.root) as tree:
        for path in sorted(names):
            if names[path]:
                yield Entry(path, "file", 0o644, mtime=epoch), None
                continue
            yield from _entry_of_tree(tree, path, first, epoch)


def _entry_of_tree(
    tree: TreeReader, path: bytes, first: dict[tuple[int, int], bytes], time: int
) -> Iterator[tuple[Entry, Readable | None]]:
    """One entry of a tree, or none."""
    if is_whiteout_name(path):
        raise StepError(
            f"{path!r} cannot be stored in a layer", why="names that begin with `.wh.` mean deletions there"
        )
    with tree.open(path) as node:
        found = node.stat
        if found.kind == "socket":
            return
        if found.kind == "char" and not found.major and not found.minor:
            raise StepError(
                f"{path!r} cannot be stored in a layer", why="a character device 0:0 means a deletion there"
            )
        if found.links > 1 and found.kind != "dir":
            earlier = first.setdefault(found.inode, path)
            if earlier != path:
                yield entry_of(path, found, time, earlier), None
                return
        yield entry_of(path, found, time), node if found.kind == "file" else None
        node.check_unchanged()


def entry_of(path: bytes, found: Stat, mtime: int, hard_link_to: bytes = b"") -> Entry:
    """The entry of what is found in a tree; hard_link_to: the path of an earlier name of the same inode."""
    if hard_link_to:
        return Entry(path, "hardlink", found.mode, found.uid, found.gid, mtime, target=hard_link_to)
    return Entry(
        path, found.kind, found.mode, found.uid, found.gid, mtime, found.size,
        found.target, found.major, found.minor, found.xattrs,
    )  # fmt: skip
