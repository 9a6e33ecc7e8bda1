"""`stackbuild why PACKAGE`: the chain that pulls a package in, and over what it was chosen; fetches nothing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.lock.lock import Lock
    from stackbuild.lock.why import Why
    from stackbuild.packages.ecosystem import Choice
    from stackbuild.stack.stack import Stack


def options(parser: ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a package of stack.lock")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from dataclasses import replace

    from stackbuild.cli.base_stack import bases_of
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.core.events import Note
    from stackbuild.lock.requests import answers
    from stackbuild.lock.why import why

    stack, lock = app.stack(), app.lock_file.read()
    if lock is None:
        hints = (Hint("resolve the packages first", "stackbuild lock"),)
        raise UsageError(f"there is no {stack.lock_file.name} yet", hints=hints)
    below = {text: base.lock_file.read() for text, base in bases_of(app).items()}
    known = {text: one for text, one in below.items() if one is not None}
    try:
        fresh = answers(lock, stack, known)
    except UsageError:  # a package file of the project is missing: what the lock holds can be told all the same
        fresh = False
    if not fresh:
        app.listener(Note(f"{stack.lock_file.name} is stale: the answer is about what it holds", "warning"))
    found = why(lock, args.package, _asked(stack), _below(app))
    app.show(replace(found, choices=_choices(app, stack, lock, found)))


def _choices(app: App, stack: Stack, lock: Lock, found: Why) -> dict[str, tuple[Choice, ...]]:
    """Over what the package was chosen, by the indexes in the store; what is missing for that is said, not fetched."""
    from functools import partial

    from stackbuild.cli.locking import bases
    from stackbuild.cli.network import fetcher
    from stackbuild.core.errors import StackError
    from stackbuild.core.events import Note, nobody
    from stackbuild.lock.lock import by_place
    from stackbuild.lock.resolve import choices_of

    app.args.offline = True
    store, choices = fetcher(app), {}
    store.listener = nobody  # what is to be said of the sources was said by `lock`
    for chain in found.chains:
        platform, _, stage = chain.platform.partition(" stage ")
        locked = by_place(lock).get(chain.platform)
        if locked is None:  # of a stack below
            continue
        one = stack.stages[stage] if stage else stack
        try:
            choices[chain.platform] = choices_of(one, platform, locked, found.name, store, partial(bases, app)(one))
        except StackError as error:
            app.listener(Note(f"over what it was chosen cannot be told: {error.what}"))
    return choices


def _asked(stack: Stack) -> list[str]:
    """The names that the user asked for."""
    stacks = (stack, *stack.stages.values())
    return [term.name for one in stacks for request in one.packages.install for term in request.terms]


def _below(app: App) -> dict[str, tuple[Lock, list[str]]]:
    """The locks of the stacks below, and what each asks for, by the name of the stack."""
    from stackbuild.cli.base_stack import all_below

    found = {}
    for base in all_below(app):
        if (lock := base.lock_file.read()) is not None:
            found[base.stack().name] = lock, _asked(base.stack())
    return found
