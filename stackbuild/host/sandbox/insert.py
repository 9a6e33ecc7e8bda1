"""Putting more folders into a stack whose tree was changed already, by the same rules in both sandboxes.

An inserted entry that something higher in the stack hides has no effect. Else one that is no directory takes the place
of what is at its path in the changed tree, a directory is merged with one that is there, keeping changed metadata, and
yields to something else that a command put there. Inserted folders hold no whiteouts (packages have none), and no file
where the stack has a directory both below and above: that much of a conflict is not the same in both sandboxes to the
last entry, and packages that have it go the reference way (DESIGN, section 8).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from stackbuild.host.overlay import xattr_prefix
from stackbuild.host.sandbox.private_copy import PrivateCopy, copy_entry, remove, set_metadata
from stackbuild.host.tree import MergedTree, Node, same_entry, same_metadata

Copy = Callable[[bytes, bytes, os.stat_result], None]


def insert_into_upper(upper: Path, old: MergedTree, inserted: MergedTree, new: MergedTree) -> None:
    """Make an upper folder right for the stack `new`, which is `old` with `inserted` in it. It must not be mounted."""
    top = os.fsencode(upper)

    def copy(path: bytes, real: bytes, info: os.stat_result) -> None:
        copy_entry(real, info, top + b"/" + path)

    _Insertion(top, old, inserted, new, copy, xattr_prefix() + "opaque").directory(b"", inserted.root, False)


def insert_into_copy(copy: PrivateCopy, old: MergedTree, inserted: MergedTree, new: MergedTree) -> None:
    """Bring a private copy of the tree `old`, changed since, up to the stack `new`."""
    _Insertion(copy.root, old, inserted, new, copy.copy, "").directory(b"", inserted.root, True)
    copy.settle()


class _Insertion:
    """One insertion. mark: the xattr of opaque directories in an upper folder; "" for a private copy."""

    def __init__(
        self, top: bytes, old: MergedTree, inserted: MergedTree, new: MergedTree, copy: Copy, mark: str
    ) -> None:
        self.top, self.old, self.inserted, self.new = top, old, inserted, new
        self.copy, self.mark = copy, mark

    def directory(self, path: bytes, node: Node, whole: bool) -> None:
        """Insert what is in one directory. whole: what is not in the changed tree here is nowhere: copy it."""
        place = self.top + b"/" + path
        before = os.lstat(place).st_mtime_ns
        was, now = self.old.node(path), self.new.node(path)
        for name, child in self.inserted.children(path, node).items():
            full = path + b"/" + name if path else name
            shown = self.new.node(full)
            if shown is None or bool(shown.sources) != bool(child.sources):
                if whole and shown is not None and shown.sources:
                    self._cut_off(full)
                continue
            if child.sources:
                self._subdirectory(full, child, shown, whole)
            elif shown.real == child.real:
                remove(self.top + b"/" + full)
                if whole:
                    self.copy(full, shown.real, shown.info)
        if was is not None and now is not None and before == was.info.st_mtime_ns:
            before = now.info.st_mtime_ns
        os.utime(place, ns=(before, before))

    def _subdirectory(self, path: bytes, node: Node, shown: Node, whole: bool) -> None:
        place = self.top + b"/" + path
        was = self.old.node(path)
        try:
            info = os.lstat(place)
        except FileNotFoundError:
            if not whole:
                return  # the mount shows the inserted one
            self.copy(path, shown.real, shown.info)
            self.directory(path, node, True)
            return
        here = Node(place, None)
        if stat.S_ISDIR(info.st_mode):
            if was is not None and was.sources and same_metadata(was, here):
                _keep_time(place, info, shown)
            self.directory(path, node, whole or self._stays_opaque(place, was))
        elif self.mark and stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:  # deleted, and now there again
            os.unlink(place)
            self.copy(path, shown.real, shown.info)
            os.setxattr(place, self.mark, b"y")
            self.directory(path, node, True)
        elif was is not None and not was.sources and same_entry(was, here):
            os.unlink(place)
            if whole:
                self.copy(path, shown.real, shown.info)
                self.directory(path, node, True)

    def _cut_off(self, path: bytes) -> None:
        """A file between two directories hides what the lower one adds to the upper one: take it out of the copy."""
        now = self.new.listdir(path)
        for name in self.old.listdir(path):
            full = path + b"/" + name
            was = self.old.node(full)
            place = self.top + b"/" + full
            if was is None or not os.path.lexists(place):
                continue
            here = Node(place, None)
            if was.sources and stat.S_ISDIR(here.info.st_mode):
                self._cut_off(full)
                if name not in now and same_metadata(was, here) and not os.listdir(place):
                    os.rmdir(place)
            elif name not in now and not was.sources and same_entry(was, here):
                os.unlink(place)

    def _stays_opaque(self, place: bytes, was: Node | None) -> bool:
        """Whether a directory of the upper folder hides what is below it. A directory that was new when a command
        made it got the mark although it had nothing to hide: that mark goes."""
        if not self.mark:
            return False
        try:
            os.getxattr(place, self.mark)
        except OSError:
            return False
        if was is not None and was.sources:
            return True
        os.removexattr(place, self.mark)
        return False


def _keep_time(place: bytes, info: os.stat_result, shown: Node) -> None:
    """Take over the metadata of a directory that nobody changed, but not its time: `directory` sees to that."""
    set_metadata(shown.real, shown.info, place)
    os.utime(place, ns=(info.st_mtime_ns, info.st_mtime_ns))
