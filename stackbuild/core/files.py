"""Files that appear whole or not at all; opening beneath a root, and removing in a folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stackbuild.core.errors import Hint, HostError


def fresh_file(folder: Path, prefix: str) -> tuple[int, str]:
    """A new empty file that only its owner may read: descriptor and path. Raises OSError.

    As tempfile.mkstemp, without what that imports: every start of a container waits for it.
    """
    while True:
        name = os.path.join(folder, prefix + os.urandom(6).hex())
        try:
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), name
        except FileExistsError:
            continue


@contextmanager
def new_file(target: Path, *, durable: bool, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file that appears at `target` whole or not at all, even after kill -9.

    durable: also after a power cut (two fsyncs); False for what can be made again.
    mode: permission bits of the result, whatever the umask. Raises HostError when the disk is full.
    """
    try:
        fd, name = fresh_file(target.parent, ".new-")  # same file system
    except OSError as error:
        raise host_error(error, target) from error
    try:
        with cast(BinaryIO, open(fd, "wb")) as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())  # before the rename: a name must not outlive its bytes
        os.rename(name, target)
    except BaseException as error:  # KeyboardInterrupt too
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and (is_full(error) or error.errno in (errno.EROFS, errno.EFBIG)):
            raise host_error(error, target) from error
        raise
    if durable:
        sync_directory(target.parent)


def write_file(target: Path, data: bytes, *, durable: bool = False, mode: int = 0o644) -> None:
    """Replace `target` by a file with this content, whole or not at all."""
    with new_file(target, durable=durable, mode=mode) as file:
        file.write(data)


def sync_directory(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_full(error: OSError) -> bool:
    """Whether there is no space left, or none for this user: no bug of anybody, wherever it comes up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def host_error(error: OSError, path: Path | str) -> HostError:
    """An operating system's refusal, as the user's error."""
    hints: tuple[Hint, ...] = ()
    if is_full(error):
        hints = (
            Hint("free some space; `stackbuild cache prune` removes what no image uses", "stackbuild cache prune"),
        )
        what = f"no space left on the disk that holds {path}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hints = (Hint("choose a folder that you may write to with --store DIR or STACKBUILD_STORE"),)
        what = f"cannot write {path}"
    else:
        what = f"cannot use {path}"
    return HostError(what, why=os.strerror(error.errno) if error.errno else str(error), hints=hints)


def open_beneath(root: int, path: bytes | str, flags: int) -> int:
    """Open `path` relative to the folder descriptor `root`; no link, final or not, is followed.

    Component by component with O_NOFOLLOW, so it holds on any kernel. Raises OSError (ELOOP or
    ENOTDIR for a link on the way), ValueError for "..", an absolute or an empty path.
    Cost: one open per component.
    """
    parts = os.fsencode(path).split(b"/")
    if not all(parts) or b".." in parts or b"." in parts:
        raise ValueError(f"not a plain relative path: {path!r}")
    here = root
    try:
        for part in parts[:-1]:
            deeper = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            if here != root:
                os.close(here)
            here = deeper
        return os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    finally:
        if here != root:
            os.close(here)


def remove_at(folder: int, name: bytes) -> None:
    """Remove what is at a name in the folder descriptor, a folder with all in it; nothing there is fine."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            import shutil  # not for the fast path

            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
