"""Gathers the entries of one own layer and writes them; ancestors come from the facet. Never sees the tree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from stackbuild.build.tree_part import Node, TreePart
from stackbuild.core.action import Action, Room
from stackbuild.core.digest import Digest, finish
from stackbuild.core.errors import Hint, StepError, UsageError
from stackbuild.core.files import is_full
from stackbuild.core.follow import follow, show
from stackbuild.oci.accounts import resolve_owner, split_owner
from stackbuild.oci.changes import is_whiteout_name, whiteout
from stackbuild.oci.tar_write import Entry, LayerWriter, Written


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes, elsewhere. digest: what they must be; None if nobody promised. name: for errors.

    same: files of one layer with the same value here (an inode) become hard links of each other.
    """

    place: Path
    name: str
    digest: Digest | None = None
    same: tuple[int, int] | None = None


class OwnLayer:
    """A layer under way. Paths that go in are followed as in a chroot of the tree plus what the layer has so far."""

    def __init__(self, below: Callable[[bytes], Node | None], epoch: int, part: TreePart | None = None) -> None:
        """below: what the tree has at a plain path. part: where the names of owners are looked up."""
        self._below, self._epoch = below, epoch
        self._part = part or TreePart({}, {}, {})
        self._entries: dict[bytes, tuple[Entry, Content | bytes | None]] = {}
        self._gone: set[bytes] = set()

    def __getitem__(self, path: bytes) -> Node | None:
        """What is at a plain path, links not followed."""
        if path in self._entries:
            entry = self._entries[path][0]
            return Node(entry.kind, entry.mode, entry.uid, entry.gid, entry.target, entry.xattrs)
        return self._below(path)

    def place(self, path: str | bytes, *, last: bool) -> bytes:
        """Where a path of the user's leads. last: whether a link at its end is followed. Raises StepError."""
        wanted = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
        return follow(self.__getitem__, wanted, last=last)

    def owner(self, owner: str | int | None) -> tuple[int, int]:
        """(uid, gid) by the tree's accounts. Raises UsageError."""
        part = self._part
        first, second = split_owner(owner)
        near = part.near.get(f"user {first}", ()), part.near.get(f"group {second}", ())
        return resolve_owner(owner, part.users.get, part.groups.get, *near)

    def folder(
        self, path: bytes, mode: int = 0o755, uid: int = 0, gid: int = 0, xattrs: Mapping[bytes, bytes] | None = None
    ) -> bytes:
        """Make sure that there is a folder at a resolved path; one that is there stays as it is."""
        node = self[path]
        if path and (node is None or path not in self._entries):
            self.folder(path.rpartition(b"/")[0])
            if node is None:
                self._put(Entry(path, "dir", mode, uid, gid, self._epoch, xattrs=xattrs or {}), None)
            elif node.kind == "dir":
                self._put(Entry(path, "dir", node.mode, node.uid, node.gid, self._epoch, xattrs=node.xattrs), None)
        if node is not None and node.kind != "dir":
            raise StepError(f"{show(path)} cannot be a folder", why=f"the image has a {node.kind} there")
        return path

    def add(self, entry: Entry, content: Content | bytes | None = None) -> None:
        """One file or link at a resolved path, in place of what is there. Raises StepError for a folder there."""
        node = self[entry.path]
        if not entry.path or (node is not None and node.kind == "dir"):
            raise StepError(
                f"a {entry.kind} cannot take the place of the folder {show(entry.path)}",
                hints=[Hint("remove the folder in a layer before, or end the path with `/` to put it inside")],
            )
        self.folder(entry.path.rpartition(b"/")[0])
        self._put(replace(entry, mtime=self._epoch), content)

    def _put(self, entry: Entry, content: Content | bytes | None) -> None:
        if any(name.startswith(b".wh.") for name in entry.path.split(b"/")):
            raise StepError(
                f"{show(entry.path)} cannot be stored in a layer",
                why="names that begin with `.wh.` mean deletions there",
            )
        self._entries[entry.path] = (entry, content)

    def delete(self, path: bytes) -> None:
        """A whiteout for what is at a resolved path. Raises StepError if nothing is."""
        if self[path] is None:
            near = self._part.near.get(show(path), ())
            raise StepError(
                f"there is no {show(path)} to remove",
                why="the layers below do not have it",
                hints=[Hint(f"did you mean {name}?") for name in near],
            )
        if not path or is_whiteout_name(path):
            raise StepError(f"{show(path)} cannot be removed")
        self.folder(path.rpartition(b"/")[0])
        self._gone.add(path)

    def write(self, out: BinaryIO, compression: str) -> Written:
        """All of it as a stored layer, sorted by path. Raises StepError if a file is not what was promised."""
        names = {path: path for path in self._entries if not self._in_removed(path) and path not in self._gone}
        names |= {whiteout(path): b"" for path in self._gone if not self._in_removed(path)}
        first: dict[tuple[int, int], bytes] = {}
        with LayerWriter(out, compression) as writer:
            for name in sorted(names):
                if not names[name]:
                    writer.add(Entry(name, "file", 0o644, mtime=self._epoch))
                    continue
                entry, content = self._entries[name]
                if isinstance(content, Content) and content.same is not None:
                    earlier = first.setdefault(content.same, name)
                    if earlier != name:
                        writer.add(replace(entry, kind="hardlink", size=0, target=earlier))
                        continue
                _add(writer, entry, content)
            return writer.close()

    def _in_removed(self, path: bytes) -> bool:
        """Whether a folder above it is removed: then the path needs no word of its own."""
        while path := path.rpartition(b"/")[0]:
            if path in self._gone:
                return True
        return False

    @property
    def empty(self) -> bool:
        """Whether the layer would say nothing: no entry at all."""
        return not self._entries and not self._gone


