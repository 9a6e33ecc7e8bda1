"""What a Dockerfile becomes: the tables of a stack, each value with the lines it came from; not yet text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Layer:
    """One `[[layer]]`. lines: of the Dockerfile. remarks: for the reader, above it; todo: what a person has to do."""

    name: str
    values: dict[str, Any]
    lines: list[int]
    remarks: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tables:
    """One image's tables. origins: (table, key) -> the lines that said it. remarks: what has no place of its own."""

    base: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    image: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    remarks: list[tuple[int, str]] = field(default_factory=list)
    todo: list[tuple[int, str]] = field(default_factory=list)

    def say(self, table: str, key: str, line: int) -> None:
        """This line of the Dockerfile said this key."""
        lines = self.origins.setdefault((table, key), [])
        if line not in lines:
            lines.append(line)


@dataclass(frozen=True, slots=True)
class Imported:
    """The whole. stages: by name, those that the image needs. unused: (line, name) of stages that it does not."""

    file: str
    image: Tables
    stages: Mapping[str, Tables]
    unused: tuple[tuple[int, str], ...] = ()

    def todo(self) -> list[tuple[int, str]]:
        """(line, what) of everything that a person has to look at, in the order of the file."""
        found = [one for tables in (self.image, *self.stages.values()) for one in tables.todo]
        for tables in (self.image, *self.stages.values()):
            found += [(layer.lines[0], text) for layer in tables.layers for text in layer.todo]
        return sorted(set(found))
