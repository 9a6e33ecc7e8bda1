"""Requests to packages: apt's words for versions, suites and architectures from a catalogue; no dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from stackbuild.core.errors import Hint, ResolutionError, UsageError
from stackbuild.core.origin import Origin
from stackbuild.packages.deb.catalogue import Catalogue, provided, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, words
from stackbuild.packages.deb.local import Key
from stackbuild.packages.deb.local import where as _where
from stackbuild.packages.deb.multiarch import qualified
from stackbuild.packages.deb.universe import needs_of
from stackbuild.packages.deb.version import order
from stackbuild.packages.local import PROJECT
from stackbuild.packages.package import Package
from stackbuild.packages.problems import elsewhere, held_back, no_version, pinned_away, several, unknown
from stackbuild.stack.request import Request, Term

NO_FOREIGN = "no foreign architecture"
VARIANTS = ("custom", "essential", "apt", "required", "important", "standard")


@dataclass
class Asked:
    """What the words came to. wanted: in the order asked, the variant first; a Group leaves the choice open.

    texts: for libsolv and for people: each wanted item's exact relation -> the user's word.
    """

    wanted: list[Package | Group] = field(default_factory=list)
    of: list[Request | None] = field(default_factory=list)
    forbidden: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def add(self, item: Package | Group, request: Request | None, word: str) -> None:
        exact = exactly(item) if isinstance(item, Package) else item
        if words(exact) in self.texts:
            return
        self.wanted.append(item)
        self.of.append(request)
        self.groups.append(exact)
        self.texts[words(exact)] = word

    @property
    def texts_to_groups(self) -> dict[str, Group]:
        return {words(group): group for group in self.groups}


def exactly(package: Package) -> Group:
    """The relation that this version of the package alone satisfies, whatever provides its name in its version."""
    return (Relation(package.name, "", "=", package.version, own=True),)


def answer(
    catalogue: Catalogue,
    variant: str,
    requests: Sequence[Request],
    files: Mapping[str, Sequence[Key]] | None = None,
    *,
    upgrade: bool = False,
) -> Asked:
    """All requests, behind the variant's packages. files: the packages of a request that names files, by its name.

    upgrade: a bare name does not hold what is installed at its version.
    Sets `catalogue.chosen`. Raises ResolutionError, UsageError.
    """
    errors: list[ResolutionError | UsageError] = []
    found: list[tuple[Request, Package | Group]] = []
    for request in requests:
        if not request.forbid:
            try:
                if request.path:
                    found += [(request, _of_file(catalogue, request, key)) for key in (files or {})[request.name]]
                else:
                    found.append((request, _one(catalogue, request)))
            except (ResolutionError, UsageError) as error:
                errors.append(error)
    forbidden = set()
    for request in requests:
        if request.forbid:
            try:
                forbidden |= _forbid(catalogue, request, {i.name for _, i in found if isinstance(i, Package)})
            except ResolutionError as error:
                errors.append(error)
    if errors:
        raise _all(errors)
    asked = Asked(forbidden=frozenset(forbidden))
    for package in variant_packages(catalogue, variant):
        asked.add(package, None, f"the variant ({variant})")
    for request, item in found:
        if isinstance(item, Package):
            item = catalogue.chosen.get(item.name, item)  # the last word on a version counts
            if upgrade and item.installed and request.bare:
                item = (Relation(item.name, own=True),)
        asked.add(item, request, request.text)
    return asked


def _all(errors: Sequence[ResolutionError | UsageError]) -> ResolutionError | UsageError:
    if len(errors) == 1:
        return errors[0]
    whole = ResolutionError(f"{len(errors)} requests cannot be answered", where=errors[0].where)
    whole.errors = tuple(errors)
    return whole


def variant_packages(catalogue: Catalogue, variant: str) -> list[Package]:
    """The packages that a bootstrapped base starts from, as mmdebstrap's variants of these names. Raises UsageError."""
    if variant in ("", "custom"):
        return []
    if variant not in VARIANTS:
        raise UsageError(f"there is no variant `{variant}`", hints=(Hint(f"known: {', '.join(VARIANTS)}"),))
    base = catalogue.base()
    priorities = {"required": 1, "important": 2, "standard": 3}
    levels = {name for name, level in priorities.items() if level <= priorities.get(variant, 0)}
    found = [p for p in base if p.essential]
    if not found:
        raise ResolutionError(
            f"the variant `{variant}` is empty: no source has an essential package",
            hints=(Hint('name a source of the distribution itself, or use variant = "custom"'),),
        )
    apt = catalogue.candidate("apt") if variant != "essential" else None
    if variant != "essential" and apt is None:
        raise ResolutionError(f"the variant `{variant}` holds apt, and no source has it",
                              hints=(Hint("use variant = \"essential\""),))  # fmt: skip
    return found + ([apt] if apt is not None else []) + [p for p in base if not p.essential and p.priority in levels]


