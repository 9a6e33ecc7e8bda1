"""A preference among versions, from the stack or a base image, as values; who reads and applies it is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from stackbuild.core.origin import Origin

NEVER = -32768
"""The priority of apt's "never"."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One stanza of apt_preferences(5). packages: names, shell patterns or /regexes/; () is every package ("*").

    kind: "release", "version" or "origin"; data: what follows it ("n=bookworm-backports", "1.2*", a host).
    """

    packages: tuple[str, ...]
    kind: str
    data: str
    priority: int
    origin: Origin = field(default=Origin("engine"), compare=False)

    def __str__(self) -> str:
        where = f" ({self.origin.file}:{self.origin.line})" if self.origin.file else ""
        return f"{' '.join(self.packages) or '*'}: {self.kind} {self.data}, priority {self.priority}{where}"
