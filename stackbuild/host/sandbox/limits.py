"""Bounds of a build command: processes, open files, core dumps, time, output. Starts nothing."""

from __future__ import annotations

import os
import resource
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stackbuild.host import cgroups, syscalls

SECONDS = 6 * 3600.0
OUTPUT = 1 << 30
PROCESSES = 16384
_OPEN_FILES = (1024, 1 << 20)  # soft: what programs that use select() survive; hard: as container engines


@contextmanager
def process_group(limit: int = PROCESSES) -> Iterator[tuple[str, ...]]:
    """A control group that bounds the number of processes: the files to join it; () where none can be made.

    Root is not bound by RLIMIT_NPROC, so this is what stops a fork bomb of root.
    """
    name = f"build-{secrets.token_hex(8)}"
    made = True
    try:
        cgroups.create(name, memory=None, cpus=None, pids=limit, only="pids")  # each controller takes milliseconds
    except OSError:
        made = False
    group = cgroups.group(name, "pids")
    try:
        yield group.procs if made else ()
    finally:
        group.remove()


def setup(procs: Sequence[str], capabilities: tuple[str, ...]) -> Callable[[], None]:
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
        for file in procs:
            fd = os.open(file, os.O_WRONLY)
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
