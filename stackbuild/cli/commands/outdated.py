"""`stackbuild outdated`: what `lock --update` would move, and nothing written."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--security", action="store_true", help="only what an archive of security updates brings")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from functools import partial

    from stackbuild.cli.base_stack import locks_below
    from stackbuild.cli.locking import bases
    from stackbuild.cli.network import fetcher
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.lock.changes import differences
    from stackbuild.lock.resolve import resolve

    stack, old = app.stack(), app.lock_file.read()
    if old is None:
        raise UsageError("there is no lock yet", hints=(Hint("resolve the packages first", "stackbuild lock"),))
    locks_below(app, write=False)
    new = resolve(stack, old, fetcher(app), bases=bases(app, stack), stage_bases=partial(bases, app), move=[])
    none = f"nothing is outdated{' by security updates' if args.security else ''}"
    app.show(differences(old, new, none, security=args.security))
