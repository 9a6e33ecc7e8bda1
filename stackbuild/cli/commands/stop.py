"""`stackbuild stop`: end a container; it can be started again."""

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
    from stackbuild.core.events import ContainerStateChanged
    from stackbuild.run.lifecycle import stop

    container = chosen(app, args.name)
    code = stop(container, app.paths, args.time)
    app.listener(ContainerStateChanged(container.name, "exited", f"exit code {code}"))
