"""`stackbuild tree [PACKAGE]`: the locked packages and what each needs, from the lock alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", nargs="?", default="", help="show what this one needs")
    parser.add_argument("--depth", type=int, default=1 << 30, metavar="N", help="no more levels than N")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.lock.tree import tree

    lock = app.lock_file.read()
    if lock is None:
        raise UsageError("there is no lock yet", hints=(Hint("resolve the packages first", "stackbuild lock"),))
    app.show(tree(lock, args.package, args.depth))
