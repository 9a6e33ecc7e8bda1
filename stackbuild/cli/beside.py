"""Settles a stack in a fork while this process imports what comes after settling: two processors, half the wait."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from stackbuild.build.slots import processors

if TYPE_CHECKING:
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


def settled_beside(settle: Callable[[], Stack]) -> Stack | None:
    """What `settle` returns; None if it has to be called here: it failed, or a fork is of no use.

    What it imports is not imported here. It may not ask the network or tell anybody anything.
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
        return load(child.result())
