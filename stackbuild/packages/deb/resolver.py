"""The whole answer to a question: apt's walk first, libsolv to prove or complete it, then edges and waves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from stackbuild.core.errors import Hint
from stackbuild.core.origin import Origin
from stackbuild.packages.deb.base import Base, first, upgradable
from stackbuild.packages.deb.catalogue import Catalogue, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, relations, words
from stackbuild.packages.deb.keep import Kept
from stackbuild.packages.deb.local import Key, LocalPackages
from stackbuild.packages.deb.multiarch import bare
from stackbuild.packages.deb.packages_index import held, installed
from stackbuild.packages.deb.prefer import Walk, needful
from stackbuild.packages.deb.preferences import Policy
from stackbuild.packages.deb.repository import Repository
from stackbuild.packages.deb.requests import Asked, answer, exactly
from stackbuild.packages.deb.universe import reachable, settle
from stackbuild.packages.deb.waves import Edges, waves
from stackbuild.packages.ecosystem import Question, Resolution, Resolved
from stackbuild.packages.index import Index
from stackbuild.packages.local import PROJECT
from stackbuild.packages.package import Archive, Package
from stackbuild.packages.problems import raise_pin, unhold, unsolvable
from stackbuild.packages.solve import Solution, solve
from stackbuild.packages.source import Source

NOT_APTS = "apt's way of choosing fails here ({}); libsolv found this answer, and apt may find another or none"


def resolve(question: Question, repositories: Sequence[Repository], local: LocalPackages | None = None) -> Resolution:
    """The packages that answer the question. local: the project's own files. Cost: some 20 ms for nginx.

    Raises ResolutionError, UsageError.
    """
    return resolve_indexes(question, pairs_of(repositories, local), local.asked if local else {})


def pairs_of(repositories: Sequence[Repository], local: LocalPackages | None) -> list[tuple[Index, Archive]]:
    """The indexes with their archives as pins see them, in the order of the sources; the project's files last."""
    pairs = [
        (
            index,
            replace(r.archive, component=component, site=_site(r.source), pin=r.source.priority),
        )
        for r in repositories
        for index, component in zip(r.indexes, r.components, strict=True)
    ]
    return [*pairs, (local.index, PROJECT)] if local is not None else pairs


def catalogue_of(question: Question, pairs: Sequence[tuple[Index, Archive]]) -> tuple[Catalogue, tuple[Package, ...]]:
    """All that can be had, under the question's pins and holds; and all that its base image holds."""
    status, there = installed(question.status) if question.status else (None, ())
    native = question.architecture
    foreign = {*question.foreign, *(p.architecture for p in there)} - {native, "all"}
    stays, policy = held(question.status, native), Policy(question.pins)
    catalogue = Catalogue(native, pairs, status, policy, stays, sorted(foreign))
    return catalogue, tuple(map(catalogue.architectures.package, there))


def _site(source: Source) -> str:
    """The host of an archive as an "origin" pin names it; "" for files of this machine."""
    return urlsplit(source.listed or source.url).hostname or ""


def resolve_indexes(
    question: Question, pairs: Sequence[tuple[Index, Archive]], files: Mapping[str, Sequence[Key]] | None = None
) -> Resolution:
    """As resolve(), from indexes with their archives, in the order of the sources. files: as for answer()."""
    catalogue, there = catalogue_of(question, pairs)
    kept = Kept(catalogue, question.keep or {})
    asked = answer(catalogue, question.variant, question.requests, files, upgrade=question.upgrade)
    if question.keep and kept.let_go(asked.wanted, question.recommends):
        asked = answer(catalogue, question.variant, question.requests, files, upgrade=question.upgrade)
    walk = Walk(catalogue, question.recommends, asked.forbidden)
    walk.start(there)
    upgrades = upgradable(catalogue, there, asked.forbidden) if question.upgrade else []
    walk.request([*upgrades, *asked.wanted])
    notes: tuple[str, ...] = ()
    chosen = list(walk.marked.values())
    gone = {p.name for p in there} & asked.forbidden
    if gone or not _proven(chosen, asked, there, question.architecture):
        chosen = _completed(catalogue, asked, walk, Base(there, question.upgrade, question.allow_remove))
        if not there:  # with a base apt has more ways than its marking walk
            notes = (NOT_APTS.format(walk.contradiction() or "a request cannot be met"),)
    result = {p.name: p for p in chosen}
    stay = [p.name for p in upgrades if p.name in result and result[p.name].installed]
    if stay:
        notes += (f"not upgraded, as other packages need the versions that are there: {', '.join(stay)}",)
    removed = tuple(p for p in there if p.name not in result)
    packages = _ordered(catalogue, chosen, asked, walk, there, [p.name for p in upgrades])
    archives = tuple(dict.fromkeys(p.package.archive for p in packages if p.package.archive is not None))
    return Resolution(packages, archives, notes, tuple(map(bare, removed)))


