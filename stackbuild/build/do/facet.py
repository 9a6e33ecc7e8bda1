"""Reads the part of a tree that an own layer depends on: ids by name, what is at and above its targets."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any

from stackbuild.build.tree_part import Node, TreePart, raw
from stackbuild.core.action import Action, Room
from stackbuild.core.errors import StepError
from stackbuild.core.files import write_file
from stackbuild.core.follow import follow, show
from stackbuild.oci.accounts import Accounts
from stackbuild.oci.tree_view import TreeView

MAX_MATCHES = 10_000


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """Writes `out/facet`: canonical JSON of a TreePart. No facts.

    params, all but paths may be missing: "users", "groups": names. "paths": paths of the image whose
    ancestors count, links on the way resolved. "remove": the same, and each may be a pattern (`*`, `?`,
    `[a-z]`, which do not match "/"); for one that is not there near names are noted.
    "staged": [{"input", "to"}]: for each an input "folders" of do/pick.py.
    "archives": [{"input", "to", "name"}]: archives among the inputs whose folders are meant to land in `to`.
    """
    tree = TreeView(room.lowers)
    seen = _Seen(tree)
    params = action.params
    for path in params["paths"]:
        seen.visit(raw(path))
    for archive in params.get("archives", ()):
        from stackbuild.build.archive import archive_folders

        for folder in archive_folders(room.inputs[archive["input"]], archive["name"], room.scratch):
            seen.visit(raw(archive["to"]) + b"/" + folder)
    for item in params.get("staged", ()):
        for source in json.loads(room.inputs[item["input"]].read_bytes()):
            for folder in (source["name"],) if source["folders"] is None else source["folders"]:
                seen.visit(raw(item["to"]) + b"/" + raw(folder))
    matches: dict[str, tuple[bytes, ...]] = {}
    for pattern in params.get("remove", ()):
        if is_pattern(pattern):
            matches[pattern] = tuple(matches_of(seen.look, tree, raw(pattern)))
        else:
            seen.visit(raw(pattern))
    accounts = Accounts.of_tree(room.lowers)
    users = {name: accounts.user(name) for name in params.get("users", ())}
    groups = {name: accounts.group(name) for name in params.get("groups", ())}
    near = _near_names("user", users, accounts.users) | _near_names("group", groups, accounts.groups)
    for pattern in params.get("remove", ()):
        near |= _near_paths(seen, tree, pattern)
    write_file(room.out / "facet", TreePart(users, groups, seen.nodes, matches, near).to_json())
    return {}


class _Seen:
    """Notes every look-up, so that the same paths can be followed later without the tree."""

    def __init__(self, tree: TreeView) -> None:
        self._tree = tree
        self.nodes: dict[bytes, Node | None] = {}

    def look(self, path: bytes) -> Node | None:
        if path not in self.nodes:
            self.nodes[path] = Node.of(self._tree.look(path))
        return self.nodes[path]

    def visit(self, path: bytes) -> None:
        try:
            follow(self.look, path, last=True)
        except StepError:
            pass  # the layer that wants to go this way says so, in its own words


def is_pattern(path: str) -> bool:
    """Whether a path has a character that makes it a pattern."""
    return any(character in path for character in "*?[")


def matches_of(look: Callable[[bytes], Node | None], tree: TreeView, pattern: bytes) -> Iterable[bytes]:
    """The paths of the tree that match, sorted; `look` is asked for each and its ancestors."""
    found = [b""]
    parts = [part for part in pattern.split(b"/") if part]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        matcher = re.compile(translate(part.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))
        deeper = []
        for folder in found:
            for name in tree.names(folder):
                if matcher.match(name):
                    path = folder + b"/" + name if folder else name
                    try:
                        deeper.append(follow(look, path, last=not last))
                    except StepError:
                        continue
        found = sorted(set(deeper))
        if len(found) > MAX_MATCHES:
            raise StepError(f"{pattern.decode(errors='replace')} matches more than {MAX_MATCHES} paths")
    return found


def _near_names(kind: str, wanted: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        f"{kind} {name}": tuple(difflib.get_close_matches(name, known, 3))
        for name, ids in wanted.items()
        if ids is None
    }


def _near_paths(seen: _Seen, tree: TreeView, path: str) -> dict[str, tuple[str, ...]]:
    """For a path that is not there: what stands beside it under a similar name."""
    try:
        place = follow(seen.look, raw(path), last=False)
    except StepError:
        return {}
    if is_pattern(path) or not place or seen.look(place) is not None:
        return {}
    above, _, name = place.rpartition(b"/")
    names = [other.decode("utf-8", "backslashreplace") for other in tree.names(above)]
    close = difflib.get_close_matches(name.decode("utf-8", "backslashreplace"), names, 3)
    return {show(place): tuple(show(above).rstrip("/") + "/" + other for other in close)}
