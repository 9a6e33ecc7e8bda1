"""Writes the layer of a remove step: whiteouts, which hide what the layers below have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.build.own_layer import OwnLayer, own_layer
from stackbuild.build.tree_part import TreePart
from stackbuild.core.action import Action, Room
from stackbuild.core.errors import StepError


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/layer`; returns the facts of a layer. Input "facet": what a facet step saw.

    params: "epoch", "compression", "remove": paths and patterns. As with `rm`, a path that is not there, or a
    pattern that matches nothing, is an error: it is a typo, or the image changed. A link is removed, not followed.
    """
    part = TreePart.from_json(room.inputs["facet"].read_bytes())

    def fill(layer: OwnLayer) -> None:
        for path in action.params["remove"]:
            if path not in part.matches:
                layer.delete(layer.place(path, last=False))
                continue
            if not part.matches[path]:
                raise StepError(f"nothing matches {path}", why="the layers below have no such path")
            for found in part.matches[path]:
                layer.delete(found)

    return own_layer(action, room, fill, str(action.params["created_by"]))
