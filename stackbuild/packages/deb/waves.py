"""Packages into waves (DESIGN section 8): which are unpacked and configured together; moves no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LIMIT = 8
"""Waves of requests, beside wave 0 and what Pre-Depends splits off: each costs a layer and a configure."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What a package's needs were met by, as names of packages of the same answer."""

    pre_depends: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return self.pre_depends + self.depends


def waves(edges: Mapping[str, Edges], variant: Sequence[str], requests: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each name in exactly one wave, waves and names in order; wave 0 is the variant's closure (it may be empty).

    requests: for each request the names that answer it. A request whose closure is there already makes no wave.
    What no request leads to goes into the last wave. Deterministic. Cost: linear, for each split again.
    """
    seen: set[str] = set()
    first = _closure(edges, variant, seen)
    groups: list[list[str]] = []
    for names in requests:
        added = _closure(edges, names, seen)
        if added and len(groups) < LIMIT:
            groups.append(added)
        elif added:
            groups[-1] += added
    rest = _closure(edges, sorted(edges), seen)
    if rest and groups:
        groups[-1] += rest
    elif rest:
        first += rest
    result = [_sorted(first, edges)]
    for group in groups:
        result += _split(group, edges)
    return result


def _closure(edges: Mapping[str, Edges], start: Sequence[str], seen: set[str]) -> list[str]:
    """What `start` leads to and was not seen; adds it to `seen`."""
    found = []
    queue = list(reversed(start))
    while queue:
        name = queue.pop()
        if name in seen or name not in edges:
            continue
        seen.add(name)
        found.append(name)
        queue += reversed(edges[name].all)
    return found


def _split(names: list[str], edges: Mapping[str, Edges]) -> list[list[str]]:
    """One wave, or several: what a Pre-Depends names must be configured before its package is unpacked (policy 7.2)."""
    level = dict.fromkeys(names, 0)
    for _ in range(len(names) + 1):
        moved = False
        for name in names:
            need = max(
                [level[n] + 1 for n in edges[name].pre_depends if n in level and n != name]
                + [level[n] for n in edges[name].depends if n in level],
                default=0,
            )
            if need > level[name] and need <= LIMIT:  # a circle of Pre-Depends would go up for ever
                level[name], moved = need, True
        if not moved:
            break
    return [_sorted([n for n in names if level[n] == number], edges) for number in sorted(set(level.values()))]


def _sorted(names: Sequence[str], edges: Mapping[str, Edges]) -> list[str]:
    """Needs before what needs them, Pre-Depends above all; names decide between equals and break circles."""
    inside = set(names)
    done: dict[str, None] = {}
    for start in sorted(names):
        stack: list[tuple[str, bool]] = [(start, False)]
        entered: set[str] = set()
        while stack:
            name, left = stack.pop()
            if left:
                done.setdefault(name)
                continue
            if name in done or name in entered:
                continue
            entered.add(name)
            stack.append((name, True))
            needs = [*sorted(edges[name].depends, reverse=True), *sorted(edges[name].pre_depends, reverse=True)]
            stack += [(n, False) for n in needs if n in inside and n not in done and n not in entered]
    return list(done)
