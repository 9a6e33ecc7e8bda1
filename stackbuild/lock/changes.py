"""What differs between two locks, as values that `lock` shows; explains no reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stackbuild.lock.lock import Lock, PlatformLock


@dataclass(frozen=True, slots=True)
class Change:
    """One package of one platform. before, after: versions, "" where it is not there."""

    platform: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.before and self.after:
            return f"{self.name} {self.before} → {self.after}"
        return f"+ {self.name} {self.after}" if self.after else f"- {self.name} {self.before}"


@dataclass(frozen=True)
class LockChanges:
    """The outcome of `lock`. old: None if there was no lock. file: what the user calls it."""

    old: Lock | None
    new: Lock
    file: str = "stack.lock"

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(changes(self.old, self.new))

    def to_text(self) -> str:
        count = sum(len(p.packages) for p in self.new.platforms.values())
        if self.old is not None and self.old == self.new:
            return f"{self.file} is up to date: {count} packages"
        if self.old is None:
            return f"{self.file}: {count} packages locked"
        found = self.changes
        several = len(self.new.platforms) > 1
        lines = [f"{c.platform}: {c}" if several else str(c) for c in found]
        return "\n".join([*lines, f"{self.file}: {count} packages, {len(found)} changed"])

    def to_json(self) -> Any:
        return {
            "v": 1,
            "changed": self.old != self.new,
            "packages": {name: len(platform.packages) for name, platform in self.new.platforms.items()},
            "changes": [
                {"platform": c.platform, "name": c.name, "before": c.before or None, "after": c.after or None}
                for c in self.changes
            ],
        }


def changes(old: Lock | None, new: Lock) -> Iterator[Change]:
    """Packages that came, went or moved, by platform and name."""
    empty = PlatformLock()
    before_all = old.platforms if old is not None else {}
    for platform in sorted({*before_all, *new.platforms}):
        before = {p.name: p.version for p in before_all.get(platform, empty).packages}
        after = {p.name: p.version for p in new.platforms.get(platform, empty).packages}
        for name in sorted(before | after):
            if before.get(name) != after.get(name):
                yield Change(platform, name, before.get(name, ""), after.get(name, ""))
