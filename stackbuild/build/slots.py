"""How many steps may run at once: a count of our own, or tokens of the GNU make that started us.

Three resources are counted apart: processors (-j, or make's tokens), sandboxes, and downloads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

DOWNLOADS = 4  # kept-alive connections in use at once; more gain nothing (FACTS)


def processors() -> int:
    """How many processors this process may use: taskset and a container's cpuset count."""
    return len(os.sched_getaffinity(0))


class Slots(Protocol):
    """Leave to use a processor. Not thread-safe: the scheduler's own thread takes and gives."""

    poll: float | None
    """Seconds after which a refused `take` is worth another try although we gave nothing back; None: never."""

    def take(self) -> bool:
        """Take one if there is one; never waits. The first is always there."""

    def give(self) -> None:
        """Give one back."""


class Count:
    """So many, for this build alone."""

    poll: float | None = None

    def __init__(self, jobs: int) -> None:
        self._free = jobs

    def take(self) -> bool:
        if self._free < 1:
            return False
        self._free -= 1
        return True

    def give(self) -> None:
        self._free += 1


class Jobserver:
    """The tokens of a GNU make above us (its manual, "POSIX Jobserver Interaction"): one is ours, more are borrowed.

    limit: no more than so many in all, whatever make has. Raises OSError if it cannot be reached.
    """

    poll: float | None = 0.05

    def __init__(self, read: str, write: str, limit: int) -> None:
        # Opened anew: to set O_NONBLOCK on make's own descriptors would set it for all of make's children.
        self._read = os.open(read, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._write = os.open(write, os.O_WRONLY | os.O_CLOEXEC)
        self._limit, self._own, self._borrowed = limit, True, bytearray()

    def take(self) -> bool:
        if self._own:
            self._own = False
            return True
        if len(self._borrowed) + 1 >= self._limit:
            return False
        try:
            token = os.read(self._read, 1)
        except BlockingIOError:
            return False
        self._borrowed += token
        return bool(token)

    def give(self) -> None:
        if self._borrowed:  # the very byte: make counts kinds of tokens
            os.write(self._write, bytes([self._borrowed.pop()]))
        else:
            self._own = True


@dataclass(frozen=True, slots=True)
class Resources:
    """What a build may use at once. note: what the user should know of it, if anything."""

    slots: Slots
    jobs: int
    sandboxes: int
    downloads: int = DOWNLOADS
    note: str = ""


def resources(
    environ: Mapping[str, str], *, asked: int | None, setting: int, sandboxes: int, downloads: int
) -> Resources:
    """asked: -j; setting: build.jobs; 0 or None: not said. The jobserver counts unless -j was given, as in make."""
    own = asked or setting or processors()
    most = sandboxes or own
    auth = _auth(environ.get("MAKEFLAGS", ""))
    if auth is None or asked:
        note = "-j was given: the jobserver of make is not used" if auth else ""
        return Resources(Count(own), own, most, downloads or DOWNLOADS, note)
    limit = setting or max(processors(), 64)
    try:
        slots = Jobserver(*auth, limit)
    except (OSError, ValueError):
        note = "the jobserver of make is not reachable: one step at a time (begin the recipe's line with `+`)"
        return Resources(Count(1), 1, 1, downloads or DOWNLOADS, note)
    return Resources(slots, limit, sandboxes or limit, downloads or DOWNLOADS)


def _auth(flags: str) -> tuple[str, str] | None:
    """The paths to read tokens from and to write them to, of MAKEFLAGS; None: no make, or one without -j."""
    found = re.findall(r"--jobserver-(?:auth|fds)=(\S+)", flags)
    if not found:
        return None
    how = found[-1]  # make appends; the last one counts
    if how.startswith("fifo:"):
        return how[5:], how[5:]
    numbers = how.split(",")
    if len(numbers) != 2 or not all(re.fullmatch(r"[0-9]+", number) for number in numbers):
        return None  # "-2,-2": make switched it off
    return f"/proc/self/fd/{numbers[0]}", f"/proc/self/fd/{numbers[1]}"
