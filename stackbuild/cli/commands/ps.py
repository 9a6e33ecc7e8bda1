"""`stackbuild ps`: the containers of the store."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(app: App, args: Namespace) -> None:
    from stackbuild.cli.containers import Containers
    from stackbuild.run.lifecycle import ps

    app.show(Containers(ps(app.paths), time.time()))
