"""One thread that waits for many things: readable and writable descriptors, ended children, points in time."""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[], None]


class Timer:
    """Something to be done later, unless it is cancelled."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callback) -> None:
        self.when, self.call = when, call

    def cancel(self) -> None:
        self.call = _nothing

    def fire(self) -> None:
        """Do it now, and never again."""
        call, self.call = self.call, _nothing
        call()

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


def _nothing() -> None:
    pass


class Loop:
    """asyncio does this too, for forty milliseconds of each container's start."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._children: dict[int, Callable[[int], None]] = {}
        self._signals: dict[int, Callback] = {}
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.watch(self._read_end, read=self._woken)
        self.running = True

    def watch(self, fd: int, *, read: Callback | None = None, write: Callback | None = None) -> None:
        """Call these when the descriptor is ready; neither: forget it."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = fd in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, (read, write))
        else:
            self._selector.register(fd, events, (read, write))

    def later(self, seconds: float, call: Callback) -> Timer:
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, timer)
        return timer

    def on_signal(self, number: int, call: Callback) -> None:
        self._signals[number] = call
        signal.signal(number, lambda *_: None)

    def on_exit(self, pid: int, call: Callable[[int], None]) -> None:
        """Call with the exit code (128 + N after signal N) of this child. Ask before the loop runs again."""
        self._children[pid] = call
        self.later(0, self._reap)

    def _woken(self) -> None:
        for number in os.read(self._read_end, 512):
            if number == signal.SIGCHLD:
                self._reap()
            elif number in self._signals:
                self._signals[number]()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            call = self._children.pop(pid, None)
            if call is not None:
                call(code if code >= 0 else 128 - code)

    def run(self) -> None:
        """Until `running` is False."""
        while self.running:
            wait = max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None
            for key, events in self._selector.select(wait):
                self._ready(key.fd, key.data, events)
            while self._timers and self._timers[0].when <= time.monotonic():
                heapq.heappop(self._timers).fire()

    def _ready(self, fd: int, calls: Any, events: int) -> None:
        read, write = calls
        if events & selectors.EVENT_READ and read:
            read()
        if events & selectors.EVENT_WRITE and write and fd in self._selector.get_map():
            write()
