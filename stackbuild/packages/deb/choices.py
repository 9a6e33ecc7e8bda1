"""Over what a locked package was chosen: the needs that others could have met, and why it was this one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from stackbuild.packages.deb.catalogue import PRIORITIES, Catalogue, satisfied_by
from stackbuild.packages.deb.control import Group, Relation, relations, words
from stackbuild.packages.deb.universe import clashes_of, needs_of
from stackbuild.packages.ecosystem import Choice, Question
from stackbuild.packages.package import Package


def choices(
    name: str, locked: Mapping[str, str], parents: Collection[str], catalogue: Catalogue, question: Question
) -> tuple[Choice, ...]:
    """For each need of a parent, or request with alternatives, that `name` meets in the lock and others could.

    locked: name -> version of all that the image gets; what a base image holds is in the catalogue.
    parents: the locked packages that have `name` among their needs.
    """
    there = {}
    for one, version in locked.items():
        found = next((p for p in catalogue.every(one) if p.version == version), None)
        if found is not None:
            there[one] = found
    if name not in there:
        return ()
    finder = _Reasons(there[name], there, catalogue, question)
    return tuple(
        Choice(by, words(group), tuple(over), finder.why(group, over))
        for by, group in _groups(there, parents, question)
        if any(satisfied_by(relation, there[name], catalogue.architecture) for relation in group)
        and (over := [p.name for p in finder.able(group) if p.name not in there])
    )


def _groups(there: Mapping[str, Package], parents: Collection[str], question: Question) -> Iterator[tuple[str, Group]]:
    """Who needs something, and what: the user's own alternatives first."""
    for request in question.requests:
        if len(request.terms) > 1:
            yield "", tuple(Relation(t.name, "", t.relation, t.version) for t in request.terms)
    for parent in sorted(parents):
        if parent in there:
            wishes = relations(there[parent].recommends) if question.recommends else ()
            for group in dict.fromkeys((*needs_of(there[parent]), *wishes)):
                yield parent, group


class _Reasons:
    """Why one package was taken for a need."""

    def __init__(self, taken: Package, there: Mapping[str, Package], catalogue: Catalogue, question: Question) -> None:
        self._taken, self._there, self._catalogue = taken, there, catalogue
        self._asked = {term.name: r.text for r in question.requests for term in r.terms if not r.forbid}
        self._forbidden = {r.name: r.text for r in question.requests if r.forbid}

    def able(self, group: Group) -> list[Package]:
        """All that could meet it, as apt would try them; what was kept out too."""
        return list(dict.fromkeys(p for relation in group for p in self._catalogue.solutions(relation)))

    def why(self, group: Group, over: Sequence[str]) -> str:
        name = self._taken.name
        if name in self._asked:
            return f"`{self._asked[name]}` was asked for"
        able = self.able(group)
        before = [p for p in able[: next((n for n, p in enumerate(able) if p.name == name), 0)] if p.name in over]
        if not before:
            return self._first(group, [p for p in able if p.name in over])
        for other in before:
            if other.name in self._forbidden:
                return f"`{self._forbidden[other.name]}` keeps {other.name} out"
            rival = self._rival(other)
            if rival:
                return f"{other.name} conflicts with {rival}"
        for package in self._there.values():
            for need in needs_of(package):
                if package.name != name and self.able(need) == [self._taken]:
                    return f"{package.name} needs it anyway ({words(need)})"
        return "another need had brought it already"

    def _first(self, group: Group, over: Sequence[Package]) -> str:
        relation = next(r for r in group if satisfied_by(r, self._taken, self._catalogue.architecture))
        if relation.name == self._taken.name:
            return "it is the first alternative" if len(group) > 1 else f"it is {relation.name} itself"
        rivals = [p for p in over if satisfied_by(relation, p, self._catalogue.architecture)]
        if not rivals:
            return f"it provides {relation.name}, the first alternative"
        best = min(PRIORITIES.get(p.priority, 9) for p in rivals)
        if PRIORITIES.get(self._taken.priority, 9) < best:
            return f"of those that provide {relation.name} it has the highest priority ({self._taken.priority})"
        return f"of those that provide {relation.name} apt takes the one that the archive mentions last"

    def _rival(self, other: Package) -> str:
        """A package of the image, not the one that was taken, that cannot stand beside the other one."""
        architecture = self._catalogue.architecture
        for package in self._there.values():
            if package.name not in (other.name, self._taken.name) and (
                any(satisfied_by(r, package, architecture) for r in clashes_of(other))
                or any(satisfied_by(r, other, architecture) for r in clashes_of(package))
            ):
                return package.name
        return ""
