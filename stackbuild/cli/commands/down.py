"""`stackbuild down`: stop and remove a container; its volumes stay."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from stackbuild.cli.containers import chosen, name_option, time_option

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    name_option(parser)
    time_option(parser)


def run(app: App, args: Namespace) -> None:
    from stackbuild.core.events import Note
    from stackbuild.run.lifecycle import down

    container = chosen(app, args.name)
    down(container, app.paths, args.time)
    app.listener(Note(f"{container.name} is removed"))
