"""`stackbuild lock`: resolve packages and write stack.lock; a no-op while it answers the stack."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fail if stack.lock is stale; resolve and write nothing")
    parser.add_argument("--update", nargs="*", metavar="NAME", help="move all packages, or those named")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import UsageError
    from stackbuild.lock.changes import LockChanges
    from stackbuild.lock.requests import answers
    from stackbuild.lock.resolve import resolve, stale

    if args.check and args.update is not None:
        raise UsageError("--check writes nothing, --update does: use one of them")
    stack, old = app.stack(), app.lock_file.read()
    fresh = answers(old, stack)
    if args.check and not fresh:
        raise stale(stack, old)
    if old is not None and fresh and args.update is None:
        app.show(LockChanges(old, old, stack.lock_file.name))
        return

    from stackbuild.cli.locking import bases
    from stackbuild.cli.network import fetcher

    new = resolve(stack, old, fetcher(app), bases=bases(app, stack), move=args.update)
    app.lock_file.write(new)
    app.show(LockChanges(old, new, stack.lock_file.name))