def _one(catalogue: Catalogue, request: Request) -> Package | Group:
    """The package that answers a request, or a group of alternatives."""
    if len(request.terms) == 1:
        return _term(catalogue, request.terms[0], request.text)
    relations = []
    for term in request.terms:
        try:
            term = _named(catalogue, term, request.text)
            package = _term(catalogue, term, request.text)
        except ResolutionError:
            continue
        plain = not (term.suite or term.is_pattern)
        relations.append(Relation(term.name, "", term.relation, term.version) if plain else exactly(package)[0])
    if not relations:
        raise ResolutionError(f"none of the alternatives of `{request.text}` exists", where=_where(request))
    return tuple(relations)


def _of_file(catalogue: Catalogue, request: Request, key: Key) -> Package:
    """The package that a file of the project holds."""
    name = key[0]
    found = next((p for p in catalogue.versions(name) if p.key == key and p.archive == PROJECT), None)
    if found is None:
        there = catalogue.held(name)
        assert there is not None, "only a hold keeps a file of the project from being a version"
        raise held_back(request.text, there, [p.version for p in catalogue.every(name)], _where(request))
    catalogue.chosen[name] = found
    return found


def _named(catalogue: Catalogue, term: Term, text: str) -> Term:
    """The term with the name that its package has here; a name that only foreign architectures have is one of those."""
    native, foreign = catalogue.architecture, catalogue.architectures.foreign
    if term.architecture in foreign:
        return replace(term, name=qualified(term.name, term.architecture, native), architecture="")
    if term.architecture not in ("", "any", "all", native):
        raise ResolutionError(
            f"`{text}` is for another architecture",
            where=_where(text),
            why=f"this image has {native} and " + (f"the foreign {', '.join(foreign)}" if foreign else NO_FOREIGN),
            hints=(
                Hint(f"ask for {term.name}: image.platforms has the architectures"),
                Hint("or use a base image that has it", f"dpkg --add-architecture {term.architecture}"),
            ),
        )
    if term.architecture or catalogue.versions(term.name) or catalogue.providers(term.name):
        return term
    names = (qualified(term.name, other, native) for other in foreign)
    return replace(term, name=next(filter(catalogue.versions, names), term.name))


def _term(catalogue: Catalogue, term: Term, text: str) -> Package:
    where = _where(text)
    term = _named(catalogue, term, text)
    versions = catalogue.versions(term.name)
    if term.architecture == "all":
        versions = [p for p in versions if p.architecture == "all"]
    if not versions:
        return _virtual(catalogue, term, text, where)
    if term.suite:
        return _of_suite(catalogue, term, text, versions, where)
    if not term.relation:
        there = next((p for p in versions if p.installed), None)
        found_one = catalogue.chosen.get(term.name) or there or catalogue.candidate(term.name)
        if found_one is None:
            raise pinned_away(text, versions[0], catalogue.pin(versions[0]), catalogue.why(versions[0]), where)
        return found_one
    if term.relation == "=" and term.is_pattern:
        found = [p for p in versions if fnmatchcase(p.version, term.version)]
        found.sort(key=lambda p: order(p.version), reverse=True)  # the highest, whatever its priority
    else:
        relation = Relation(term.name, "", term.relation, term.version)
        found = [p for p in versions if relation.accepts(p.version)]
    stays = catalogue.held(term.name)
    if not found and stays is not None:
        raise held_back(text, stays, [p.version for p in catalogue.every(term.name)], where)
    if not found:
        raise no_version(text, term.name, [p.version for p in versions], where)
    catalogue.chosen[term.name] = found[0]
    return found[0]


