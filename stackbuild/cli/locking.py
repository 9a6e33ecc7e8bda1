"""The lock of a command: read, and resolved only if it does not answer the stack."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from stackbuild.core.events import Note

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.lock.base_stack import BaseStack
    from stackbuild.lock.lock import Lock
    from stackbuild.lock.resolve import Bases, BaseTree
    from stackbuild.stack.stack import Stack

INDEX_AGE = 600
"""Seconds for which a build takes the archives' indexes as they are in the store, without asking whether there are
newer ones: a package is added in less time then. `lock`, `lock --update` and `outdated` always ask."""


def lock_for(app: App, stack: Stack, *, locked: bool) -> Lock:
    """The lock that answers the stack, written if it is new. locked: never resolve, a stale one is a UsageError.

    Where the project cannot be written to, the build goes on with the lock in memory, and says so.
    """
    from stackbuild.cli.base_stack import locks_below
    from stackbuild.core.errors import HostError
    from stackbuild.lock.requests import answers

    old, below = app.lock_file.read(), locks_below(app)
    fits = answers(old, stack, below)
    if old is not None and fits and not (locked and _overridden(stack)):
        app.lock = old
        return old
    from stackbuild.cli.network import fetcher
    from stackbuild.lock.resolve import resolve, stale

    if locked:
        raise stale(stack, old, below)

    fetch = fetcher(app, INDEX_AGE)
    new = resolve(stack, old, fetch, bases=bases(app, stack), stage_bases=partial(bases, app), below=below)
    try:
        app.lock_file.write(new)
    except HostError as error:
        app.listener(Note(f"{stack.lock_file.name} could not be written: {error.why}", "warning"))
    app.lock = new
    return new


def bases(app: App, stack: Stack) -> Bases:
    """How the resolver gets at the base image or base stack of a stack or stage."""

    def base(platform: str, newest: bool) -> BaseTree | BaseStack:
        if stack.base.stack:
            from stackbuild.cli.base_stack import as_base, base_app

            return as_base(base_app(app, stack), platform)
        from stackbuild.cli.base_image import base_tree

        return base_tree(app, stack, platform, newest=newest)

    return base


def _overridden(stack: Stack) -> bool:
    """Whether requests come from --set or the environment, which no lock of the project can answer."""
    tables = ("base", "packages")
    return any(path[0] in tables or (path[0] == "stages" and path[2] in tables) for path, _ in stack.overrides())
