"""Bounds of a build command: processes, open files, core dumps, time, output. Starts nothing."""

from __future__ import annotations

import os
import resource
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stackbuild.host import syscalls

SECONDS = 6 * 3600.0
OUTPUT = 1 << 30
PROCESSES = 16384
_OPEN_FILES = (1024, 1 << 20)  # soft: what programs that use select() survive; hard: as container engines
_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def process_group(limit: int = PROCESSES) -> Iterator[Path | None]:
    """A cgroup (v1 or v2) that bounds the number of processes: its cgroup.procs file; None where none can be made.

    Root is not bound by RLIMIT_NPROC, so this is what stops a fork bomb of root.
    """
    group = _new_group(limit)
    try:
        yield None if group is None else group / "cgroup.procs"
    finally:
        if group is not None:
            _remove(group)


def _new_group(limit: int) -> Path | None:
    for parent in (_CGROUPS / "pids", _CGROUPS):
        group = parent / f"stackbuild-{secrets.token_hex(8)}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text(str(limit))
            return group
        except OSError:
            _remove(group)
    return None


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 2
    while True:
        try:
            group.rmdir()
            return
        except OSError:  # the kernel still holds a process that was killed
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)


def setup(procs: Path | None, capabilities: tuple[str, ...]) -> Callable[[], None]:
    """What the child does to itself before it starts the command: join the cgroup, umask 022, rlimits.

    capabilities: it and its descendants can never have any other than these.
    """
    wanted = [
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_NOFILE, _at_most(resource.RLIMIT_NOFILE, _OPEN_FILES)),
        (resource.RLIMIT_NPROC, _at_most(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))),
    ]
    never = [number for number, name in enumerate(syscalls.CAPABILITIES) if name not in capabilities]

    def apply() -> None:
        if procs is not None:
            fd = os.open(procs, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)
        os.umask(0o022)
        for name, limit in wanted:
            resource.setrlimit(name, limit)
        for number in never:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
            except OSError:  # a kernel that does not know this one
                pass

    return apply


def _at_most(name: int, wanted: tuple[int, int]) -> tuple[int, int]:
    """A limit lowered to the hard limit that there is: raising that needs a right that containers lack."""
    hard = resource.getrlimit(name)[1]
    if hard == resource.RLIM_INFINITY:
        return wanted
    return min(wanted[0], hard), min(wanted[1], hard)
