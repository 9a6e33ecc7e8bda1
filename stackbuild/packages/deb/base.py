"""What a base image holds, as the resolver must treat it: what may move, what may go, and what to say if not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stackbuild.core.errors import Hint, ResolutionError
from stackbuild.core.origin import Origin
from stackbuild.packages.deb.catalogue import Catalogue, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, words
from stackbuild.packages.deb.universe import clashes_of, needs_of
from stackbuild.packages.package import Package

_WHERE = Origin("project", "", 0, ("packages", "install"))
MOST = 8  # packages that an error names


@dataclass(frozen=True, slots=True)
class Base:
    """there: the installed packages of the native architecture. upgrade, allow_remove: as in Question."""

    there: Sequence[Package] = ()
    upgrade: bool = False
    allow_remove: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        return [p.name for p in self.there]

    @property
    def groups(self) -> list[Group]:
        """What is there, in any version, and what that needs: an upgrade may ask for companions."""
        own: list[Group] = [(Relation(p.name, own=True),) for p in self.there]
        return [*own, *(g for p in self.there for g in needs_of(p))]

    def without_essential(self, chosen: list[Package]) -> list[Package]:
        """The answer itself; raises ResolutionError if it removes what dpkg never removes."""
        names = {p.name for p in chosen}
        for package in self.there:
            if package.name not in names and package.flags:
                raise ResolutionError(
                    f"{package.name} of the base image cannot be removed",
                    where=_WHERE,
                    why="it is essential or protected: dpkg refuses to take it away",
                )
        return chosen

    def must_go(self, answer: Sequence[Package], erased: Collection[str], asked: Iterable[str]) -> ResolutionError:
        """The requests can be met, but not without a removal that nobody allowed."""
        stays = {p.name: p for p in answer}
        gone = [p for p in self.there if p.name not in stays]
        names = [p.name for p in gone if p.name not in self.allow_remove and p.name not in erased]
        whys = [f"{p}: {_why(p, gone, answer)}" for p in gone if p.name in names][:MOST]
        listed = ", ".join(f'"{name}"' for name in dict.fromkeys([*self.allow_remove, *names]))
        plural = "it" if len(names) == 1 else "them"
        words = list(dict.fromkeys([*asked, *(f"{name}-" for name in sorted(erased))]))
        without = Hint(f"or leave out {'one of ' if len(words) > 1 else ''}{', '.join(words)}")
        mend = Hint(f"to let {plural} go: [packages] allow-remove = [{listed}]")
        if essential := [p.name for p in gone if p.flags]:
            mend = Hint(f"this cannot be allowed: of them dpkg never removes {_some(essential)}")
        return ResolutionError(
            f"{_some(names)} of the base image would have to be removed",
            where=_WHERE,
            why="; ".join(whys),
            hints=(mend, without),
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def _why(package: Package, gone: Sequence[Package], answer: Sequence[Package]) -> str:
    """Why an installed package has no place beside an answer."""
    architecture = package.architecture
    for other in answer:
        for one, two in ((other, package), (package, other)):
            for relation in clashes_of(one):
                if one.name != two.name and satisfied_by(relation, two, architecture):
                    return f"{one} conflicts with {relation}"
    for group in needs_of(package):
        if not any(satisfied_by(r, p, architecture) for r in group for p in answer):
            lost = [p.name for p in gone if any(satisfied_by(r, p, architecture) for r in group)]
            return f"it needs {words(group)}" + (f", and {lost[0]} goes" if lost else ", which changes")
    return "nothing that is asked for can stand beside it"


def upgradable(catalogue: Catalogue, there: Iterable[Package], forbidden: Collection[str]) -> list[Package]:
    """The candidates of installed packages that are not what is installed (`apt-get upgrade --with-new-pkgs`)."""
    found = (catalogue.candidate(p.name) for p in there if p.name not in forbidden)
    return [p for p in found if p is not None and not p.installed]


def first(package: Package, new: Collection[str], old: Mapping[str, Package], architecture: str) -> list[str]:
    """The upgrades that must be unpacked before this package: their old versions cannot stand beside it."""
    return [
        name
        for name in old
        if name != package.name
        and name in new
        and (
            any(satisfied_by(r, old[name], architecture) for r in clashes_of(package))
            or any(satisfied_by(r, package, architecture) for r in clashes_of(old[name]))
        )
    ]
