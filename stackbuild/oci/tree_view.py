"""A stack of unpacked layers as one tree: what is at a path, and the text of a file. Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackbuild.core.errors import StepError
from stackbuild.core.follow import follow
from stackbuild.host.attributes import xattrs
from stackbuild.host.tree import MergedTree
from stackbuild.oci.tree_read import KINDS


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tree has at a path. kind: as of tar_write.Entry, or "socket". real: where it can be read."""

    kind: str
    mode: int
    uid: int
    gid: int
    target: bytes
    real: bytes

    @property
    def xattrs(self) -> Mapping[bytes, bytes]:
        return xattrs(self.real)


class TreeView:
    """Folders, lowest first, as one tree. They must not change meanwhile."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._tree = MergedTree(folders)

    def look(self, path: bytes) -> Seen | None:
        """What is at a plain relative path, links not followed; None if nothing is."""
        found = self._tree.lookup(path) if self._tree.root.sources else None  # no folder at all: nothing, nowhere
        if found is None:
            return None
        real, info = found
        kind = KINDS[stat.S_IFMT(info.st_mode)]
        target = os.readlink(real) if kind == "symlink" else b""
        return Seen(kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, target, real)

    def names(self, path: bytes) -> list[bytes]:
        """The names in a folder, sorted; [] if there is none."""
        return self._tree.listdir(path)

    def find(self, path: bytes) -> Seen | None:
        """What a path leads to, links followed inside the tree; None if nothing is there or they go in a circle."""
        try:
            return self.look(follow(self.look, path, last=True))
        except StepError:
            return None

    def read(self, path: bytes, limit: int) -> bytes:
        """The first `limit` bytes of a regular file, links followed inside the tree; b"" if there is none."""
        found = self.find(path)
        if found is None or found.kind != "file":
            return b""
        fd = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            return file.read(limit)
