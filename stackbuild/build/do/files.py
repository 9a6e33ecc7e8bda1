"""Writes the layer of a files step: texts and links that stand in the stack file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.build.own_layer import OwnLayer, own_layer
from stackbuild.build.tree_part import raw
from stackbuild.core.action import Action, Room
from stackbuild.core.modes import apply_mode
from stackbuild.oci.tar_write import Entry


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/layer`; returns the facts of a layer. Input "facet": what a facet step saw.

    params: "epoch", "compression", "files": [{"path", "content" (text, stored as UTF-8) | "link", "owner", "mode"}].
    Links on the way to a path are followed; one at the very path is replaced.
    """

    def fill(layer: OwnLayer) -> None:
        for item in action.params["files"]:
            place = layer.place(item["path"], last=False)
            uid, gid = layer.owner(item.get("owner"))
            if item.get("link") is not None:
                layer.add(Entry(place, "symlink", 0o777, uid, gid, target=raw(item["link"])))
                continue
            data = raw(item["content"])
            mode = apply_mode(item["mode"], False, 0o644) if item.get("mode") else 0o644
            layer.add(Entry(place, "file", mode, uid, gid, size=len(data)), data)

    return own_layer(action, room, fill, str(action.params["created_by"]))
