"""Files of a root file system, this machine's or a stranger's: read beneath its root, bounded, never through it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stackbuild.core.files import open_beneath

LIMIT = 64 << 20  # bytes: a dpkg status file has some megabytes


def read(root: Path, path: str, limit: int = LIMIT) -> bytes | None:
    """The regular file `path` (relative); None if it is not there, is no file, or is larger than `limit`.

    Below this machine's own root links are followed, as everybody does; below another root none is.
    """
    fd = _open(root, path, os.O_RDONLY | os.O_NONBLOCK)
    if fd is None:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def names(root: Path, path: str) -> list[str]:
    """The names in the folder `path`, sorted; [] if there is none."""
    fd = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
    if fd is None:
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def text(root: Path, path: str) -> str | None:
    """As read(), as text; what is not UTF-8 is replaced."""
    data = read(root, path)
    return None if data is None else data.decode("utf-8", "replace")


def _open(root: Path, path: str, flags: int) -> int | None:
    try:
        if root == Path("/"):
            return os.open(root / path, flags | os.O_CLOEXEC)
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return open_beneath(top, path, flags)
        finally:
            os.close(top)
    except (OSError, ValueError):
        return None


def dpkg_status(root: Path) -> bytes:
    """The database of installed packages as one text: status, and the files of status.d; b"" if there is none."""
    parts = [read(root, "var/lib/dpkg/status") or b""]
    for name in names(root, "var/lib/dpkg/status.d"):
        if not name.endswith(".md5sums"):
            parts.append(read(root, f"var/lib/dpkg/status.d/{name}") or b"")
    return b"\n\n".join(part for part in parts if part)
