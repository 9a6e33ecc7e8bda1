"""Stack and indexes to a Lock: asks the ecosystem once for each platform; keeps what need not move."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stackbuild.core.clock import Clock
from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, ResolutionError, StackError, UsageError
from stackbuild.core.events import Note, PhaseFinished, PhaseStarted
from stackbuild.lock.base_stack import BaseStack
from stackbuild.lock.local import bring, differences
from stackbuild.lock.lock import FORMAT, Lock, LockedArchive, LockedPackage, LockedRemoval, PlatformLock
from stackbuild.lock.requests import answers, digest, moved_below, puts_on_base
from stackbuild.lock.sources import find_sources, refuse_older
from stackbuild.packages.ecosystem import Choice, Ecosystem, Question, Resolution, ecosystem
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.local import PROJECT
from stackbuild.packages.pin import Pin
from stackbuild.packages.source import Source
from stackbuild.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class BaseTree:
    """A base image of one platform: the digest of its manifest, and its file system unpacked into one folder."""

    digest: Digest
    folder: Path


Bases = Callable[[str, bool], BaseTree | BaseStack]
"""(Platform, whether the newest is wanted) -> the base image, found and unpacked, or the base stack; asked only if the
base is one."""


def resolve(
    stack: Stack,
    old: Lock | None,
    fetcher: Fetcher,
    *,
    bases: Bases | None = None,
    stage_bases: Callable[[Stack], Bases] | None = None,
    below: Mapping[str, Lock] | None = None,
    move: Sequence[str] | None = None,
    clock: Clock | None = None,
    root: Path = Path("/"),
) -> Lock:
    """The lock that answers the stack. `old` itself if it does so already and nothing is to move.

    move: None keeps every locked version that still fits; [] moves all packages; names move those.
    bases: for a stack on a base image or stack; stage_bases: the same of a stage.
    below: the locks of base stacks, by what `base.stack` says.
    root: this machine's own root (its apt sources).
    Raises ResolutionError, NetworkError, UsageError.
    """
    if move is None and answers(old, stack, below):
        assert old is not None
        return old
    if move:
        _known(move, old)
    started = time.monotonic()
    fetcher.listener(PhaseStarted("resolve"))
    keep_base = move is None or bool(move)
    platforms: dict[str, PlatformLock] = {}
    for platform in stack.image.platforms:
        before = old.platforms.get(platform) if old is not None else None
        stages = {}
        try:
            found = _platform(stack, platform, before, fetcher, bases, move, clock, root)
            for name, stage in stack.stages.items():
                old_stage = before.stages.get(name) if before is not None else None
                its_bases = stage_bases(stage) if stage_bases else None
                stages[name] = _platform(stage, platform, old_stage, fetcher, its_bases, move, clock, root)
        except ResolutionError as error:
            if platform != "linux/amd64" or len(stack.image.platforms) > 1:
                _of_platform(error, platform, list(platforms))
            raise
        platforms[platform] = replace(found, stages=stages) if stages else found
    count = sum(len(p.everything) for p in platforms.values())
    fetcher.listener(PhaseFinished("resolve", time.monotonic() - started, f"{count} packages"))
    return Lock(
        requests=digest(stack),
        platforms=platforms,
        recipes=dict(stack.recipes),
        format=old.format if old is not None and keep_base else FORMAT,
        vendor=old.vendor if old is not None else "",
    )


def _known(names: Sequence[str], old: Lock | None) -> None:
    """Names to move must be locked, else a typing mistake would do nothing and say nothing."""
    locked = {p.name for platform in (old.platforms.values() if old else ()) for p in platform.everything}
    locked |= set(old.recipes) if old else set()
    for name in names:
        if name not in locked:
            from stackbuild.packages.problems import near

            close = near(name, locked)
            hints = (Hint(f"did you mean {' or '.join(close)}?"),) if close else ()
            raise UsageError(f"there is no {name} in the lock to update", hints=hints)


def _platform(
    stack: Stack,
    platform: str,
    before: PlatformLock | None,
    fetcher: Fetcher,
    bases: Bases | None,
    move: Sequence[str] | None,
    clock: Clock | None,
    root: Path,
) -> PlatformLock:
    base = None
    if stack.base.image or (stack.base.stack and puts_on_base(stack)):
        if bases is None:
            raise UsageError("a base image cannot be looked up here", where=stack.origin("base", stack.base.kind))
        base = bases(platform, move is not None and not move)
    if base is not None and not puts_on_base(stack):
        return PlatformLock(base.digest, base_image=str(stack.base.image))
    if stack.base.stack and base is None:
        return PlatformLock()
    if stack.base.scratch and not stack.packages.install:
        return PlatformLock()
    question, sources = question_of(stack, platform, base, fetcher, root)
    family = _family(stack)
    try:
        result = _ask(family, question, _keep(before, move, question.architecture), sources, fetcher, clock)
    except StackError as error:
        _point(error, stack)
        raise
    for note in result.notes:
        fetcher.listener(Note(note))
    found = to_lock(result, base.digest if base else None)
    if before is not None and all(source.check_date and not source.snapshot for source in sources):
        refuse_older(found, before, stack)
    return replace(found, base_image=str(stack.base.image or f"stack:{stack.base.stack}")) if base else found


def question_of(
    stack: Stack, platform: str, base: BaseTree | BaseStack | None, fetcher: Fetcher, root: Path = Path("/")
) -> tuple[Question, list[Source]]:
    """What a stack asks for a platform, and of which sources. Raises UsageError."""
    status = _status(base, stack)
    sources = _sources(stack, base, fetcher, root)
    question = Question(
        requests=tuple(stack.packages.install),
        architecture=_family(stack).architecture(platform),
        variant=stack.base.variant if stack.base.distro else "",
        recommends=bool(stack.packages.recommends),
        status=status,
        pins=_pins(stack, base),
        upgrade=bool(stack.packages.upgrade) and base is not None,
        allow_remove=tuple(stack.packages.allow_remove),
        files=bring(stack, fetcher),
        foreign=_foreign(base),
    )
    return question, sources


def _foreign(base: BaseTree | BaseStack | None) -> tuple[str, ...]:
    """The architectures that a base image's dpkg takes packages of, beside its own, the first that it names."""
    if not isinstance(base, BaseTree):
        return ()
    from stackbuild.packages.deb.foreign import text

    return tuple((text(base.folder, "var/lib/dpkg/arch") or "").split()[1:])


