"""The paths that each package of a wave ships, read from its unpacked fragments. Decides nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackbuild.packages.deb.fragment import INFO, renamed
from stackbuild.packages.deb.tree import Tree
from stackbuild.packages.deb.wave import Package, Wave


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a package ships. listed: its .list, absolute, as its archive names them.

    files, folders: where what it has unpacked lies in the tree (relative); links: those that are symbolic links.
    """

    package: Package
    listing: bytes
    listed: tuple[bytes, ...]
    files: dict[bytes, bytes]  # path in the tree -> path in the archive
    folders: tuple[bytes, ...]
    links: frozenset[bytes]

    @property
    def own_paths(self) -> frozenset[bytes]:
        """The listed paths but for the root."""
        return own_paths(self.listing)


def own_paths(listing: bytes) -> frozenset[bytes]:
    """The paths of a .list file but for the root."""
    return frozenset(listing.splitlines()) - {b"/."}


def footprints(wave: Wave) -> list[Shipped]:
    """For each package of the wave what it ships; reads only the fragment folders."""
    modes = _kinds(wave.own)
    return [_shipped(wave, package, modes) for package in wave.packages]


def _shipped(wave: Wave, package: Package, kinds: dict[bytes, int]) -> Shipped:
    listing = b""
    for folder in reversed(wave.own):
        with Tree(folder) as tree:
            found = tree.read(INFO + b"/" + package.info.encode() + b".list")
        if found is not None:
            listing = found
            break
    files: dict[bytes, bytes] = {}
    folders, links = [], []
    for line in listing.splitlines():
        if line == b"/.":
            continue
        inner = line[1:]
        path = renamed(inner, wave.renames)
        kind = kinds.get(path)
        if kind is not None and stat.S_ISDIR(kind):
            folders.append(path)
            continue
        path = renamed(inner, wave.renames, whole=False)
        kind = kinds.get(path)
        if kind is None:
            continue  # left out by the path filter
        files[path] = inner
        if stat.S_ISLNK(kind):
            links.append(path)
    return Shipped(package, listing, tuple(listing.splitlines()), files, tuple(folders), frozenset(links))


def _kinds(folders: Sequence[Path]) -> dict[bytes, int]:
    """The st_mode of every path in these folders, the topmost folder's last."""
    found: dict[bytes, int] = {}
    for folder in folders:
        _scan(os.fsencode(folder), b"", found)
    return found


def _scan(folder: bytes, path: bytes, found: dict[bytes, int]) -> None:
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        child = path + b"/" + entry.name if path else entry.name
        mode = entry.stat(follow_symlinks=False).st_mode
        found[child] = mode
        if stat.S_ISDIR(mode):
            _scan(entry.path, child, found)


def whiteouts(folders: Iterable[Path]) -> set[bytes]:
    """All paths that layers delete: character devices 0:0, or files `.wh.NAME`."""
    gone: set[bytes] = set()
    for folder in folders:
        base = os.fsencode(folder)
        todo = [b""]
        while todo:
            path = todo.pop()
            with os.scandir(base + b"/" + path if path else base) as listing:
                for entry in listing:
                    child = path + b"/" + entry.name if path else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(child)
                    elif entry.name.startswith(b".wh."):
                        gone.add((path + b"/" if path else b"") + entry.name[4:])
                    elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                            gone.add(child)
    return gone
