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

from stackbuild.core.action import Action, Room
from stackbuild.core.errors import NetworkError
from stackbuild.oci.tar_write import Entry, LayerWriter, Written, compress
from stackbuild.packages.deb import skeleton
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.filters import PathFilter
from stackbuild.packages.deb.fragment import Item, items, names, tar_pieces
from stackbuild.packages.deb.tree_write import TreeWriter

_THREADS = 2
_AHEAD = 4  # packages in flight
_BIG = 48 << 20  # bytes of tar; above it a package is compressed piece by piece, by whoever writes


@dataclass(frozen=True, slots=True)
class _Ready:
    """A package on its way: its entries (content held until they are written) and the bytes of all but the folders."""

    folders: list[Entry]
    items: list[Item]
    pieces: Iterator[tuple[bytes, bytes]]
    close: Any


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """params: packages [{name, version, architecture, file}], exclude, include, renames, skeleton
    (bool or absent), arch (for the skeleton), database ("status.d": what scanners read takes the place of
    dpkg's info folder), compression, epoch. inputs: "packages/FILE" for each.

    Writes `layer` and the unpacked `tree/`. Raises NetworkError for a package that is damaged or another one.
    """
    params = action.params
    compression, epoch = str(params.get("compression", "gzip")), int(params["epoch"])
    keep = PathFilter(params.get("exclude", ()), params.get("include", ()))
    renames = {os.fsencode(a): os.fsencode(b) for a, b in params.get("renames", {}).items()}
    hidden: set[tuple[int, bytes]] = set()
    while True:
        found = len(hidden)
        written = _write(params, room, keep, renames, compression, epoch, hidden)
        if len(hidden) == found:
            break
    return {
        "diff_id": written.diff_id,
        "compression": compression,
        "empty": written.entries == 0,
        "created_by": "unpack " + " ".join(f"{p['name']}={p['version']}" for p in params["packages"]),
        "packages": [{k: p[k] for k in ("name", "version", "architecture")} for p in params["packages"]],
    }


def _write(
    params: Mapping[str, Any],
    room: Room,
    keep: PathFilter,
    renames: Mapping[bytes, bytes],
    compression: str,
    epoch: int,
    hidden: set[tuple[int, bytes]],
) -> Written:
    """Write `layer` and `tree/`, each path once: podman and Docker refuse a layer that names one twice.

    A directory is the first package's, as dpkg leaves one that is there alone. Of a file that two packages ship
    (one replaces the other) the last is kept; the others are added to `hidden` (number of the package, path), and
    all must be written again without them. That is rare.
    """
    tree = room.out / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(mode=0o755)
    tree.chmod(0o755)
    seen: dict[bytes, int] = {}
    with open(room.out / "layer", "wb") as out, LayerWriter(out, compression) as layer, TreeWriter(tree) as folder:
        if params.get("skeleton"):
            for entry in skeleton.entries(_architecture(params), epoch):
                layer.add(entry)
                folder.put(entry, None)
                seen[entry.path] = -1
        status_d = _architecture(params) if params.get("database") == "status.d" else ""
        ready_ones = _in_order(params["packages"], room, keep, renames, compression, frozenset(hidden), status_d)
        for number, ready in enumerate(ready_ones):
            try:
                for entry in ready.folders:
                    if entry.path not in seen:
                        seen[entry.path] = number
                        layer.add(entry)
                        folder.put(entry, None)
                for tar, compressed in ready.pieces:
                    layer.member(tar, compressed)
                for entry, content in ready.items:
                    if (earlier := seen.get(entry.path)) is not None:
                        hidden.add((earlier, entry.path))
                    seen[entry.path] = number
                    folder.put(entry, content)
            finally:
                ready.items.clear()
                ready.close()
        return layer.close()


def _architecture(params: Mapping[str, Any]) -> str:
    if params.get("arch"):
        return str(params["arch"])
    return next((str(p["architecture"]) for p in params["packages"] if p["architecture"] != "all"), "all")


def _in_order(
    packages: Sequence[Mapping[str, Any]],
    room: Room,
    keep: PathFilter,
    renames: Mapping[bytes, bytes],
    compression: str,
    hidden: frozenset[tuple[int, bytes]],
    status_d: str,
) -> Iterator[_Ready]:
    """The packages in their order; some are read ahead by threads, as lzma and the compressors free the GIL."""
    waiting: deque[Future[_Ready]] = deque()
    todo = iter(enumerate(packages))
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="unpack") as threads:
        try:
            while True:
                while len(waiting) < _AHEAD and (following := next(todo, None)) is not None:
                    number, package = following
                    without = {path for which, path in hidden if which == number}
                    waiting.append(
                        threads.submit(_prepare, package, room, keep, renames, compression, without, status_d)
                    )
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
    compression: str,
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
        pairs: Iterator[tuple[bytes, bytes]] = ((tar, compress(tar, compression)) for tar in tar_pieces(found))
        if len(deb.tar) <= _BIG:
            pairs = iter(list(pairs))  # now, in this thread
        return _Ready(folders, found, pairs, lambda: context.__exit__(None, None, None))
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
