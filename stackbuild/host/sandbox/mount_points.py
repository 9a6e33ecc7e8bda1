"""Where the mounts of a command go in a tree, and what has to be made there and taken away again. Mounts nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.errors import HostError, StepError
from stackbuild.core.follow import follow
from stackbuild.host.sandbox.protocol import Bind, Command

RESOLV_CONF = Path("/etc/resolv.conf")
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODES = {b"tmp": 0o1777, b"dev/shm": 0o1777, b"var/tmp": 0o1777}


@dataclass(frozen=True, slots=True)
class Place:
    """One mount. target: relative, free of links. source: None for an empty folder of mode `mode`.

    inside: whether an earlier mount covers it, so that it is made there and not in the tree.
    """

    target: bytes
    source: Path | None
    writable: bool = False
    mode: int = 0o755
    inside: bool = False

    @property
    def is_folder(self) -> bool:
        return self.source is None or self.source.is_dir()


@dataclass(frozen=True, slots=True)
class _Seen:
    kind: str
    target: bytes


def seen(root: Path, path: bytes) -> _Seen | None:
    """What is at a relative path whose directories are no links."""
    full = os.path.join(os.fsencode(root), path)
    try:
        mode = os.lstat(full).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return _Seen("symlink", os.readlink(full))
    return _Seen("dir" if stat.S_ISDIR(mode) else "file", b"")


def plan(root: Path, command: Command, fixed: Sequence[str]) -> tuple[Place, ...]:
    """The mounts of a command in the order in which they are to be made, after those at `fixed` (absolute).

    Links of the tree are followed inside it. Raises StepError for a target that leads nowhere.
    """
    covered = [os.fsencode(path.lstrip("/")) for path in fixed]
    for path in covered:
        if (there := seen(root, path)) is not None and there.kind != "dir":
            raise StepError(f"/{os.fsdecode(path)} of the tree is no folder", why="commands need one there")

    def is_covered(path: bytes) -> bool:
        return any(path == top or path.startswith(top + b"/") for top in covered)

    def where(target: str) -> bytes:
        def lookup(path: bytes) -> _Seen | None:
            return None if is_covered(path) else seen(root, path)

        return follow(lookup, os.fsencode(target), last=True)

    places = []
    for target in command.tmpfs:
        path = where(target)
        places.append(Place(path, None, True, _MODES.get(path, 0o755), is_covered(path)))
        covered.append(path)
    for bind in binds(command):
        path = where(bind.target)
        if not path:
            raise HostError(f"cannot mount {bind.source} at {bind.target}", why="that is the root of the tree")
        places.append(Place(path, bind.source, bind.writable, inside=is_covered(path)))
        covered.append(path)
    return tuple(places)


def binds(command: Command) -> Iterator[Bind]:
    """The binds of a command, and with `network` the host's resolver configuration."""
    yield from command.binds
    if command.network and RESOLV_CONF.exists():
        yield Bind(RESOLV_CONF.resolve(), str(RESOLV_CONF))


@contextmanager
def made(root: Path, wanted: Sequence[tuple[bytes, bool]]) -> Iterator[None]:
    """Make what is missing at these (path, is a folder), for as long as the context lasts.

    Afterwards a folder that was made and is empty goes, and a file that was made and is empty. Each is found by its
    folder's descriptor: by then the command may have put a link out of the tree where a folder was.
    """
    new: list[tuple[int, bytes, bool]] = []
    with ExitStack() as stack:
        try:
            for path, folder in wanted:
                parts = path.split(b"/")
                here = stack.enter_context(opened(root, b""))
                for count, name in enumerate(parts, 1):
                    last = count == len(parts)
                    if not exists(here, name):
                        make(here, name, folder or not last)
                        new.append((here, name, folder or not last))
                    if not last:
                        here = os.open(name, FOLDER, dir_fd=here)
                        stack.callback(os.close, here)
            yield
        finally:
            for here, name, folder in reversed(new):
                try:
                    if folder:
                        os.rmdir(name, dir_fd=here)
                    else:
                        info = os.stat(name, dir_fd=here, follow_symlinks=False)
                        if stat.S_ISREG(info.st_mode) and info.st_size == 0:
                            os.unlink(name, dir_fd=here)
                except OSError:  # the command put something there: that is a change
                    pass


@contextmanager
def opened(root: Path, path: bytes) -> Iterator[int]:
    """A descriptor (O_PATH) of a folder of the tree, b"" is the root; no link is followed. Raises OSError."""
    here = os.open(root, FOLDER)
    try:
        for name in path.split(b"/") if path else ():
            deeper = os.open(name, FOLDER, dir_fd=here)
            os.close(here)
            here = deeper
        yield here
    finally:
        os.close(here)


def exists(folder: int, name: bytes) -> bool:
    """Whether there is an entry, a dangling link too."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def make(folder: int, name: bytes, is_folder: bool) -> None:
    """An empty folder of mode 0755 or file of mode 0644, whatever the umask."""
    if is_folder:
        os.mkdir(name, dir_fd=folder)
        os.chmod(name, 0o755, dir_fd=folder)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o644, dir_fd=folder)
        os.fchmod(fd, 0o644)
        os.close(fd)
