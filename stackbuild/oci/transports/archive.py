"""A tar file as a set of named members: read at random, written in order. Knows no image."""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stackbuild.core.digest import CHUNK, chunks
from stackbuild.core.errors import NetworkError, UsageError
from stackbuild.core.files import host_error, new_file
from stackbuild.oci.compression import decompressed, detect
from stackbuild.oci.documents import MAX_DOCUMENT, shown
from stackbuild.oci.tar_read import TarReader
from stackbuild.oci.tar_write import END, Entry, header, padding

_MAX_MEMBERS = 100_000
_MAX_PLAIN = 64 << 30  # bytes that a compressed archive may unpack to


class Archive:
    """The members of a tar file, by name. A compressed file is unpacked into a nameless temporary one first.

    name: what the user calls it. Raises UsageError if there is no such file, NetworkError if it is no sound tar.
    """

    def __init__(self, path: str, name: str) -> None:
        self.name = name
        self._file = _open(path, name)
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        whole = os.fstat(self._file.fileno()).st_size
        reader = TarReader(self._file, name)
        for member in reader:
            key = posixpath.normpath(os.fsdecode(member.entry.path))
            if len(self._places) + len(self._links) >= _MAX_MEMBERS:
                raise NetworkError(f"{name} has too many members", why=f"more than {_MAX_MEMBERS}")
            if member.entry.kind == "file" and member.sparse is None:
                self._places[key] = (self._file.tell(), member.stored)
                if self._file.tell() + member.stored > whole:
                    raise NetworkError(f"{name} is truncated", why=f"`{shown(key)}` ends after the end of the file")
                reader.skip(self._file)
            elif member.entry.kind in ("symlink", "hardlink"):
                target = os.fsdecode(member.entry.target)
                base = posixpath.dirname(key) if member.entry.kind == "symlink" else ""
                self._links[key] = posixpath.normpath(posixpath.join(base, target))

    def _find(self, member: str) -> tuple[int, int] | None:
        key = posixpath.normpath(member)
        for _ in range(10):  # docker save links a layer that stands twice
            if key in self._places:
                return self._places[key]
            key = self._links.get(key, "")
        return None

    def size(self, member: str) -> int | None:
        """Bytes of a member; None if there is none of that name."""
        place = self._find(member)
        return None if place is None else place[1]

    def open(self, member: str) -> BinaryIO:
        """A new stream of a member. Raises NetworkError."""
        place = self._find(member)
        if place is None:
            raise NetworkError(f"{self.name} has no `{shown(member)}`")
        return cast(BinaryIO, io.BufferedReader(_Slice(self._file.fileno(), *place), CHUNK))

    def small(self, member: str) -> bytes:
        """All of a small member. Raises NetworkError."""
        if (self.size(member) or 0) > MAX_DOCUMENT:
            raise NetworkError(f"{self.name}: `{shown(member)}` is too large")
        with self.open(member) as stream:
            return stream.read()


class _Slice(io.RawIOBase):
    """Bytes of a file from `start`; shares no position with others."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = os.dup(fd)
        self._at, self._left = start, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        data = os.pread(self._fd, min(len(view), self._left), self._at)
        view[: len(data)] = data
        self._at += len(data)
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def _open(path: str, name: str) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{name} cannot be read", why=os.strerror(error.errno or 0)) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{name} cannot be read", why="it is not a regular file")
    file = cast(BinaryIO, io.FileIO(fd, "rb"))
    kind = detect(file.read(4))
    file.seek(0)
    if kind == "none":
        return file
    fd, temporary = tempfile.mkstemp(prefix="archive-")
    os.unlink(temporary)
    plain = cast(BinaryIO, io.FileIO(fd, "r+b"))
    try:
        for piece in chunks(decompressed(file, name)):
            plain.write(piece)
            if plain.tell() > _MAX_PLAIN:
                raise NetworkError(f"{name} is too large", why=f"more than {_MAX_PLAIN} bytes unpacked")
    except OSError as error:
        raise host_error(error, tempfile.gettempdir()) from error
    finally:
        file.close()
    plain.seek(0)
    return plain


class ArchiveWriter:
    """Members in the order in which they are added; the same members give the same bytes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def folder(self, name: str) -> None:
        self._out.write(header(Entry(os.fsencode(name), "dir", 0o755)))

    def bytes(self, name: str, data: bytes) -> None:
        self._out.write(header(Entry(os.fsencode(name), "file", 0o644, size=len(data))) + data + padding(len(data)))

    def stream(self, name: str, source: BinaryIO) -> int:
        """A member whose size is known only at its end. Returns it."""
        start = self._out.tell()
        self._out.write(bytes(512))
        size = 0
        for piece in chunks(source):
            self._out.write(piece)
            size += len(piece)
        self._out.write(padding(size))
        end = self._out.tell()
        block = header(Entry(os.fsencode(name), "file", 0o644, size=size))
        if len(block) != 512:
            raise NetworkError(f"`{name}` is too large for an archive", why=f"{size} bytes")
        self._out.seek(start)
        self._out.write(block)
        self._out.seek(end)
        return size

    def end(self) -> None:
        self._out.write(END)


@contextmanager
def new_archive(path: str) -> Iterator[ArchiveWriter]:
    """A tar file that appears whole or not at all, also after a power cut. Raises HostError."""
    target = Path(os.path.abspath(path))
    if target.is_dir():
        raise UsageError(f"{path} cannot be written", why="it is a folder; an archive is a file")
    with new_file(target, durable=True) as file:
        writer = ArchiveWriter(file)
        yield writer
        writer.end()
