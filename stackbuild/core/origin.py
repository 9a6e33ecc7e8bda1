"""Where a value came from: level, file, line and key. Not the value itself."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """One place in the user's world that an error, a setting or a reason can point at.

    level: "engine", "image", "recipe", "project", "user", "environment", "command line", ...
    file: a path as the user wrote it or would write it; "" if there is none.
    line: 1-based; 0 if unknown. key: the path of the value, as ("layer", 1, "name").
    column: 1-based; 0 if unknown.
    """

    level: str
    file: str = ""
    line: int = 0
    key: tuple[str | int, ...] = ()
    column: int = 0

    def __str__(self) -> str:
        place = self.file or self.level
        if self.line:
            place += f":{self.line}:{self.column}" if self.column else f":{self.line}"
        if self.key:
            place += f": {'.'.join(str(part) for part in self.key)}"
        return place
