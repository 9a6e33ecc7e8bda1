"""`stackbuild cache ls|du|prune|verify`: what the store holds, how much it takes, and less of it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App
    from stackbuild.core.action import Blob
    from stackbuild.store.inventory import Item


def options(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("ls", "du", "prune", "verify"))
    parser.add_argument(
        "--older-than", type=_seconds, metavar="TIME", help="prune: what was not used for so long (7d, 12h, 30min)"
    )
    parser.add_argument(
        "--max-size",
        type=_bytes,
        metavar="SIZE",
        help="prune: until so much is left (5GB); default build.max-cache-size",
    )
    parser.add_argument("--all", action="store_true", help="prune: all that no tag, container or running build uses")
    parser.add_argument("-n", "--dry-run", action="store_true", help="prune: say what would go, and delete nothing")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    from argparse import ArgumentTypeError

    try:
        return parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _bytes(text: str) -> int:
    from stackbuild.stack.quantities import parse_bytes

    return int(_parsed(lambda word: parse_bytes(int(word) if word.isdigit() else word), text))


def _seconds(text: str) -> float:
    """ "7d", "2w", or what the stack file takes ("90s", "12h")."""
    from stackbuild.stack.quantities import parse_seconds

    days = {"d": 86400.0, "w": 7 * 86400.0}.get(text[-1:])
    if days and text[:-1].isdigit():
        return int(text[:-1]) * days
    return float(_parsed(parse_seconds, text.replace("min", "m")))


def run(app: App, args: Namespace) -> int | None:
    from stackbuild.core.errors import Hint, UsageError

    asked = args.older_than is not None or args.max_size is not None or args.all or args.dry_run
    if asked and args.action != "prune":
        raise UsageError(
            f"cache {args.action} takes no such option", hints=(Hint("see the usage", "stackbuild cache --help"),)
        )
    return {"ls": _ls, "du": _du, "prune": _prune, "verify": _verify}[args.action](app, args)


def _items(app: App) -> list[Item]:
    from stackbuild.cli.keeping import kept
    from stackbuild.store.inventory import inventory

    return inventory(app.paths, kept(app))


def _ls(app: App, args: Namespace) -> None:
    from stackbuild.report.cache import Listed

    app.show(Listed(tuple(_items(app)), time.time()))


def _du(app: App, args: Namespace) -> None:
    from stackbuild.report.cache import DiskUse
    from stackbuild.store.inventory import areas
    from stackbuild.store.prune import Wish, choose

    free = choose(_items(app), Wish(all=True), time.time(), app.uses.oldest_build())
    app.show(DiskUse(tuple(areas(app.paths)), tuple(free)))


def _prune(app: App, args: Namespace) -> None:
    from stackbuild.cli.keeping import kept, settled_limit
    from stackbuild.core.errors import Hint, UsageError
    from stackbuild.report.cache import WhatWent
    from stackbuild.store.prune import Pruned, Wish, choose, delete

    limit = args.max_size
    if limit is None and args.older_than is None and not args.all:
        limit = settled_limit(app)
        if limit is None:
            raise UsageError(
                "nothing says how much is to go",
                why="build.max-cache-size is not set",
                hints=[
                    Hint("what was not used for a week", "stackbuild cache prune --older-than 7d"),
                    Hint("down to a size", "stackbuild cache prune --max-size 5GB"),
                    Hint("all that no image or container needs", "stackbuild cache prune --all"),
                ],
            )
    chosen = choose(_items(app), Wish(args.older_than, limit, args.all), time.time(), app.uses.oldest_build())
    if args.dry_run:
        app.show(WhatWent(Pruned(tuple(chosen), 0, 0), True))
        return
    app.show(WhatWent(delete(app.paths, chosen, still_kept=lambda: kept(app), everything=args.all), False))


def _verify(app: App, args: Namespace) -> int:
    from stackbuild.packages.index import Index
    from stackbuild.report.cache import Checked
    from stackbuild.store.verify import verify

    def check_index(path: Path) -> str:
        if path.parent.name == "release":
            return ""
        try:
            Index.open(path)
        except (OSError, ValueError) as error:
            return str(error)
        return ""

    items, running = _items(app), app.uses.oldest_build()
    app.protect()
    done = verify(app.paths, items, lambda layers, form, into: _unpack(app, layers, form, into), check_index, running)
    app.show(Checked(done))
    return 5 if any(not bad.dropped for bad in done.bad) else 0


def _unpack(app: App, layers: list[Blob], form: str, into: Path) -> None:
    from stackbuild.oci.tar_extract import Whiteouts, extract

    forms: dict[str, Whiteouts] = {"overlay": "device", "chroot": "file", "flat": "apply"}
    for blob in layers:
        with app.blobs.open(blob) as stream:
            extract(stream, into, whiteouts=forms[form], name=f"layer {blob.digest}")
