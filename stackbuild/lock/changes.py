"""What differs between two locks, as values that `lock` shows; explains no reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stackbuild.lock.lock import Lock, PlatformLock


@dataclass(frozen=True, slots=True)
class Change:
    """One package of one platform. before, after: versions, "" where it is not there; equal if only the bytes differ.

    security: the version that came is from an archive of security updates. stage: "" is the image itself.
    file: where in the project the new version is, "" if it is from an archive.
    """

    platform: str
    name: str
    before: str
    after: str
    security: bool = False
    stage: str = ""
    file: str = ""

    def __str__(self) -> str:
        word = (", security" if self.security else "") + (f" (stage {self.stage})" if self.stage else "")
        word = (f" (./{self.file})" if self.file else "") + word
        if self.before and self.before == self.after:
            return f"{self.name} {self.after} with other content{word}"
        if self.before and self.after:
            return f"{self.name} {self.before} → {self.after}{word}"
        return f"+ {self.name} {self.after}{word}" if self.after else f"- {self.name} {self.before}"

    def to_json(self) -> Any:
        return {
            "platform": self.platform,
            "name": self.name,
            "before": self.before or None,
            "after": self.after or None,
            "security": self.security,
            **({"stage": self.stage} if self.stage else {}),
            **({"file": self.file} if self.file else {}),
        }


@dataclass(frozen=True, slots=True)
class RecipeChange:
    """One remote recipe that came, went or moved. before, after: the digests that pin it, "" where it is not used."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.before and self.after:
            return f"recipe {self.name} {_short(self.before)} → {_short(self.after)}"
        sign, digest = ("+", self.after) if self.after else ("-", self.before)
        return f"{sign} recipe {self.name} {_short(digest)}"

    def to_json(self) -> Any:
        return {"name": self.name, "before": self.before or None, "after": self.after or None}


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:12]


@dataclass(frozen=True)
class LockChanges:
    """The outcome of `lock`. old: None if there was no lock. file: what the user calls it."""

    old: Lock | None
    new: Lock
    file: str = "stack.lock"

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(changes(self.old, self.new))

    @property
    def recipes(self) -> tuple[RecipeChange, ...]:
        before, after = dict(self.old.recipes) if self.old is not None else {}, self.new.recipes
        moved = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        return tuple(RecipeChange(name, str(before.get(name, "")), str(after.get(name, ""))) for name in moved)

    def to_text(self) -> str:
        count = sum(len(p.everything) for p in self.new.platforms.values())
        if self.old is not None and self.old == self.new:
            return f"{self.file} is up to date: {count} packages"
        if self.old is None:
            return f"{self.file}: {count} packages locked"
        found, recipes = self.changes, self.recipes
        several = len(self.new.platforms) > 1
        lines = [*map(str, recipes), *(f"{c.platform}: {c}" if several else str(c) for c in found)]
        more = f", {len(recipes)} recipe{'s' if len(recipes) > 1 else ''} changed" if recipes else ""
        return "\n".join([*lines, f"{self.file}: {count} packages, {len(found)} changed{more}"])

    def to_json(self) -> Any:
        return {
            "v": 1,
            "changed": self.old != self.new,
            "packages": {name: len(platform.packages) for name, platform in self.new.platforms.items()},
            "changes": [c.to_json() for c in self.changes],
            "recipes": [c.to_json() for c in self.recipes],
        }


@dataclass(frozen=True)
class Differences:
    """What `diff` and `outdated` show: changes, and the sentence for none."""

    changes: tuple[Change, ...]
    none: str

    def to_text(self) -> str:
        several = len({c.platform for c in self.changes}) > 1
        return "\n".join(f"{c.platform}: {c}" if several else str(c) for c in self.changes) or self.none

    def to_json(self) -> Any:
        return {"v": 1, "changes": [c.to_json() for c in self.changes]}


def changes(old: Lock | None, new: Lock) -> Iterator[Change]:
    """Packages that came, went or moved, by platform and name.

    A change is one of security if its new version is from an archive that calls itself so
    ("bookworm-security"); a fix that has moved on to the main archive cannot be told from others.
    """
    empty = PlatformLock()
    before_all = old.platforms if old is not None else {}
    for platform in sorted({*before_all, *new.platforms}):
        one, other = before_all.get(platform, empty), new.platforms.get(platform, empty)
        yield from _changes(platform, "", one, other)
        for stage in sorted({*one.stages, *other.stages}):
            yield from _changes(platform, stage, one.stages.get(stage, empty), other.stages.get(stage, empty))


def _changes(platform: str, stage: str, old: PlatformLock, new: PlatformLock) -> Iterator[Change]:
    before = {p.name: p for p in old.packages}
    after = {p.name: p for p in new.packages}
    secure = {a.id for a in new.archives if "-security" in a.suite + a.codename}
    for name in sorted(before | after):
        one, other = before.get(name), after.get(name)
        if (one and (one.version, one.sha256)) != (other and (other.version, other.sha256)):
            yield Change(
                platform,
                name,
                one.version if one else "",
                other.version if other else "",
                other is not None and other.archive in secure,
                stage,
                other.path if other is not None and other.local else "",
            )
