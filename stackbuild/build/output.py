"""The bytes that commands write, cut into lines that are safe to show."""

from __future__ import annotations

from stackbuild.core.events import Listener, StepOutput
from stackbuild.core.text import harmless

LONGEST = 4096  # bytes; what is longer is cut in pieces, so memory stays bounded


class Lines:
    """Cuts a stream of bytes into StepOutput events, one a line."""

    def __init__(self, step: str, listener: Listener) -> None:
        self._step, self._listener, self._rest = step, listener, b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > LONGEST:
            self.close()

    def close(self) -> None:
        """What came after the last newline is a line too."""
        if self._rest:
            self._say(self._rest)
            self._rest = b""

    def _say(self, line: bytes) -> None:
        self._listener(StepOutput(self._step, harmless(line[:LONGEST])))
