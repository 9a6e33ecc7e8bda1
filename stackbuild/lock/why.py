"""Why a package is in the lock: the shortest chain from a request, read off the lock alone."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.lock.lock import Lock, LockedPackage, PlatformLock, by_place, names_of
from stackbuild.packages.ecosystem import Choice


@dataclass(frozen=True, slots=True)
class Chain:
    """From what was asked for (first) to the package (last). root: "request", "essential" or "variant".

    kinds: for each link "depends" or "pre-depends". parents: all locked packages that need it directly.
    """

    platform: str
    root: str
    packages: tuple[LockedPackage, ...]
    kinds: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Why:
    """What `why` shows: a chain for each platform that has the package. choices: by the chain's platform."""

    name: str
    chains: tuple[Chain, ...]
    choices: Mapping[str, tuple[Choice, ...]] = field(default_factory=dict)

    def to_text(self) -> str:
        lines: list[str] = []
        for chain in self.chains:
            if len(self.chains) > 1 or " " in chain.platform:
                lines.append(f"{chain.platform}:")
            first = chain.packages[0]
            asked = f"asked for as ./{first.path}" if first.local else "asked for"
            reason = {"request": asked, "essential": "essential", "variant": "part of the variant"}[chain.root]
            lines.append(f"{first.name} {first.version} ({reason})")
            for depth, (package, kind) in enumerate(zip(chain.packages[1:], chain.kinds, strict=True), 1):
                lines.append(f"{'   ' * (depth - 1)}└─ {kind} {package.name} {package.version}")
            others = [name for name in chain.parents if name not in {p.name for p in chain.packages}]
            if others:
                more = f" and {len(others) - 8} more" if len(others) > 8 else ""
                lines.append(f"also needed by {', '.join(others[:8])}{more}")
            lines += [_sentence(self.name, choice) for choice in self.choices.get(chain.platform, ())]
        return "\n".join(lines)

    def to_json(self) -> Any:
        return {
            "v": 1,
            "name": self.name,
            "chains": [
                {
                    "platform": c.platform,
                    "root": c.root,
                    "chain": [{"name": p.name, "version": p.version} for p in c.packages],
                    "links": list(c.kinds),
                    "parents": list(c.parents),
                    "choices": [asdict(choice) for choice in self.choices.get(c.platform, ())],
                }
                for c in self.chains
            ],
        }


def _sentence(name: str, choice: Choice) -> str:
    """What a choice was between, in a line."""
    more = f" and {len(choice.over) - 6} more" if len(choice.over) > 6 else ""
    of = f" of {choice.by}" if choice.by else ""
    return f"{choice.need}{of}: {name} chosen over {', '.join(choice.over[:6])}{more}, because {choice.why}"


def why(
    lock: Lock, name: str, requests: Sequence[str] = (), below: Mapping[str, tuple[Lock, Sequence[str]]] | None = None
) -> Why:
    """The chains of a package, or of the file of the project that `name` is the path of.

    requests: names that the user asked for: shown before what else is manual.
    below: lock and requests of each base stack, by its name. Raises UsageError (with near names) if no lock has it.
    """
    if "/" in name:
        path = posixpath.normpath(name)
        name = next(
            (p.name for one in by_place(lock).values() for p in one.packages if p.local and p.path == path), name
        )
    chains = [
        chain
        for base, (locks, asked) in {"": (lock, requests), **(below or {})}.items()
        for platform, locked in by_place(locks).items()
        if (chain := _chain(platform + (base and f" base {base}"), locked, name, frozenset(asked))) is not None
    ]
    if not chains:
        raise _not_locked([lock, *(locks for locks, _ in (below or {}).values())], name)
    return Why(name, tuple(chains))


def _chain(platform: str, locked: PlatformLock, name: str, requests: frozenset[str]) -> Chain | None:
    by_name = names_of(platform, locked)
    if name not in by_name:
        return None
    asked = [n for n, p in by_name.items() if p.manual and (p.wave > 0 or p.name in requests)]
    base = [n for n, p in by_name.items() if p.manual and n not in asked]
    rest = [n for n, p in by_name.items() if not p.manual]  # a lock that was edited: show at least what is there
    came: dict[str, tuple[str, str] | None] = {}
    for roots in (asked, base, rest):
        queue = deque(n for n in roots if n not in came)
        came.update(dict.fromkeys(queue))
        while queue:
            here = queue.popleft()
            for kind, needs in (("pre-depends", by_name[here].pre_depends), ("depends", by_name[here].depends)):
                for need in needs:
                    if need in by_name and need not in came:
                        came[need] = (here, kind)
                        queue.append(need)
        if name in came:
            break
    names, kinds = [name], []
    while (step := came[names[-1]]) is not None:
        names.append(step[0])
        kinds.append(step[1])
    root = "request" if names[-1] in asked else "essential" if by_name[names[-1]].essential else "variant"
    parents = tuple(sorted(n for n, p in by_name.items() if name in (*p.depends, *p.pre_depends)))
    chain = tuple(by_name[n] for n in reversed(names))
    return Chain(platform, root, chain, tuple(reversed(kinds)), parents)


def _not_locked(locks: Sequence[Lock], name: str) -> UsageError:
    from stackbuild.packages.problems import near

    names = {p.name for lock in locks for platform in lock.platforms.values() for p in platform.everything}
    close = near(name, names)
    hints = [Hint(f"did you mean {' or '.join(close)}?")] if close else []
    if images := {place.base_image for lock in locks for place in by_place(lock).values() if place.base_digest}:
        hints.insert(0, Hint(f"what the base {' or '.join(sorted(images))} holds is there without a lock"))
    return UsageError(f"{name} is not in the lock: nothing that was asked for needs it", hints=hints)
