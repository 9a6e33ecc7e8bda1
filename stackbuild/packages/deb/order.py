"""In which order dpkg unpacks and configures a wave: what Pre-Depends demand, and nothing more. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stackbuild.packages.deb.control import Group, relations
from stackbuild.packages.deb.database import Entry
from stackbuild.packages.deb.wave import Package

Installed = Mapping[tuple[str, str], Entry]


@dataclass(frozen=True, slots=True)
class Round:
    """Packages to unpack, and then those to configure before the next round."""

    unpack: tuple[Package, ...]
    configure: tuple[Package, ...]


def rounds(packages: Sequence[Package], installed: Installed) -> list[Round]:
    """The wave in the given order, but a Pre-Depends that the tree below does not meet is configured first.

    The last round configures nothing: whatever is left is configured by whoever calls.
    """
    work = _Work(packages, installed)
    for package in packages:
        work.unpack(package)
    return [*work.rounds, Round(tuple(work.batch), ())]


def unmet_predepends(package: Package, packages: Sequence[Package], installed: Installed) -> list[Package]:
    """The packages of the wave that this one's Pre-Depends need, because nothing in the tree below does."""
    return _needs(package, ("pre-depends",), packages, installed)


class _Work:
    def __init__(self, packages: Sequence[Package], installed: Installed) -> None:
        self._packages, self._installed = packages, installed
        self._seen: set[int] = set()
        self._configured: set[int] = set()
        self.batch: list[Package] = []
        self.rounds: list[Round] = []

    def unpack(self, package: Package) -> None:
        if id(package) in self._seen:
            return
        self._seen.add(id(package))  # before what it needs: a ring of Pre-Depends ends here, and dpkg tells of it
        for need in unmet_predepends(package, self._packages, self._installed):
            self._configure(need)
        self.batch.append(package)

    def _configure(self, package: Package) -> None:
        closure = self._closure(package)
        for one in closure:
            self.unpack(one)
        todo = tuple(one for one in closure if id(one) not in self._configured)
        if todo:
            self._configured.update(id(one) for one in todo)
            self.rounds.append(Round(tuple(self.batch), todo))
            self.batch = []

    def _closure(self, package: Package) -> list[Package]:
        """The package and all of the wave that it depends on, in the wave's order."""
        found: dict[int, Package] = {}
        todo = [package]
        while todo:
            one = todo.pop()
            if id(one) not in found:
                found[id(one)] = one
                todo += _needs(one, ("pre-depends", "depends"), self._packages, self._installed)
        return [one for one in self._packages if id(one) in found]


def _needs(package: Package, keys: Sequence[str], packages: Sequence[Package], installed: Installed) -> list[Package]:
    found = []
    for key in keys:
        for group in relations(package.fields.get(key, "")):
            if not _met(group, installed):
                found += [one for one in packages if _satisfies(one, group)][:1]
    return found


def _met(group: Group, installed: Installed) -> bool:
    names = {one.name for one in group}
    return any(
        one.name == name and one.accepts(entry.version)
        for (name, _), entry in installed.items()
        if name in names and entry.status == "installed"
        for one in group
    )


def _satisfies(package: Package, group: Group) -> bool:
    for one in group:
        if one.name == package.name and one.accepts(package.version):
            return True
        if any(p.name == one.name for provided in relations(package.fields.get("provides", "")) for p in provided):
            return True
    return False
