"""Reads the entries of an unpacked tree, never through a link. Knows no archive and writes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.errors import StepError
from stackbuild.host.attributes import xattrs

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Stat:
    """What an entry of a tree is. kind: as of tar_write.Entry, or "socket". inode: (device, number)."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    target: bytes
    major: int
    minor: int
    xattrs: Mapping[bytes, bytes]
    inode: tuple[int, int]
    links: int


class Node:
    """One open entry."""

    def __init__(self, path: bytes, found: Stat, fd: int | None, before: os.stat_result) -> None:
        self._path, self.stat, self._fd, self._before = path, found, fd, before

    def read(self, size: int = -1) -> bytes:
        """Bytes of a regular file, at most `size`; b"" at its end."""
        assert self._fd is not None and size > 0
        return os.read(self._fd, size)

    def check_unchanged(self) -> None:
        """Raises StepError if a file is not as it was when it was opened."""
        if self._fd is None or self.stat.kind != "file":
            return
        old, new = self._before, os.fstat(self._fd)
        if (old.st_size, old.st_mtime_ns, old.st_ctime_ns) != (new.st_size, new.st_mtime_ns, new.st_ctime_ns):
            raise StepError(f"{self._path!r} changed while it was read", why="its time or size is another now")


class TreeReader:
    """A folder read by relative paths; cheap when they come sorted. Raises OSError for what is not there."""

    def __init__(self, root: Path) -> None:
        self._stack: list[tuple[bytes, int]] = [(b"", os.open(root, _FOLDER & ~os.O_NOFOLLOW))]

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(self, *exc: object) -> None:
        while self._stack:
            os.close(self._stack.pop()[1])

    def folder(self, path: bytes) -> int:
        """A descriptor of a folder of the tree (b"" is the root); it stays ours."""
        while self._stack[-1][0] and path != self._stack[-1][0] and not path.startswith(self._stack[-1][0] + b"/"):
            os.close(self._stack.pop()[1])
        here, fd = self._stack[-1]
        for part in path[len(here) :].split(b"/"):
            if not part:
                continue
            if part == b"..":
                raise ValueError(f"not a plain relative path: {path!r}")
            here = here + b"/" + part if here else part
            fd = os.open(part, _FOLDER, dir_fd=fd)
            self._stack.append((here, fd))
        return fd

    def names(self, path: bytes) -> list[bytes]:
        """The names in a folder, sorted."""
        return sorted(os.fsencode(name) for name in os.listdir(self.folder(path)))

    @contextmanager
    def open(self, path: bytes) -> Iterator[Node]:
        """The entry at a path (b"" is the root itself)."""
        folder, _, name = path.rpartition(b"/")
        if name in (b".", b".."):
            raise ValueError(f"not a plain relative path: {path!r}")
        if not name:
            fd = self.folder(b"")
            status = os.fstat(fd)
            yield Node(path, _stat(status, b"", xattrs(fd)), None, status)
            return
        above = self.folder(folder)
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            fd = os.open(name, flags, dir_fd=above)
            try:
                status = os.fstat(fd)
                yield Node(path, _stat(status, b"", xattrs(fd)), fd, status)
            finally:
                os.close(fd)
            return
        target = os.readlink(name, dir_fd=above) if stat.S_ISLNK(status.st_mode) else b""
        yield Node(path, _stat(status, target, xattrs(b"/proc/self/fd/%d/" % above + name)), None, status)


def _stat(status: os.stat_result, target: bytes, attributes: Mapping[bytes, bytes]) -> Stat:
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    device = status.st_rdev if kind in ("char", "block") else 0
    return Stat(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode) if kind != "symlink" else 0o777,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == "file" else 0,
        target=target,
        major=os.major(device),
        minor=os.minor(device),
        xattrs=attributes,
        inode=(status.st_dev, status.st_ino),
        links=status.st_nlink,
    )


def walk(tree: TreeReader, path: bytes = b"") -> Iterator[bytes]:
    """Every path below a folder, sorted within each folder, parents first; the folder itself left out."""
    for name in tree.names(path):
        child = path + b"/" + name if path else name
        with tree.open(child) as node:
            kind = node.stat.kind
        yield child
        if kind == "dir":
            yield from walk(tree, child)
