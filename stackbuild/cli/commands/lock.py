"""`stackbuild lock`: resolve packages and write stack.lock; a no-op while it answers the stack."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stackbuild.cli.wiring import App
    from stackbuild.lock.changes import LockChanges


def options(parser: ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", metavar="STACK", help="a stack (file or folder); default: the project's")
    parser.add_argument("--check", action="store_true", help="fail if stack.lock is stale; resolve and write nothing")
    parser.add_argument("--update", nargs="*", metavar="NAME", help="move all packages, or those named")
    parser.add_argument(
        "--vendor", metavar="DIR", help="keep a copy of every locked file in this folder of the project; '' ends that"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.base_stack import by_name, locks_below
    from stackbuild.core.errors import UsageError
    from stackbuild.lock.changes import LockChanges
    from stackbuild.lock.local import read_by
    from stackbuild.lock.requests import answers
    from stackbuild.lock.resolve import resolve, stale

    if args.check and args.update is not None:
        raise UsageError("--check writes nothing, --update does: use one of them")
    if args.check and args.vendor is not None:
        raise UsageError("--check writes nothing, --vendor does: use one of them")
    from stackbuild.cli.several import stacks_of

    app, args, several = stacks_of(app, args)
    if several:
        named = {id(one): words for one, words in several}
        for one in by_name(one for one, _ in several).values():  # a base before what stands on it
            if id(one) in named:
                run(one, named[id(one)])
        return
    if args.target:
        raise UsageError(
            f"`{args.target[0]}` is not a stack", why="it is no .toml file and no folder with a stack.toml"
        )
    stack, old, below = app.stack(), app.lock_file.read(), locks_below(app)
    fresh = answers(old, stack, below)
    if args.check and not fresh:
        raise stale(stack, old, below)
    if old is not None and fresh and args.update is None and args.vendor is None:
        current = LockChanges(old, old, stack.lock_file.name)
        _remember(app, args, current, read=[*read_by(stack), stack.lock_file])
        app.show(current)
        return

    from dataclasses import replace
    from functools import partial

    from stackbuild.cli.locking import bases
    from stackbuild.cli.network import fetcher

    stage_bases = partial(bases, app)
    new = resolve(
        stack, old, fetcher(app), bases=bases(app, stack), stage_bases=stage_bases, below=below, move=args.update
    )
    if args.vendor is not None:
        from stackbuild.lock.vendor import folder_of

        new = replace(new, vendor=folder_of(stack.project, args.vendor) if args.vendor else "")
    if new.vendor:
        from stackbuild.cli.package_files import PackageFiles

        PackageFiles(app, new).fill_vendor(old)  # before the lock says so: a build never looks for what is not there
    app.lock_file.write(new)
    _remember(app, args, LockChanges(new, new, stack.lock_file.name), read=read_by(stack), written=[stack.lock_file])
    app.show(LockChanges(old, new, stack.lock_file.name))


def _remember(
    app: App, args: Namespace, current: LockChanges, *, read: Iterable[Path], written: Iterable[Path] = ()
) -> None:
    """Keep what was read to find the lock up to date, so that the next `lock` can tell by `stat`."""
    from stackbuild.cli import fast
    from stackbuild.cli.base_stack import all_below
    from stackbuild.lock.local import read_by

    stacks = [app.stack(), *(base.stack() for base in all_below(app))]
    if any(one.base.image for stack in stacks for one in (stack, *stack.stages.values())):
        return  # its image level may come from a place that no `stat` can watch
    below = stacks[1:]
    fast.remember(
        args,
        app.environ,
        started=app.started,
        read=[*read, *(file for stack in below for file in read_by(stack))],
        written=[*written, *(stack.lock_file for stack in below)],
        variables=[name for stack in stacks for name in stack.variables],
        result={"text": current.to_text(), "json": current.to_json()},
    )
