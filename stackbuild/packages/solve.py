"""libsolv as the judge: proves that a set of packages is whole, completes one that is not, or says what clashes.

It knows no ecosystem: who satisfies which dependency was settled before (`Item.answers`), so no
version semantics but the order of versions of one name reach libsolv.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stackbuild.packages.package import Package


@dataclass(frozen=True, slots=True)
class Item:
    """A package as libsolv shall see it.

    evr: an RPM version of the right order. needs, clashes: dependencies, by their text.
    answers: the texts of the needs and clashes (of any item) that this package matches.
    """

    package: Package
    evr: str
    needs: tuple[str, ...]
    clashes: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """One rule of a contradiction. kind: "nothing provides" | "needs" | "conflicts" | "same name" | "request".

    package: who says so (None: the user). text: the dependency. other: the package it meets, if any.
    """

    kind: str
    package: Package | None
    text: str = ""
    other: Package | None = None


@dataclass(frozen=True, slots=True)
class Solution:
    """packages: the whole set, those that stay included. problems: () if it is one; else why there is none."""

    packages: tuple[Package, ...] = ()
    problems: tuple[tuple[Clash, ...], ...] = ()


def solve(
    items: Sequence[Item],
    wanted: Iterable[str],
    *,
    favor: Sequence[Package] = (),
    fit: Sequence[Package] = (),
    upgrade: bool = False,
    removable: Collection[str] = (),
    erase: Collection[str] = (),
) -> Solution:
    """The set that answers `wanted` (texts that some item answers), from these items.

    Items whose package is installed stay unless something needs another version of them.
    upgrade: as many of the installed as can move to another version that is offered, move to the highest.
    removable: names of installed packages that may go if nothing else helps; erase: those that must.
    favor: taken where there is a choice. fit: taken as far as they can stand together, needed or not.
    Cost: some milliseconds for a thousand items.
    """
    import solv

    pool = solv.Pool()
    pool.setarch("noarch")
    pool.set_flag(solv.Pool.POOL_FLAG_FORBIDSELFCONFLICTS, 0)  # Debian: one may provide what one conflicts with
    there, offered = pool.add_repo("installed"), pool.add_repo("offered")
    ids = {text: pool.str2id("need:" + text) for item in items for text in (*item.needs, *item.clashes, *item.answers)}
    by_id: dict[int, Package] = {}
    for item in items:
        solvable = (there if item.package.installed else offered).add_solvable()
        solvable.name, solvable.evr, solvable.arch = item.package.name, item.evr, "noarch"
        by_id[solvable.id] = item.package
        solvable.add_provides(pool.rel2id(solvable.nameid, solvable.evrid, solv.REL_EQ))
        for text in item.answers:
            solvable.add_provides(ids[text])
        for text in item.needs:
            solvable.add_requires(ids[text])
        for text in item.clashes:
            solvable.add_conflicts(ids[text])
    pool.installed = there
    pool.createwhatprovides()
    asked = [ids.get(text) or pool.str2id("need:" + text) for text in wanted]
    jobs = [pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_PROVIDES, id) for id in asked]
    numbers = {package.key: id for id, package in by_id.items() if not package.installed}
    weak = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_WEAK
    for how, packages in ((solv.Job.SOLVER_FAVOR, favor), (weak, fit)):
        known = [numbers[package.key] for package in packages if package.key in numbers]
        jobs += [pool.Job(how | solv.Job.SOLVER_SOLVABLE, id) for id in known]
    for how, names in ((solv.Job.SOLVER_ALLOWUNINSTALL, removable), (solv.Job.SOLVER_ERASE, erase)):
        jobs += [pool.Job(how | solv.Job.SOLVER_SOLVABLE_NAME, pool.str2id(name)) for name in names]
    if upgrade:
        jobs.append(pool.Job(solv.Job.SOLVER_UPDATE | solv.Job.SOLVER_SOLVABLE_ALL, 0))
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    solver.set_flag(solv.Solver.SOLVER_FLAG_ALLOW_DOWNGRADE, 1)
    problems = solver.solve(jobs)
    if problems:
        return Solution(problems=tuple(_clashes(problem, by_id, pool) for problem in problems[:4]))
    transaction = solver.transaction()
    kept = [by_id[s.id] for s in transaction.keptsolvables() if s.id in by_id]
    return Solution(tuple(kept + [by_id[s.id] for s in transaction.newsolvables()]))


def _clashes(problem: Any, by_id: dict[int, Package], pool: Any) -> tuple[Clash, ...]:
    """The rules of a contradiction, learnt ones resolved, in libsolv's order."""
    import solv

    kinds = {
        solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP: "nothing provides",
        solv.Solver.SOLVER_RULE_PKG_REQUIRES: "needs",
        solv.Solver.SOLVER_RULE_PKG_CONFLICTS: "conflicts",
        solv.Solver.SOLVER_RULE_PKG_SAME_NAME: "same name",
        solv.Solver.SOLVER_RULE_JOB: "request",
        solv.Solver.SOLVER_RULE_JOB_NOTHING_PROVIDES_DEP: "request",
        solv.Solver.SOLVER_RULE_JOB_UNKNOWN_PACKAGE: "request",
    }
    found: dict[Clash, None] = {}
    for rule in problem.findallproblemrules():
        for info in rule.allinfos():
            kind = kinds.get(info.type)
            if kind is None:
                continue
            package = by_id.get(info.solvable.id) if info.solvable else None
            other = by_id.get(info.othersolvable.id) if info.othersolvable else None
            text = pool.id2str(info.dep_id).removeprefix("need:") if info.dep_id else ""
            found[Clash(kind, package, text, other)] = None
    return tuple(found)
