"""Where a tree of settings was said: a file with its lines, a variable, an option; and that tree. Not what it means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key, original
from stackbuild.settings.levels import Level
from stackbuild.stack.reader import Lines, lines_of, parse, read_text


@dataclass(eq=False)
class Place:
    """A source of settings. shown: how people call it: a path as they would write it, a variable, an option.

    text: of a file, from which lines are read when first asked; None for what has none.
    moved: for each list of the tree that rendering changed, the index that each item had in the file.
    """

    level: Level
    shown: str
    text: str | None = None
    _lines: Lines | None = field(default=None, repr=False)
    moved: Mapping[Key, list[int]] = field(default_factory=dict, repr=False)

    def origin(self, key: Key) -> Origin:
        """Where a key stands: its own line, or that of the nearest key above that has one."""
        key = original(key, self.moved)
        if self.text is None:
            return Origin(self.level.value, self.shown, 0, key)
        if self._lines is None:
            self._lines = lines_of(self.text)
        return Origin(self.level.value, self.shown, line_at(self._lines, key), key)


@dataclass(eq=False)
class Quoted(Place):
    """Settings that another stack says, each at its own place. shown: the name of that stack; said: by their path."""

    said: Mapping[tuple[str, ...], Origin] = field(default_factory=dict)

    def origin(self, key: Key) -> Origin:
        """Where the other stack's files say it; else the nearest value of the same table or list."""
        path = tuple(map(str, original(key, self.moved)))
        for length in range(len(path), 0, -1):
            for place, origin in self.said.items():
                if place[:length] == path[:length]:
                    return Origin(self.level.value, origin.file or self.shown, origin.line, key)
        return Origin(self.level.value, self.shown, 0, key)


def line_at(lines: Lines, key: Key) -> int:
    return next((lines[key[:n]] for n in range(len(key), -1, -1) if key[:n] in lines), 0)


@dataclass(frozen=True, eq=False)
class Saying:
    """What one place says."""

    place: Place
    tree: Mapping[str, Any]


def file_said(file: Path, shown: str, level: Level) -> Saying | None:
    """What a file says; None if it is not there. Raises UsageError, HostError."""
    text = read_text(file, shown, level.value)
    if text is None:
        return None
    return Saying(Place(level, shown, text), parse(text, shown, level.value))


def shown_path(file: Path) -> str:
    """As a person would write it: relative below the current folder, with ~ below the home."""
    if not file.is_absolute():
        return str(file)
    for folder, sign in ((os.getcwd(), ""), (os.path.expanduser("~"), "~/")):
        if file.is_relative_to(folder) and folder != "/":
            return sign + str(file.relative_to(folder))
    return str(file)
