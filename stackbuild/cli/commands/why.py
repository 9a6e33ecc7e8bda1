"""`stackbuild why PACKAGE`: the chain that pulls a package in, from the lock alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a package of stack.lock")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.core.events import Note
    from stackbuild.lock.requests import answers
    from stackbuild.lock.why import why

    stack, lock = app.stack(), app.lock_file.read()
    if lock is None:
        hints = (Hint("resolve the packages first", "stackbuild lock"),)
        raise UsageError(f"there is no {stack.lock_file.name} yet", hints=hints)
    if not answers(lock, stack):
        app.listener(Note(f"{stack.lock_file.name} is stale: the answer is about what it holds", "warning"))
    asked = [
        term.name
        for one in (stack, *stack.stages.values())
        for request in one.packages.install
        for term in request.terms
    ]
    app.show(why(lock, args.package, asked))
