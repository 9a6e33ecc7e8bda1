"""`stackbuild push [--to REF]…`: send the image of the last build."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--to", action="append", default=[], metavar="REF", help="instead of push.to: docker://REF, oci:DIR…"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli import fast
    from stackbuild.cli.network import copy_out
    from stackbuild.cli.results import Sent
    from stackbuild.cli.sending import Sending, destinations
    from stackbuild.cli.starting import last_build

    app.sending = fast.sending(args, app.environ)
    known = app.sending or Sending.of(app.stack())
    where = None if known.to or args.to else app.stack().origin("push", "to")
    places = destinations(args.to, known.to, where, push=not args.to)
    name, digest = last_build(app, known.name)
    for place in places:
        copy_out(app, digest, place)
    app.show(Sent(name, digest, places))
