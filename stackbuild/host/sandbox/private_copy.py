"""Copies of tree entries with all that a layer holds of them, and a whole private copy that knows what it copied."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.errors import HostError
from stackbuild.core.files import host_error
from stackbuild.host.attributes import belongs
from stackbuild.host.tree import MergedTree, Node

_FICLONE = 0x40049409
_COPY = 1 << 27
_COARSE = 5  # CLOCK_REALTIME_COARSE, the clock that gives files their times


def prepare_root(folder: Path, lowers: Sequence[Path]) -> None:
    """Make the folder that is the root directory of a tree: the lowest folder's mode, traversable, owned by root.

    The upper ones of a stack are folders that an unpacker made, with whatever mode it had; no layer records the
    root directory of a tree.
    """
    folder.mkdir()
    os.chown(folder, 0, 0)
    os.chmod(folder, stat.S_IMODE(os.lstat(lowers[0]).st_mode) | 0o555)


def copy_entry(source: bytes, info: os.stat_result, target: bytes) -> None:
    """Make `target` a copy of one entry; of a directory, an empty one. Content, mode, owner, xattrs, mtime.

    What this process may not make (a device without CAP_MKNOD) becomes an empty file. Raises OSError.
    """
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG:
        _copy_file(source, info, target)
        return
    if kind == stat.S_IFDIR:
        os.mkdir(target, 0o700)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), target)
    else:
        try:
            os.mknod(target, kind | 0o600, info.st_rdev)
        except PermissionError:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    set_metadata(source, info, target)


def set_metadata(source: bytes, info: os.stat_result, target: bytes) -> None:
    """Give `target` the owner, mode, xattrs and mtime of `source`, in the order in which none undoes another."""
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if belongs(name):
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns), follow_symlinks=False)


def _copy_file(source: bytes, info: os.stat_result, target: bytes) -> None:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    reader = os.open(source, os.O_RDONLY | flags)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
        try:
            _copy_bytes(reader, writer, info.st_size)
            os.fchown(writer, info.st_uid, info.st_gid)
            os.fchmod(writer, stat.S_IMODE(info.st_mode))
            for name in os.listxattr(reader):
                if belongs(name):
                    os.setxattr(writer, name, os.getxattr(reader, name))
            os.utime(writer, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_bytes(reader: int, writer: int, size: int) -> None:
    """Share the blocks where the file system can, else copy in the kernel; holes stay holes."""
    if size == 0:
        return
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
        return
    except OSError:
        pass
    os.ftruncate(writer, size)
    position = 0
    while position < size:
        try:
            start = os.lseek(reader, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(reader, start, os.SEEK_HOLE)
        os.lseek(writer, start, os.SEEK_SET)
        os.lseek(reader, start, os.SEEK_SET)
        while start < end:
            done = os.sendfile(writer, reader, start, min(_COPY, end - start))
            if done == 0:
                return
            start += done
        position = end


def remove(path: bytes) -> None:
    """Remove an entry, a directory with all that is in it; links are not followed. Nothing if there is none."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What a copied file was like when it was copied; the kernel changes ctime with every change of the file."""

    real: bytes
    inode: int
    ctime: int


class PrivateCopy:
    """A folder that holds a copy of a merged tree, each name a file of its own.

    Overlay without an index breaks hard links when it copies up; here they are broken from the start, so a change
    by one name is seen by that name only in both.
    """

    def __init__(self, root: Path, lowers: Sequence[Path]) -> None:
        self.root = os.fsencode(root)
        self._stamps: dict[bytes, _Stamp] = {}
        self._newest = 0
        prepare_root(root, lowers)

    def fill(self, tree: MergedTree) -> None:
        """Copy a whole tree. Raises HostError."""
        folders = []
        try:
            for path, real, info in tree.walk():
                self.copy(path, real, info)
                if stat.S_ISDIR(info.st_mode):
                    folders.append((path, info.st_mtime_ns))
            for path, mtime in reversed(folders):  # they got a new mtime with each entry
                os.utime(self.place(path), ns=(mtime, mtime))
        except OSError as error:
            raise host_error(error, os.fsdecode(self.root)) from error
        self.settle()

    def place(self, path: bytes) -> bytes:
        return self.root + b"/" + path

    def copy(self, path: bytes, real: bytes, info: os.stat_result) -> None:
        """Copy one entry to `path` and remember it."""
        target = self.place(path)
        copy_entry(real, info, target)
        if not stat.S_ISDIR(info.st_mode):
            made = os.lstat(target)
            self._stamps[path] = _Stamp(real, made.st_ino, made.st_ctime_ns)
            self._newest = max(self._newest, made.st_ctime_ns)

    def settle(self) -> None:
        """Wait until a change would give a file another ctime: at most a tick of the kernel's clock."""
        deadline = time.monotonic() + 5
        while time.clock_gettime_ns(_COARSE) <= self._newest:
            if time.monotonic() > deadline:
                raise HostError("the clock does not go on", why="it is behind the times of files just written")
            time.sleep(0.001)

    def identity(self, path: bytes, node: Node) -> bytes:
        """Where an entry was copied from if it is unchanged since, else where it is: for host/tree.py compare."""
        stamp = self._stamps.get(path)
        if stamp is not None:
            info = node.info
            if (info.st_ino, info.st_ctime_ns) == (stamp.inode, stamp.ctime):
                return stamp.real
        return node.real
