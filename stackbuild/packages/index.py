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
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any

from stackbuild.core.files import write_file
from stackbuild.packages.package import Archive, Package

MAGIC = b"stackbuild-index 2\n"
_TABLES = ("offset", "own_start", "own", "provide_start", "provide", "base")


@dataclass(frozen=True, slots=True)
class Records:
    """What an ecosystem's reader hands over: a part of a list of packages, in order; text as bytes.

    lines: of each package, the values of Package up to `provides`, between tabs. names: the package's own.
    mentions: every name that is mentioned, in the order of the first time, each once (own names too).
    provides: (number of the package in this part, names that it provides beside its own).
    base: numbers of packages that may be part of a variant: they are found without a look at all.
    skipped: how many were left out.
    """

    lines: Sequence[bytes]
    names: Sequence[bytes]
    mentions: Sequence[bytes]
    provides: Sequence[tuple[int, Sequence[bytes]]]
    base: Sequence[int]
    skipped: int = 0


def joined(parts: Sequence[Records]) -> Records:
    """Parts that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    starts = list(accumulate((len(part.lines) for part in parts), initial=0))
    return Records(
        [line for part in parts for line in part.lines],
        [name for part in parts for name in part.names],
        list(dict.fromkeys(name for part in parts for name in part.mentions)),
        [(start + n, names) for start, part in zip(starts, parts, strict=False) for n, names in part.provides],
        [start + n for start, part in zip(starts, parts, strict=False) for n in part.base],
        sum(part.skipped for part in parts),
    )


def build(records: Records) -> bytes:
    """The index file of these records. Cost: about 5 microseconds a package.

    Names are numbered in the order in which they are first mentioned: that number breaks ties.
    """
    rank = {name: number for number, name in enumerate(records.mentions)}
    offset = array("I", accumulate(map(len, records.lines), initial=0))
    tables = {"offset": offset, "base": array("I", records.base)}
    tables["own_start"], tables["own"] = _rows(((rank[name], n) for n, name in enumerate(records.names)), len(rank))
    tables["provide_start"], tables["provide"] = _rows(
        ((rank[name], n) for n, names in records.provides for name in dict.fromkeys(names)), len(rank)
    )
    names = b"\n".join(rank)
    head = {
        "order": sys.byteorder,
        "skipped": records.skipped,
        "names": len(names),
        "lines": offset[-1],
        **{name: len(tables[name]) for name in _TABLES},
    }
    body = b"".join([*(tables[n].tobytes() for n in _TABLES), names, *records.lines])
    head["crc"] = zlib.crc32(body)
    return b"".join([MAGIC, json.dumps(head).encode().ljust(255) + b"\n", body])


def _rows(pairs: Iterable[tuple[int, int]], count: int) -> tuple[array[int], array[int]]:
    """(Row, number) as one array of numbers by row, in order, and where each of `count` rows starts in it."""
    ordered = sorted(pairs, key=itemgetter(0))
    lengths = [0] * count
    for row, _ in ordered:
        lengths[row] += 1
    return array("I", accumulate(lengths, initial=0)), array("I", map(itemgetter(1), ordered))


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

    def number(self, name: str) -> int | None:
        """The number of a name that is mentioned."""
        return self.rank.get(name)

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
