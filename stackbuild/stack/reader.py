"""TOML text in, its tree out, and the line of each key for errors and origins; knows no meaning of a key."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, HostError, UsageError
from stackbuild.core.origin import Origin

Lines = Mapping[tuple[str | int, ...], int]

LIMIT = 4 << 20
"""Bytes of a file of settings; nobody writes more, and /dev/zero holds more."""

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|(end of document))\)\Z")


def read_text(file: Path, shown: str, level: str) -> str | None:
    """The text of a file, None if there is none. shown: how errors call it.

    Raises UsageError for what is no regular file, too large or not UTF-8, HostError if it cannot be read.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostError(f"cannot read {shown}", why=os.strerror(error.errno or 0)) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{shown} is not a file", where=Origin(level, shown))
    with open(fd, "rb") as stream:
        data = stream.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise UsageError(f"{shown} is too large for a file of settings", where=Origin(level, shown))
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            "the file is not UTF-8 text",
            where=Origin(level, shown, line),
            why=f"byte 0x{data[error.start]:02x} cannot stand there",
            hints=(Hint("save it as UTF-8"),),
        ) from None


def parse(text: str, shown: str, level: str) -> dict[str, Any]:
    """The tree of a TOML text. Raises UsageError with file, line and column for broken TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        place = _PLACE.search(words)
        line, column = 0, 0
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        elif place:
            line = text.rstrip("\n").count("\n") + 1
        why = words[: place.start()] if place else words
        why += ", at the end of the file" if place and place[3] else ""
        raise UsageError(
            "this is not valid TOML", where=Origin(level, shown, line, column=column), why=why[:1].lower() + why[1:]
        ) from None
    except RecursionError:
        raise UsageError("this is nested too deeply", where=Origin(level, shown)) from None


def lines_of(text: str) -> Lines:
    """The line (1-based) at which each key of a valid TOML text stands; lines[()] is 1.

    tomllib has no positions, so the text is fed to it line by line until what was gathered parses: that is one
    statement. Costs many times a parse: for errors and origins only.
    """
    return _Positions().read(text.replace("\r\n", "\n").split("\n"))


class _Positions:
    """The state of one `lines_of`: the table that statements belong to, and how many items each array has."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str | int, ...], int] = {(): 1}
        self.items: dict[tuple[str | int, ...], int] = {}
        self.table: tuple[str | int, ...] = ()

    def read(self, rows: list[str]) -> Lines:
        first = 0
        for number, row in enumerate(rows):
            # a statement of several lines ends on one that closes something
            if number > first and not any(sign in row for sign in ("]", "}", '"""', "'''")):
                continue
            found = _try("\n".join(rows[first : number + 1]))
            if found is None:
                continue
            if found:
                if rows[first].lstrip().startswith("["):
                    self._header(found, first + 1)
                else:
                    self._statement(found, rows[first : number + 1], first + 1)
            first = number + 1
        return self.lines

    def _header(self, found: Any, line: int) -> None:
        here: tuple[str | int, ...] = ()
        while found:
            if isinstance(found, list):
                self.items[here] = self.items.get(here, 0) + 1
                here = (*here, self.items[here] - 1)
                found = found[0]
                continue
            if here in self.items and not (here and isinstance(here[-1], int)):
                here = (*here, self.items[here] - 1)
            key, found = next(iter(found.items()))
            here = (*here, key)
            self.lines.setdefault(here, line)
        self.lines[here] = line
        self.table = here

    def _statement(self, found: Any, rows: list[str], line: int) -> None:
        self._add(self.table, found, line)
        if len(rows) == 1:
            return
        here = self.table
        while isinstance(found, dict) and len(found) == 1:
            key, found = next(iter(found.items()))
            here = (*here, key)
        if isinstance(found, list):
            self._array(here, found, rows, line)

    def _array(self, here: tuple[str | int, ...], items: list[Any], rows: list[str], line: int) -> None:
        """An array over several lines: what of it parses when it is closed after a line stands on these lines."""
        done, seen = 0, 0  # rows, items
        for count in range(1, len(rows) + 1):
            opening = "" if done == 0 else "x = [\n"
            closing = "" if count == len(rows) else "\n]"
            part = _try(opening + "\n".join(rows[done:count]) + closing)
            if part is None:
                continue
            while isinstance(part, dict):
                part = next(iter(part.values()))
            for index in range(len(part)):
                at = done if index == 0 else count - 1
                self._replace((*here, seen + index), items[seen + index], line + at)
            done, seen = count, seen + len(part)

    def _add(self, here: tuple[str | int, ...], value: Any, line: int) -> None:
        self.lines.setdefault(here, line)
        if isinstance(value, dict):
            for key, item in value.items():
                self._add((*here, key), item, line)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._add((*here, index), item, line)

    def _replace(self, here: tuple[str | int, ...], value: Any, line: int) -> None:
        self.lines[here] = line
        if isinstance(value, (dict, list)):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self._replace((*here, key), item, line)


def _try(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
