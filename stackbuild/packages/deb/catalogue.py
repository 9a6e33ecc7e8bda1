"""All that several indexes offer, by name, with apt's policy on which version is the candidate; chooses no sets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from stackbuild.packages.deb.control import Relation, relations
from stackbuild.packages.deb.multiarch import Architectures, View
from stackbuild.packages.deb.preferences import INSTALLED, Policy
from stackbuild.packages.deb.version import order, satisfies
from stackbuild.packages.index import Index
from stackbuild.packages.local import PROJECT
from stackbuild.packages.package import Archive, Package
from stackbuild.packages.pin import Pin

PRIORITIES = {"required": 1, "important": 2, "standard": 3, "optional": 4, "extra": 5}
DOWNGRADE = 1000
"""From this pin priority on an older version may replace an installed one (apt_preferences(5))."""


@lru_cache(maxsize=1 << 15)
def provided(text: str) -> tuple[tuple[str, str], ...]:
    """A Provides field as (name, version or "")."""
    return tuple((r.name, r.version if r.op == "=" else "") for group in relations(text) for r in group)


def satisfied_by(relation: Relation, package: Package, architecture: str) -> bool:
    """Whether `package` satisfies the relation, by its name or by what it provides (policy 7.5)."""
    if relation.arch == "any" and package.multi_arch != "allowed":
        return False
    if package.name == relation.name:
        return relation.accepts(package.version)
    if relation.own or not package.provides:
        return False
    return any(
        name == relation.name
        and (not relation.op or (version != "" and satisfies(version, relation.op, relation.version)))
        for name, version in provided(package.provides)
    )


class Catalogue:
    """Names to packages, for one architecture. indexes: in the order of the sources; status: a base image's.

    foreign: other architectures; their packages have names of their own ("libc6:i386", see multiarch.py).

    `choose` overrides the policy for a name, as `name=version` and `name/suite` do.
    """

    def __init__(
        self,
        architecture: str,
        indexes: Sequence[tuple[Index, Archive]],
        status: Index | None = None,
        policy: Policy | None = None,
        held: Collection[str] = (),
        foreign: Sequence[str] = (),
    ) -> None:
        self._policy, self._held = policy or Policy(), frozenset(held)
        self._origins: dict[tuple[str, str, str], list[Archive]] = {}
        self.architecture = architecture
        self.architectures = Architectures(architecture, foreign)
        every: list[tuple[Index, Archive | None]] = [*indexes, *([(status, None)] if status is not None else [])]
        self._indexes = [(View(index, self.architectures), archive) for index, archive in every]
        self.archives = [archive for _, archive in indexes]
        self._versions: dict[str, list[Package]] = {}
        self._providers: dict[str, list[Package]] = {}
        self.chosen: dict[str, Package] = {}

    def rank(self, name: str) -> tuple[int, int]:
        """The number that apt would give the name: its first mention over all indexes."""
        for number, (index, _) in enumerate(self._indexes):
            rank = index.number(name)
            if rank is not None:
                return number, rank
        return len(self._indexes), 0

    def versions(self, name: str) -> list[Package]:
        """Every version of the package, the candidate's place first: by pin priority, then by version."""
        found = self._versions.get(name)
        if found is None:
            found = self.every(name)
            there = next((p for p in found if p.installed), None)
            if there is not None and name in self._held:
                found = [there]
            best = self._best(found, there)
            if best is not None and best is not found[0]:
                found = [best, *(p for p in found if p is not best)]
            self._versions[name] = found
        return found

    def every(self, name: str) -> list[Package]:
        """Every version, holds aside, by pin priority, then by version."""
        by_key: dict[tuple[str, str, str], Package] = {}
        origins: dict[tuple[str, str, str], list[Archive]] = {}
        for index, archive in self._indexes:
            for package in index.packages(name, archive):
                known = by_key.get(package.key)
                if archive is not None:
                    origins.setdefault(package.key, []).append(archive)
                if known is None or self._before(package, known):
                    by_key[package.key] = package
        self._origins.update(origins)
        return sorted(by_key.values(), key=lambda p: (self.pin(p), order(p.version)), reverse=True)

    def _before(self, package: Package, known: Package) -> bool:
        """Of one version that is in two places: a file of the project counts first, then what is installed."""
        if PROJECT in (package.archive, known.archive):
            return package.archive == PROJECT
        return package.installed or self._of_archive(package) > self._of_archive(known)

    def _best(self, versions: Sequence[Package], there: Package | None) -> Package | None:
        """The candidate: the highest priority, then the highest version; older than what is there from 1000 on."""
        for package in versions:
            if self.pin(package) <= 0:
                return there
            if there is None or self.pin(package) >= DOWNGRADE or order(package.version) >= order(there.version):
                return package
        return there

    def elsewhere(self, name: str) -> list[str]:
        """The architectures that an index has the package for, the own one and foreign ones aside."""
        known = {self.architecture, "all", *self.architectures.foreign}
        return sorted({a for index, _ in self._indexes for a in index.architectures_of(name)} - known)

    def origins(self, package: Package) -> Sequence[Archive]:
        """The archives that have this version."""
        return self._origins.get(package.key, ())

    def held(self, name: str) -> Package | None:
        """The installed version that a hold keeps, if one does."""
        return next((p for p in self.versions(name) if p.installed), None) if name in self._held else None

    def pin(self, package: Package) -> int:
        """The version's priority."""
        return self._policy.priority(package, self._origins.get(package.key, ()), installed=package.installed)

    def why(self, package: Package) -> Pin | None:
        """The pin that gave it this priority, if one did."""
        return self._policy.reason(package, self._origins.get(package.key, ()))

    def pinned(self, package: Package) -> bool:
        """Whether somebody said its priority: by a pin, or for a whole source."""
        return self.why(package) is not None or any(archive.pin is not None for archive in self.origins(package))

    def _of_archive(self, package: Package) -> int:
        return INSTALLED if package.archive is None else self._policy.archive(package.archive)

    def candidate(self, name: str) -> Package | None:
        """What apt would install for the name; None if it is not there or only on demand."""
        chosen = self.chosen.get(name)
        if chosen is not None:
            return chosen
        versions = self.versions(name)
        return versions[0] if versions and (versions[0].installed or self.pin(versions[0]) > 0) else None

    def providers(self, name: str) -> list[Package]:
        """Every version of every package that provides the name beside its own."""
        found = self._providers.get(name)
        if found is None:
            names = dict.fromkeys(p.name for index, archive in self._indexes for p in index.providers(name, archive))
            found = [
                p for n in names for p in self.versions(n) if any(name == given for given, _ in provided(p.provides))
            ]
            self._providers[name] = found
        return found

    def solutions(self, relation: Relation) -> list[Package]:
        """The candidates that satisfy a relation, in apt's order of preference."""
        found = []
        own = self.candidate(relation.name)
        if own is not None and satisfied_by(relation, own, self.architecture):
            found.append(own)
        others = [
            p
            for p in self.providers(relation.name)
            if p.name != relation.name and self.candidate(p.name) is p and satisfied_by(relation, p, self.architecture)
        ]
        others.sort(key=self._preference)
        bare = relation.name.partition(":")[0]
        twins = [p for p in others if p.name == bare] if ":" in relation.name else []  # before the foreign one itself
        return twins + found + [p for p in others if p not in twins]

    def _preference(self, package: Package) -> tuple[object, ...]:
        number, rank = self.rank(package.name)
        return (
            not package.essential,
            "i" not in package.flags,
            PRIORITIES.get(package.priority, 0),
            ":" in package.name,
            -number,
            -rank,
        )

    def names(self) -> list[str]:
        """All package names, each once."""
        return list(dict.fromkeys(name for index, _ in self._indexes for name in index.names()))

    def base(self) -> list[Package]:
        """The candidates that may be part of a variant: essential ones, and those of a high priority."""
        names = dict.fromkeys(p.name for index, archive in self._indexes for p in index.base(archive))
        found = (self.candidate(name) for name in names)
        return [p for p in found if p is not None]

    def same_archive(self, suite: str) -> list[Archive]:
        """The archives that apt would mean by `/suite`: by Codename or Suite."""
        return [a for a in self.archives if suite in (a.codename, a.suite)]
