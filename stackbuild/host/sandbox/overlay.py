"""The sandbox of namespaces: an overlay that we mount and bubblewrap enters. Its upper folder holds the changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stackbuild.core.changes import Changes
from stackbuild.core.errors import HostError, StepError
from stackbuild.core.process import Child, TimeIsUp, TooMuchOutput, run
from stackbuild.host import bwrap, seccomp
from stackbuild.host.memory import in_memory, spare
from stackbuild.host.overlay import mount_overlay, private_mounts, unmount
from stackbuild.host.sandbox import limits, mount_points
from stackbuild.host.sandbox.insert import insert_into_upper
from stackbuild.host.sandbox.private_copy import prepare_root
from stackbuild.host.sandbox.protocol import Command, NoRoom
from stackbuild.host.tree import MergedTree, compare

HOSTNAME = "stackbuild"
_EXEC_FAILED = re.compile(rb"^bwrap: execvp (.*): (.*)$", re.M)
_TAIL = 4096
_PLENTY = 4 << 30  # bytes of memory; with less to spare, changes go to the disk
_SHARE = 4  # at most a fourth of it is used
_BWRAP_NEEDS = (
    "SYS_ADMIN",
    "NET_ADMIN",
)  # it drops them, but leaves them in the bounding set: no_new_privs does the rest


class OverlayBox:
    """A tree mounted from its lowers and an upper folder, in this process's own mount namespace."""

    def __init__(self, lowers: Sequence[Path], scratch: Path, memory: int = 0) -> None:
        scratch = scratch.absolute()
        scratch.mkdir(exist_ok=True)
        self.root = scratch / "root"
        self._lowers = list(lowers)
        self._scratch = scratch
        self._memory = scratch / "memory"
        self._memory.mkdir()
        self.in_memory = bool(memory) and in_memory(self._memory, memory)
        self._place = self._memory if self.in_memory else scratch
        self._upper = self._place / "upper"
        self._empty = scratch / "empty"
        self._below: MergedTree | None = None
        self._mounts = 0
        self.root.mkdir()
        self._empty.touch(mode=0o444)
        prepare_root(self._upper, lowers)

    def mount(self) -> None:
        work = self._place / f"work{self._mounts}"  # a used one is refused after a `volatile` mount
        work.mkdir()
        self._mounts += 1
        mount_overlay(self._lowers, self._upper, work, self.root, self._scratch)

    def unmount(self) -> None:
        unmount(self.root)

    def save(self) -> None:
        """Copy what is in memory alone to where it would be else: somebody may look at a tree that failed."""
        if self.in_memory:
            run(["cp", "-a", str(self._upper), str(self._scratch)], env={"PATH": bwrap.SYSTEM_PATH}, timeout=600)

    @property
    def is_crowded(self) -> bool:
        """Whether the memory that it may use is nearly used up."""
        if not self.in_memory:
            return False
        found = os.statvfs(self._memory)
        return found.f_bavail * 10 < found.f_blocks

    def close(self) -> None:
        """Take all mounts away."""
        self.unmount()
        if self.in_memory:
            unmount(self._memory)

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        """See protocol.Box."""
        places = mount_points.plan(self.root, command, ("/proc", "/dev", "/sys"))
        wanted = [
            (b"proc", True),
            (b"dev", True),
            (b"sys", True),
            *((p.target, p.is_folder) for p in places if not p.inside),
        ]
        with ExitStack() as stack:
            stack.enter_context(mount_points.made(self.root, wanted))
            procs = stack.enter_context(limits.process_group())
            return self._start(command, places, output, procs, stack)

    def _start(
        self,
        command: Command,
        places: Sequence[mount_points.Place],
        output: Callable[[bytes], None],
        procs: Sequence[str],
        stack: ExitStack,
    ) -> int:
        filters = [seccomp.program("build", network=command.network)]
        if command.terminal:
            filters.append(seccomp.program("terminal"))
        fds = [bwrap.data_fd(program) for program in filters]
        status, status_end = os.pipe()
        options = self._options(command, places, fds, status_end)
        fds.append(bwrap.data_fd(b"".join(os.fsencode(option) + b"\0" for option in options)))
        for fd in (*fds, status):
            stack.callback(os.close, fd)
        tail = bytearray()

        def out(data: bytes) -> None:
            tail.extend(data)
            del tail[:-_TAIL]
            output(data)

        try:
            child = Child(
                [str(bwrap.find()), "--args", str(fds[-1]), "--", *command.argv],
                env={},
                cwd="/",
                stdin=command.stdin,
                stderr=subprocess.STDOUT,
                pass_fds=(*fds, status_end),
                terminal=command.terminal,
                setup=limits.setup(procs, (*seccomp.BUILD_CAPABILITIES, *_BWRAP_NEEDS)),
            )
        finally:
            os.close(status_end)
        with child:
            code = bounded(child, command, out)
        with open(os.dup(status), "rb") as file:
            started = _exit_code(file.read())
        return _not_started(command, code, bytes(tail)) if started is None else started

    def _options(
        self, command: Command, places: Sequence[mount_points.Place], filters: Sequence[int], status: int
    ) -> list[str]:
        mounts = [bwrap.Mount("empty", "555", "/sys")]
        for place in places:
            target = "/" + os.fsdecode(place.target)
            if place.source is None:
                mounts.append(bwrap.Mount("tmpfs", f"{place.mode:o}", target))
            else:
                mounts.append(bwrap.Mount("bind" if place.writable else "ro-bind", str(place.source), target))
        options = bwrap.namespaces(hostname=HOSTNAME, network=command.network)
        options += bwrap.file_system(self.root, mounts, self._empty)
        options += bwrap.capabilities(seccomp.BUILD_CAPABILITIES)
        options += [] if command.terminal else ["--new-session"]
        options += ["--clearenv"]
        for name, value in command.env.items():
            options += ["--setenv", name, value]
        for fd in filters:
            options += ["--add-seccomp-fd", str(fd)]
        return [*options, "--json-status-fd", str(status), "--chdir", command.cwd]

    def insert(self, lowers: Sequence[Path], at: int) -> None:
        """See protocol.Box."""
        old = MergedTree(self._lowers)
        new = [*self._lowers[:at], *lowers, *self._lowers[at:]]
        self.unmount()
        try:
            insert_into_upper(self._upper, old, MergedTree(lowers), MergedTree(new))
            self._lowers, self._below = new, None
        finally:
            self.mount()

    def changes(self, base: Sequence[Path] | None = None) -> Changes:
        """See protocol.Box. Without `base` only directories of the upper folder are read."""
        if base is None:
            before = self._below = self._below or MergedTree(self._lowers)
        else:
            before = MergedTree(base)
        present, deleted = compare(before, MergedTree([*self._lowers, self._upper]))
        return Changes(self.root, present, deleted)


