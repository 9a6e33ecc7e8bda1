"""A tar stream to entries: ustar, PAX, GNU (long names, sparse files, base-256) and V7. Writes nothing anywhere.

Unlike Python's tarfile it never ends early: a bad header, a cut entry and bytes after the end of the
archive are each a NetworkError. A missing end alone is not: umoci's `insert` writes layers that stop after
the last byte of content, and a cut between two entries is the digest's to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from stackbuild.core.digest import CHUNK
from stackbuild.core.errors import NetworkError
from stackbuild.oci.documents import shown
from stackbuild.oci.tar_write import BLOCK, Entry

_KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "char",
    b"4": "block", b"5": "dir", b"6": "fifo", b"S": "file",
}  # fmt: skip
_MAX_EXTRA = 1 << 20  # bytes of PAX records or of one GNU long name
_MAX_EXTRAS = 32  # extended headers in a row
_MAX_SEGMENTS = 1 << 20
_MAX_PADDING = 64 << 20  # bytes of zeros after the end
_MAX_TIME = 1 << 40
_MAX_DEVICE = 1 << 20
_XATTR = b"SCHILY.xattr."

Map = tuple[tuple[int, int], ...]
Records = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Member:
    """One entry as the archive has it. entry.path: as written, not made safe; entry.size: of the whole file.

    stored: bytes of content in the archive. sparse: (offset, length) of each run that is stored; None: all is.
    """

    entry: Entry
    stored: int
    sparse: Map | None = None


class TarReader:
    """Members of a plain tar stream. `name`: what the user calls it. Each content must be read before the next."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._global: Records = []
        self._left = 0  # bytes of content of the current member not yet read
        self._pad = 0

    def _wrong(self, why: str) -> NetworkError:
        return NetworkError(f"{self._name} is not a valid tar archive", why=why)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                raise self._wrong("it is truncated")
            data += more
        return data

    def __iter__(self) -> Iterator[Member]:
        records: Records = []
        long: dict[bytes, bytes] = {}
        extras = 0
        while True:
            for _ in self.content():  # what the caller did not want
                pass
            block = self._stream.read(BLOCK)
            if len(block) < BLOCK:
                if not block:
                    if records or long:
                        raise self._wrong("it is truncated after a header that announces an entry")
                    return
                block += self._read(BLOCK - len(block))
            if not block.rstrip(b"\0"):
                if records or long:
                    raise self._wrong("it ends after a header that announces an entry")
                self._end()
                return
            self._check_sum(block)
            kind = block[156:157]
            if kind in (b"x", b"g", b"L", b"K"):
                extra = self._extra(block)
                extras += 1
                if extras > _MAX_EXTRAS or len(self._global) > 1000:
                    raise self._wrong("too many extended headers")
                if kind == b"x":
                    records = self._parse(extra)
                elif kind == b"g":
                    self._global += self._parse(extra)
                else:
                    long[kind] = extra.rstrip(b"\0")
                continue
            member = self._member(block, self._global + records, long)
            self._left, self._pad = member.stored, -member.stored % BLOCK
            if member.sparse is None and (b"GNU.sparse.major", b"1") in records:
                member = self._map_in_content(member, dict(records))
            records, long, extras = [], {}, 0
            yield member

    def content(self) -> Iterator[bytes]:
        """The stored bytes of the current member, in pieces."""
        while self._left:
            piece = self._stream.read(min(CHUNK, self._left))
            if not piece:
                raise self._wrong("it is truncated in the content of an entry")
            self._left -= len(piece)
            yield piece
        if self._pad:
            padding = self._stream.read(self._pad)
            if padding:
                self._read(self._pad - len(padding))
            self._pad = 0

    def skip(self, file: BinaryIO) -> None:
        """Pass over the current content by seeking; `file` is the seekable, unbuffered stream itself."""
        file.seek(self._left, 1)
        self._left = 0

    def _end(self) -> None:
        """After the first zero block: nothing but zeros may follow."""
        seen = 0
        while piece := self._stream.read(CHUNK):
            seen += len(piece)
            if piece.count(0) != len(piece):
                raise self._wrong("more follows after its end; other readers would stop there or go on")
            if seen > _MAX_PADDING:
                raise self._wrong("endless zeros follow after its end")

    def _check_sum(self, block: bytes) -> None:
        said = self._number(block[148:156])
        if said != sum(block) - sum(block[148:156]) + 8 * 32:
            rest = block[:148] + block[156:]
            if said != sum(b - 256 if b > 127 else b for b in rest) + 8 * 32:  # some old writers counted signed
                raise self._wrong("a header has a wrong checksum")

    def _number(self, raw: bytes) -> int:
        if raw[0] & 0x80:  # GNU's base 256, two's complement
            return int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big") - ((raw[0] & 0x40) << (8 * len(raw) - 7))
        text = raw.strip(b" \0")
        try:
            return int(text, 8) if text else 0
        except ValueError:
            raise self._wrong(f"a header has a bad number {shown(repr(raw))}") from None

    def _extra(self, block: bytes) -> bytes:
        size = self._number(block[124:136])
        if not 0 <= size <= _MAX_EXTRA:
            raise self._wrong(f"an extended header has {size} bytes; at most {_MAX_EXTRA} are read")
        return self._read(size + -size % BLOCK)[:size]

    def _parse(self, data: bytes) -> Records:
        """PAX records "LENGTH KEY=VALUE\\n"; all of the bytes must be records."""
        found: Records = []
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 12)
            length = data[at:space] if space > 0 else b""
            end = at + int(length) if length.isdigit() else 0
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
                raise self._wrong("an extended header has a bad record")
            found.append((key, value))
            at = end
        return found

    def _member(self, block: bytes, records: Records, long: dict[bytes, bytes]) -> Member:
        kind = _KINDS.get(block[156:157])
        if kind is None:
            raise self._wrong(f"an entry is of the unknown type {shown(repr(block[156:157]))}")
        path, target = _names(block, long)
        entry = Entry(
            path=path,
            kind=kind,
            mode=self._number(block[100:108]) & 0o7777,
            uid=self._number(block[108:116]),
            gid=self._number(block[116:124]),
            mtime=self._number(block[136:148]),
            size=self._number(block[124:136]),
            target=target if kind in ("hardlink", "symlink") else b"",
            major=self._number(block[329:337]) if kind in ("char", "block") else 0,
            minor=self._number(block[337:345]) if kind in ("char", "block") else 0,
        )
        stored = entry.size
        sparse: Map | None = None
        if records:
            entry = self._apply(entry, records)
            stored = self._size_of(records, stored)
            sparse = self._sparse_records(records)
        if block[156:157] == b"S":
            sparse, real = self._old_sparse(block)
            entry = replace(entry, size=real)
        self._check_range(entry)
        if kind == "file" and entry.path.endswith(b"/"):
            entry = replace(entry, kind="dir")  # V7 had no other way to say it
        if entry.kind != "file":
            return Member(replace(entry, size=0), 0)
        if not 0 <= stored <= 1 << 50:
            raise self._wrong("an entry has a size that is out of range")
        if sparse is not None:
            self._check_map(sparse, entry.size, stored)
        return Member(entry, stored, sparse)

    def _check_range(self, entry: Entry) -> None:
        """Numbers that no system call could take."""
        if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
            raise self._wrong("an entry has an owner that is out of range")
        if abs(entry.mtime) > _MAX_TIME:
            raise self._wrong("an entry has a time that is out of range")
        if not (0 <= entry.major < _MAX_DEVICE and 0 <= entry.minor < _MAX_DEVICE):
            raise self._wrong("an entry has a device number that is out of range")
        if entry.size > 1 << 50 or entry.size < 0:
            raise self._wrong("an entry has a size that is out of range")

    def _integer(self, value: bytes) -> int:
        whole = value.partition(b".")[0]
        if not whole.removeprefix(b"-").isdigit() or len(whole) > 20:
            raise self._wrong(f"an extended header has a bad number {shown(repr(value))}")
        return int(whole)

    def _size_of(self, records: Records, size: int) -> int:
        for key, value in records:
            if key == b"size" and value:
                size = self._integer(value)
        return size

    def _apply(self, entry: Entry, records: Records) -> Entry:
        """The entry with what PAX records say; the last of a key counts, an empty value takes it back."""
        said = dict(records)
        xattrs = {key[len(_XATTR) :]: value for key, value in said.items() if key.startswith(_XATTR)}
        changes: dict[str, Any] = {"xattrs": xattrs} if xattrs else {}
        for key, name in ((b"uid", "uid"), (b"gid", "gid"), (b"mtime", "mtime"), (b"size", "size")):
            if said.get(key):
                changes[name] = self._integer(said[key])
        if said.get(b"path"):
            changes["path"] = said[b"path"]
        if said.get(b"linkpath") and entry.kind in ("hardlink", "symlink"):
            changes["target"] = said[b"linkpath"]
        if said.get(b"GNU.sparse.name"):
            changes["path"] = said[b"GNU.sparse.name"]
        for key in (b"GNU.sparse.size", b"GNU.sparse.realsize"):
            if said.get(key):
                changes["size"] = self._integer(said[key])
        return replace(entry, **changes)

    def _sparse_records(self, records: Records) -> Map | None:
        """The map of the GNU PAX formats 0.0 and 0.1."""
        said = dict(records)
        if b"GNU.sparse.map" in said:
            numbers = [self._integer(part) for part in said[b"GNU.sparse.map"].split(b",") if part]
        else:
            pair = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
            numbers = [self._integer(value) for key, value in records if key in pair]
            if not numbers:
                return None
        return self._pairs(numbers)

    def _pairs(self, numbers: list[int]) -> Map:
        if len(numbers) % 2 or len(numbers) > 2 * _MAX_SEGMENTS:
            raise self._wrong("the map of a sparse file is malformed")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def _old_sparse(self, block: bytes) -> tuple[Map, int]:
        """The map of the old GNU format, in the header and in blocks after it."""
        numbers: list[int] = []
        real = self._number(block[483:495])
        area, more = block[386:482], block[482]
        while True:
            for at in range(0, len(area), 24):
                if area[at : at + 12].strip(b" \0"):
                    numbers += [self._number(area[at : at + 12]), self._number(area[at + 12 : at + 24])]
            if not more:
                return self._pairs(numbers), real
            if len(numbers) > 2 * _MAX_SEGMENTS:
                raise self._wrong("the map of a sparse file is too long")
            extension = self._read(BLOCK)
            area, more = extension[:504], extension[504]

    def _map_in_content(self, member: Member, said: dict[bytes, bytes]) -> Member:
        """GNU PAX format 1.0: decimal lines in front of the content, padded to a block."""
        used = 0
        buffer = b""

        def line() -> int:
            nonlocal buffer, used
            while b"\n" not in buffer:
                if self._left < BLOCK or used > 32 * _MAX_SEGMENTS:
                    raise self._wrong("the map of a sparse file is malformed")
                buffer += self._read(BLOCK)
                self._left -= BLOCK
                used += BLOCK
            number, _, buffer = buffer.partition(b"\n")
            return self._integer(number)

        count = line()
        if not 0 <= count <= _MAX_SEGMENTS:
            raise self._wrong("the map of a sparse file is too long")
        sparse = self._pairs([line() for _ in range(2 * count)])
        self._check_map(sparse, member.entry.size, self._left)
        return replace(member, stored=self._left, sparse=sparse)

    def _check_map(self, sparse: Map, size: int, stored: int) -> None:
        end = 0
        for offset, length in sparse:
            if offset < end or length < 0:
                raise self._wrong("the map of a sparse file is malformed")
            end = offset + length
        if end > size or sum(length for _, length in sparse) != stored:
            raise self._wrong("the map of a sparse file does not fit its content")


def _names(block: bytes, long: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    path = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345 : 476 if block[508:512] == b"tar\0" else 500].partition(b"\0")[0]
        if prefix:
            path = prefix + b"/" + path
    return long.get(b"L", path), long.get(b"K", block[157:257].partition(b"\0")[0])
