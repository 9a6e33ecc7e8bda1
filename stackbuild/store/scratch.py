"""Folders for work under way; those of dead processes are swept by whoever comes next."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from stackbuild.core.files import host_error
from stackbuild.core.paths import ensure
from stackbuild.store.trees import remove_tree

YOUNG = 10.0  # seconds in which a folder's maker may not have locked it yet


@contextmanager
def scratch_folder(area: Path, later: Executor | None = None) -> Iterator[Path]:
    """An empty folder in the store, gone afterwards. A lock on it tells the sweeper that it is in use.

    later: deletes it meanwhile. A file system that tells its disk of every block that becomes free (`discard`) takes
    a millisecond for each file, and the next step need not wait for that.
    """
    folder, fd = _locked(area)
    try:
        yield folder
    finally:
        if later is None:
            _end(folder, fd)
        else:
            later.submit(_end, folder, fd)


def _locked(area: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(dir=ensure(area), prefix="work-"))
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # this process stood still, and the folder was taken for a dead one's
            continue
        except OSError as error:
            raise host_error(error, area) from error
        fcntl.flock(fd, fcntl.LOCK_EX)
        if folder.exists():
            return folder, fd
        os.close(fd)


def _end(folder: Path, fd: int) -> None:
    remove_tree(folder)
    os.close(fd)


def sweep(area: Path) -> None:
    """Delete what killed processes left. Cheap when there is nothing."""
    try:
        entries = list(os.scandir(area))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_mtime > time.time() - YOUNG:
                continue
            fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # its maker has just taken it away
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(Path(entry.path))
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
