"""Which packages apt would take: its marking walk. Finds no way around a conflict; solve.py does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from stackbuild.packages.deb.catalogue import Catalogue, provided, satisfied_by
from stackbuild.packages.deb.control import Group, relations
from stackbuild.packages.package import Package

TRIES = 100_000
"""After so many, the walk gives up: an archive can be made so that going back and forth takes for ever."""

DEPTH = 20_000  # of recursion: two frames a package; Python frames, so no danger to the C stack


@dataclass
class Walk:
    """The state of a walk: what is marked so far, by name, and what could not be.

    failures: (package or None for a request, group) that found no answer on the way.
    chosen_for: (package name, group) -> the package that was marked for it.
    """

    catalogue: Catalogue
    recommends: bool = False
    forbidden: frozenset[str] = frozenset()
    marked: dict[str, Package] = field(default_factory=dict)
    failures: list[tuple[Package | None, Group]] = field(default_factory=list)
    chosen_for: dict[tuple[str, Group], str] = field(default_factory=dict)
    _providing: dict[str, set[str]] = field(default_factory=dict)
    _conflicting: dict[str, set[str]] = field(default_factory=dict)
    _trail: list[tuple[str, Package | None]] = field(default_factory=list)
    _expanded: set[str] = field(default_factory=set)
    _fixed: set[str] = field(default_factory=set)
    _tries: int = 0

    def start(self, there: Sequence[Package]) -> None:
        """What a base image holds: it stays, and nothing is asked of it."""
        for package in there:
            self._mark(package)
            self._expanded.add(package.name)

    def request(self, wanted: Sequence[Package | Group]) -> None:
        """Mark all requested packages, then what each needs, in order; a group is answered in its turn."""
        self._fixed = {item.name for item in wanted if isinstance(item, Package)}
        for item in wanted:
            if isinstance(item, Package) and self.marked.get(item.name) is not item and not self._conflicts(item):
                self._mark(item)
        try:
            with deep_recursion():
                for item in wanted:
                    if not self._take(item):
                        self.failures.append((None, relations(item.name)[0] if isinstance(item, Package) else item))
        except RecursionError:  # deeper than any real archive: libsolv does not mind
            self.failures.append((None, ()))

    def _take(self, item: Package | Group) -> bool:
        if isinstance(item, Package):
            return self.marked.get(item.name) is item and self._expand(item)
        return self._answer(None, item)

    def _mark(self, package: Package) -> None:
        self._trail.append((package.name, self.marked.get(package.name)))
        self.marked[package.name] = package
        self._expanded.discard(package.name)
        for name in (package.name, *(name for name, _ in provided(package.provides))):
            self._providing.setdefault(name, set()).add(package.name)
        for name in {r.name for group in relations(f"{package.conflicts},{package.breaks}") for r in group}:
            self._conflicting.setdefault(name, set()).add(package.name)

    def _undo(self, length: int) -> None:
        """Take back every mark after the first `length`."""
        while len(self._trail) > length:
            name, before = self._trail.pop()
            self._expanded.discard(name)
            self.marked.pop(name, None)
            for names in (self._providing, self._conflicting):
                for holders in names.values():
                    holders.discard(name)
            if before is not None:  # it was of the base and to be upgraded, or had to make room
                self._mark(before)
                self._trail.pop()
                self._expanded.add(name)

    def _unmark(self, name: str) -> None:
        self._trail.append((name, self.marked.pop(name)))
        for names in (self._providing, self._conflicting):
            for holders in names.values():
                holders.discard(name)

    def _conflicts(self, package: Package) -> bool:
        """Whether it cannot stand beside what is marked, or was forbidden."""
        return package.name in self.forbidden or next(self._in_the_way(package), None) is not None

    def _in_the_way(self, package: Package) -> Iterator[str]:
        """What is marked and conflicts with it (policy 7.3, 7.4; a package never conflicts with itself)."""
        architecture = self.catalogue.architecture
        for relation in (r for group in relations(f"{package.conflicts},{package.breaks}") for r in group):
            for name in self._providing.get(relation.name, ()):
                if name != package.name and satisfied_by(relation, self.marked[name], architecture):
                    yield name
        for given in (package.name, *(name for name, _ in provided(package.provides))):
            for name in self._conflicting.get(given, ()):
                other = self.marked[name]
                if name != package.name and any(
                    satisfied_by(r, package, architecture)
                    for group in relations(f"{other.conflicts},{other.breaks}")
                    for r in group
                ):
                    yield name

    def satisfied(self, group: Group) -> bool:
        """Whether a marked package satisfies one of the alternatives."""
        return any(
            satisfied_by(relation, self.marked[name], self.catalogue.architecture)
            for relation in group
            for name in self._providing.get(relation.name, ())
        )

    def _expand(self, package: Package) -> bool:
        """Mark what a marked package needs: depth first, Pre-Depends before Depends."""
        if package.name in self._expanded:
            return True
        self._expanded.add(package.name)
        if package.installed:
            return True
        groups = [*relations(package.pre_depends), *relations(package.depends)]
        answered = [self._answer(package, group) for group in groups]  # all of them: apt marks on after a failure
        whole = all(answered)
        if self.recommends and whole:
            for group in relations(package.recommends):
                self._answer(package, group, needed=False)
        return whole

    def _answer(self, package: Package | None, group: Group, needed: bool = True) -> bool:
        """Satisfy a group: by what is marked, else by the first alternative that can be marked with all it needs."""
        if self.satisfied(group):
            return True
        before, failed = len(self._trail), len(self.failures)
        choices = [choice for relation in group for choice in self.catalogue.solutions(relation)]
        for push in (False, True) if needed else (False,):
            for choice in choices:
                if self._try(package, group, choice, push=push):
                    del self.failures[failed:]
                    return True
                self._undo(before)
        if needed and len(self.failures) == failed:
            self.failures.append((package, group))
        elif not needed:
            del self.failures[failed:]
        return False

    def _try(self, package: Package | None, group: Group, choice: Package, *, push: bool) -> bool:
        """Mark a choice and what it needs; push: what was marked only for others makes room for it.

        After False the caller undoes what was marked on the way.
        """
        self._tries += 1
        old = self.marked.get(choice.name)
        if self._tries > TRIES or choice.name in self.forbidden:
            return False
        if old is not None and (not old.installed or old is choice):
            return False
        rivals = list(dict.fromkeys(self._in_the_way(choice)))
        if bool(rivals) != push or any(name in self._fixed or self.marked[name].installed for name in rivals):
            return False
        for name in rivals:
            self._unmark(name)
        self._mark(choice)
        if not self._expand(choice):
            return False
        self.chosen_for[(package.name if package else "", group)] = choice.name
        gone = set(rivals)
        return all(
            self._answer(self.marked[name], needed)
            for (name, needed), taken in list(self.chosen_for.items())
            if taken in gone and name in self.marked and name in self._expanded
        )


@contextmanager
def deep_recursion() -> Iterator[None]:
    """A chain of dependencies may be thousands long."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