def _proven(chosen: Collection[Package], asked: Asked, there: Collection[Package], architecture: str) -> bool:
    """Whether libsolv, given these packages and no others, takes them all."""
    exact: dict[str, Group] = {words(g): g for g in (exactly(p) for p in chosen if not p.installed)}
    exact.update(asked.texts_to_groups)
    gone = {p.name for p in chosen if not p.installed}
    everything = [*chosen, *(p for p in there if p.name in gone)]
    solution = solve(settle(everything, exact.values(), architecture), exact)
    return not solution.problems and {p.key for p in solution.packages} == {p.key for p in chosen}


def _completed(catalogue: Catalogue, asked: Asked, walk: Walk, base: Base) -> list[Package]:
    """libsolv's answer over all that could matter, with as much of what the walk marked as can stand together."""
    solution: Solution = Solution()
    erase = {p.name for p in base.there} & asked.forbidden
    liked = list(walk.marked.values())
    fit = [] if base.there else liked
    for loose in (False, True):
        groups = _loosened(asked) if loose else asked.groups
        universe = reachable(catalogue, [*groups, *base.groups, *map(exactly, fit)], asked.forbidden)
        if base.upgrade and not loose:  # the highest version that is offered wins: offer candidates only
            universe = [p for p in universe if catalogue.candidate(p.name) is p]
        items = settle([*universe, *base.there], groups, catalogue.architecture)
        wanted = [words(g) for g in groups]
        solution = solve(
            items, wanted, favor=liked, fit=fit, upgrade=base.upgrade, removable=base.allow_remove, erase=erase
        )
        if not solution.problems:
            if base.there:
                return base.without_essential(list(solution.packages))
            return needful(solution.packages, groups, catalogue.architecture)
        if base.there:
            free = solve(items, wanted, favor=liked, removable=base.names, erase=erase)
            if not free.problems:
                raise base.must_go(free.packages, erase, asked.texts.values())
    texts = {words(g): word for g, word in zip(groups, asked.texts.values(), strict=True)}
    clashes = min(solution.problems, key=len)
    if asked.forbidden:
        texts.update({name: f"{name}-" for name in asked.forbidden})
    raise unsolvable(
        clashes,
        items,
        texts,
        lambda name: [p.version + _remark(p, catalogue, asked) for p in catalogue.every(name)],
        Origin("project", "", 0, ("packages", "install")),
        lambda name: _mend(name, catalogue),
        _fixed(catalogue, asked),
    )


def _fixed(catalogue: Catalogue, asked: Asked) -> dict[str, str]:
    """Names of which a request takes one version only, and that request."""
    return {
        group[0].name: request.text
        for group, request in zip(asked.groups, asked.of, strict=True)
        if request is not None and not request.bare and len(group) == 1 and group[0].name in catalogue.chosen
    }


def _mend(name: str, catalogue: Catalogue) -> Sequence[Hint]:
    """What would make a version that exists one to be had."""
    if catalogue.held(name) is not None:
        return (unhold(name),)
    versions = catalogue.every(name)
    return raise_pin(versions[0]) if versions and catalogue.pin(versions[0]) <= 0 else ()


