"""`stackbuild diff A B`: what differs between two locks, in words; needs no project and no network."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.lock.lock import Lock


def options(parser: ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="a lock file")
    parser.add_argument("after", metavar="B", help="another")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.lock.changes import differences

    app.show(differences(_read(args.before), _read(args.after), "the same packages in the same versions"))


def _read(file: str) -> Lock:
    from pathlib import Path

    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.lock.lock import LockFile

    lock = LockFile(Path(file)).read()
    if lock is None:
        raise UsageError(f"there is no {file}", hints=[Hint("write the lock of a stack", "stackbuild lock")])
    return lock
