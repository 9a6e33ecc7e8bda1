"""`stackbuild down`: stop and remove a container; its volumes stay."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from stackbuild.cli.containers import chosen, grace, name_option

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    name_option(parser)
    parser.add_argument("-t", "--time", type=grace, metavar="TIME", help="until SIGKILL (default: its own setting)")


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.events import Note
    from stackbuild.run.lifecycle import down

    container = chosen(app, args.name)
    down(container, app.paths, args.time)
    app.listener(Note(f"{container.name} is removed"))
