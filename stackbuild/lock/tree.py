"""The locked packages as a tree of needs, read off the lock alone; chooses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stackbuild.core.errors import UsageError
from stackbuild.lock.lock import Lock, LockedPackage, LockedRemoval, by_place, names_of


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree. repeated: what it needs is shown further up; cut: it has needs deeper than asked for."""

    depth: int
    package: LockedPackage
    repeated: bool = False
    cut: bool = False

    def __str__(self) -> str:
        more = " (*)" if self.repeated else " …" if self.cut else ""
        file = f" (./{self.package.path})" if self.package.local else ""
        was = f" (the base image has {self.package.replaces})" if self.package.replaces else ""
        return f"{self.package}{file}{was}{more}"


@dataclass(frozen=True)
class Tree:
    """What `tree` shows, by platform. removed: what of the base image goes, if the tree is that of everything."""

    platforms: dict[str, tuple[Branch, ...]]
    removed: dict[str, tuple[LockedRemoval, ...]] = field(default_factory=dict)

    def to_text(self) -> str:
        lines: list[str] = []
        for platform, branches in self.platforms.items():
            lines += [f"{platform}:"] if len(self.platforms) > 1 or " stage " in platform else []
            lines += _drawn(branches)
            lines += [f"- {gone.name} {gone.version} (of the base image)" for gone in self.removed.get(platform, ())]
        if any(b.repeated for branches in self.platforms.values() for b in branches):
            lines.append("(*) what it needs is shown above")
        return "\n".join(lines)

    def to_json(self) -> Any:
        return {
            "v": 1,
            "platforms": {
                platform: [
                    {
                        "depth": b.depth,
                        "name": b.package.name,
                        "version": b.package.version,
                        "repeated": b.repeated,
                        **({"replaces": b.package.replaces} if b.package.replaces else {}),
                    }
                    for b in branches
                ]
                for platform, branches in self.platforms.items()
            },
            "removed": {platform: [asdict(gone) for gone in removed] for platform, removed in self.removed.items()},
        }


def _drawn(branches: Sequence[Branch]) -> list[str]:
    """A line for each branch, with the strokes that lead to it."""
    lines: list[str] = []
    goes_on: set[int] = set()  # the depths at which another branch follows, seen from the end
    for branch in reversed(branches):
        goes_on = {depth for depth in goes_on if depth <= branch.depth}
        strokes = ["│  " if depth in goes_on else "   " for depth in range(1, branch.depth)]
        if branch.depth:
            strokes.append("├─ " if branch.depth in goes_on else "└─ ")
            goes_on.add(branch.depth)
        lines.append("".join(strokes) + str(branch))
    return lines[::-1]


def tree(lock: Lock, name: str = "", depth: int = 1 << 30) -> Tree:
    """All that was asked for by name (the variant's packages too) or moves by itself, or the one package, with what
    each needs.

    depth: levels below the roots. Raises UsageError if no platform has the package.
    """
    platforms = {p: tuple(_branches(names_of(p, locked), name, depth)) for p, locked in by_place(lock).items()}
    if name and not any(platforms.values()):
        raise UsageError(f"there is no {name} in the lock")
    removed = {} if name else {p: locked.removed for p, locked in by_place(lock).items() if locked.removed}
    return Tree({p: branches for p, branches in platforms.items() if branches or p in removed}, removed)


def _branches(by_name: Mapping[str, LockedPackage], name: str, depth: int) -> Iterator[Branch]:
    """Depth first, without recursion: a lock may hold chains thousands long. Each package is opened once."""
    roots = [n for n in by_name if name in (n, n.partition(":")[0])] if name else _roots(by_name)
    opened: set[str] = set()
    rest = [(0, root) for root in reversed(roots)]
    while rest:
        level, here = rest.pop()
        package = by_name[here]
        needs = _needs(package, by_name)
        repeated, cut = here in opened and bool(needs), level >= depth and bool(needs)
        yield Branch(level, package, repeated, cut and not repeated)
        if not repeated and not cut:
            opened.add(here)
            rest += [(level + 1, n) for n in reversed(needs)]


def _needs(package: LockedPackage, by_name: Mapping[str, LockedPackage]) -> list[str]:
    return [n for n in dict.fromkeys((*package.pre_depends, *package.depends)) if n in by_name]


def _roots(by_name: Mapping[str, LockedPackage]) -> list[str]:
    """What was asked for by name; then what moves though none of that needs it, as an upgrade of everything does."""
    asked = [name for name, package in by_name.items() if package.manual]
    seen: set[str] = set()
    others: list[str] = []
    for root in (*asked, *reversed(list(by_name))):  # what needs another comes after it
        if root not in seen and not by_name[root].manual:
            others.insert(0, root)
        queue = [root]
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += _needs(by_name[name], by_name)
    return asked + others