class _Checked:
    """Passes a file on and knows the digest of what passed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _add(writer: LayerWriter, entry: Entry, content: Content | bytes | None) -> None:
    if not isinstance(content, Content):
        writer.add(entry, content)
        return
    try:
        with open(content.place, "rb") as file:
            checked = _Checked(file)
            writer.add(entry, cast(BinaryIO, checked))
    except FileNotFoundError:
        raise changed(content.name, GONE) from None
    except (StepError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise  # it is the layer that cannot be written
        raise changed(content.name, str(error)) from None
    if content.digest is not None and finish(checked.hash) != content.digest:
        raise changed(content.name, "its content is another than when the build began")


GONE = "it was there when the build began"


def changed(name: str, why: str) -> StepError:
    """A project file was written to while the build read it."""
    return StepError(f"{name} changed while the image was built", why=why, hints=[Hint("build again")])


def own_layer(action: Action, room: Room, fill: Callable[[OwnLayer], None], created_by: str) -> Mapping[str, Any]:
    """The common frame of copy, files and remove: read the facet, let `fill` add entries, write the layer.

    Returns the facts of a layer. Raises StepError.
    """
    part = TreePart.from_json(room.inputs["facet"].read_bytes())
    layer = OwnLayer(part.__getitem__, int(action.params["epoch"]), part)
    compression = str(action.params.get("compression", "gzip"))
    try:
        fill(layer)
    except UsageError as error:  # a name that the tree lacks: found while building, so the step failed
        raise StepError(error.what, why=error.why, hints=error.hints) from None
    with open(room.out / "layer", "wb") as out:
        written = layer.write(out, compression)
    return layer_facts(written, compression, layer.empty, created_by)


def layer_facts(written: Written, compression: str, empty: bool, created_by: str) -> dict[str, Any]:
    """What every step that makes a layer says of it."""
    return {"diff_id": written.diff_id, "compression": compression, "empty": empty, "created_by": created_by}
