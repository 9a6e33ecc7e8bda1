"""`stackbuild tag IMAGE NEW`: one more name for an image of the store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a tag or digest in the store (see `stackbuild images`)")
    parser.add_argument("name", metavar="NEW", help="the new tag: NAME or NAME:VERSION")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.keeping import find_image
    from stackbuild.core.errors import UsageError

    name = args.name if ":" in args.name else f"{args.name}:latest"
    if not name.isprintable() or not name.strip() or name.startswith(":"):
        raise UsageError(f"`{args.name}` is not a tag", why="a tag is NAME or NAME:VERSION, in printable letters")
    _, descriptor = find_image(app, args.image)
    app.layout.add(app.layout.document(descriptor).raw, tag=name)
