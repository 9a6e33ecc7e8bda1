"""The sandbox for root in a plain container: a private copy, chroot, a comparison. Equal bytes, not equal isolation."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stackbuild.core.changes import Changes
from stackbuild.core.errors import HostError, StepError
from stackbuild.core.files import host_error
from stackbuild.core.process import Child
from stackbuild.host import seccomp
from stackbuild.host.sandbox import jail, limits, mount_points
from stackbuild.host.sandbox.insert import insert_into_copy
from stackbuild.host.sandbox.overlay import bounded
from stackbuild.host.sandbox.private_copy import PrivateCopy, copy_entry, remove
from stackbuild.host.sandbox.protocol import Command
from stackbuild.host.tree import MergedTree, compare

GAPS = (
    "build commands share the host's processes, host name and IPC",
    "build commands without network cannot open any internet socket, not even on the loopback",
    "/proc and /sys are empty for build commands, and without CAP_MKNOD /dev/null is a plain file",
    "two steps that use one cache at the same time keep the changes of the one that ends last",
)
_NODES = {b"null": (1, 3), b"zero": (1, 5), b"full": (1, 7), b"random": (1, 8), b"urandom": (1, 9), b"tty": (5, 0)}
_LINKS = {b"fd": "/proc/self/fd", b"stdin": "/proc/self/fd/0", b"ptmx": "pts/ptmx"}


class ChrootBox:
    """A private copy of the lowers."""

    def __init__(self, lowers: Sequence[Path], scratch: Path) -> None:
        scratch = scratch.absolute()
        scratch.mkdir(exist_ok=True)
        self.root = scratch / "root"
        self._lowers = list(lowers)
        self._aside = scratch / "aside"
        self._aside.mkdir()
        self._count = 0
        self._copy = PrivateCopy(self.root, lowers)
        self._below = MergedTree(lowers)
        self._copy.fill(self._below)

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        """See protocol.Box."""
        places = mount_points.plan(self.root, command, ("/proc", "/sys", "/dev"))
        with ExitStack() as stack:
            try:
                for name in (b"proc", b"sys"):
                    stack.enter_context(self._replaced(name, lambda path: os.mkdir(path, 0o555)))
                stack.enter_context(self._replaced(b"dev", lambda path: _make_dev(path, command.terminal)))
                for place in places:
                    stack.enter_context(self._placed(place))
            except OSError as error:
                raise host_error(error, self.root) from error
            return self._start(command, output, stack)

    @contextmanager
    def _replaced(self, path: bytes, make: Callable[[bytes], None]) -> Iterator[bytes]:
        """Something else at `path` for a while; what is there, and whether anything is, comes back.

        Gives a path to it by the descriptor of its folder: by the end the command may have put a link out of the tree
        where that folder was.
        """
        parent, _, name = path.rpartition(b"/")
        kept = os.fsencode(self._aside / str(self._count))
        self._count += 1
        with mount_points.made(self.root, [(parent, True)] if parent else []):
            with mount_points.opened(self.root, parent) as folder:
                here = b"/proc/self/fd/%d" % folder
                place = here + b"/" + name
                there = mount_points.exists(folder, name)
                before = os.stat(here).st_mtime_ns
                if there:
                    os.rename(name, kept, src_dir_fd=folder)
                try:
                    make(place)
                    after = os.stat(here).st_mtime_ns
                    yield place
                finally:
                    unchanged = os.stat(here).st_mtime_ns == after
                    remove(place)
                    if there:
                        _put_back(kept, name, folder)
                    if unchanged:
                        os.utime(here, ns=(before, before))

    @contextmanager
    def _placed(self, place: mount_points.Place) -> Iterator[None]:
        """One of the mounts of the other sandbox, by a copy that is taken away (and back, if writable)."""
        source = place.source

        def make(path: bytes) -> None:
            if source is None:
                os.mkdir(path)
                os.chmod(path, place.mode)
            else:
                copy_whole(os.fsencode(source), path)

        with self._replaced(place.target, make) as path:
            yield
            if source is not None and place.writable:
                copy_back(path, os.fsencode(source))

    def _start(self, command: Command, output: Callable[[bytes], None], stack: ExitStack) -> int:
        filters = [seccomp.program("chroot", network=command.network)]
        if command.terminal:
            filters.append(seccomp.program("terminal"))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        out = -1
        if not command.terminal:
            out = os.open(self.root / "dev/stdout", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, out)
        procs = stack.enter_context(limits.process_group())
        prepare = limits.setup(procs, jail.permitted())
        have = tuple(name for name in seccomp.BUILD_CAPABILITIES if name in jail.permitted())

        def setup() -> None:
            prepare()
            jail.jail(str(self.root), command.cwd, have, tuple(filters), writer)

        try:
            child = Child(
                command.argv,
                env={**command.env, "PWD": command.cwd},
                stdin=command.stdin,
                stdout=None if command.terminal else self._writer(stack),
                stderr=subprocess.STDOUT,
                reads=None if command.terminal else out,
                terminal=command.terminal,
                setup=setup,
                stop_signal=jail.STOP,
            )
        except HostError as error:
            return _not_started(command, error, output)
        finally:
            os.close(writer)
        with child:
            code = bounded(child, command, output)
        if failed := os.read(reader, 4096).decode(errors="replace"):
            if failed.startswith("chdir"):
                raise StepError(f"cannot run `{command.argv[0]}` in {command.cwd}", why=failed)
            raise HostError("the sandbox could not be started", why=f"cannot {failed}")
        return code

    def _writer(self, stack: ExitStack) -> int:
        """The blocking end of the FIFO that is the command's stdout, stderr, /dev/stdout and /dev/stderr."""
        fd = os.open(self.root / "dev/stdout", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        return fd

    def insert(self, lowers: Sequence[Path], at: int) -> None:
        """See protocol.Box."""
        new = [*self._lowers[:at], *lowers, *self._lowers[at:]]
        after = MergedTree(new)
        try:
            insert_into_copy(self._copy, self._below, MergedTree(lowers), after)
        except OSError as error:
            raise host_error(error, self.root) from error
        self._lowers, self._below = new, after

    def changes(self, base: Sequence[Path] | None = None) -> Changes:
        """See protocol.Box. Costs an lstat of each entry, and reading those that changed since they were copied."""
        before = self._below if base is None else MergedTree(base)
        present, deleted = compare(before, MergedTree([self.root]), self._copy.identity)
        return Changes(self.root, present, deleted)


class ChrootSandbox:
    """Sandbox for root without the right to mount."""

    name = "chroot"
    gaps: tuple[str, ...] = GAPS

    @contextmanager
    def open(self, lowers: Sequence[Path], scratch: Path, *, small: bool = False) -> Iterator[ChrootBox]:
        """See protocol.Sandbox. Costs a copy of the whole tree."""
        yield ChrootBox(lowers, scratch)


def _put_back(kept: bytes, name: bytes, folder: int) -> None:
    try:
        os.rename(kept, name, dst_dir_fd=folder)
    except FileNotFoundError:  # the command removed the folder
        remove(kept)


def _not_started(command: Command, error: HostError, output: Callable[[bytes], None]) -> int:
    """A shell's 127 or 126 for what cannot be executed, said in the output as the other sandbox says it."""
    cause = error.__cause__
    if not isinstance(cause, OSError):
        raise error
    output(f"stackbuild: {command.argv[0]}: {cause.strerror}\n".encode())
    return 127 if isinstance(cause, FileNotFoundError) else 126


def _make_dev(path: bytes, terminal: bool) -> None:
    """A /dev with what programs expect: real nodes where they may be made, else files that do for most uses."""
    os.mkdir(path)
    os.chmod(path, 0o755)
    for name, (major, minor) in _NODES.items():
        node = path + b"/" + name
        try:
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        except PermissionError:
            with open(node, "wb") as file:
                file.write(os.urandom(1 << 16) if b"random" in name else bytes(1 << 20) if name == b"zero" else b"")
        os.chmod(node, 0o666)
    for name, target in _LINKS.items():
        os.symlink(target, path + b"/" + name)
    for name, mode in ((b"shm", 0o1777), (b"pts", 0o755)):
        os.mkdir(path + b"/" + name)
        os.chmod(path + b"/" + name, mode)
    if terminal:
        return
    os.mkfifo(path + b"/stdout")
    os.chmod(path + b"/stdout", 0o666)
    os.link(path + b"/stdout", path + b"/stderr")


def copy_whole(source: bytes, target: bytes) -> None:
    """A copy of a file or a folder of the host."""
    if not stat.S_ISDIR(os.lstat(source).st_mode):
        copy_entry(source, os.lstat(source), target)
        return
    top = os.lstat(source)
    copy_entry(source, top, target)
    folders = [(target, top.st_mtime_ns)]
    for path, real, info in MergedTree([Path(os.fsdecode(source))]).walk():
        if not stat.S_ISSOCK(info.st_mode):
            copy_entry(real, info, target + b"/" + path)
        if stat.S_ISDIR(info.st_mode):
            folders.append((target + b"/" + path, info.st_mtime_ns))
    for folder, mtime in reversed(folders):  # they got a new mtime with each entry
        os.utime(folder, ns=(mtime, mtime))


def copy_back(path: bytes, source: bytes) -> None:
    """Make `source` what `path` became; a folder stays the one it is. What is now of another type is not taken."""
    if not stat.S_ISDIR(os.lstat(source).st_mode):
        if os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode):
            remove(source)
            copy_whole(path, source)
        return
    for name in os.listdir(source):
        remove(source + b"/" + name)
    if not os.path.lexists(path) or not stat.S_ISDIR(os.lstat(path).st_mode):
        return
    for name in os.listdir(path):
        try:
            os.rename(path + b"/" + name, source + b"/" + name)
        except OSError:  # another file system
            copy_whole(path + b"/" + name, source + b"/" + name)
