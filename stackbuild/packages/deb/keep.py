"""A lock that is only partly moved: which of its versions stay, and which have to go along; chooses no sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from stackbuild.packages.deb.catalogue import Catalogue, satisfied_by
from stackbuild.packages.deb.control import Group, relations
from stackbuild.packages.deb.universe import clashes_of, needs_of
from stackbuild.packages.package import Package


class Kept:
    """The versions that stay, as choices of a catalogue. What the sources no longer have is not among them, nor what
    a pin forbids or puts below another version: one that was written since the lock must move what it names."""

    def __init__(self, catalogue: Catalogue, keep: Mapping[str, str]) -> None:
        self._catalogue = catalogue
        self._kept: dict[str, Package] = {}
        for name, version in keep.items():
            found = next((p for p in catalogue.versions(name) if p.version == version), None)
            if found is not None and not found.installed and not self._pinned_below(found):
                self._kept[name] = catalogue.chosen[name] = found

    def _pinned_below(self, locked: Package) -> bool:
        best = self._catalogue.candidate(locked.name)
        if best is None or best.key == locked.key:
            return best is None and self._catalogue.pin(locked) <= 0
        return self._catalogue.pin(best) > self._catalogue.pin(locked) and any(
            map(self._catalogue.pinned, (best, locked))
        )

    def let_go(self, wanted: Iterable[Package | Group], recommends: bool = False) -> bool:
        """Give up each version that stands in the way of what is wanted and all that it needs; whether there was one.

        What moves is taken in its newest version, so the needs of that one count too. Cost: a walk for each that goes.
        """
        roots = list(wanted)
        before = len(self._kept)
        while culprit := next(self._in_the_way(self._closure(roots, recommends)), None):
            del self._kept[culprit]
            del self._catalogue.chosen[culprit]
        return len(self._kept) < before

    def _now(self, package: Package) -> Package:
        return self._catalogue.candidate(package.name) or package

    def _closure(self, roots: Iterable[Package | Group], recommends: bool) -> dict[str, Package]:
        """All that the roots need, where there is a choice preferably what stays."""
        found: dict[str, Package] = {}
        queue = deque(p for root in roots for p in ([root] if isinstance(root, Package) else self._first(root)))
        while queue:
            package = self._now(queue.popleft())
            if package.name not in found:
                found[package.name] = package
                wishes = relations(package.recommends) if recommends else ()
                queue.extend(p for group in (*needs_of(package), *wishes) for p in self._first(group))
        return found

    def _first(self, group: Group) -> list[Package]:
        found = [p for relation in group for p in self._catalogue.solutions(relation)]
        return [p for p in found if p.name in self._kept][:1] or found[:1]

    def _in_the_way(self, closure: Mapping[str, Package]) -> Iterator[str]:
        """Names of what stays and cannot, as far as a newer version of it exists."""
        architecture = self._catalogue.architecture
        for package in closure.values():
            for group in needs_of(package):
                if not self._first(group):
                    meant = (
                        p
                        for r in group
                        for p in (*self._catalogue.versions(r.name), *self._catalogue.providers(r.name))
                    )
                    able = [p.name for p in meant if any(satisfied_by(r, p, architecture) for r in group)]
                    yield from filter(self._can_move, [*able, package.name])
            for relation in clashes_of(package):
                hit = {p.name for p in self._catalogue.providers(relation.name)} | {relation.name}
                others = [closure[name] for name in hit - {package.name} if name in closure]
                for other in sorted((p for p in others if satisfied_by(relation, p, architecture)), key=str):
                    yield from filter(self._can_move, [other.name, package.name])

    def _can_move(self, name: str) -> bool:
        return name in self._kept and self._catalogue.versions(name)[0] is not self._kept[name]
