"""`stackbuild logs`: what a container wrote."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from stackbuild.cli.containers import chosen, name_option, span

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    name_option(parser)
    here = parser.add_argument_group("options", conflict_handler="resolve")  # -f is --follow, --file has its long name
    here.add_argument("-f", "--follow", action="store_true", help="go on until the container ends")
    parser.add_argument("-n", "--tail", type=int, metavar="N", help="the last N lines only")
    parser.add_argument("--since", type=span, metavar="TIME", help='only what is younger than, for example, "10m"')


def run(app: App, args: Namespace) -> int:
    from stackbuild.cli.terminal import output
    from stackbuild.run.watch import logs

    since = time.time() - args.since if args.since is not None else 0.0
    try:
        logs(chosen(app, args.name), output, follow=args.follow, last=args.tail, since=since)
    except KeyboardInterrupt:
        if not args.follow:
            raise
        return 130  # the way to leave a log that goes on: no mistake to speak of
    return 0
