"""The end of a step that makes a layer and its unpacked form: the tree is told of first, then the layer is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from stackbuild.core.action import Room
from stackbuild.core.errors import HostError
from stackbuild.oci.tar_write import Written


def finish(room: Room, facts: Mapping[str, Any], write: Callable[[int], Written]) -> Mapping[str, Any]:
    """`out/tree` is whole: tell room.ahead, then write the layer. Returns the facts.

    write: makes `out/layer`; it gets a descriptor of the tree, which may be elsewhere by then. Raises HostError if the
    layer is not the one that facts["diff_id"] promised.
    """
    root = os.open(room.out / "tree", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if room.ahead is not None:
            room.ahead(facts)
        written = write(root)
    finally:
        os.close(root)
    if written.diff_id != facts["diff_id"]:
        raise HostError(
            "an unpacked tree changed while a layer was made of it", why="does another program write there?"
        )
    return facts
