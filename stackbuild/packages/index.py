"""A package index in a form that is ready to be asked: built once per index digest, then mapped, never parsed."""

from __future__ import annotations

import json
import mmap
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stackbuild.core.files import write_file
from stackbuild.packages.package import Archive, Package

MAGIC = b"stackbuild-index 2\n"
_TABLES = ("offset", "own_start", "own", "provide_start", "provide", "base")


@dataclass(frozen=True, slots=True)
class Record:
    """What an ecosystem's reader hands over for one package.

    fields: the values of Package up to `provides`, as text. mentions: every name that the stanza
    mentions, in order. provides: names that it provides beside its own.
    """

    fields: tuple[str, ...]
    mentions: Sequence[str]
    provides: Sequence[str]
    base: bool = False  # may be part of a variant: it is found without a look at all records


def build(records: Iterable[Record], skipped: int = 0) -> bytes:
    """The index file of these records. Cost: about 25 microseconds a record.

    Names are numbered in the order in which they are first mentioned: that number breaks ties.
    """
    rank: dict[str, int] = {}
    offset, lines = array("I", [0]), []
    own: list[list[int]] = []
    provide: list[list[int]] = []
    base = array("I")
    position = 0
    for number, record in enumerate(records):
        for name in record.mentions:
            if name not in rank:
                rank[name] = len(rank)
                own.append([])
                provide.append([])
        line = "\t".join(record.fields).encode("utf-8", "surrogateescape")
        lines.append(line)
        position += len(line)
        offset.append(position)
        own[rank[record.fields[0]]].append(number)
        for name in dict.fromkeys(record.provides):
            provide[rank[name]].append(number)
        if record.base:
            base.append(number)
    tables = {"offset": offset, "base": base}
    tables["own_start"], tables["own"] = _rows(own)
    tables["provide_start"], tables["provide"] = _rows(provide)
    names = "\n".join(rank).encode("utf-8", "surrogateescape")
    head = {
        "order": sys.byteorder,
        "skipped": skipped,
        "names": len(names),
        "lines": position,
        **{name: len(tables[name]) for name in _TABLES},
    }
    body = b"".join([*(tables[n].tobytes() for n in _TABLES), names, *lines])
    head["crc"] = zlib.crc32(body)
    return b"".join([MAGIC, json.dumps(head).encode().ljust(255) + b"\n", body])


def _rows(rows: list[list[int]]) -> tuple[array[int], array[int]]:
    """Rows of numbers as one array and where each row starts in it."""
    start, flat = array("I", [0]), array("I")
    for row in rows:
        flat.extend(row)
        start.append(len(flat))
    return start, flat


class Index:
    """One index file, mapped. Raises ValueError if it is not whole: then it is to be built again."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        start = len(MAGIC)
        if data[:start] != MAGIC:
            raise ValueError("not an index")
        head = json.loads(data[start : start + 256])
        if head["order"] != sys.byteorder:
            raise ValueError("an index of another machine")
        if zlib.crc32(memoryview(data)[start + 256 :]) != head["crc"]:  # 1 ms for each MB
            raise ValueError("a damaged index")
        self.skipped: int = head["skipped"]
        position = start + 256
        tables: dict[str, array[int]] = {}
        for name in _TABLES:
            table = array("I")
            table.frombytes(data[position : position + head[name] * table.itemsize])
            position += head[name] * table.itemsize
            tables[name] = table
        self._offset, self._own_start, self._own = tables["offset"], tables["own_start"], tables["own"]
        self._base = tables["base"]
        self._provide_start, self._provide = tables["provide_start"], tables["provide"]
        self._names = data[position : position + head["names"]]
        self._lines = position + head["names"]
        if self._lines + head["lines"] != len(data):
            raise ValueError("a truncated index")

    @classmethod
    def open(cls, path: Path) -> Index:
        """Raises FileNotFoundError, ValueError."""
        with open(path, "rb") as file:
            try:
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (KeyError, TypeError) as error:
                raise ValueError(f"not an index: {error!r}") from None

    @cached_property
    def rank(self) -> dict[str, int]:
        """Every name that is mentioned -> its number."""
        names = self._names.decode("utf-8", "surrogateescape").split("\n") if self._names else []
        return dict(zip(names, range(len(names)), strict=True))

    def _package(self, number: int, archive: Archive | None) -> Package:
        a, b = self._offset[number], self._offset[number + 1]
        fields = self._data[self._lines + a : self._lines + b].decode("utf-8", "surrogateescape").split("\t")
        values: list[Any] = [*fields[:8], int(fields[8] or 0), *fields[9:], archive]
        return Package(*values)

    def packages(self, name: str, archive: Archive | None) -> list[Package]:
        """The packages of this name, in the index's order."""
        rank = self.rank.get(name)
        if rank is None:
            return []
        rows = self._own[self._own_start[rank] : self._own_start[rank + 1]]
        return [self._package(number, archive) for number in rows]

    def providers(self, name: str, archive: Archive | None) -> list[Package]:
        """The packages that provide this name beside their own."""
        rank = self.rank.get(name)
        if rank is None:
            return []
        rows = self._provide[self._provide_start[rank] : self._provide_start[rank + 1]]
        return [self._package(number, archive) for number in rows]

    def names(self) -> list[str]:
        """The names of all packages (not of what is only mentioned)."""
        return [n for n, r in self.rank.items() if self._own_start[r] != self._own_start[r + 1]]

    def all(self, archive: Archive | None) -> Iterable[Package]:
        """Every package, in order. Costs about 3 microseconds each."""
        return (self._package(number, archive) for number in range(len(self._offset) - 1))

    def base(self, archive: Archive | None) -> list[Package]:
        """The packages that were marked as a possible part of a variant, in the index's order."""
        return [self._package(number, archive) for number in self._base]


def keep(path: Path, data: bytes) -> Index:
    """Write an index file and open it."""
    write_file(path, data)
    return Index.open(path)
