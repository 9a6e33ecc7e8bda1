"""Steps whose tree is there and whose outputs are still to be written: who rests, until when. Schedules nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Event
from typing import Any

from stackbuild.core.action import ActionResult


class HeadStart:
    """A step comes ahead in its own thread and rests there; the scheduler's thread hears of it and lets it go on."""

    def __init__(self) -> None:
        self.trees: dict[str, ActionResult] = {}
        """By step id: what is known of it: its facts, and no outputs yet."""
        self.bell: Future[None] = Future()
        """Done as soon as there is something to hear."""
        self._came: deque[tuple[str, Mapping[str, Any], Event]] = deque()
        self._resting: dict[str, Event] = {}
        self._seconds: dict[str, float] = {}
        self._over = False

    def rest(self, id: str, facts: Mapping[str, Any]) -> None:
        """Come ahead; returns when the outputs may be written. From any thread."""
        leave, began = Event(), time.monotonic()
        self._came.append((id, facts, leave))
        if self._over:
            return
        self._ring()
        leave.wait()
        self._seconds[id] = time.monotonic() - began

    def _ring(self) -> None:
        with suppress(InvalidStateError):  # another has rung
            self.bell.set_result(None)

    def hear(self) -> list[str]:
        """The steps that came since; they rest now."""
        self.bell = Future()  # before the look: who comes meanwhile rings this one
        found = []
        while self._came:
            id, facts, leave = self._came.popleft()
            self.trees[id] = ActionResult({}, facts)
            self._resting[id] = leave
            found.append(id)
        return found

    @property
    def resting(self) -> tuple[str, ...]:
        return tuple(self._resting)

    def go_on(self, id: str) -> None:
        """Let a resting step write its outputs."""
        self._resting.pop(id).set()

    def rested(self, id: str) -> float:
        """Seconds that a step has rested."""
        return self._seconds.get(id, 0.0)

    def end(self) -> None:
        """The build is over: nobody rests any more."""
        self._over = True
        self.hear()
        for id in self.resting:
            self.go_on(id)
