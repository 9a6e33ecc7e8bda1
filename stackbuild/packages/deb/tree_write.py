"""Writes entries into a folder, never outside it and through no link. Knows no packages and no archives."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stackbuild.core.files import remove_at
from stackbuild.oci.tar_write import Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """A folder to put entries in; cheap when they come sorted. A later entry replaces an earlier one.

    keep_folders: a directory that is there keeps its metadata (as dpkg does), else the entry's is set
    (as a layer does). Use as a context manager; the end sets the times of the directories.
    """

    def __init__(self, root: Path, *, keep_folders: bool = False) -> None:
        self._keep = keep_folders
        self._stack: list[tuple[bytes, int]] = [(b"", os.open(root, _FOLDER & ~os.O_NOFOLLOW))]
        self._times: dict[bytes, int] = {}

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if exc[0] is None:
                for path in sorted(self._times, reverse=True):
                    above, name = self._above(path)
                    time = self._times[path] * 10**9
                    try:
                        os.utime(name, ns=(time, time), dir_fd=above, follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # replaced by something else since
        finally:
            while self._stack:
                os.close(self._stack.pop()[1])

    def _above(self, path: bytes) -> tuple[int, bytes]:
        """The folder of a path, made as 0755 where it is missing, and the last name."""
        folder, _, name = path.rpartition(b"/")
        while self._stack[-1][0] and folder != self._stack[-1][0] and not folder.startswith(self._stack[-1][0] + b"/"):
            os.close(self._stack.pop()[1])
        here, fd = self._stack[-1]
        for part in folder[len(here) :].split(b"/"):
            if not part:
                continue
            here = here + b"/" + part if here else part
            try:
                fd = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=fd)
                fd = os.open(part, _FOLDER, dir_fd=fd)
                os.fchmod(fd, 0o755)
            except NotADirectoryError:  # a file or a link (O_NOFOLLOW) where an entry needs a folder: the later wins
                os.unlink(part, dir_fd=fd)
                os.mkdir(part, 0o755, dir_fd=fd)
                fd = os.open(part, _FOLDER, dir_fd=fd)
            self._stack.append((here, fd))
        return fd, name

    def put(self, entry: Entry, content: memoryview | bytes | None) -> None:
        """One entry. Raises OSError."""
        above, name = self._above(entry.path)
        if entry.kind == "dir":
            self._folder(entry, above, name)
            return
        if entry.kind == "file":
            self._file(entry, above, name, content)
            return
        remove_at(above, name)
        if entry.kind == "hardlink":
            folder, _, first = entry.target.rpartition(b"/")
            with TreeWriter._at(self._stack[0][1], folder) as source:
                os.link(first, name, src_dir_fd=source.fd, dst_dir_fd=above, follow_symlinks=False)
            return
        if entry.kind == "symlink":
            os.symlink(entry.target, name, dir_fd=above)
        elif entry.kind == "fifo":
            os.mkfifo(name, entry.mode, dir_fd=above)
        else:
            kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
            os.mknod(name, kind | entry.mode, os.makedev(entry.major, entry.minor), dir_fd=above)
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=above)  # it was made just now, and is no link
        time = entry.mtime * 10**9
        os.utime(name, ns=(time, time), dir_fd=above, follow_symlinks=False)

    def _folder(self, entry: Entry, above: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                if self._keep:
                    return
            else:
                os.unlink(name, dir_fd=above)
                os.mkdir(name, 0o700, dir_fd=above)
        fd = os.open(name, _FOLDER, dir_fd=above)
        try:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
        finally:
            os.close(fd)
        self._times[entry.path] = entry.mtime

    def _file(self, entry: Entry, above: int, name: bytes, content: memoryview | bytes | None) -> None:
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=above)
        except FileExistsError:
            remove_at(above, name)
            fd = os.open(name, _NEW, 0o600, dir_fd=above)
        try:
            view = memoryview(content or b"")
            while view:
                view = view[os.write(fd, view) :]
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            time = entry.mtime * 10**9
            os.utime(fd, ns=(time, time))
            for key, value in entry.xattrs.items():
                os.setxattr(fd, key, value)
        finally:
            os.close(fd)

    class _at:
        """A folder of the tree, opened component by component without following a link."""

        def __init__(self, root: int, folder: bytes) -> None:
            self.fd = os.dup(root)
            for part in folder.split(b"/"):
                if part:
                    deeper = os.open(part, _FOLDER, dir_fd=self.fd)
                    os.close(self.fd)
                    self.fd = deeper

        def __enter__(self) -> TreeWriter._at:
            return self

        def __exit__(self, *exc: object) -> None:
            os.close(self.fd)


def put_all(root: Path, found: Sequence[tuple[Entry, memoryview | bytes | None]], *, keep_folders: bool) -> None:
    """All of these entries into a folder."""
    with TreeWriter(root, keep_folders=keep_folders) as tree:
        for entry, content in found:
            tree.put(entry, content)
