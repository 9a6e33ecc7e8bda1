"""All that several indexes offer, by name, with apt's policy on which version is the candidate; chooses no sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from stackbuild.packages.deb.control import Relation, relations
from stackbuild.packages.deb.version import order, satisfies
from stackbuild.packages.index import Index
from stackbuild.packages.package import Archive, Package

PRIORITIES = {"required": 1, "important": 2, "standard": 3, "optional": 4, "extra": 5}
AUTOMATIC = 100
"""Below this pin priority a version is no candidate unless asked for (apt_preferences(5))."""


@lru_cache(maxsize=1 << 15)
def provided(text: str) -> tuple[tuple[str, str], ...]:
    """A Provides field as (name, version or "")."""
    return tuple((r.name, r.version if r.op == "=" else "") for group in relations(text) for r in group)


def satisfied_by(relation: Relation, package: Package, architecture: str) -> bool:
    """Whether `package` satisfies the relation, by its name or by what it provides (policy 7.5)."""
    if relation.arch == "any":
        if package.multi_arch != "allowed":
            return False
    elif relation.arch not in ("", "native", architecture):
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

    `choose` overrides the policy for a name, as `name=version` and `name/suite` do.
    """

    def __init__(
        self, architecture: str, indexes: Sequence[tuple[Index, Archive]], status: Index | None = None
    ) -> None:
        self.architecture = architecture
        self._indexes: list[tuple[Index, Archive | None]] = [*indexes]
        if status is not None:
            self._indexes.append((status, None))
        self.archives = [archive for _, archive in indexes]
        self._versions: dict[str, list[Package]] = {}
        self._providers: dict[str, list[Package]] = {}
        self.chosen: dict[str, Package] = {}

    def rank(self, name: str) -> tuple[int, int]:
        """The number that apt would give the name: its first mention over all indexes."""
        for number, (index, _) in enumerate(self._indexes):
            rank = index.rank.get(name)
            if rank is not None:
                return number, rank
        return len(self._indexes), 0

    def versions(self, name: str) -> list[Package]:
        """Every version of the package, the candidate's place first: by pin priority, then by version."""
        found = self._versions.get(name)
        if found is None:
            by_key: dict[tuple[str, str, str], Package] = {}
            for index, archive in self._indexes:
                for package in index.packages(name, archive):
                    if package.architecture in (self.architecture, "all"):
                        known = by_key.get(package.key)
                        if known is None or package.installed or self._pin(package) > self._pin(known):
                            by_key[package.key] = package
            found = sorted(by_key.values(), key=lambda p: (self._pin(p), order(p.version)), reverse=True)
            there = next((p for p in found if p.installed), None)
            if there is not None:  # a lower version is no candidate: nothing is downgraded unless asked
                newer = [p for p in found if order(p.version) > order(there.version)]
                found = [*newer, there, *(p for p in found if p is not there and p not in newer)]
            self._versions[name] = found
        return found

    @staticmethod
    def _pin(package: Package) -> int:
        return AUTOMATIC if package.archive is None else package.archive.priority

    def candidate(self, name: str) -> Package | None:
        """What apt would install for the name; None if it is not there or only on demand."""
        chosen = self.chosen.get(name)
        if chosen is not None:
            return chosen
        versions = self.versions(name)
        return versions[0] if versions and self._pin(versions[0]) > 0 else None

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
        return found + sorted(others, key=self._preference)

    def _preference(self, package: Package) -> tuple[object, ...]:
        number, rank = self.rank(package.name)
        return (
            not package.essential,
            "i" not in package.flags,
            PRIORITIES.get(package.priority, 0),
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
