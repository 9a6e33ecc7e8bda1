"""The part of a tree that an own layer reads (a facet), as a value. Reads no disk, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.core.action import canonical
from stackbuild.core.errors import StepError
from stackbuild.core.follow import show
from stackbuild.oci.tree_view import Seen


@dataclass(frozen=True, slots=True)
class Node:
    """What a tree has at one path. kind: as of oci.tar_write.Entry. target: text of a link."""

    kind: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    target: bytes = b""
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, seen: Seen | None) -> Node | None:
        """What a tree view saw; the attributes of folders alone (nothing else is ever copied up)."""
        if seen is None:
            return None
        xattrs = dict(seen.xattrs) if seen.kind == "dir" else {}
        return cls(seen.kind, seen.mode, seen.uid, seen.gid, seen.target, xattrs)

    def to_json(self) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "kind": self.kind,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "target": text(self.target),
        }
        if self.xattrs:
            tree["xattrs"] = {text(name): value.hex() for name, value in self.xattrs.items()}
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Node:
        xattrs = {raw(name): bytes.fromhex(value) for name, value in tree.get("xattrs", {}).items()}
        return cls(tree["kind"], tree["mode"], tree["uid"], tree["gid"], raw(tree["target"]), xattrs)


def text(path: bytes) -> str:
    """Bytes of a name as JSON can hold them; `raw` gives them back."""
    return path.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class TreePart:
    """What a facet step saw: ids by name, and what is at the paths that it was asked about and above them.

    users: name -> (uid, primary gid). None: the tree has no such thing.
    matches: pattern -> the paths that it stands for. near: a name that is not there -> what it may have meant.
    """

    users: Mapping[str, tuple[int, int] | None]
    groups: Mapping[str, int | None]
    paths: Mapping[bytes, Node | None]
    matches: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    near: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, path: bytes) -> Node | None:
        """What is at a path; a name in a folder that the facet knows, but was not asked about, is taken as new.

        Raises StepError if not even the folder is known.
        """
        if path in self.paths:
            return self.paths[path]
        if b"/" not in path or self.paths.get(path.rpartition(b"/")[0]) is not None:
            return None if path else Node("dir")
        above = path
        while above:
            above = above.rpartition(b"/")[0]
            if above in self.paths and ((node := self.paths[above]) is None or node.kind != "dir"):
                return None
        raise StepError(
            f"{show(path)} lies behind a link that this layer makes itself", why="what is there below is not known"
        )

    def to_json(self) -> bytes:
        """Canonical: the same part gives the same bytes."""
        return canonical(
            {
                "users": {name: list(ids) if ids else None for name, ids in self.users.items()},
                "groups": dict(self.groups),
                "paths": {text(path): node.to_json() if node else None for path, node in self.paths.items()},
                **(
                    {"matches": {p: [text(path) for path in found] for p, found in self.matches.items()}}
                    if self.matches
                    else {}
                ),
                **({"near": {name: list(others) for name, others in self.near.items()}} if self.near else {}),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> TreePart:
        tree = json.loads(data)
        return cls(
            {name: (ids[0], ids[1]) if ids else None for name, ids in tree["users"].items()},
            tree["groups"],
            {raw(path): Node.from_json(node) if node else None for path, node in tree["paths"].items()},
            {pattern: tuple(map(raw, found)) for pattern, found in tree.get("matches", {}).items()},
            {name: tuple(others) for name, others in tree.get("near", {}).items()},
        )
