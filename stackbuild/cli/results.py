"""What commands print on stdout, as values with a text and a JSON form. Imports nothing heavy."""

from __future__ import annotations

from typing import Any, NamedTuple


class Built(NamedTuple):
    """What `build` prints: one line a person or a script can use."""

    name: str
    digest: str
    size: int
    sent: tuple[str, ...]

    def to_text(self) -> str:
        return self.digest

    def to_json(self) -> Any:
        return {"v": 1, "name": self.name, "digest": self.digest, "size": self.size, "sent": list(self.sent)}


class Sent(NamedTuple):
    """What `push` prints."""

    name: str
    digest: str
    places: tuple[str, ...]

    def to_text(self) -> str:
        return "\n".join(f"{place} {self.digest}" for place in self.places)

    def to_json(self) -> Any:
        return {"v": 1, "name": self.name, "digest": self.digest, "places": list(self.places)}


class Said(NamedTuple):
    """What an earlier run of the same command printed: it still holds."""

    text: str
    json: Any

    def to_text(self) -> str:
        return self.text

    def to_json(self) -> Any:
        return self.json
