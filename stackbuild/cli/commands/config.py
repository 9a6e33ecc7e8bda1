"""`stackbuild config [KEY]`: the settled settings, and where each came from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", metavar="KEY", help="one value or table, with all that it overrode")
    parser.add_argument("--origins", action="store_true", help="say for each value which file and line set it")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.report.settings import OneSetting, SettledStack
    from stackbuild.stack.overrides import parse_key

    if args.key is None:
        app.show(SettledStack(app.stack(), args.origins))
        return
    key = parse_key(args.key)
    if key is None:
        hint = Hint("write a key as in the file", "stackbuild config container.env.TZ")
        raise UsageError(f"`{args.key}` is not a key", hints=(hint,))
    app.show(OneSetting(app.stack(), key))
