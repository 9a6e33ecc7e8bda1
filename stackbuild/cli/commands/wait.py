"""`stackbuild wait`: wait for a container's end; its exit code is ours."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from stackbuild.cli.containers import chosen, name_option

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    name_option(parser)


def run(app: App, args: Namespace) -> int:
    from stackbuild.run.requests import wait

    return wait(chosen(app, args.name))
