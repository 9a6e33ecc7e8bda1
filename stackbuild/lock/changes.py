"""What differs between two locks, as values that `lock` shows; explains no reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stackbuild.core.words import count
from stackbuild.lock.lock import Lock, PlatformLock, by_place, names_of


@dataclass(frozen=True, slots=True)
class Change:
    """One package of one platform. before, after: versions, "" where it is not there; equal if only the bytes differ.

    security: the version that came is from an archive of security updates. stage: "" is the image itself.
    file: where in the project the new version is, "" if it is from an archive.
    base: the base image has the package too; "" then stands for its removal.
    """

    platform: str
    name: str
    before: str
    after: str
    security: bool = False
    stage: str = ""
    file: str = ""
    base: bool = False

    def __str__(self) -> str:
        word = (", security" if self.security else "") + (f" (stage {self.stage})" if self.stage else "")
        word = (f" (./{self.file})" if self.file else "") + (" (of the base image)" if self.base else "") + word
        if self.before and self.before == self.after:
            return f"{self.name} {self.after} with other content{word}"
        if self.before and self.after:
            return f"{self.name} {self.before} → {self.after}{word}"
        return f"+ {self.name} {self.after}{word}" if self.after else f"- {self.name} {self.before}{word}"

    def to_json(self) -> Any:
        return {
            "platform": self.platform,
            "name": self.name,
            "before": self.before or None,
            "after": self.after or None,
            "security": self.security,
            **({"stage": self.stage} if self.stage else {}),
            **({"file": self.file} if self.file else {}),
            **({"base": True} if self.base else {}),
        }


@dataclass(frozen=True, slots=True)
class DigestChange:
    """A remote recipe or a base image that came, went or moved. before, after: the digests that pin it, or ""."""

    kind: str  # "recipe" or "base"
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.before and self.after:
            return f"{self.kind} {self.name} {_short(self.before)} → {_short(self.after)}"
        sign, digest = ("+", self.after) if self.after else ("-", self.before)
        return f"{sign} {self.kind} {self.name} {_short(digest)}"

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
    def recipes(self) -> tuple[DigestChange, ...]:
        return tuple(_recipes(self.old, self.new))

    @property
    def bases(self) -> tuple[DigestChange, ...]:
        return tuple(_bases(self.old, self.new))

    def to_text(self) -> str:
        packages = count(sum(len(p.everything) for p in self.new.platforms.values()), "package")
        if self.old is not None and self.old == self.new:
            return f"{self.file} is up to date: {packages}"
        if self.old is None:
            return f"{self.file}: {packages} locked"
        found, recipes = self.changes, self.recipes
        several = len(self.new.platforms) > 1
        lines = [*map(str, (*recipes, *self.bases)), *(f"{c.platform}: {c}" if several else str(c) for c in found)]
        more = f", {count(len(recipes), 'recipe')} changed" if recipes else ""
        return "\n".join([*lines, f"{self.file}: {packages}, {len(found)} changed{more}"])

    def to_json(self) -> Any:
        return {
            "v": 1,
            "changed": self.old != self.new,
            "packages": {name: len(platform.packages) for name, platform in self.new.platforms.items()},
            "changes": [c.to_json() for c in self.changes],
            "recipes": [c.to_json() for c in self.recipes],
            "bases": [c.to_json() for c in self.bases],
        }


@dataclass(frozen=True)
class Differences:
    """What `diff` and `outdated` show: changes, and the sentence for none."""

    changes: tuple[Change, ...]
    none: str
    digests: tuple[DigestChange, ...] = ()

    def to_text(self) -> str:
        several = len({c.platform for c in self.changes}) > 1
        lines = [*map(str, self.digests), *(f"{c.platform}: {c}" if several else str(c) for c in self.changes)]
        return "\n".join(lines) or self.none

    def to_json(self) -> Any:
        kinds = {kind: [c.to_json() for c in self.digests if c.kind == kind] for kind in ("recipe", "base")}
        return {
            "v": 1,
            "changes": [c.to_json() for c in self.changes],
            **{f"{kind}s": moved for kind, moved in kinds.items() if moved},
        }


def differences(old: Lock, new: Lock, none: str, *, security: bool = False) -> Differences:
    """What differs between two locks. security: only what archives of security updates brought."""
    if security:
        return Differences(tuple(c for c in changes(old, new) if c.security), none)
    return Differences(tuple(changes(old, new)), none, (*_recipes(old, new), *_bases(old, new)))


def _recipes(old: Lock | None, new: Lock) -> Iterator[DigestChange]:
    before, after = old.recipes if old is not None else {}, new.recipes
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield DigestChange("recipe", name, before.get(name, ""), after.get(name, ""))


def _bases(old: Lock | None, new: Lock) -> Iterator[DigestChange]:
    """Base images that are another one now, by platform and stage. Those of a first lock are no news."""
    before, after = by_place(old) if old is not None else {}, by_place(new)
    for place in sorted({*before, *after}):
        one, other = before.get(place, PlatformLock()), after.get(place, PlatformLock())
        if old is not None and one.base_digest != other.base_digest:
            name = other.base_image or one.base_image
            yield DigestChange("base", f"{name} ({place})", one.base_digest or "", other.base_digest or "")


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
    before, after = (names_of(platform, one) for one in (old, new))
    base = {name: p.replaces for one in (before, after) for name, p in one.items() if p.replaces}
    base |= {gone.name: gone.version for one in (old, new) for gone in one.removed}
    removed, goes = ({gone.name for gone in one.removed} for one in (old, new))
    secure = {a.id for a in new.archives if "-security" in a.suite + a.codename}
    for name in sorted({*before, *after, *removed, *goes}):
        one, other = before.get(name), after.get(name)
        if one and other and (one.version, one.sha256) == (other.version, other.sha256):
            continue
        was = one.version if one else "" if name in removed else base.get(name, "")
        now = other.version if other else "" if name in goes else base.get(name, "")
        if was != now or (one and other):
            security = other is not None and other.archive in secure
            file = other.path if other is not None and other.local else ""
            yield Change(platform, name, was, now, security, stage, file, name in base)
