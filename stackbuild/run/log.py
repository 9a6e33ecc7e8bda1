"""The log of a container: lines of the CRI log format, bounded by rotation; written here and read here.

A line is `TIME STREAM P|F CONTENT`, where P says that the line goes on in the next entry of that stream. So
every byte that a container wrote can be read back, and other tools know the form. Two files are kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LIMIT = 8 << 20  # bytes of one file


class Entry(NamedTuple):
    """What was written at once: `data` holds its line feed if the line ended."""

    seconds: float
    stream: str
    data: bytes


class LogWriter:
    """Appends; when a file is full it becomes PATH.1 and the last PATH.1 goes."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Append what a stream ("stdout", "stderr") wrote. A full disk loses it: a container must not stop for that."""
        stamp = f"{_stamp(time.time_ns())} {stream} ".encode()
        lines = data.split(b"\n")
        text = b"".join(b"%sF %s\n" % (stamp, line) for line in lines[:-1])
        if lines[-1]:
            text += b"%sP %s\n" % (stamp, lines[-1])
        try:
            os.write(self._fd, text)
            self._size += len(text)
            if self._size > self._limit:
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
                os.close(self._fd)
                self._open()
        except OSError:
            pass


def _stamp(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest:09d}Z"


def _seconds(stamp: bytes) -> float:
    import calendar

    whole, _, rest = stamp.rstrip(b"Z").partition(b".")
    return calendar.timegm(time.strptime(whole.decode(), "%Y-%m-%dT%H:%M:%S")) + float(b"0." + (rest or b"0"))


def parse(line: bytes) -> Entry | None:
    """An entry of one line of the file (without its line feed); None for what is none (a torn write)."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"P", b"F"):
        return None
    try:
        return Entry(_seconds(parts[0]), parts[1].decode(), parts[3] + (b"\n" if parts[2] == b"F" else b""))
    except ValueError:
        return None


class LogReader:
    """Reads a log from its oldest entry on, through rotations, also while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""
        for name in (path.name + ".1", path.name):
            try:
                self._fd = os.open(path.with_name(name), os.O_RDONLY | os.O_CLOEXEC)
                break
            except OSError:
                continue

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> Iterator[Entry]:
        """What is there and was not read yet."""
        while True:
            data = os.read(self._fd, 1 << 16) if self._fd >= 0 else b""
            if not data:
                if not self._next_file():
                    return
                continue
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                entry = parse(line)
                if entry is not None:
                    yield entry

    def _next_file(self) -> bool:
        """Go on in the file that took the place of the one we read to its end. False if it is still that one."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        if self._fd >= 0 and os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
            os.close(fd)
            return False
        if self._fd >= 0 and os.read(self._fd, 1) != b"":  # written between our last read and the rotation
            os.lseek(self._fd, -1, os.SEEK_CUR)
            os.close(fd)
            return True
        self.close()
        self._fd, self._rest = fd, b""
        return True