class OverlaySandbox:
    """Sandbox by namespaces: for root, or root of a user namespace with a full range of ids."""

    name = "overlay"
    gaps: tuple[str, ...] = ()

    @contextmanager
    def open(self, lowers: Sequence[Path], scratch: Path, *, small: bool = False) -> Iterator[OverlayBox]:
        """See protocol.Sandbox. The mount is seen by this process (thread) and its later children only."""
        private_mounts()
        left = spare() if small else 0
        box = OverlayBox(lowers, scratch, left // _SHARE if left >= _PLENTY else 0)
        try:
            box.mount()
            yield box
        except Exception as error:
            if box.is_crowded:
                why = "the next try uses the disk"
                raise NoRoom("what commands changed did not fit into memory", why=why) from error
            box.save()
            raise
        finally:
            box.close()


def bounded(child: Child, command: Command, output: Callable[[bytes], None]) -> int:
    """Wait for a command within its bounds. Raises StepError."""
    if command.terminal:
        return child.wait()
    seconds = limits.SECONDS if command.timeout is None else command.timeout
    try:
        return child.wait(output, timeout=seconds, limit=limits.OUTPUT)
    except TimeIsUp:
        raise StepError(f"`{command.argv[0]}` did not end", why=f"killed after {seconds:g} seconds") from None
    except TooMuchOutput:
        raise StepError(f"`{command.argv[0]}` wrote too much", why=f"killed after {limits.OUTPUT} bytes") from None


def _exit_code(status: bytes) -> int | None:
    """The command's exit code out of bwrap's status lines; None if it never started."""
    for line in status.splitlines():
        report = json.loads(line)
        if "exit-code" in report:
            return int(report["exit-code"])
    return None


def _not_started(command: Command, code: int, tail: bytes) -> int:
    """What it means that bwrap ended before the command began: a shell's 127 or 126, or an error."""
    if code >= 128:  # killed
        return code
    failed = _EXEC_FAILED.search(tail)
    if failed:
        return 127 if failed[2] == os.strerror(2).encode() else 126
    text = tail.decode(errors="replace").strip()
    if "chdir" in text:
        raise StepError(f"cannot run `{command.argv[0]}` in {command.cwd}", why=text.removeprefix("bwrap: "))
    raise HostError("the sandbox could not be started", why=text or f"bwrap ended with {code}")
