"""`stackbuild up`: build if needed, start the container, wait until it is healthy, say where to reach it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App

WAIT_SECONDS = 120.0


def options(parser: ArgumentParser) -> None:
    from stackbuild.cli.commands.build import building_options

    building_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running and return")
    parser.add_argument("--wait", action="store_true", help="with -d: wait until the health check passes")
    parser.add_argument("--wait-timeout", type=float, default=WAIT_SECONDS, metavar="SECONDS", help="for --wait")
    parser.add_argument("--no-build", action="store_true", help="start the image of the last build")


def run(app: App, args: Namespace) -> int:
    from stackbuild.cli.reaching import attach_to, tell_where
    from stackbuild.cli.starting import get_ready, start
    from stackbuild.core.errors import UsageError
    from stackbuild.run.asked import Asked
    from stackbuild.run.watch import wait_healthy

    if args.watch:
        from stackbuild.cli.watching import up_again_and_again

        if args.detach or args.no_build:
            raise UsageError("--watch stays in the foreground and builds", why="-d and --no-build do not")
        return up_again_and_again(app, args)
    ready = get_ready(app, args)
    if not args.detach:
        with Asked() as asked:  # from here on Ctrl-C means the container
            started = start(app, args, ready)
            return attach_to(started.container, started.how, app.listener, asked) or 0
    started = start(app, args, ready)
    if args.wait:
        wait_healthy(started.container, args.wait_timeout, app.listener)
    tell_where(started.container, started.how, app.listener)
    return 0
