"""Settles a stack in a fork while this process gets ready for what comes after: two processors, half the wait."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from stackbuild.build.slots import processors

if TYPE_CHECKING:
    from pathlib import Path

    from stackbuild.cli.wiring import App
    from stackbuild.stack.stack import Stack

AFTER = (
    "stackbuild.plan.planner",
    "stackbuild.plan.forecast",
    "stackbuild.lock.resolve",
    "stackbuild.packages.deb.repository",
    "stackbuild.packages.deb.resolver",
    "stackbuild.build.image",
    "stackbuild.build.executors.in_room",
    "stackbuild.cli.kinds",
    "stackbuild.oci.layout",
)
"""What a build of a changed stack file needs beside what settles it."""


def settled_beside(settle: Callable[[], Stack], meanwhile: Callable[[], object]) -> Stack | None:
    """What `settle` returns; None if it has to be called here: it failed, or a fork is of no use.

    What it imports is not imported here. It may not ask the network or tell anybody anything, and the same goes for
    `meanwhile`, which this process does, after its imports.
    """
    if "pydantic" in sys.modules or threading.active_count() > 1 or processors() < 2:
        return None
    if all(module in sys.modules for module in AFTER):  # the second of several stacks: each fork would import anew
        return None
    from stackbuild.core.forked import Forked
    from stackbuild.stack.kept import dump, load

    with Forked(lambda: dump(settle())) as child:  # whatever goes wrong there: the caller meets it again, and says so
        for module in AFTER:
            import_module(module)
        meanwhile()
        return load(child.result())


def be_ready(app: App, lock_file: Path, before: Stack | None) -> None:
    """Read what a changed stack will most likely need, too: its lock, and the indexes that it resolved by before.

    before: the stack as it was settled last. Nothing is decided here: what is read is only read, and whoever needs it
    checks it; a failure is met again, and told, by who needs it.
    """
    from stackbuild.cli.locking import INDEX_AGE
    from stackbuild.cli.network import fetcher
    from stackbuild.core.errors import StackError
    from stackbuild.lock.lock import LockFile
    from stackbuild.lock.sources import find_sources
    from stackbuild.packages.deb.repository import open_all
    from stackbuild.packages.ecosystem import ecosystem

    with suppress(StackError):
        LockFile(lock_file).read()
        if before is None or not before.base.distro:  # what a base image says of sources is in the image
            return
        sources, family = find_sources(before), ecosystem(before.base.distro)
        for platform in before.image.platforms:
            open_all(sources, [family.architecture(platform)], fetcher(app, INDEX_AGE).ahead())
