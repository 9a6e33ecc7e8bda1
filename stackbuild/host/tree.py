"""One tree out of a stack of folders, and what differs between two such trees. Mounts nothing, follows no link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackbuild.host.attributes import xattrs
from stackbuild.host.overlay import xattr_prefix

WHITEOUT = b".wh."
_CHUNK = 1 << 18


@dataclass(slots=True)
class Node:
    """An entry of a merged tree.

    real: where it can be read. sources: for a directory the real directories that it is merged of, topmost
    first. info: its lstat.
    """

    real: bytes
    entry: os.DirEntry[bytes] | None
    sources: tuple[bytes, ...] = ()

    @property
    def info(self) -> os.stat_result:
        return os.lstat(self.real) if self.entry is None else self.entry.stat(follow_symlinks=False)


class MergedTree:
    """What an overlay of these folders shows, lowest first, without mounting it.

    Whiteouts are character devices 0:0 or files `.wh.NAME`; opaque marks (overlay's xattr) count too. Paths are
    bytes, relative, without leading or trailing slash; b"" is the root. Listings are read once and kept, so a tree
    is a view of the moment when it was first asked.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._mark = xattr_prefix() + "opaque"
        self._listings: dict[bytes, dict[bytes, Node]] = {}
        sources = tuple(os.fsencode(folder) for folder in reversed(folders))
        self.root = Node(sources[0] if sources else b"", None, sources)

    def lookup(self, path: bytes) -> tuple[bytes, os.stat_result] | None:
        """Where the entry can be read, and its lstat; None if there is none. A link on the way is not followed."""
        node = self.node(path)
        return None if node is None else (node.real, node.info)

    def node(self, path: bytes) -> Node | None:
        """The entry at `path`."""
        here: Node | None = self.root
        done = b""
        for part in path.split(b"/") if path else ():
            here = self.children(done, here).get(part) if here and here.sources else None
            done = done + b"/" + part if done else part
        return here

    def listdir(self, path: bytes) -> list[bytes]:
        """The names in a directory, sorted; [] if there is no such directory."""
        node = self.node(path)
        return sorted(self.children(path, node)) if node and node.sources else []

    def walk(self, top: bytes = b"") -> Iterator[tuple[bytes, bytes, os.stat_result]]:
        """(path, real path, lstat) of all entries below `top`, each directory before what is in it, sorted by name."""
        node = self.node(top)
        stack = [(top, node)] if node and node.sources else []
        while stack:
            path, here = stack.pop()
            if path != top:
                yield path, here.real, here.info
            if here.sources:
                prefix = path + b"/" if path else b""
                children = self.children(path, here)
                stack.extend((prefix + name, children[name]) for name in sorted(children, reverse=True))

    def children(self, path: bytes, node: Node) -> dict[bytes, Node]:
        """The entries of the directory `node`, which is at `path`, by name."""
        if path not in self._listings:
            self._listings[path] = self._merge(node.sources)
        return self._listings[path]

    def _merge(self, sources: tuple[bytes, ...]) -> dict[bytes, Node]:
        found: dict[bytes, Node] = {}
        closed: set[bytes] = set()  # names that lower folders can add nothing to
        for number, source in enumerate(sources):
            hidden = []
            last = number == len(sources) - 1
            with os.scandir(source) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith(WHITEOUT):
                        hidden.append(name[len(WHITEOUT) :])
                    elif name not in closed:
                        if entry.is_dir(follow_symlinks=False):
                            self._add_directory(found, entry)
                            if not last and self._is_opaque(entry.path):
                                hidden.append(name)
                        else:
                            if not is_whiteout(entry) and name not in found:
                                found[name] = Node(entry.path, entry)
                            hidden.append(name)
            closed.update(hidden)
        return found

    @staticmethod
    def _add_directory(found: dict[bytes, Node], entry: os.DirEntry[bytes]) -> None:
        above = found.get(entry.name)
        if above is None:
            found[entry.name] = Node(entry.path, entry, (entry.path,))
        else:
            above.sources += (entry.path,)

    def _is_opaque(self, path: bytes) -> bool:
        try:
            return os.getxattr(path, self._mark, follow_symlinks=False) == b"y"
        except OSError:
            return False


def is_whiteout(entry: os.DirEntry[bytes]) -> bool:
    """Whether it is a character device 0:0. Costs an lstat only for what is no file, directory or link."""
    if entry.is_file(follow_symlinks=False) or entry.is_symlink():
        return False
    info = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


Identity = Callable[[bytes, Node], bytes]
"""Two entries with the same identity have the same type, metadata and content (directories: metadata excepted)."""


def by_place(path: bytes, node: Node) -> bytes:
    """The identity of entries in folders that nobody changes: where they are."""
    return node.real


def compare(
    before: MergedTree, after: MergedTree, identity: Identity = by_place
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """(present, deleted) as core/changes.py defines them. Sockets of `after` do not count, nor does the root
    directory itself: no layer holds them.

    identity: of entries of `after`; those of `before` are identified by their place. Only directories that are
    merged of different folders are read, and only files whose identities differ.
    """
    present: set[bytes] = set()
    deleted: list[bytes] = []
    if before.root.sources != after.root.sources:
        stack: list[tuple[bytes, Node | None, Node]] = [(b"", before.root, after.root)]
        while stack:
            path, old, new = stack.pop()
            stack.extend(_compare_directory(path, before, old, after, new, identity, present, deleted))
    for path in tuple(present):
        while (path := path.rpartition(b"/")[0]) and path not in present:
            present.add(path)
    return tuple(sorted(present)), tuple(sorted(deleted))


def _compare_directory(
    path: bytes,
    before: MergedTree,
    old: Node | None,
    after: MergedTree,
    new: Node,
    identity: Identity,
    present: set[bytes],
    deleted: list[bytes],
) -> Iterator[tuple[bytes, Node | None, Node]]:
    """Compare what two directories hold; gives the subdirectories to be compared next."""
    prefix = path + b"/" if path else b""
    olds = before.children(path, old) if old is not None and old.sources else {}
    news = after.children(path, new)
    gone = set(olds) - set(news)
    for name, there in news.items():
        full = prefix + name
        was = olds.get(name)
        if not there.sources:
            if was is not None and identity(full, there) == was.real:
                continue
            if stat.S_ISSOCK(there.info.st_mode):
                if was is not None:
                    gone.add(name)
            elif was is None or was.sources or not same_entry(was, there):
                present.add(full)
            continue
        if was is not None and was.sources == there.sources:
            continue
        if was is None or not was.sources or not same_metadata(was, there):
            present.add(full)
        yield full, was, there
    deleted.extend(prefix + name for name in gone)


def same_metadata(one: Node, two: Node) -> bool:
    """Whether type, mode, owner, device number and extended attributes are equal."""
    a, b = one.info, two.info
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    if stat.S_ISCHR(a.st_mode) or stat.S_ISBLK(a.st_mode):
        return a.st_rdev == b.st_rdev
    return xattrs(one.real) == xattrs(two.real)


def same_entry(one: Node, two: Node) -> bool:
    """Whether two entries that are no directories are equal in all that a layer holds but their times."""
    if not same_metadata(one, two):
        return False
    mode = one.info.st_mode
    if stat.S_ISLNK(mode):
        return os.readlink(one.real) == os.readlink(two.real)
    if not stat.S_ISREG(mode):
        return True
    return one.info.st_size == two.info.st_size and same_content(one.real, two.real)


def same_content(one: bytes, two: bytes) -> bool:
    """Whether two regular files hold the same bytes. Reads both up to the first difference."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    a = os.open(one, flags)
    try:
        b = os.open(two, flags)
        try:
            while True:
                left, right = os.read(a, _CHUNK), os.read(b, _CHUNK)
                if left != right:
                    return False
                if not left:
                    return True
        finally:
            os.close(b)
    finally:
        os.close(a)