def _of_suite(catalogue: Catalogue, term: Term, text: str, versions: Sequence[Package], where: Origin) -> Package:
    archives = catalogue.same_archive(term.suite)
    if not archives:
        names = dict.fromkeys(n for a in catalogue.archives for n in (a.codename, a.suite) if n)
        raise ResolutionError(f"no source has the suite {term.suite} of `{text}`", where=where,
                              why=f"there are {', '.join(names) or 'none'}",
                              hints=(Hint("add it to the suites of a [[packages.source]]"),))  # fmt: skip
    found = [p for p in versions if any(a in archives for a in catalogue.origins(p))]
    stays = catalogue.held(term.name)
    if not found and stays is not None:
        raise held_back(text, stays, [p.version for p in catalogue.every(term.name)], where)
    if not found:
        why = f"it is in {', '.join(dict.fromkeys(p.archive.codename for p in versions if p.archive))}"
        hints = (Hint(f"ask for `{term.name}`, or for another suite that has it"),)
        raise ResolutionError(f"{term.suite} has no package {term.name}", where=where, why=why, hints=hints)
    _choose_with_needs(catalogue, found[0], archives)
    return found[0]


def _choose_with_needs(catalogue: Catalogue, package: Package, archives: Sequence[object]) -> None:
    """Choose a suite's version, and that suite's version of what it needs where the candidate does not do."""
    queue = [package]
    while queue:
        package = queue.pop()
        catalogue.chosen[package.name] = package
        for group in needs_of(package):
            if any(catalogue.solutions(relation) for relation in group):
                continue
            for relation in group:
                better = [
                    p
                    for p in catalogue.versions(relation.name)
                    if any(a in archives for a in catalogue.origins(p))
                    and satisfied_by(relation, p, catalogue.architecture)
                ]
                if better and relation.name not in catalogue.chosen:
                    queue.append(better[0])
                    break


def _virtual(catalogue: Catalogue, term: Term, text: str, where: Origin) -> Package:
    """A purely virtual name stands for its provider if there is one only, as for apt. `default-mta` is such a name."""
    relation = Relation(term.name, "", term.relation, term.version)
    providers = {p.name: p for p in catalogue.providers(term.name) if catalogue.candidate(p.name) is p}
    if not providers:
        raise _unknown(catalogue, term.name, text, where)
    if term.relation:
        providers = {n: p for n, p in providers.items() if satisfied_by(relation, p, catalogue.architecture)}
    if len(providers) != 1:
        raise several(text, term.name, sorted(providers.values(), key=lambda p: p.name), _defaults(providers), where)
    return next(iter(providers.values()))


def _unknown(catalogue: Catalogue, name: str, text: str, where: Origin) -> ResolutionError:
    """Nothing has the name, or only other architectures do."""
    what, others = f"asked for as `{text}`", catalogue.elsewhere(name)
    if others:
        return elsewhere(name, catalogue.architecture, others, what, where)
    return unknown(name, catalogue.names(), what, where)


def _defaults(providers: Mapping[str, Package]) -> dict[str, str]:
    """The names `default-…` among providers and what else they provide -> the provider."""
    found = {}
    for name, package in providers.items():
        for given in (name, *(given for given, _ in provided(package.provides))):
            if given.startswith("default-"):
                found[given] = name
    return found


def _forbid(catalogue: Catalogue, request: Request, wanted: set[str]) -> set[str]:
    """The names that `name-` keeps out: none for a virtual name, none if the same name is asked for."""
    name = _named(catalogue, request.terms[0], request.text).name
    if not catalogue.versions(name):
        if not catalogue.providers(name):
            raise _unknown(catalogue, name, request.text, _where(request))
        return set()
    return set() if name in wanted else {name}
