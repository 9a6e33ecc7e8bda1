"""Unpacks a fetched archive (tar, compressed or not; zip) into a folder of ours, never outside it."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO, cast

from stackbuild.core.digest import chunks
from stackbuild.core.errors import StackError, StepError
from stackbuild.oci.tar_extract import extract
from stackbuild.oci.tree_read import TreeReader, walk

MAX_ENTRIES = 1_000_000
MAX_BYTES = 64 << 30
_XZ, _BZ2, _ZIP = b"\xfd7zXZ\0", b"BZh", (b"PK\3\4", b"PK\5\6")


def unpack(archive: Path, name: str, scratch: Path) -> Path:
    """A new folder in `scratch` with what the archive holds. Raises StepError that calls it `name`."""
    folder = Path(mkdtemp(prefix="archive-", dir=scratch))
    try:
        with open(archive, "rb") as file:
            start = file.read(6)
            if not start:
                raise ValueError("it is empty")
            file.seek(0)
            if start.startswith(_ZIP):
                _unzip(file, folder, name)
            else:
                with _decompressed(file, start) as stream:
                    extract(stream, folder, whiteouts="file", name=name)
    # NotImplementedError: what zipfile raises for a way of compressing that it does not know
    except (EOFError, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise StepError(f"{name} cannot be unpacked", why=str(error)) from error
    except StackError as error:
        raise StepError(f"{name} cannot be unpacked", why=str(error), hints=error.hints) from error
    return folder


def archive_folders(archive: Path, name: str, scratch: Path) -> Iterator[bytes]:
    """The folders that an archive has, sorted; b"" (its root) first."""
    folder = unpack(archive, name, scratch)
    yield b""
    with TreeReader(folder) as tree:
        for path in walk(tree):
            with tree.open(path) as node:
                kind = node.stat.kind
            if kind == "dir":
                yield path


def _decompressed(file: BinaryIO, start: bytes) -> BinaryIO:
    """tar_extract knows gzip and zstd; source releases come as xz and bzip2 too."""
    if start.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(file))
    if start.startswith(_BZ2):
        return cast(BinaryIO, bz2.BZ2File(file))
    return file


def _unzip(file: BinaryIO, folder: Path, name: str) -> None:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_ENTRIES or sum(member.file_size for member in members) > MAX_BYTES:
                raise StepError(f"{name} is too big to be unpacked")
            for member in members:
                _unzip_one(archive, member, root)
    finally:
        os.close(root)


def _unzip_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, root: int) -> None:
    """One member; only Unix attributes say that it is a link or executable."""
    parts = [part for part in os.fsencode(member.filename).split(b"/") if part not in (b"", b".")]
    if b".." in parts or member.filename.startswith("/"):
        raise ValueError(f"{member.filename!r} leads out of the archive")
    if not parts:
        return
    mode = member.external_attr >> 16 if member.create_system == 3 else 0
    here = _folder(root, parts if member.is_dir() else parts[:-1])
    try:
        if member.is_dir():
            return
        if stat.S_ISLNK(mode):
            _clear(parts[-1], here)
            os.symlink(archive.read(member), parts[-1], dir_fd=here)
            return
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise ValueError(f"{member.filename!r} is neither a file, a folder nor a link")
        _clear(parts[-1], here)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(parts[-1], flags, 0o755 if mode & 0o111 else 0o644, dir_fd=here)
        with open(fd, "wb") as out, archive.open(member) as content:
            for piece in chunks(cast(BinaryIO, content)):
                out.write(piece)
    finally:
        os.close(here)


def _clear(name: bytes, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _folder(root: int, parts: list[bytes]) -> int:
    """A new descriptor of a folder beneath the root, made if it is not there; no link is followed."""
    here = os.dup(root)
    for part in parts:
        try:
            os.mkdir(part, 0o755, dir_fd=here)
        except FileExistsError:
            pass
        try:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
        here = deeper
    return here
