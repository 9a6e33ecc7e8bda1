"""Reads the chosen part of a stage's tree: its files as an archive, and the names that they will take."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

from stackbuild.build.do.facet import is_pattern, matches_of
from stackbuild.build.tree_part import Node, raw, text
from stackbuild.core.action import Action, Room, canonical
from stackbuild.core.clock import EPOCH
from stackbuild.core.errors import Hint, StepError
from stackbuild.core.files import write_file
from stackbuild.core.follow import follow, show
from stackbuild.oci.tar_write import Entry, LayerWriter
from stackbuild.oci.tree_view import Seen, TreeView

Left = Callable[[bytes, bool], bool]  # (path in the source, is it a folder) -> left out?


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/files`, a tar of the sources, source N beneath "N" (a file is "N" itself), and `out/folders`.

    params: "from": an absolute path of the tree or a pattern; a link is followed inside the tree, one that is in
    a source stays a link. "exclude": as in .gitignore, from the source's root. Modes and extended attributes are
    kept, owners (those of an ACL too) and times are not.
    "folders" is JSON: for each source {"name", "folders"}: paths below it, [""] first; of a file null.
    Facts: "sources": the names and whether each is a folder. Raises StepError.
    """
    tree = TreeView(room.lowers)
    wanted = str(action.params["from"])
    left = _left(action.params.get("exclude") or ())
    sources: list[dict[str, Any]] = []
    with open(room.out / "files", "wb") as out, LayerWriter(out, "zstd") as writer:
        for path in _sources(tree, wanted):
            name = path.rpartition(b"/")[2]
            place = follow(tree.look, path, last=True)
            seen = tree.look(place) if place else Seen("dir", 0o755, 0, 0, b"", b"")
            if seen is None:
                raise StepError(f"{show(path)} is a link that leads nowhere")
            if seen.kind != "dir" and left(name, False):
                continue
            picked = _Picked(tree, writer, str(len(sources)).encode(), left)
            if seen.kind == "dir":
                picked.folder(place, b"")
            else:
                picked.add(seen, place, b"")
            folders = [text(folder) for folder in picked.folders] if seen.kind == "dir" else None
            sources.append({"name": text(name), "folders": folders})
        writer.close()
    if not sources:
        raise StepError(f"`{wanted}` leaves nothing to copy", why="all of it is excluded")
    write_file(room.out / "folders", canonical(sources))
    return {"sources": [{"name": one["name"], "folder": one["folders"] is not None} for one in sources]}


def _sources(tree: TreeView, wanted: str) -> list[bytes]:
    """The plain paths, their last part not followed, that a path or pattern stands for."""

    def look(path: bytes) -> Node | None:
        return Node.of(tree.look(path))

    path = raw(wanted).strip(b"/")
    place = follow(look, path, last=False)
    if not place or tree.look(place) is not None:
        return [place]
    if is_pattern(wanted):
        if found := list(matches_of(look, tree, path)):
            return found
        raise StepError(f"nothing in the stage matches `{wanted}`")
    above, _, last = place.rpartition(b"/")
    while above and tree.look(above) is None:
        above, _, last = above.rpartition(b"/")
    names = [name.decode("utf-8", "backslashreplace") for name in tree.names(above)]
    near = difflib.get_close_matches(last.decode("utf-8", "backslashreplace"), names, 3)
    raise StepError(
        f"there is no `{wanted}` in the stage",
        why=f"{show(above)} has no `{last.decode('utf-8', 'backslashreplace')}`",
        hints=[Hint(f"did you mean `{show(above).rstrip('/')}/{name}`?") for name in near],
    )


def _left(exclude: list[str] | tuple[str, ...]) -> Left:
    if not exclude:
        return lambda path, is_dir: False
    from pathspec import GitIgnoreSpec

    try:
        spec = GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise StepError(f"`{list(exclude)}` cannot be used", why=str(error)) from None
    return lambda path, is_dir: bool(path) and spec.match_file(os.fsdecode(path) + ("/" if is_dir else ""))


class _Picked:
    """One source on its way into the archive. folders: the paths of its folders, b"" first."""

    def __init__(self, tree: TreeView, writer: LayerWriter, name: bytes, left: Left) -> None:
        self._tree, self._writer, self._name, self._left = tree, writer, name, left
        self._first: dict[tuple[int, int], bytes] = {}
        self.folders: list[bytes] = []

    def folder(self, place: bytes, top: bytes) -> None:
        """A folder of the tree and all that is in it, sorted; no link is followed."""
        waiting = [(place, top)]
        while waiting:
            here, path = waiting.pop()
            seen = self._tree.look(here) if here else Seen("dir", 0o755, 0, 0, b"", b"")
            if seen is None:
                continue
            self.add(seen, here, path)
            if seen.kind == "dir":
                self.folders.append(path)
                for name in reversed(self._tree.names(here)):
                    inner, inside = (here + b"/" + name if here else name), (path + b"/" + name if path else name)
                    found = self._tree.look(inner)
                    if found is not None and not self._left(inside, found.kind == "dir"):
                        waiting.append((inner, inside))

    def add(self, seen: Seen, place: bytes, path: bytes) -> None:
        name = self._name + b"/" + path if path else self._name
        if seen.kind in ("dir", "symlink"):
            entry = Entry(name, seen.kind, seen.mode, mtime=EPOCH, target=seen.target, xattrs=_of_nobody(seen))
            self._writer.add(entry)
            return
        if seen.kind != "file":
            raise StepError(
                f"{show(place)} of the stage cannot be copied",
                why=f"it is a {seen.kind}, neither a file, a folder nor a link",
                hints=[Hint("leave it out with `exclude`")],
            )
        fd = os.open(seen.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            info = os.fstat(fd)
            inode = (info.st_dev, info.st_ino)
            if info.st_nlink > 1 and self._first.setdefault(inode, name) != name:
                self._writer.add(Entry(name, "hardlink", seen.mode, mtime=EPOCH, target=self._first[inode]))
                return
            entry = Entry(name, "file", seen.mode, mtime=EPOCH, size=info.st_size, xattrs=_of_nobody(seen))
            self._writer.add(entry, cast(Any, file))


def _of_nobody(seen: Seen) -> dict[bytes, bytes]:
    """The extended attributes that name no user: an ACL is left behind with the stage's owners."""
    return {name: value for name, value in seen.xattrs.items() if not name.startswith(b"system.posix_acl_")}
