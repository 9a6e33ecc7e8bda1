"""A tree's small files read and written by relative path, never through a link. Knows nothing of dpkg."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stackbuild.core.errors import StepError
from stackbuild.core.files import open_beneath, remove_at

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class Tree:
    """A folder that may be hostile. Paths are relative bytes. Use as a context manager."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _FOLDER | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._root)

    def read(self, path: bytes) -> bytes | None:
        """The content of a regular file; None if there is none (a link counts as none)."""
        try:
            fd = open_beneath(self._root, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        with open(fd, "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None

    def lstat(self, path: bytes) -> os.stat_result | None:
        """What is at a path; None if nothing is, or if a link is on the way."""
        try:
            fd = open_beneath(self._root, path, os.O_PATH)
        except OSError:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def readlink(self, path: bytes) -> bytes | None:
        """The text of a symbolic link; None if there is none."""
        try:
            fd = open_beneath(self._root, path, os.O_PATH)
        except OSError:
            return None
        try:
            return os.fsencode(os.readlink("", dir_fd=fd))
        except OSError:
            return None
        finally:
            os.close(fd)

    def names(self, path: bytes) -> list[bytes]:
        """The names in a folder, sorted; [] if there is none."""
        try:
            fd = open_beneath(self._root, path, _FOLDER) if path else os.dup(self._root)
        except OSError:
            return []
        try:
            return sorted(os.fsencode(name) for name in os.listdir(fd))
        finally:
            os.close(fd)

    def walk(self, path: bytes) -> Iterator[bytes]:
        """All paths below a folder, parents after what is in them."""
        for name in self.names(path):
            child = path + b"/" + name if path else name
            found = self.lstat(child)
            if found is not None and stat.S_ISDIR(found.st_mode):
                yield from self.walk(child)
            yield child

    def write(self, path: bytes, data: bytes, mode: int = 0o644) -> None:
        """A file with this content, owned by root, in place of what is there; folders are made as 0755."""
        folder, name = self._above(path)
        new = b".new-" + name
        try:
            try:
                os.unlink(new, dir_fd=folder)
            except FileNotFoundError:
                pass
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(fd, mode)
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)

    def remove(self, path: bytes) -> None:
        """Take away what is at a path, a folder with all in it; nothing there is fine."""
        above, _, name = path.rpartition(b"/")
        try:
            folder = open_beneath(self._root, above, _FOLDER) if above else os.dup(self._root)
        except OSError:
            return
        try:
            remove_at(folder, name)
        finally:
            os.close(folder)

    def set_metadata(self, path: bytes, mode: int, uid: int, gid: int) -> None:
        """Owner and mode of a folder that is there."""
        fd = open_beneath(self._root, path, _FOLDER)
        try:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def _above(self, path: bytes) -> tuple[int, bytes]:
        *folders, name = path.split(b"/")
        here = os.dup(self._root)
        try:
            for part in folders:
                try:
                    deeper = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
                except FileNotFoundError:
                    os.mkdir(part, 0o755, dir_fd=here)
                    deeper = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
                    os.fchmod(deeper, 0o755)
                os.close(here)
                here = deeper
        except OSError as error:
            os.close(here)
            where = path.decode("utf-8", "backslashreplace")
            raise StepError(
                f"cannot write /{where} in the tree", why=f"a folder above it is a link or a file ({error.strerror})"
            ) from error
        return here, name
