"""Time and randomness, handed in: nothing that reaches a byte of an image may read them elsewhere."""

from __future__ import annotations

import secrets
import time
from typing import Protocol

EPOCH = 315532801
"""1980-01-01T00:00:01Z, the default of `image.source-date-epoch`, in seconds since 1970.

Not 0: some programs refuse files that old, and zip archives cannot hold a date before 1980."""


class Clock(Protocol):
    """What the time is."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds from some fixed point; never goes back."""

    def token(self) -> str:
        """Sixteen hexadecimal digits that nobody can guess."""


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def token(self) -> str:
        return secrets.token_hex(8)