def _remark(package: Package, catalogue: Catalogue, asked: Asked) -> str:
    """Why a version that exists was not to be had."""
    if package.name in asked.forbidden:
        return f" (kept out by `{package.name}-`)"
    if catalogue.held(package.name) is not None:
        return " (held by the base image)" if package.installed else " (forbidden by that hold)"
    priority = catalogue.pin(package)
    if priority <= 0:
        return f" (pinned to {priority})"
    candidate = catalogue.candidate(package.name)
    if candidate is None or candidate.key == package.key or priority >= catalogue.pin(candidate):
        return ""
    suite = package.archive.codename or package.archive.suite if package.archive else ""
    return f" (only on demand: ask for `{package.name}/{suite}`)" if suite else ""


def _loosened(asked: Asked) -> list[Group]:
    """The variant and bare names without the candidate's version: another version may do."""
    groups = []
    for group, request in zip(asked.groups, asked.of, strict=True):
        bare = request is None or request.bare
        groups.append((Relation(group[0].name, own=True),) if bare and len(group) == 1 else group)
    return groups


def _ordered(
    catalogue: Catalogue,
    chosen: Sequence[Package],
    asked: Asked,
    walk: Walk,
    there: Sequence[Package],
    upgrades: Sequence[str],
) -> tuple[Resolved, ...]:
    """The new packages in waves, with what met their needs. upgrades: what moves because everything should."""
    new = {p.name: p for p in chosen if not p.installed}
    finder = _Finder(chosen, catalogue, walk)
    edges = {
        name: Edges(
            tuple(finder.met(package, relations(package.pre_depends), new)),
            tuple(finder.met(package, relations(package.depends), new)),
        )
        for name, package in new.items()
    }
    variant = [g[0].name for g, request in zip(asked.groups, asked.of, strict=True) if request is None]
    of_request: dict[str, list[str]] = {}  # a folder of files is one request, and so one wave
    for group, request in zip(asked.groups, asked.of, strict=True):
        if request is not None:
            names = of_request.setdefault(request.text, [])
            names += [p.name for p in finder.all(group) if p.name in new][:1]
    requested = list(of_request.values())
    manual = {*variant, *(name for names in requested for name in names)}
    old = {p.name: p for p in there}
    before = {
        name: Edges(edge.pre_depends, (*edge.depends, *first(new[name], new, old, catalogue.architecture)))
        for name, edge in edges.items()
    }
    moving = [[name for name in upgrades if name in new]]
    result = waves(before, variant, (moving if moving[0] else []) + requested)
    return tuple(
        Resolved(
            bare(new[name]),
            number,
            name in manual,
            edges[name].depends,
            edges[name].pre_depends,
            old[name].version if name in old else "",
        )
        for number, names in enumerate(result)
        for name in names
    )


class _Finder:
    """Which packages of an answer meet a need."""

    def __init__(self, chosen: Sequence[Package], catalogue: Catalogue, walk: Walk) -> None:
        self._catalogue, self._walk = catalogue, walk
        self._by_name: dict[str, list[Package]] = {}
        for package in chosen:
            names = {package.name, *(r.name for group in relations(package.provides) for r in group)}
            for name in names:
                self._by_name.setdefault(name, []).append(package)

    def all(self, group: Group) -> list[Package]:
        """All that meet it, by the order of its alternatives, a package's own name before a provider's."""
        found = [
            p
            for relation in group
            for p in sorted(self._by_name.get(relation.name, ()), key=lambda p: (p.name != relation.name, p.name))
            if satisfied_by(relation, p, self._catalogue.architecture)
        ]
        return list(dict.fromkeys(found))

    def met(self, package: Package, groups: Sequence[Group], new: Collection[str]) -> list[str]:
        """Names of new packages, one for each need: what the walk took for it, else the first that meets it."""
        names: dict[str, None] = {}
        for group in groups:
            found = [p.name for p in self.all(group)]
            taken = self._walk.chosen_for.get((package.name, group))
            name = taken if taken in found else (found[0] if found else "")
            if name in new and name != package.name:
                names[name] = None
        return list(names)
