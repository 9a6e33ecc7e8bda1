"""Which packages apt would take: its marking walk. Finds no way around a contradiction; solve.py does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from stackbuild.packages.deb.catalogue import Catalogue, provided, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, relations, words
from stackbuild.packages.deb.universe import clashes_of, needs_of
from stackbuild.packages.package import Package

TRIES = 100_000
"""After so many, the walk gives up: an archive can be made so that going back and forth takes for ever."""

DEPTH = 20_000  # of recursion: two frames a package; Python frames, so no danger to the C stack


class Marks:
    """A set of packages, one of a name, that can say who meets a need."""

    def __init__(self, architecture: str, packages: Iterable[Package] = ()) -> None:
        self._architecture = architecture
        self.by_name: dict[str, Package] = {}
        self._providing: dict[str, dict[str, None]] = {}
        for package in packages:
            self.add(package)

    def add(self, package: Package) -> None:
        if package.name in self.by_name:
            self.remove(package.name)
        self.by_name[package.name] = package
        for name in _names(package):
            self._providing.setdefault(name, {})[package.name] = None

    def remove(self, name: str) -> None:
        for given in _names(self.by_name.pop(name)):
            self._providing[given].pop(name, None)

    def meeting(self, group: Group) -> Iterator[Package]:
        """The packages that satisfy one of the alternatives."""
        for relation in group:
            for name in self._providing.get(relation.name, ()):
                if satisfied_by(relation, self.by_name[name], self._architecture):
                    yield self.by_name[name]

    def reached(self, roots: Iterable[str]) -> list[Package]:
        """What something leads to: from the roots, and from what is essential or there, by need or recommendation."""
        queue = [*roots, *(name for name, p in self.by_name.items() if p.flags or p.installed)]
        seen: set[str] = set()
        while queue:
            name = queue.pop()
            if name in seen or name not in self.by_name:
                continue
            seen.add(name)
            package = self.by_name[name]
            for group in (*needs_of(package), *relations(package.recommends)):
                queue += [p.name for p in self.meeting(group)]
        return [package for name, package in self.by_name.items() if name in seen]


def needful(packages: Iterable[Package], asked: Iterable[Group], architecture: str) -> list[Package]:
    """Without those that nothing leads to from what was asked."""
    marks = Marks(architecture, packages)
    return marks.reached([p.name for group in asked for p in marks.meeting(group)])


def _names(package: Package) -> Iterable[str]:
    """All that a need for it may say."""
    return (package.name, *(name for name, _ in provided(package.provides)))


class Walk:
    """The state of a walk: what is marked so far. What it ends with need not be whole.

    apt takes nothing back: what was marked for a choice that failed stays and can meet a later need; only
    in the end goes what nothing leads to. Two sets of names make its order of preference:

    sure: must stay as it is (marked or not): what is asked for, and what that needs without a choice; what these
    conflict with; and, while its needs are looked at, each package itself.
    refused: cannot be had, as a need of it could not be met or something sure conflicts with it.

    chosen_for: (package name, group) -> the package that was marked for it.
    """

    def __init__(self, catalogue: Catalogue, recommends: bool = False, forbidden: frozenset[str] = frozenset()) -> None:
        self.catalogue, self.recommends = catalogue, recommends
        self.chosen_for: dict[tuple[str, Group], str] = {}
        self.roots: list[str] = []  # names of what answers the requests
        self._marks = Marks(catalogue.architecture)
        self._there: dict[str, Package] = {}
        self._solutions: dict[Relation, list[Package]] = {}
        self._sure, self._refused = set(forbidden), set[str]()
        self._tries = 0
        self._dropped = False  # else something leads to all that is marked

    @property
    def marked(self) -> dict[str, Package]:
        return self._marks.by_name

    def start(self, there: Sequence[Package]) -> None:
        """What a base image holds: it stays, and nothing is asked of it."""
        for package in there:
            self._there[package.name] = package
            self._marks.add(package)

    def request(self, wanted: Sequence[Package | Group]) -> None:
        """Mark all requested packages, then what each needs, in order; a group is answered in its turn."""
        for item in wanted:
            if isinstance(item, Package) and item.name not in self._sure:
                self.roots.append(item.name)
                self._sure.add(item.name)
                self._marks.add(item)
        try:
            with deep_recursion():
                for item in wanted:
                    if isinstance(item, Package):
                        self._take(item)
                    elif self._answer(None, item, needed=True, sure=True):
                        self.roots += [p.name for p in self._marks.meeting(item)]
        except RecursionError:  # deeper than any real archive: libsolv does not mind
            return
        if self._dropped:
            self._marks = Marks(self.catalogue.architecture, self._marks.reached(self.roots))

    def contradiction(self) -> str:
        """A need that is not met, or a conflict, among what is marked; "" if there is none."""
        for package in self.marked.values():
            for group in () if package.installed else needs_of(package):
                if not self._satisfied(group):
                    return f"{package} needs {words(group)}"
            for relation in clashes_of(package):
                for other in self._marks.meeting((relation,)):
                    if other is not package:
                        return f"{package} conflicts with {other}"
        return ""

    def _satisfied(self, group: Group) -> bool:
        return next(self._marks.meeting(group), None) is not None

    def _drop(self, name: str) -> None:
        """As it was before the walk."""
        self._dropped = True
        self._marks.remove(name)
        if name in self._there:
            self._marks.add(self._there[name])

    # ---- the walk ----------------------------------------------------------------------------------------

    def _take(self, package: Package) -> bool:
        """Mark a package and what it needs: depth first, Pre-Depends before Depends, recommendations last."""
        name, there = package.name, self.marked.get(package.name)
        self._tries += 1
        sure = name in self._sure
        if name in self._refused or self._tries > TRIES or (sure and there is not package):
            return False
        if package.installed or (there is package and not sure):
            return True
        needs = needs_of(package)
        if not all(self._satisfied(g) or any(map(self._candidates, g)) for g in needs):  # refused or not: as apt
            if not sure:
                self._refused.add(name)
            return False
        more = relations(package.recommends) if self.recommends else ()
        open_needs = [(g, n < len(needs)) for n, g in enumerate((*needs, *more)) if sure or not self._satisfied(g)]
        whole = self._make_room(package, sure)
        if not whole and not sure:
            return False
        if there is not package:
            self._marks.add(package)
        self._sure.add(name)
        for group, needed in open_needs:
            if not self._answer(package, group, needed=needed, sure=sure) and needed:
                whole = False
                if not sure:
                    break
        if not sure:
            self._sure.remove(name)
            if not whole:
                self._drop(name)
                self._refused.add(name)
        return whole

    def _answer(self, package: Package | None, group: Group, *, needed: bool, sure: bool) -> bool:
        """Satisfy a group: by what is marked, else by the first alternative that can be marked with all it needs.

        sure: what is needed without a choice must stay.
        """
        if self._satisfied(group):
            only = self._only(group) if sure and needed else None
            if only is None or only.name in self._sure:
                return True
            self._sure.add(only.name)
            return self._take(only)
        choices = self._choices(group)
        for choice in choices:
            if choice.name in self._refused:
                continue
            if sure and needed and len(choices) == 1 and choice.name not in self._sure:
                self._marks.add(choice)
                self._sure.add(choice.name)
            if self._take(choice):
                self.chosen_for[(package.name if package else "", group)] = choice.name
                return True
        return False

    def _candidates(self, relation: Relation) -> list[Package]:
        found = self._solutions.get(relation)
        if found is None:
            found = self._solutions[relation] = self.catalogue.solutions(relation)
        return found

    def _choices(self, group: Group) -> list[Package]:
        """What could satisfy a group, in apt's order: an upgrade of what is there before what would be new."""
        found: dict[str, Package] = {}
        for relation in group:
            for package in self._candidates(relation):
                if package.name not in self._refused and not (
                    package.name in self._sure and package.name not in self.marked
                ):
                    found.setdefault(package.name, package)
        return sorted(found.values(), key=lambda p: p.name not in self._there)

    def _only(self, group: Group) -> Package | None:
        """The one package that satisfies a group, if no other could."""
        meeting = {p.key: p for p in (*self._marks.meeting(group), *self._choices(group))}
        return next(iter(meeting.values())) if len(meeting) == 1 else None

    def _make_room(self, package: Package, sure: bool) -> bool:
        """Drop what a package conflicts with (policy 7.3, 7.4); what is sure or of the base image stays.

        Only what the package itself says counts: apt leaves it to the others to find out that they conflict with it.
        """
        room = True
        for relation in clashes_of(package):
            rivals = [p.name for p in self._marks.meeting((relation,)) if p.name != package.name]
            for name in rivals:
                if self._goes_along(self.marked[name], package):
                    continue
                if name in self._sure or self.marked[name].installed:
                    room = False
                    if not sure:
                        return False
                else:
                    self._drop(name)
            if sure:
                names = {p.name for p in self._candidates(relation)} - {package.name}
                self._refused |= names - self.marked.keys()
                self._sure |= names - self.marked.keys()
        return room

    def _goes_along(self, twin: Package, package: Package) -> bool:
        """Move what is there for another architecture to the version of this one: Multi-Arch: same wants both alike."""
        if not twin.installed or twin.name.partition(":")[0] != package.name.partition(":")[0]:
            return False
        moved = self.catalogue.candidate(twin.name)
        if moved is None or moved.version != package.version or not self._take(moved):
            return False
        self.roots.append(moved.name)
        return True


@contextmanager
def deep_recursion() -> Iterator[None]:
    """A chain of dependencies may be thousands long."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
