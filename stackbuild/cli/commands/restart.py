"""`stackbuild restart`: stop a container and start it again, as it was."""

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
    from stackbuild.run.lifecycle import start_again, stop

    container = chosen(app, args.name)
    stop(container, app.paths, args.time)
    if not start_again(container, app.paths, app.listener):
        chosen(app, args.name)  # removed meanwhile: this says so
