"""Packages of foreign architectures under names of their own ("libc6:i386"): the rules of one architecture do for all.

What Multi-Arch says becomes plain relations between such names, so neither the walk nor the solver knows of it.
A package whose architecture is "all" is a native one, as for dpkg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from stackbuild.packages.deb.control import Relation, relations
from stackbuild.packages.index import Index
from stackbuild.packages.package import Archive, Package


def bare(package: Package) -> Package:
    """The package under its own name again; its relations stay those of the names."""
    return replace(package, name=package.name.partition(":")[0])


def qualified(name: str, architecture: str, native: str) -> str:
    """The name that stands for a package of an architecture."""
    return name if architecture in (native, "all") else f"{name}:{architecture}"


class Architectures:
    """How the packages of a native and several foreign architectures meet each other's needs."""

    def __init__(self, native: str, foreign: Sequence[str]) -> None:
        self.native, self.foreign = native, tuple(foreign)
        self._names_itself = f":{native}"

    def package(self, package: Package) -> Package:
        """The package as one among those of all architectures."""
        if package.architecture not in (self.native, "all"):
            return self._foreign(package, package.architecture)
        if self.foreign or self._names_itself in "".join(_relation_fields(package)):
            return self._native(package)
        return package

    def _native(self, package: Package) -> Package:
        return replace(
            package,
            pre_depends=self._needs(package.pre_depends, ""),
            depends=self._needs(package.depends, ""),
            recommends=self._needs(package.recommends, ""),
            conflicts=self._conflicts(package, ""),
            breaks=self._clashes(package.breaks, package, ""),
            provides=self._provides(package, "", self.foreign),
        )

    def _foreign(self, package: Package, own: str) -> Package:
        return replace(
            package,
            name=f"{package.name}:{own}",
            flags="",  # essential is only what is native
            pre_depends=self._needs(package.pre_depends, own),
            depends=self._needs(package.depends, own),
            recommends=self._needs(package.recommends, own),
            conflicts=self._conflicts(package, own),
            breaks=self._clashes(package.breaks, package, own),
            provides=self._provides(package, own, ["", *(other for other in self.foreign if other != own)]),
        )

    def _needs(self, text: str, own: str) -> str:
        """What an architecture's package needs: of its own, unless it says which; `:any` is met by the native first."""
        if not own and ":" not in text:
            return text

        def change(relation: Relation) -> list[Relation]:
            if ":" in relation.name or relation.arch == "native":
                return [_of(relation, self._said(relation))]
            if relation.arch == "any":
                return [_of(relation, other) for other in ("", *self.foreign)]
            return [_of(relation, own)]

        return _changed(text, change, " | ")

    def _said(self, relation: Relation) -> str:
        architecture = relation.name.partition(":")[2]
        return "" if architecture == self.native else architecture

    def _conflicts(self, package: Package, own: str) -> str:
        said = self._clashes(package.conflicts, package, own)
        return ", ".join([*self._twins(package, own), *([said] if said else [])])

    def _clashes(self, text: str, package: Package, own: str) -> str:
        """A conflict means the packages of all architectures; but not its own twin, which provides what it does."""
        given = {r.name for group in relations(package.provides) for r in group} | {package.name.partition(":")[0]}

        def change(relation: Relation) -> list[Relation]:
            if ":" in relation.name:
                return [_of(relation, self._said(relation))]
            if relation.name in given:
                return [_of(relation, own)]
            return [_of(relation, other) for other in ("", *self.foreign)]

        return _changed(text, change, ", ")

    def _twins(self, package: Package, own: str) -> list[str]:
        """Multi-Arch: same may stand beside itself in one version; any other package of its name may not."""
        others = [other for other in ("", *self.foreign) if other != own]
        names = [f"{package.name}:{other}" if other else package.name for other in others]
        if package.multi_arch == "same":
            return [f"{name} ({op} {package.version})" for name in names for op in ("<<", ">>")]
        return [f"{name} (>= 0~~)" for name in names]  # a version: what only provides the name is no twin

    def _provides(self, package: Package, own: str, others: Iterable[str]) -> str:
        """What it provides its own architecture; Multi-Arch: foreign provides it, and itself, to all others."""

        def change(relation: Relation) -> list[Relation]:
            shown = [own, *others] if package.multi_arch == "foreign" else [own]
            return [_of(relation, other) for other in shown]

        parts = [_changed(package.provides, change, ", ")] if package.provides else []
        if package.multi_arch == "foreign":
            itself = Relation(package.name, "", "=", package.version)
            parts += [str(_of(itself, other)) for other in others]
        return ", ".join(parts)


def _of(relation: Relation, architecture: str) -> Relation:
    name = relation.name.partition(":")[0]
    arch = relation.arch if relation.arch == "any" else ""
    return replace(relation, name=f"{name}:{architecture}" if architecture else name, arch=arch)


def _changed(text: str, change: Callable[[Relation], list[Relation]], between: str) -> str:
    return ", ".join(" | ".join(between.join(map(str, change(r))) for r in group) for group in relations(text))


def _relation_fields(package: Package) -> tuple[str, ...]:
    return package.pre_depends, package.depends, package.recommends, package.conflicts, package.breaks


class View:
    """An index as Architectures show it. See Index for what each method answers."""

    def __init__(self, index: Index, architectures: Architectures) -> None:
        self._index, self._architectures = index, architectures

    def number(self, name: str) -> int | None:
        return self._index.number(name.partition(":")[0])

    def packages(self, name: str, archive: Archive | None) -> list[Package]:
        found = map(self._architectures.package, self._index.packages(name.partition(":")[0], archive))
        return [package for package in found if package.name == name]

    def providers(self, name: str, archive: Archive | None) -> list[Package]:
        short = name.partition(":")[0]
        found = [*self._index.packages(short, archive), *self._index.providers(short, archive)]
        return [p for p in map(self._architectures.package, found) if p.name != name]

    def architectures_of(self, name: str) -> set[str]:
        return {package.architecture for package in self._index.packages(name, None)}

    def names(self) -> list[str]:
        return self._index.names()

    def base(self, archive: Archive | None) -> list[Package]:
        return [self._architectures.package(package) for package in self._index.base(archive)]
