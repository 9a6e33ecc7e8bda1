"""Writes the layer of a copy or fetch step: project files and fetched blobs at their places, as Docker's COPY."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackbuild.build.own_layer import Content, OwnLayer, own_layer
from stackbuild.build.tree_part import raw
from stackbuild.core.action import Action, Room
from stackbuild.core.errors import StepError
from stackbuild.core.modes import apply_mode
from stackbuild.oci.tar_write import Entry
from stackbuild.oci.tree_read import Stat, TreeReader, walk

FILE, PROGRAM, FOLDER = 0o644, 0o755, 0o755


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/layer`; returns the facts of a layer. Input "facet": what a facet step saw.

    params: "epoch", "compression", and in order
    "copies": [{"to", "owner", "mode", "sources": [{"name", "entries": [[path, kind, target], …]}]}]; a path
      "" is the source itself; kind: "file" | "program" | "dir" | "link"; target: of a link its text, of a
      file its project path, whose bytes are the input "files/PROJECT PATH".
      Or with "staged": the input that do/pick.py made ("files"), and its "sources".
    "fetched": [{"input", "to", "name", "unpack", "owner", "mode"}]: input blobs.
    """

    def fill(layer: OwnLayer) -> None:
        for item in action.params.get("copies", ()):
            if "staged" in item:
                _staged(layer, item, room)
                continue
            for source in item["sources"]:
                _copy(layer, item, source, action, room)
        for item in action.params.get("fetched", ()):
            place = room.inputs[item["input"]]
            if item.get("unpack"):
                _unpack(layer, item, place, room.scratch)
            else:
                content = Content(place, item["name"], action.inputs[item["input"]].digest)
                _file(layer, item, _target(layer, item, item["name"]), FILE, content)

    return own_layer(action, room, fill, str(action.params["created_by"]))


def _target(layer: OwnLayer, item: Mapping[str, Any], name: str) -> bytes:
    """Where a single file goes: into a folder that is there or is written with `/`, else to the path itself."""
    place = layer.place(item["to"], last=True)
    node = layer[place]
    if item["to"].endswith("/") or (node is not None and node.kind == "dir"):
        place = layer.place(place + b"/" + raw(name), last=False)
    return place


def _bits(item: Mapping[str, Any], default: int, *, folder: bool = False) -> int:
    return apply_mode(item["mode"], folder, default) if item.get("mode") else default


def _file(layer: OwnLayer, item: Mapping[str, Any], place: bytes, default: int, content: Content) -> None:
    uid, gid = layer.owner(item.get("owner"))
    size = content.place.stat().st_size
    layer.add(Entry(place, "file", _bits(item, default), uid, gid, size=size), content)


def _copy(layer: OwnLayer, item: Mapping[str, Any], source: Mapping[str, Any], action: Action, room: Room) -> None:
    """One source: a file, or a folder whose content goes into the target."""
    first = source["entries"][0]
    whole = first[0] == "" and first[1] != "dir"
    top = _target(layer, item, source["name"]) if whole else layer.place(item["to"], last=True)
    uid, gid = layer.owner(item.get("owner"))
    for path, kind, target in source["entries"]:
        wanted = top + b"/" + raw(path) if path else top
        if kind == "dir":
            _folder(layer, item, wanted)
            continue
        # only the way is followed: a link of the tree at the very end is replaced
        place = layer.place(wanted, last=False)
        if kind == "link":
            layer.add(Entry(place, "symlink", 0o777, uid, gid, target=raw(target)))
            continue
        name = f"files/{target}"
        blob = action.inputs[name]
        entry = Entry(place, "file", _bits(item, PROGRAM if kind == "program" else FILE), uid, gid, size=blob.size)
        layer.add(entry, Content(room.inputs[name], target, blob.digest))


def _folder(layer: OwnLayer, item: Mapping[str, Any], wanted: bytes) -> bytes:
    """A folder of the source: through links of the tree, as it is if it is there."""
    uid, gid = layer.owner(item.get("owner"))
    return layer.folder(layer.place(wanted, last=True), _bits(item, FOLDER, folder=True), uid, gid)


def _unpack(layer: OwnLayer, item: Mapping[str, Any], place: Path, scratch: Path) -> None:
    """What an archive holds, under the target: owners, times and special bits of the archive do not count."""
    from stackbuild.build.archive import unpack  # a copy of project files starts sooner without

    top = layer.place(item["to"], last=True)
    _folder(layer, item, top)
    uid, gid = layer.owner(item.get("owner"))
    root = unpack(place, item["name"], scratch)
    with TreeReader(root) as tree:
        for path in walk(tree):
            with tree.open(path) as node:
                found = node.stat
            if found.kind == "dir":
                _folder(layer, item, top + b"/" + path)
                continue
            if found.kind not in ("file", "symlink"):
                shown = path.decode(errors="backslashreplace")
                raise StepError(f"{item['name']} cannot be unpacked", why=f"{shown} is a {found.kind}")
            mode = _bits(item, PROGRAM if found.mode & 0o111 else FILE)
            content = _content(root, path, item["name"], found)
            here = layer.place(top + b"/" + path, last=False)
            if found.kind == "symlink":
                layer.add(Entry(here, "symlink", 0o777, uid, gid, target=found.target))
            else:
                layer.add(Entry(here, "file", mode, uid, gid, size=found.size), content)


def _content(root: Path, path: bytes, name: str, found: Stat) -> Content:
    return Content(root / Path(os.fsdecode(path)), name, same=found.inode if found.links > 1 else None)


def _staged(layer: OwnLayer, item: Mapping[str, Any], room: Room) -> None:
    """What was taken out of a stage: root's unless `owner` says else; modes and attributes as they were there."""
    from stackbuild.build.archive import unpack

    uid, gid = layer.owner(item.get("owner"))
    root = unpack(room.inputs[item["staged"]], item["staged"], room.scratch)
    with TreeReader(root) as tree:
        for number, source in enumerate(item["sources"]):
            first = str(number).encode()
            top = layer.place(item["to"], last=True) if source["folder"] else _target(layer, item, source["name"])
            below = walk(tree, first) if source["folder"] else ()
            for path in (first, *below):
                with tree.open(path) as node:
                    found = node.stat
                wanted = top + path[len(first) :]
                mode = _bits(item, found.mode, folder=found.kind == "dir")
                if found.kind == "dir":
                    layer.folder(layer.place(wanted, last=True), mode, uid, gid, found.xattrs)
                elif found.kind == "symlink":
                    here = layer.place(wanted, last=False)
                    layer.add(Entry(here, "symlink", 0o777, uid, gid, target=found.target))
                else:
                    entry = Entry(
                        layer.place(wanted, last=False), "file", mode, uid, gid, size=found.size, xattrs=found.xattrs
                    )
                    layer.add(entry, _content(root, path, source["name"], found))
