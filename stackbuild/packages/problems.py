"""Why there is no answer, in the user's words: a chain from what was asked to where it breaks; solves nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from stackbuild.core.errors import Hint, ResolutionError
from stackbuild.core.origin import Origin
from stackbuild.packages.package import Package
from stackbuild.packages.pin import Pin
from stackbuild.packages.solve import Clash, Item

LONGEST = 20  # steps of a chain that a person reads
MOST = 3  # names that are proposed


def near(name: str, names: Collection[str]) -> list[str]:
    """Names that a person may have meant, best first. Cost: some 50 milliseconds for 60,000 names."""
    likely = [n for n in names if abs(len(n) - len(name)) <= 3 and (n[:1] == name[:1] or n[1:3] == name[1:3])]
    found = difflib.get_close_matches(name, likely, MOST, 0.65)
    if len(found) < MOST and len(name) > 3:
        found += sorted((n for n in names if n.startswith(name) and n not in found), key=len)[: MOST - len(found)]
    return found


def unknown(name: str, names: Collection[str], what: str, where: Origin | None) -> ResolutionError:
    """No index has this name."""
    close = near(name, names)
    hints = [Hint(f"did you mean {' or '.join(close)}?")] if close else []
    hints.append(Hint("another suite, component or [[packages.source]] may have it"))
    return ResolutionError(f"there is no package {name}", where=where, why=what, hints=hints)


def elsewhere(name: str, architecture: str, others: Sequence[str], what: str, where: Origin | None) -> ResolutionError:
    """An index has the name, for other architectures alone."""
    return ResolutionError(
        f"there is no package {name} for {architecture}",
        where=where,
        why=f"{what}; it is there for {', '.join(others)}",
        hints=(Hint("leave it out for this platform, or build for one that has it: image.platforms"),),
    )


def no_version(request: str, name: str, versions: Sequence[str], where: Origin | None) -> ResolutionError:
    """The name exists, no version of it is what was asked for."""
    return ResolutionError(
        f"no version of {name} is `{request}`",
        where=where,
        why=f"there {'is' if len(versions) == 1 else 'are'} {', '.join(versions[:8])}"
        + ("…" if len(versions) > 8 else ""),
        hints=(Hint("ask for a version that exists, or for none"), Hint("another suite or snapshot may have it")),
    )


def several(
    request: str, name: str, providers: Sequence[Package], defaults: Mapping[str, str], where: Origin | None
) -> ResolutionError:
    """A virtual name that not exactly one package stands for. defaults: a name that means the usual one -> it."""
    if not providers:
        return ResolutionError(f"no version of {name} is `{request}`", where=where,
                               why="it is a virtual package; nothing provides it so")  # fmt: skip
    listed = ", ".join(map(str, providers[:LONGEST]))
    more = f" and {len(providers) - LONGEST} more" if len(providers) > LONGEST else ""
    usual = [Hint(f"the usual one is {one}" + (f": ask for {word}" if word != one else ""))
             for word, one in sorted(defaults.items())[:1]]  # fmt: skip
    return ResolutionError(
        f"{name} is provided by several packages",
        where=where,
        why=f"it is a virtual package; {listed}{more} provide it",
        hints=(*usual, Hint("ask for one of them, or for `a | b`")),
    )


def pinned_away(
    request: str, package: Package, priority: int, pin: Pin | None, where: Origin | None
) -> ResolutionError:
    """The name exists, and every version of it has a priority that forbids it."""
    return ResolutionError(
        f"no version of {package.name} may be installed for `{request}`",
        where=where,
        why=f"{package} is pinned to {priority}" + (f" by {pin}" if pin is not None else ""),
        hints=raise_pin(package),
    )


def raise_pin(package: Package) -> tuple[Hint, ...]:
    """What mends a pin that forbids a version."""
    return (
        Hint(f"ask for the version itself: `{package.name}={package.version}`"),
        Hint(f'or raise it: [packages.pin] "{package.name}" = {{ version = "{package.version}", priority = 500 }}'),
    )


def unhold(name: str) -> Hint:
    """What mends a hold of the base image."""
    return Hint("leave it as it is, or take the hold away in the base image", f"apt-mark unhold {name}")


def held_back(request: str, package: Package, versions: Sequence[str], where: Origin | None) -> ResolutionError:
    """The base image's dpkg was told to keep the package as it is."""
    others = [v for v in versions if v != package.version]
    return ResolutionError(
        f"{package.name} is held at {package.version} by the base image",
        where=where,
        why=f"`{request}` needs another version; there {'is' if len(others) == 1 else 'are'} "
        f"{', '.join(others[:8]) or 'none'}, and dpkg's status says hold",
        hints=(unhold(package.name),),
    )