def choices_of(
    stack: Stack, platform: str, locked: PlatformLock, name: str, fetcher: Fetcher, bases: Bases | None
) -> tuple[Choice, ...]:
    """Over what the lock of a stack (or stage) has a package, by the indexes of the fetcher. Raises StackError."""
    base = bases(platform, False) if bases and stack.base.kind in ("image", "stack") else None
    question, sources = question_of(stack, platform, base, fetcher)
    native = question.architecture
    versions = {p.called(native): p.version for p in locked.packages}
    parents = [p.called(native) for p in locked.packages if name in (*p.depends, *p.pre_depends)]
    return _family(stack).choices(name, versions, parents, question, sources, fetcher)


def _sources(stack: Stack, base: BaseTree | BaseStack | None, fetcher: Fetcher, root: Path) -> list[Source]:
    if isinstance(base, BaseStack) and not stack.packages.source:
        return base.sources()
    folder = base.folder if isinstance(base, BaseTree) else None
    return find_sources(stack, base=folder, listener=fetcher.listener, root=root)


def _family(stack: Stack) -> Ecosystem:
    return ecosystem(stack.base.distro or "debian/any")  # a base image without dpkg is refused by what it holds


def _status(base: BaseTree | BaseStack | None, stack: Stack) -> bytes:
    if base is None:
        return b""
    from stackbuild.packages.deb.foreign import dpkg_status

    if isinstance(base, BaseStack):
        status, why = (
            (b"", "it skips maintainer scripts") if base.skips_scripts else (base.status(), "it has no packages")
        )
    else:
        status, why = dpkg_status(base.folder), "it has no database of dpkg (/var/lib/dpkg/status)"
    if not status:
        raise UsageError(
            f"packages cannot be installed on this base {stack.base.kind}",
            where=stack.origin("base", stack.base.kind),
            why=why,
            hints=(Hint("use a base with Debian's or Ubuntu's packages, or leave [packages] install empty"),),
        )
    return status


def _pins(stack: Stack, base: BaseTree | BaseStack | None) -> tuple[Pin, ...]:
    """The stack's pins, in its order, then those of the base."""
    found = list(pins_of(stack))
    if isinstance(base, BaseStack):
        return (*found, *base.pins)
    if base is None:
        return tuple(found)
    from stackbuild.packages.deb.preferences import read

    return (*found, *read(base.folder))


