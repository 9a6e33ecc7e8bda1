"""A group of packages to one layer, straight from their .debs: no script runs and no other package is looked at."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stackbuild.build.tree_ahead import finish
from stackbuild.core.action import Action, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import NetworkError
from stackbuild.oci.tar_write import DiffIdOf, Entry, LayerWriter, Written, compress
from stackbuild.oci.tree_first import content_of
from stackbuild.packages.deb import skeleton
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.filters import PathFilter
from stackbuild.packages.deb.fragment import Item, items, names, tar_pieces
from stackbuild.packages.deb.tree_write import TreeWriter

_THREADS = 2
_AHEAD = 4  # packages in flight


@dataclass(frozen=True, slots=True)
class _Ready:
    """A package on its way: its folders and its other entries, content held until they are written."""

    folders: list[Entry]
    items: list[Item]
    close: Any


@dataclass(frozen=True, slots=True)
class _Part:
    """What a package brings into the layer: folders that no package before it brought, and its other entries."""

    folders: list[Entry]
    entries: list[Entry]


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """params: packages [{name, version, architecture, file}], exclude, include, renames, skeleton
    (bool or absent), arch (for the skeleton), database ("status.d": what scanners read takes the place of
    dpkg's info folder), compression, epoch. inputs: "packages/FILE" for each.

    Writes the unpacked `tree/`, tells room.ahead, then writes `layer`: who configures the packages needs the tree
    alone, and to compress takes a fifth of the time. Raises NetworkError for a package that is damaged or another one.
    """
    params = action.params
    compression, epoch = str(params.get("compression", "gzip")), int(params["epoch"])
    keep = PathFilter(params.get("exclude", ()), params.get("include", ()))
    renames = {os.fsencode(a): os.fsencode(b) for a, b in params.get("renames", {}).items()}
    hidden: set[tuple[int, bytes]] = set()
    while True:
        found = len(hidden)
        parts, diff_id = _unpack(params, room, keep, renames, epoch, hidden)
        if len(hidden) == found:
            break
    facts = {
        "diff_id": diff_id,
        "compression": compression,
        "empty": not any(part.folders or part.entries for part in parts),
        "created_by": "unpack " + " ".join(f"{p['name']}={p['version']}" for p in params["packages"]),
        "packages": [{k: p[k] for k in ("name", "version", "architecture")} for p in params["packages"]],
    }
    return finish(room, facts, lambda root: _pack(parts, root, room.out / "layer", compression))


def _unpack(
    params: Mapping[str, Any],
    room: Room,
    keep: PathFilter,
    renames: Mapping[bytes, bytes],
    epoch: int,
    hidden: set[tuple[int, bytes]],
) -> tuple[list[_Part], Digest]:
    """Write `tree/`, each path once: podman and Docker refuse a layer that names one twice.

    A directory is the first package's, as dpkg leaves one that is there alone. Of a file that two packages ship
    (one replaces the other) the last is kept; the others are added to `hidden` (number of the package, path), and
    all must be written again without them. That is rare.
    """
    tree = room.out / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(mode=0o755)
    tree.chmod(0o755)
    parts: list[_Part] = []
    seen: dict[bytes, int] = {}
    layer = DiffIdOf()
    with TreeWriter(tree) as folder:
        if params.get("skeleton"):
            parts.append(_Part(skeleton.entries(_architecture(params), epoch), []))
            for entry in parts[0].folders:
                layer.add(entry)
                folder.put(entry, None)
                seen[entry.path] = -1
        status_d = _architecture(params) if params.get("database") == "status.d" else ""
        ready_ones = _in_order(params["packages"], room, keep, renames, frozenset(hidden), status_d)
        for number, ready in enumerate(ready_ones):
            try:
                folders = [entry for entry in ready.folders if entry.path not in seen]
                for entry in folders:
                    seen[entry.path] = number
                    layer.add(entry)
                    folder.put(entry, None)
                for entry, content in ready.items:
                    if (earlier := seen.get(entry.path)) is not None:
                        hidden.add((earlier, entry.path))
                    seen[entry.path] = number
                    layer.add(entry, content)
                    folder.put(entry, content)
                parts.append(_Part(folders, [entry for entry, _ in ready.items]))
            finally:
                ready.items.clear()
                ready.close()
    return parts, layer.close()


def _pack(parts: Sequence[_Part], root: int, layer: Path, compression: str) -> Written:
    """The layer of these entries, their content read from the tree below the descriptor `root`."""
    with open(layer, "wb") as out, LayerWriter(out, compression) as writer:
        for part in parts:
            for entry in part.folders:
                writer.add(entry)
            for tar in tar_pieces((entry, content_of(root, entry)) for entry in part.entries):
                writer.member(tar, compress(tar, compression))
        return writer.close()


def _architecture(params: Mapping[str, Any]) -> str:
    if params.get("arch"):
        return str(params["arch"])
    return next((str(p["architecture"]) for p in params["packages"] if p["architecture"] != "all"), "all")


def _in_order(
    packages: Sequence[Mapping[str, Any]],
    room: Room,
    keep: PathFilter,
    renames: Mapping[bytes, bytes],
    hidden: frozenset[tuple[int, bytes]],
    status_d: str,
) -> Iterator[_Ready]:
    """The packages in their order; some are read ahead by threads, as lzma frees the GIL."""
    waiting: deque[Future[_Ready]] = deque()
    todo = iter(enumerate(packages))
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="unpack") as threads:
        try:
            while True:
                while len(waiting) < _AHEAD and (following := next(todo, None)) is not None:
                    number, package = following
                    without = {path for which, path in hidden if which == number}
                    waiting.append(threads.submit(_prepare, package, room, keep, renames, without, status_d))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    future.result().close()


def _prepare(
    package: Mapping[str, Any],
    room: Room,
    keep: PathFilter,
    renames: Mapping[bytes, bytes],
    without: set[bytes],
    status_d: str,
) -> _Ready:
    context = open_deb(package_file(room, package), str(package["file"]))
    deb = context.__enter__()
    try:
        check_identity(package, names(deb), str(package["file"]))
        every = items(deb, keep, renames, status_d)
        folders = [entry for entry, _ in every if entry.kind == "dir"]
        found = _without([item for item in every if item[0].kind != "dir"], without)
        return _Ready(folders, found, lambda: context.__exit__(None, None, None))
    except BaseException:
        context.__exit__(None, None, None)
        raise


def _without(found: list[Item], paths: set[bytes]) -> list[Item]:
    """The entries but for these paths. The content of a left out file goes to the first that is a hard link of it."""
    kept: list[Item] = []
    orphans: dict[bytes, Item] = {}  # a path that is left out -> what holds its content now, or it itself
    for entry, content in found:
        if entry.path in paths:
            if entry.kind == "file":
                orphans[entry.path] = (entry, content)
            continue
        if entry.kind == "hardlink" and entry.target in orphans:
            heir, held = orphans[entry.target]
            if heir.path == entry.target:
                entry, content = replace(heir, path=entry.path), held
                orphans[heir.path] = (entry, content)
            else:
                entry = replace(entry, target=heir.path)
        kept.append((entry, content))
    return kept


def package_file(room: Room, package: Mapping[str, Any]) -> Path:
    """The .deb of a package among the action's inputs."""
    key = f"packages/{package['file']}"
    if key not in room.inputs:
        raise NetworkError(f"the package file {package['file']} is not here", why=f"the action has no input {key}")
    return room.inputs[key]


def check_identity(package: Mapping[str, Any], found: Any, file: str) -> None:
    """Raises NetworkError if a .deb is not the package that the lock says it is."""
    wanted = (package["name"], package["version"], package["architecture"])
    if (found.package, found.version, found.architecture) != wanted:
        got = f"{found.package} {found.version} {found.architecture}"
        raise NetworkError(f"{file} is another package", why=f"expected {' '.join(wanted)}, got {got}")