def unsolvable(
    clashes: Sequence[Clash],
    items: Sequence[Item],
    asked: Mapping[str, str],
    versions_of: Callable[[str], Sequence[str]],
    where: Origin | None,
    mend: Callable[[str], Sequence[Hint]] = lambda name: (),
    fixed: Mapping[str, str] | None = None,
) -> ResolutionError:
    """A contradiction as a chain. asked: text of a dependency -> the user's word for it, in order.

    versions_of: the versions that there are of a name, and why one was not to be had; mend: what would help there.
    fixed: names of which a request leaves one version only -> that request.
    """
    lines = _chain(clashes, items, asked, fixed or {})
    if len(lines) > LONGEST:
        lines = [*lines[: LONGEST // 2], f"… {len(lines) - LONGEST} steps more …", *lines[-(LONGEST // 2) :]]
    users = list(dict.fromkeys(word for word in asked.values() if any(word in line for line in lines)))
    one = users[0] if users else "the request"
    return ResolutionError(
        "the requests have no solution together"
        if len(users) > 1
        else f"`{one}` cannot be done"
        if one.endswith("-")
        else f"{one} cannot be installed",
        where=where,
        why="; ".join(lines),
        hints=tuple(_hints(clashes, users, versions_of, mend)),
    )


def _chain(
    clashes: Sequence[Clash], items: Sequence[Item], asked: Mapping[str, str], fixed: Mapping[str, str]
) -> list[str]:
    """The rules of the contradiction, ordered from the requests down, each once; the break comes last."""
    answers: dict[str, list[Package]] = {}
    for item in items:
        for text in item.answers:
            answers.setdefault(text, []).append(item.package)
    needs = [c for c in clashes if c.kind == "needs" and c.package]
    breaks = [c for c in clashes if c.kind in ("conflicts", "same name", "nothing provides")]
    involved = {c.package.key for c in (*needs, *breaks) if c.package} | {c.other.key for c in breaks if c.other}
    lines: dict[str, None] = {}
    seen: set[tuple[str, str, str]] = set()
    queue: list[Package] = []
    for text, word in asked.items():
        found = [p for p in answers.get(text, []) if p.key in involved]
        if found:
            lines[f"{word} was asked for"] = None
            queue += found
    missing = {_needed(c) for c in breaks if c.kind == "nothing provides"}
    lines.update({f"{word} was asked for": None for name, word in fixed.items() if name in missing})
    while queue:
        package = queue.pop(0)
        if package.key in seen:
            continue
        seen.add(package.key)
        for clash in needs:
            if clash.package is not None and clash.package.key == package.key:
                lines[f"{package} needs {clash.text}"] = None
                queue += [p for p in answers.get(clash.text, []) if p.key in involved]
    for clash in needs:
        if clash.package is not None and clash.package.installed and clash.package.key not in seen:
            lines[f"{clash.package}, which the base holds, needs {clash.text}"] = None
    for clash in breaks:
        lines[_break(clash, fixed)] = None
    for word in asked.values():
        if word.endswith("-") and any(word[:-1] in _names(c.text) for c in (*needs, *breaks)):
            lines[f"`{word}` keeps {word[:-1]} out"] = None
    return list(lines)


def _names(need: str) -> list[str]:
    """The names of a need's alternatives."""
    return [part.partition(" ")[0].partition(":")[0] for part in need.split(" | ")]


def _needed(clash: Clash) -> str:
    return _names(clash.text)[0]


def _break(clash: Clash, fixed: Mapping[str, str]) -> str:
    text = clash.text.removeprefix("!")
    if clash.kind == "nothing provides" and clash.package and _needed(clash) in fixed:
        return f"{clash.package} needs {text}, which `{fixed[_needed(clash)]}` is not"
    if clash.kind == "nothing provides":
        return (
            f"{clash.package} needs {text}, and nothing can provide it" if clash.package else f"nothing provides {text}"
        )
    if clash.kind == "same name":
        return f"{clash.package} and {clash.other} cannot both be there"
    if clash.other is not None and clash.other.name != text:
        return f"{clash.package} conflicts with {text}, which {clash.other} is"
    return f"{clash.package} conflicts with {clash.other}"


def _hints(
    clashes: Sequence[Clash],
    users: Sequence[str],
    versions_of: Callable[[str], Sequence[str]],
    mend: Callable[[str], Sequence[Hint]],
) -> list[Hint]:
    hints = []
    for clash in clashes:
        if clash.kind == "nothing provides":
            name = _needed(clash)
            versions = versions_of(name)
            if versions:
                hints.append(Hint(f"of {name} there {'is' if len(versions) == 1 else 'are'} {', '.join(versions[:5])}"))
                hints += mend(name)
            else:
                hints.append(Hint(f"no source has {name}: add the suite, component or source that does"))
    if len(users) > 1:
        hints.append(Hint(f"leave out one of {', '.join(users)}"))
    return list(dict.fromkeys(hints))
