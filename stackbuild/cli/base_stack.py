"""Stacks that other stacks start from: each is found, settled and locked once in a command, whoever stands on it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.errors import Hint, UsageError

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.lock.base_stack import BaseStack
    from stackbuild.lock.lock import Lock, LockedPackage
    from stackbuild.packages.source import Source
    from stackbuild.plan.graph import Plan
    from stackbuild.stack.stack import Stack

OF_THE_MACHINE = ("registries", "sources", "build")
"""Tables that --set and the environment say for a base stack, too: all else they say of the stack that is named."""


class Family:
    """The stacks of one command. apps: by stack file, but for the project's own. several: that one has no part in it.

    protected: whether nothing that they use may be pruned by others now.
    settling: files of stacks, each the base of the one before."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.several = False
        self.protected = False
        self.settling: list[str] = []


def settled_base(app: App, stack: Stack) -> Stack | None:
    """The base stack of one that is being settled; those of its stages are settled, too.

    Raises UsageError if stacks start from each other in a circle, or if a base is not what its own files say."""
    app.family.settling.append(str(stack.file))
    try:
        for one in (stack, *stack.stages.values()):
            if not one.base.stack:
                continue
            base = base_app(app, one)
            if base.top is base and (base.args.profile or base.stack().overrides()):
                raise UsageError(
                    f"{one.base.stack} is built as a stack of its own and is the base of {stack.name}",
                    where=one.origin("base", "stack"),
                    why="--profile, --set and STACKBUILD__… are for stacks that are named, not for bases",
                    hints=[Hint("build them one after the other")],
                )
            base.stack()
        return base_app(app, stack).stack() if stack.base.stack else None
    finally:
        app.family.settling.pop()


def base_app(app: App, stack: Stack) -> App:
    """The app of the base stack of a stack or stage."""
    text, where = str(stack.base.stack), stack.origin("base", "stack")
    path = Path(os.path.normpath(stack.project / text))
    file = str(path / "stack.toml" if path.is_dir() else path)
    settling = app.family.settling
    if file in settling:
        circle = [*settling[settling.index(file) :], file]
        raise UsageError(
            "stacks start from each other in a circle", where=where, why=" → ".join(map(os.path.relpath, circle))
        )
    if not os.path.isfile(file):
        hints = [Hint("base.stack is the folder or the file of another stack, relative to this one's folder")]
        raise UsageError(f"there is no stack {text}", where=where, why=f"{file} is not a file", hints=hints)
    known = app.family.apps.get(file)
    return known or app.child(_words(app.args, file), _environ(app.environ))


def _words(args: Namespace, file: str) -> Namespace:
    """The command line as it is meant for a base stack."""
    sets = [one for one in args.sets or () if one.partition(".")[0] in OF_THE_MACHINE]
    none = {"target": [], "platform": [], "update": None, "vendor": None, "profile": None, "sets": sets or None}
    return Namespace(**{**vars(args), **none, "file": file, "files": [file]})


def _environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("STACKBUILD__") or name.split("__")[1].lower() in OF_THE_MACHINE
    }


def bases_of(app: App) -> dict[str, App]:
    """The base stacks of the stack and its stages, by what `base.stack` says."""
    stack = app.stack()
    return {
        str(one.base.stack): base_app(app, one) for one in (stack, *stack.stages.values()) if one.base.stack is not None
    }


def all_below(app: App) -> Iterator[App]:
    """Every stack that this one starts from, the lowest first; one may come twice."""
    for base in bases_of(app).values():
        yield from all_below(base)
        yield base


def locks_below(app: App, *, write: bool = True) -> dict[str, Lock]:
    """The locks of the base stacks, resolved and written where they are stale.

    Not to `write`, as with --locked or --check, makes a stale one a UsageError.
    """
    from stackbuild.cli.locking import lock_for

    found = {}
    strict = not write or bool(getattr(app.args, "locked", False) or getattr(app.args, "check", False))
    for text, base in bases_of(app).items():
        if "lock" not in base.__dict__:
            lock_for(base, base.stack(), locked=strict)
        found[text] = base.lock
    return found


def plans_below(app: App) -> dict[str, tuple[str, Plan]]:
    """Name and plan of each base stack, by what `base.stack` says."""
    return {text: (base.stack().name, base.plan) for text, base in bases_of(app).items()}


def as_base(app: App, platform: str) -> BaseStack:
    """This stack as what the packages of another are put on. Its own packages' files are fetched if they are asked."""
    from stackbuild.lock.base_stack import BaseStack, packages_digest
    from stackbuild.lock.resolve import pins_of

    stack, lock = app.stack(), app.lock
    if platform not in lock.platforms:
        raise UsageError(f"{stack.lock_file.name} has nothing for {platform}", where=stack.origin("image", "platforms"))
    return BaseStack(
        digest=packages_digest(lock.platforms[platform]),
        status=lambda: dpkg_status_of(app, platform),
        sources=lambda: sources_of(app, stack),
        pins=pins_of(stack),
        skips_scripts=stack.packages.scripts == "skip",
    )


def dpkg_status_of(app: App, platform: str) -> bytes:
    """The database of dpkg that the stack's image will have, as far as packages decide it; read once a command."""
    if platform not in app.statuses:
        app.statuses[platform] = _read_dpkg_status(app, platform)
    return app.statuses[platform]


def _read_dpkg_status(app: App, platform: str) -> bytes:
    from stackbuild.lock.base_stack import status_on_top

    stack, locked = app.stack(), app.lock.platforms[platform]
    below = b""
    if stack.base.stack:
        below = dpkg_status_of(base_app(app, stack), platform)
    elif stack.base.image:
        from stackbuild.cli.base_image import base_tree
        from stackbuild.packages.deb.foreign import dpkg_status

        below = dpkg_status(base_tree(app, stack, platform).folder)
    missing = (p.sha256 for p in locked.packages if not app.downloads.path(p.sha256).exists())
    app.package_files.bring(platform, missing)

    def file(package: LockedPackage) -> Path:
        return app.downloads.path(package.sha256)

    return status_on_top(below, locked, file)


def sources_of(app: App, stack: Stack) -> list[Source]:
    """Where a stack or stage gets its packages: its own sources, else those of its base, else this machine's."""
    from stackbuild.lock.sources import find_sources

    if stack.base.stack and not stack.packages.source:
        base = base_app(app, stack)
        return sources_of(base, base.stack())
    return find_sources(stack, base=app.base_folder(stack), listener=app.listener)


def by_name(apps: Iterable[App]) -> dict[str, App]:
    """These stacks, after those that they start from, by name. Raises UsageError if two have one name."""
    found: dict[str, App] = {}
    for app in apps:
        for one in (*all_below(app), app):
            stack = one.stack()
            if found.setdefault(stack.name, one) is not one:
                raise UsageError(
                    f"two stacks are called `{stack.name}`",
                    where=stack.origin("stack", "name"),
                    why=f"the other is {found[stack.name].stack().file}, and images and steps go by this name",
                )
    return found
