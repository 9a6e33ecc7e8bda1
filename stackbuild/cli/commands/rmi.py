"""`stackbuild rmi TAG…`: take names of images away; `cache prune` frees what nobody needs then."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("tag", nargs="+", metavar="TAG", help="a tag in the store (see `stackbuild images`)")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.keeping import find_image
    from stackbuild.core import stamps

    tags = [find_image(app, word, by_digest=False)[0] for word in args.tag]  # all of them are there, or none goes
    for tag in tags:
        app.layout.remove(tag)
    stamps.forget(app.paths.stamps)  # a build that finds nothing changed would not name its image again
