"""A .deb opened (deb(5)): its control files and its data archive, decompressed once. Installs nothing."""

from __future__ import annotations

import bz2
import lzma
import mmap
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from stackbuild.core.errors import NetworkError
from stackbuild.packages.deb.tar_read import Member, members

_MAGIC = b"!<arch>\n"
_STEP = 4 << 20
_IN_MEMORY = 96 << 20  # a bigger data archive goes to a file without a name
_MOST_DATA = 64 << 30  # bytes; no package is near it, a decompression bomb is stopped by it
_MOST_CONTROL = 256 << 20

Decompressor = Callable[[BinaryIO, int], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class ControlFile:
    """One file of control.tar: content, permission bits, mtime."""

    content: bytes
    mode: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Deb:
    """An open package. name: what errors call it. control: file name -> file. tar: the uncompressed data archive."""

    name: str
    control: Mapping[str, ControlFile]
    tar: memoryview

    def members(self) -> Iterator[Member]:
        """The entries of data.tar in its order."""
        return members(self.tar, self.name)

    def content(self, member: Member) -> memoryview:
        """The bytes of a regular file."""
        return self.tar[member.data : member.data + member.size]

    @property
    def fields(self) -> bytes:
        """The control file itself."""
        return self.control["control"].content


@contextmanager
def open_deb(path: Path, name: str = "", *, data: bool = True) -> Iterator[Deb]:
    """Read a package: at most some 100 MB in memory, more in an unnamed temporary file.

    data=False leaves data.tar unread. Raises NetworkError for what is truncated, damaged or hostile.
    """
    name = name or path.name
    with open(path, "rb") as file:
        found: dict[str, tuple[str, int, int]] = {}
        for member, offset, size in _ar_members(file, name):
            base = member.partition(".tar")[0] if ".tar" in member else member
            found.setdefault(base, (member, offset, size))
        if "debian-binary" not in found or "control" not in found or "data" not in found:
            raise _bad(name, "it has no debian-binary, control or data member")
        version = _read_at(file, found["debian-binary"])
        if not version.startswith(b"2."):
            raise _bad(name, f"its format version is {version[:20]!r}, known is 2.x")
        control = _control(b"".join(_inflate(file, found["control"], name, _MOST_CONTROL)), name)
        if not data:
            yield Deb(name, control, memoryview(b""))
            return
        with _whole(_inflate(file, found["data"], name, _MOST_DATA)) as tar:
            yield Deb(name, control, tar)


def _ar_members(file: BinaryIO, name: str) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each member (ar(5), common form)."""
    if file.read(8) != _MAGIC:
        raise _bad(name, "it does not begin as an ar archive")
    file.seek(0, 2)
    end, at = file.tell(), 8
    while at < end:
        file.seek(at)
        head = file.read(60)
        if len(head) < 60 or head[58:] != b"`\n":
            raise _bad(name, "its ar archive is damaged or truncated")
        try:
            size = int(head[48:58])
        except ValueError:
            raise _bad(name, "its ar archive is damaged: a size is not a number") from None
        if size < 0 or at + 60 + size > end:
            raise _bad(name, "it is truncated")
        yield head[:16].decode("latin-1").rstrip(" ").rstrip("/"), at + 60, size
        at += 60 + size + size % 2


def _read_at(file: BinaryIO, place: tuple[str, int, int]) -> bytes:
    file.seek(place[1])
    return file.read(min(place[2], 64))


def _inflate(file: BinaryIO, place: tuple[str, int, int], name: str, most: int) -> Iterator[bytes]:
    """The uncompressed bytes of a member, in pieces. Raises NetworkError when they are damaged or too many."""
    member, offset, size = place
    ending = member.rpartition(".tar")[2]
    known: dict[str, Decompressor] = {
        "": _stored, ".xz": _xz, ".lzma": _xz, ".gz": _gzip, ".zst": _zstd, ".bz2": _bzip2,
    }  # fmt: skip
    if ending not in known:
        raise _bad(name, f"its member {member!r} has an unknown compression")
    file.seek(offset)
    seen = 0
    try:
        for piece in known[ending](file, size):
            seen += len(piece)
            if seen > most:
                raise _bad(name, f"its member {member!r} grows beyond {most} bytes")
            yield piece
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, OSError, EOFError, ValueError) as error:
        raise _bad(name, f"its member {member!r} is damaged: {error}") from error


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _STEP))
        if not piece:
            raise EOFError("it ends too early")
        size -= len(piece)
        yield piece


def _stored(file: BinaryIO, size: int) -> Iterator[bytes]:
    return _pieces(file, size)


def _xz(file: BinaryIO, size: int) -> Iterator[bytes]:
    """xz of one or more streams, or the older lzma; 16 MiB at a time."""
    engine = lzma.LZMADecompressor()
    for piece in _pieces(file, size):
        while True:
            out = engine.decompress(piece, 16 << 20)
            if out:
                yield out
            if engine.eof:
                piece = engine.unused_data.lstrip(b"\0")
                if not piece:
                    break
                engine = lzma.LZMADecompressor()
            elif engine.needs_input:
                break
            else:
                piece = b""
    if not engine.eof:
        raise EOFError("it ends too early")


def _gzip(file: BinaryIO, size: int) -> Iterator[bytes]:
    engine = zlib.decompressobj(31)
    for piece in _pieces(file, size):
        while piece:
            out = engine.decompress(piece, 16 << 20)
            if out:
                yield out
            piece = engine.unconsumed_tail
            if engine.eof:
                piece = engine.unused_data.lstrip(b"\0")
                if piece:
                    engine = zlib.decompressobj(31)
    if not engine.eof:
        raise EOFError("it ends too early")


def _zstd(file: BinaryIO, size: int) -> Iterator[bytes]:
    engine = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(read_across_frames=True)
    for piece in _pieces(file, size):
        # zstd expands by at most some thousands: small pieces keep what one call returns bounded
        for at in range(0, len(piece), 64 << 10):
            out = engine.decompress(piece[at : at + (64 << 10)])
            if out:
                yield out


def _bzip2(file: BinaryIO, size: int) -> Iterator[bytes]:
    engine = bz2.BZ2Decompressor()
    for piece in _pieces(file, size):
        out = engine.decompress(piece, 16 << 20)
        while out or not engine.needs_input:
            yield out
            if engine.eof:
                break
            out = engine.decompress(b"", 16 << 20)
    if not engine.eof:
        raise EOFError("it ends too early")


@contextmanager
def _whole(pieces: Iterator[bytes]) -> Iterator[memoryview]:
    """All pieces as one buffer: in memory, or once they are many in a file that is mapped."""
    gathered: list[bytes] = []
    total = 0
    for piece in pieces:
        gathered.append(piece)
        total += len(piece)
        if total > _IN_MEMORY:
            break
    else:
        yield memoryview(gathered[0] if len(gathered) == 1 else b"".join(gathered))
        return
    with tempfile.TemporaryFile() as file:
        file.writelines(gathered)
        gathered.clear()
        for piece in pieces:
            file.write(piece)
        file.flush()
        # freed with the last slice of it: closing it here would fail while a reader still holds one
        yield memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def _control(tar: bytes, name: str) -> dict[str, ControlFile]:
    """control.tar: plain files, all in one folder (deb-control(5) and its siblings)."""
    files: dict[str, ControlFile] = {}
    for member in members(tar, name):
        if member.kind == "dir" and not member.path:
            continue
        if member.kind != "file" or b"/" in member.path:
            raise _bad(name, f"its control archive holds {member.path!r}, which is no plain file")
        key = member.path.decode("utf-8", "surrogateescape")
        content = tar[member.data : member.data + member.size]
        files[key] = ControlFile(content, member.mode & 0o755, member.mtime)
    if "control" not in files:
        raise _bad(name, "it has no control file")
    return files


def _bad(name: str, why: str) -> NetworkError:
    return NetworkError(f"{name} is not a sound Debian package", why=why)
