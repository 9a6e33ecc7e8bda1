"""Debian's relations settled for libsolv: which packages could matter to a request, and who answers whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stackbuild.packages.deb.catalogue import Catalogue, provided, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, relations, words
from stackbuild.packages.deb.version import evr
from stackbuild.packages.package import Package
from stackbuild.packages.solve import Item


def needs_of(package: Package) -> tuple[Group, ...]:
    """What must be there beside it: Pre-Depends, then Depends."""
    return (*relations(package.pre_depends), *relations(package.depends))


def clashes_of(package: Package) -> tuple[Relation, ...]:
    """What must not be there beside it."""
    return tuple(r for group in relations(f"{package.conflicts},{package.breaks}") for r in group)


def settle(packages: Collection[Package], asked: Iterable[Group], architecture: str) -> list[Item]:
    """These packages, and no others, as items: each told which needs and clashes of all it answers.

    asked: groups that no package has (the user's). Cost: about 30 microseconds a package.
    """
    packages = list({p.key: p for p in packages}.values())
    by_name: dict[str, list[int]] = {}
    for number, package in enumerate(packages):
        for name in {package.name, *(n for n, _ in provided(package.provides))}:
            by_name.setdefault(name, []).append(number)
    groups = {words(g): g for p in packages for g in needs_of(p)}
    groups.update({words(g): g for g in asked})
    clashing = {str(r): r for p in packages for r in clashes_of(p)}
    answers: list[dict[str, None]] = [{} for _ in packages]
    for text, group in groups.items():
        for relation in group:
            for number in by_name.get(relation.name, ()):
                if satisfied_by(relation, packages[number], architecture):
                    answers[number][text] = None
    against: list[dict[str, None]] = [{} for _ in packages]
    for text, relation in clashing.items():
        for number in by_name.get(relation.name, ()):
            if satisfied_by(relation, packages[number], architecture):
                against[number]["!" + text] = None
    return [
        Item(
            package,
            evr(package.version),
            tuple(words(g) for g in needs_of(package)),
            tuple("!" + str(r) for r in clashes_of(package)),
            (*answers[number], *against[number]),
        )
        for number, package in enumerate(packages)
    ]


def reachable(
    catalogue: Catalogue, start: Iterable[Group], forbidden: frozenset[str], least: int = 500
) -> list[Package]:
    """Every package that some answer could hold: what any alternative of any need leads to, always in one order.

    least: versions of a lower pin priority are left out, unless they are what was chosen.
    """
    seen: set[Group] = set()
    found: dict[tuple[str, str, str], Package] = {}
    queue: list[Group] = list(start)
    while queue:
        group = queue.pop()
        if group in seen:
            continue
        seen.add(group)
        for relation in group:
            for package in [*catalogue.versions(relation.name), *catalogue.providers(relation.name)]:
                if package.key in found or package.name in forbidden:
                    continue
                chosen = catalogue.chosen.get(package.name)
                if chosen is not None and chosen is not package:
                    continue
                low = package.archive is not None and catalogue.pin(package) < least
                if low and catalogue.candidate(package.name) is not package:
                    continue
                if satisfied_by(relation, package, catalogue.architecture):
                    found[package.key] = package
                    queue.extend(needs_of(package))
    return list(found.values())
