"""Signals of the user's that are meant for a container. By itself, because a start needs it before all that follows."""

from __future__ import annotations

import os
import signal
import time


class Asked:
    """Counts SIGINT and SIGTERM instead of dying of them: from before a container starts until it is attached to.

    woken: a descriptor that can be read from the first one on. since: seconds since 1970 when it began to count.
    """

    def __init__(self) -> None:
        self.times = 0
        self.since = 0.0

    def __enter__(self) -> Asked:
        self.woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.since = time.time()
        self._before = {number: signal.signal(number, self._count) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _count(self, *_: object) -> None:
        self.times += 1
        try:
            os.write(self._wake, b"x")
        except BlockingIOError:
            pass  # whoever waits has enough to read

    def heard(self) -> int:
        """How many there were; waits anew for the next."""
        try:
            os.read(self.woken, 512)
        except BlockingIOError:
            pass
        return self.times

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.woken)
        os.close(self._wake)
