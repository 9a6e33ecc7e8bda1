"""Settled values that carry all that was said about them; knows no images, no files and no meaning of a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stackbuild.core.origin import Origin
from stackbuild.settings.levels import Level

Path = tuple[str, ...]
"""Where a value is: ("container", "env", "TZ"); in a list of named things by name: ("layer", "site", "copy")."""


class Placed(Protocol):
    """What knows where a key stands."""

    def origin(self, key: tuple[str | int, ...]) -> Origin:
        """Where in it this key stands. May read it again to find the line: call it for errors and answers only."""


class Source(Placed, Protocol):
    """A file or another place where settings were said. shown: how people call it."""

    @property
    def level(self) -> Level: ...

    @property
    def shown(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The value of a path at which exactly one of several keys may stand: which key, and its value."""

    key: str
    value: Any


class Reset:
    """A value that ends all that was said before at this path and beneath it."""

    def __repr__(self) -> str:
        return "RESET"

    def __reduce__(self) -> str:
        return "RESET"  # there is one, and it is compared by `is`


RESET = Reset()


@dataclass(frozen=True, slots=True)
class Said:
    """One value that was said. key: its own path in the source, with indexes. order: (level's place, place in it)."""

    value: Any
    source: Source
    key: tuple[str | int, ...]
    order: tuple[int, int]

    @property
    def origin(self) -> Origin:
        return self.source.origin(self.key)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value with all that was said about it, oldest first; the last one counts."""

    history: tuple[Said, ...] = ()

    @property
    def last(self) -> Said:
        return self.history[-1]

    @property
    def value(self) -> Any:
        return self.history[-1].value


Settings = Mapping[Path, Setting]


def merge(levels: Iterable[Settings]) -> dict[Path, Setting]:
    """All of them, lowest first: later wins, nothing is forgotten. Levels may be merged in any grouping."""
    said: dict[Path, list[Said]] = {}
    for level in levels:
        for path, setting in level.items():
            said.setdefault(path, []).extend(setting.history)
    return {path: Setting(tuple(history)) for path, history in said.items()}


def alive(settings: Settings) -> dict[Path, Setting]:
    """What still counts: each setting without what a later RESET at its path or above it ended.

    In the order in which each was first said since. The histories of the input keep what was ended.
    """
    resets: dict[Path, tuple[int, int]] = {}
    for path, setting in settings.items():
        for said in setting.history:
            if said.value is RESET:
                resets[path] = max(resets.get(path, said.order), said.order)
    living = []
    for path, setting in settings.items():
        since = max((resets[above] for above in _upwards(path) if above in resets), default=(-1, -1))
        history = tuple(said for said in setting.history if said.value is not RESET and said.order > since)
        if history:
            living.append((path, Setting(history)))
    living.sort(key=lambda item: item[1].history[0].order)
    return dict(living)


def _upwards(path: Path) -> Iterator[Path]:
    for length in range(len(path), -1, -1):
        yield path[:length]


def beneath(settings: Settings, path: Path) -> dict[Path, Setting]:
    """The settings at a path and beneath it, in order."""
    return {key: setting for key, setting in settings.items() if key[: len(path)] == path}