def pins_of(stack: Stack) -> tuple[Pin, ...]:
    """The stack's own pins, in its order. Raises UsageError."""
    found = []
    for name, pin in stack.packages.pin.items():
        kind = "release" if pin.release else "version" if pin.version else "origin"
        data = str(getattr(pin, kind))
        origin = stack.origin("packages", "pin", name)
        if name == "*" and kind == "version":
            raise UsageError("a version cannot be pinned for all packages", where=origin)
        found.append(Pin(() if name == "*" else (name,), kind, data, pin.priority, origin))
    return tuple(found)


def _keep(before: PlatformLock | None, move: Sequence[str] | None, native: str) -> dict[str, str]:
    if before is None or (move is not None and not move):
        return {}
    return {p.called(native): p.version for p in before.packages if p.name not in (move or ())}


def _ask(
    family: Ecosystem,
    question: Question,
    keep: dict[str, str],
    sources: Sequence[Source],
    fetcher: Fetcher,
    clock: Clock | None,
) -> Resolution:
    """The answer that keeps what is to be kept; if there is none, the answer that is free to move."""
    if not keep:
        return family.resolve(question, sources, fetcher, clock)
    try:
        return family.resolve(replace(question, keep=keep), sources, fetcher, clock)
    except ResolutionError:
        found = family.resolve(question, sources, fetcher, clock)
        fetcher.listener(Note("the locked versions do not fit together with the requests: they all may have moved"))
        return found


def _of_platform(error: ResolutionError, platform: str, done: Sequence[str]) -> None:
    """Say for which platform there is no answer. done: those that have one."""
    for one in error.errors or (error,):
        one.what += f" for {platform}"
        if done:
            mend = f"leave {platform} out of image.platforms, or the request: {', '.join(done)} has an answer"
            one.hints = (*one.hints, Hint(mend))


def _point(error: StackError, stack: Stack) -> None:
    """Give an error about a request, and those that it holds, the file and line of that request."""
    names = {request.text: request.name for request in stack.packages.install}
    for one in (error, *error.errors):
        key = one.where.key if one.where is not None else ()
        if key[:2] == ("packages", "install") and not (one.where and one.where.file):
            one.where = stack.origin(*key[:2], *(names.get(str(text), str(text)) for text in key[2:]))


def to_lock(result: Resolution, base: Digest | None = None) -> PlatformLock:
    """A resolution as the lock holds it."""
    archives = sorted({p.package.archive for p in result.packages if p.package.archive} - {PROJECT}, key=lambda a: a.id)
    ids: dict[str, int] = {}
    names = {}
    for archive in archives:  # two archives may call themselves the same
        ids[archive.id] = ids.get(archive.id, 0) + 1
        names[archive] = archive.id if ids[archive.id] == 1 else f"{archive.id}#{ids[archive.id]}"
    return PlatformLock(
        base,
        tuple(LockedArchive(names[a], a.origin, a.suite, a.codename, a.date, a.release) for a in archives),
        tuple(
            LockedPackage(
                name=p.package.name,
                version=p.package.version,
                architecture=p.package.architecture,
                sha256=Digest(f"sha256:{p.package.sha256}"),
                size=p.package.size,
                archive=names.get(p.package.archive, "") if p.package.archive else "",
                path=p.package.path,
                source=p.package.source,
                wave=p.wave,
                manual=p.manual,
                depends=p.depends,
                pre_depends=p.pre_depends,
                essential=p.package.essential,
                replaces=p.replaces,
            )
            for p in result.packages
        ),
        removed=tuple(LockedRemoval(p.name, p.version, p.architecture) for p in result.removed),
    )


def stale(stack: Stack, old: Lock | None, below: Mapping[str, Lock] | None = None) -> UsageError:
    """The error of --check and --locked: what the lock does not answer."""
    if old is None:
        why = "there is no lock"
    elif missing := [p for p in stack.image.platforms if p not in old.platforms]:
        why = f"it has nothing for {', '.join(missing)}"
    elif changed := ", ".join(differences(stack, old)):
        why = changed
    elif old.requests == digest(stack) and (moved := moved_below(old, stack, below or {})):
        why = f"the packages of the base stack {moved[0]} have changed since it was written"
    else:
        why = "base, packages, sources or platforms of the stack have changed since it was written"
    from stackbuild.core.origin import Origin

    return UsageError(
        f"{stack.lock_file.name} is stale",
        where=Origin("lock", str(stack.lock_file)),
        why=why,
        hints=(Hint("write it anew and commit it", "stackbuild lock"),),
    )
