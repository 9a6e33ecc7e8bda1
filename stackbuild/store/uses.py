"""Who uses what: a mark per object that was used, and a note of each build under way. Deletes nothing.

A user marks an object and then looks whether it is there, under a shared lock; whoever prunes looks at the mark and
takes the object away, under the exclusive one. So either the user finds it gone, or the pruner finds it in use. The
locks are held for microseconds, and there are 256 of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from stackbuild.core.digest import Digest, hex_of
from stackbuild.core.files import fresh_file, host_error, write_file
from stackbuild.core.paths import ensure
from stackbuild.store.locks import lock

MARGIN = 0.1  # seconds in which a file system's clock may stand still; both times that are compared are its own
YOUNG = 2.0  # seconds in which a note's maker may not have locked it yet


class Uses:
    """The marks and notes of one store, in its `uses` area. The time of a mark is the time of a use."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._gates = folder, folder / "gates"

    def _mark(self, form: str, digest: Digest) -> Path:
        text = hex_of(digest)
        return Path(f"{self._folder}/{form}/{text[:2]}/{text[2:]}")  # one parse: a plan asks thousands of times

    def gate(self, digest: Digest, *, shared: bool = False) -> AbstractContextManager[None]:
        """The lock under which an object is marked (shared) or taken away."""
        return lock(self._gates, hex_of(digest)[:2], shared=shared)

    def note(self, digest: Digest, path: Path | str, form: str = "blob") -> bool:
        """Mark an object as used now; False if it is not there (any more)."""
        mark = self._mark(form, digest)
        with self.gate(digest, shared=True):
            try:
                os.utime(mark)
            except FileNotFoundError:
                ensure(mark.parent)
                try:
                    mark.touch()
                except OSError as error:
                    raise host_error(error, mark) from error
            except OSError:
                pass  # a store that we may only read: nobody prunes it under us with our rights
            return os.path.exists(path)

    def last(self, digest: Digest, form: str = "blob") -> float:
        """When an object was last marked, in seconds since 1970; 0.0 for never."""
        try:
            return self._mark(form, digest).stat().st_mtime
        except OSError:
            return 0.0

    def forget(self, digest: Digest, form: str = "blob") -> None:
        """Its object is gone."""
        for mark in (self._mark(form, digest), self._mark(f"size-{form}", digest)):
            mark.unlink(missing_ok=True)

    def size(self, digest: Digest, form: str, measure: Callable[[], int]) -> int:
        """Bytes of an object that never changes; measured once. What is kept of it may be lost at any time."""
        mark = self._mark(f"size-{form}", digest)
        try:
            return int(mark.read_bytes())
        except (OSError, ValueError):
            size = measure()
            ensure(mark.parent)
            write_file(mark, str(size).encode())
            return size

    @contextmanager
    def working(self) -> Iterator[None]:
        """Note that a build runs, for as long as it does: nothing that it used may be pruned."""
        folder = ensure(self._folder / "builds")
        while True:
            try:
                fd, name = fresh_file(folder, "build-")
            except OSError as error:
                raise host_error(error, folder) from error
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                break
            os.close(fd)  # this process stood still, and the note was taken for a dead one's
        try:
            yield
        finally:
            Path(name).unlink(missing_ok=True)
            os.close(fd)

    def oldest_build(self) -> float | None:
        """When the oldest build that runs now began, in seconds since 1970; None: none runs. Sweeps dead notes."""
        found: list[float] = []
        try:
            entries = list(os.scandir(self._folder / "builds"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        for entry in entries:
            try:
                fd = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                began = os.fstat(fd).st_mtime
                if began > time.time() - YOUNG:
                    found.append(began)
                    continue
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                os.unlink(entry.path)
            except BlockingIOError:
                found.append(began)
            except FileNotFoundError:
                pass
            finally:
                os.close(fd)
        return min(found, default=None)
