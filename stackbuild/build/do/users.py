"""Writes the layer of a users step: accounts and home folders, as useradd(8) would make them; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.build.account_files import AccountFiles
from stackbuild.build.own_layer import OwnLayer, layer_facts
from stackbuild.build.tree_part import Node
from stackbuild.core.action import Action, Room
from stackbuild.oci.accounts import MAX_TEXT, User
from stackbuild.oci.tar_write import Entry
from stackbuild.oci.tree_view import TreeView

DAY = 86400
NEW = {"passwd": 0o644, "group": 0o644}
HOME_MODE = 0o755


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/layer`; returns the facts of a layer and "ids": {name: [uid, gid]}.

    params: "epoch", "compression", "users": {name: {"uid", "gid", "groups", "home", "shell", "system"}}. Backups
    (`passwd-`, …) are not written; the skeleton is not copied. Raises StepError for ids that are taken.
    """
    epoch, compression = int(action.params["epoch"]), str(action.params.get("compression", "gzip"))
    tree = TreeView(room.lowers)
    before = {name: _text(tree, name) for name in ("passwd", "group", "shadow", "gshadow")}
    files = AccountFiles(
        before["passwd"] or b"", before["group"] or b"", before["shadow"], before["gshadow"], epoch // DAY
    )
    files.add(action.params["users"])
    layer = OwnLayer(lambda path: Node.of(tree.look(path)), epoch)
    for name in before:
        after: bytes | None = getattr(files, name)
        if after is not None and after != before[name]:
            place = layer.place(b"etc/" + name.encode(), last=True)
            node = layer[place] or Node("file", NEW[name])
            layer.add(Entry(place, "file", node.mode, node.uid, node.gid, size=len(after), xattrs=node.xattrs), after)
    for user in files.added.values():
        _home(layer, user)
    with open(room.out / "layer", "wb") as out:
        written = layer.write(out, compression)
    ids = {user.name: [user.uid, user.gid] for user in files.added.values()}
    return {
        **layer_facts(written, compression, layer.empty, str(action.params["created_by"])),
        "ids": dict(sorted(ids.items())),
    }


def _text(tree: TreeView, name: str) -> bytes | None:
    found = tree.find(b"etc/" + name.encode())
    return tree.read(b"etc/" + name.encode(), MAX_TEXT) if found is not None and found.kind == "file" else None


def _home(layer: OwnLayer, user: User) -> None:
    """The home folder, if the image does not have it."""
    if user.home == "/nonexistent":
        return
    place = layer.place(user.home, last=True)
    if layer[place] is None:
        layer.folder(place, HOME_MODE, user.uid, user.gid)
