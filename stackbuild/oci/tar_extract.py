"""A layer into a folder, never outside it: limits, whiteouts, sparse files. The making of entries is tree_write's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from stackbuild.core.digest import Digest
from stackbuild.core.errors import NetworkError
from stackbuild.core.files import host_error
from stackbuild.oci.changes import OPAQUE, PREFIX, deleted_by, split
from stackbuild.oci.compression import decompressed
from stackbuild.oci.diff_id import DiffIdReader
from stackbuild.oci.documents import shown
from stackbuild.oci.tar_read import Member, TarReader
from stackbuild.oci.tree_write import TreeWriter, clean

Whiteouts = Literal["apply", "device", "file"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layer may ask of the disk. ratio: unpacked bytes per stored byte, looked at above `ratio_from` bytes."""

    entries: int = 2_000_000
    size: int = 64 << 30
    ratio: int = 300
    ratio_from: int = 1 << 30


LIMITS = Limits()


class _Counter:
    """Counts the stored bytes that pass."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


def extract(
    stream: BinaryIO,
    dest: Path,
    *,
    whiteouts: Whiteouts,
    name: str,
    limits: Limits = LIMITS,
    devices: bool = False,
    diff_id: Digest | None = None,
) -> None:
    """Unpack a layer (gzip, zstd or plain: detected) into the folder `dest`; read the stream to its end.

    whiteouts: "apply" deletes from dest what is not of this layer, and resolves links of the tree beneath
    it; "device" and "file" leave whiteouts as character devices 0:0 or empty `.wh.NAME` files, and refuse
    opaque markers and entries below a link, as such a layer would mean something else when it is stacked.
    name: what the user calls the layer. devices: also make device nodes (as root; left out otherwise).
    diff_id: what the uncompressed tar must be; None: it is not known, and not looked at.
    Owners are set as they are, so this needs root or root of a user namespace.
    Raises NetworkError for hostile or broken input (dest then holds a part of it, nothing is outside of it),
    HostError for an owner that is not mapped, a full disk, missing extended attributes.
    """
    counter = _Counter(stream)
    plain = decompressed(cast(BinaryIO, counter), name)
    if diff_id is not None:
        plain = cast(BinaryIO, DiffIdReader(plain, diff_id, name))
    form = None if whiteouts == "apply" else whiteouts
    with TreeWriter(dest, name, links=form is None, devices=devices, whiteouts=form) as tree:
        job = _Extraction(tree, whiteouts, name, limits, counter)
        reader = TarReader(plain, name)
        for member in reader:
            job.take(member, reader)
        tree.finish()
    while plain.read(1 << 16):  # so that a verifying stream sees its end
        pass
    while counter.read(1 << 16):
        pass


class _Extraction:
    def __init__(self, tree: TreeWriter, whiteouts: Whiteouts, name: str, limits: Limits, counter: _Counter) -> None:
        self._tree, self._whiteouts, self._name = tree, whiteouts, name
        self._limits, self._counter = limits, counter
        self._made: set[bytes] = set()  # real paths of this layer: its own whiteouts do not touch them
        self._entries = 0
        self._bytes = 0
        self._content_bytes = 0

    def take(self, member: Member, reader: TarReader) -> None:
        path = clean(member.entry.path, self._name)
        self._count(member)
        if any(part.startswith(PREFIX) for part in path.split(b"/")):
            self._whiteout(path)
            return
        with self._tree.entry(member.entry, path) as fd:
            if fd is not None and member.entry.kind == "file":
                self._fill(fd, member, reader)
        if self._whiteouts == "apply" and path:
            real = self._tree.real(path)
            while real and real not in self._made:
                self._made.add(real)
                real = split(real)[0]

    def _count(self, member: Member) -> None:
        self._entries += 1
        self._bytes += max(member.entry.size, member.stored)
        limits = self._limits
        why = ""
        if self._entries > limits.entries:
            why = f"more than {limits.entries} entries"
        elif self._bytes > limits.size:
            why = f"more than {limits.size} bytes unpacked"
        if why:
            raise NetworkError(f"{self._name} asks for too much", why=why)

    def _content(self, reader: TarReader) -> Iterator[bytes]:
        for piece in reader.content():
            self._content_bytes += len(piece)
            if self._content_bytes > max(self._limits.ratio_from, self._limits.ratio * self._counter.count):
                raise NetworkError(
                    f"{self._name} asks for too much",
                    why=f"more than {self._limits.ratio} bytes unpacked for each byte stored",
                )
            yield piece

    def _fill(self, fd: int, member: Member, reader: TarReader) -> None:
        if member.sparse is None:
            for piece in self._content(reader):
                _write(fd, piece)
            return
        runs = iter(member.sparse)
        room = 0
        for piece in self._content(reader):
            view = memoryview(piece)
            while view:
                while not room:
                    offset, room = next(runs)
                    os.lseek(fd, offset, os.SEEK_SET)
                _write(fd, view[:room])
                done = min(room, len(view))
                room, view = room - done, view[done:]
        os.ftruncate(fd, member.entry.size)

    def _whiteout(self, path: bytes) -> None:
        folder, last = split(path)
        if any(part.startswith(PREFIX) for part in folder.split(b"/")) or (
            last.startswith(PREFIX + PREFIX) and last != OPAQUE
        ):
            return  # AUFS's own files: no part of any image
        try:
            gone = deleted_by(path)
        except ValueError:
            raise NetworkError(f"{self._name} has a bad whiteout", why=shown(repr(path))) from None
        try:
            if self._whiteouts == "apply":
                self._tree.remove(folder if gone is None else gone, self._made, children_only=gone is None)
            elif gone is None:
                raise NetworkError(
                    f"{self._name} has an opaque marker", why="it can only be applied over the layers below it"
                )
            else:
                self._tree.whiteout(path)
        except OSError as error:
            raise host_error(error, f"{shown(repr(path))} of {self._name}") from error


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
