"""The fast way: fragments instead of dpkg's unpack; scripts, diversions, Replaces and triggers as dpkg would do them.

Only for packages that are new to the tree; `packages/deb/way.py` decides.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stackbuild.core.errors import StepError
from stackbuild.host.sandbox.protocol import Box
from stackbuild.packages.deb import triggers
from stackbuild.packages.deb.archive import open_deb
from stackbuild.packages.deb.database import (
    AVAILABLE,
    STATUS,
    conffile_paths,
    status_entries,
    status_text,
    unpacked,
    without_lines,
)  # fmt: skip
from stackbuild.packages.deb.diversions import (
    DIVERSIONS,
    STATOVERRIDES,
    Diversion,
    parse_diversions,
    parse_statoverrides,
    place,
)  # fmt: skip
from stackbuild.packages.deb.footprint import Shipped, own_paths, whiteouts
from stackbuild.packages.deb.fragment import INFO, Item, items
from stackbuild.packages.deb.multiarch import qualified
from stackbuild.packages.deb.reference import turns
from stackbuild.packages.deb.scripts import FIRST, Shell, answers
from stackbuild.packages.deb.tree import Tree
from stackbuild.packages.deb.tree_write import put_all
from stackbuild.packages.deb.wave import Wave
from stackbuild.packages.deb.way import Below, has_own_folder, hidden, reasons_for_reference, winners


class NotThisWay(Exception):
    """The fast way cannot do this wave after all; the box is spoilt, and the reference way is to begin anew."""


def reason_against(wave: Wave, shipped: Sequence[Shipped], root: Path) -> str:
    """Why the fast way is not open to this wave; "" if it is. root: the tree below."""
    below = look_below(wave, shipped, root)
    return next(reasons_for_reference(shipped, below, wave.remove, first=wave.first), "")


def look_below(wave: Wave, shipped: Sequence[Shipped], root: Path) -> Below:
    """What of the tree below the decision needs; costs one lstat for each path of the wave."""
    with Tree(root) as tree:
        entries = status_entries(tree.read(STATUS) or b"")
        diversions = parse_diversions(tree.read(DIVERSIONS) or b"")
        overrides = parse_statoverrides(tree.read(STATOVERRIDES) or b"")
        bare = _bare(tree)
    modes: dict[bytes, int] = {}
    absent: set[bytes] = set()
    base = os.fsencode(root) + b"/"
    for one in shipped if not wave.first else ():
        for path in (*one.folders, *one.files):
            _look(base, path, modes, absent)
    gone = whiteouts(wave.below[wave.at :])
    return Below({(e.name, e.architecture): e for e in entries}, diversions, overrides, modes, gone, bare)


def _bare(tree: Tree) -> dict[str, frozenset[bytes]]:
    """Installed packages without a documentation folder of their own, and their paths."""
    found = {}
    for name in tree.names(INFO):
        if name.endswith(b".list"):
            package = name[:-5].partition(b":")[0].decode("utf-8", "surrogateescape")
            listing = tree.read(INFO + b"/" + name) or b""
            if not has_own_folder(package, listing):
                found[package] = own_paths(listing)
    return found


def _look(base: bytes, path: bytes, modes: dict[bytes, int], absent: set[bytes]) -> int | None:
    """st_mode of a path whose ancestors are all folders; None if it is not there, or lies behind something else."""
    if path in modes:
        return modes[path]
    if path in absent:
        return None
    above = path.rpartition(b"/")[0]
    found = None
    if not above or ((mode := _look(base, above, modes, absent)) is not None and mode & 0o170000 == 0o040000):
        try:
            found = os.lstat(base + path).st_mode
        except OSError:
            found = None
    if found is None:
        absent.add(path)
    else:
        modes[path] = found
    return found


def configure_fast(wave: Wave, shipped: Sequence[Shipped], box: Box, shell: Shell) -> None:
    """box: open over `wave.below`, or over `wave.own` for a first wave. Raises StepError, NotThisWay."""
    before = turns(wave, box.root)
    folders = {} if wave.first else _folders_below(wave, shipped, box.root)
    if wave.first:
        _register(wave, shipped, box.root)
        first = [p for p in wave.packages if p.name in FIRST]
        rest = [p for p in wave.packages if p.name not in FIRST]
        if answers(wave):
            shell.preinsts(wave, first, first)
            shell.answers(wave)
            shell.preinsts(wave, rest)
        else:  # in one sandbox
            shell.preinsts(wave, [*first, *rest], first)
    else:
        shell.answers(wave)
        if shell.preinsts(wave, wave.packages):
            _check_again(wave, shipped, box.root)
        box.insert(wave.own, wave.at)
    _settle_overlaps(wave, shipped, box.root)
    _settle_folders(shipped, box.root, folders, wave)
    if not wave.first:
        _register(wave, shipped, box.root)
        _activate(shipped, box.root)
    for turn in before:
        shell.configure(turn.configure)
    shell.finish(wave)


def _check_again(wave: Wave, shipped: Sequence[Shipped], root: Path) -> None:
    """What the preinsts did may have closed this way."""
    with Tree(root) as tree:
        overrides = parse_statoverrides(tree.read(STATOVERRIDES) or b"")
        for one in shipped:
            for inner in one.files.values():
                if b"/" + inner in overrides:
                    raise NotThisWay(f"a preinst set a statoverride for /{os.fsdecode(inner)}")
            for conffile in conffile_paths(_content(one, "conffiles")) or ():
                if tree.lstat(conffile[1:]) is not None:
                    raise NotThisWay(f"a preinst made the configuration file {os.fsdecode(conffile)}")
    below = look_below(wave, shipped, root)
    for one in shipped:
        for path in one.files:
            if why := next(hidden(path, one.package.name, below), ""):
                raise NotThisWay(why)


def _content(one: Shipped, name: str) -> bytes:
    found = one.package.control.get(name)
    return found.content if found else b""


def _register(wave: Wave, shipped: Sequence[Shipped], root: Path) -> None:
    """Write into dpkg's database what its unpack would have: status stanzas and trigger interests."""
    with Tree(root) as tree:
        entries = status_entries(tree.read(STATUS) or b"")
        text = status_text(entries)
        for one in shipped:
            fields = one.package.control["control"].content
            text += unpacked(fields, _conffiles(one, tree)) + b"\n"
        tree.write(STATUS, text)
        if wave.first:
            tree.write(AVAILABLE, b"")
            tree.write(INFO + b"/format", b"1\n")
        for one in shipped:
            interests, _ = triggers.directives(_content(one, "triggers"), one.package.info.encode())
            triggers.register(tree, interests)


def _conffiles(one: Shipped, tree: Tree) -> list[tuple[bytes, bytes]]:
    """Path and MD5 of each conffile as it lies in the tree; left out by a filter: as dpkg marks one not yet seen."""
    found = []
    by_name = {b"/" + inner: path for path, inner in one.files.items()}
    for path in conffile_paths(_content(one, "conffiles")) or ():
        content = tree.read(by_name[path]) if path in by_name else None
        digest = b"newconffile" if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest().encode()
        found.append((path, digest))
    return found


def _activate(shipped: Sequence[Shipped], root: Path) -> None:
    """Leave the trigger activations of the wave's files where the next dpkg finds them."""
    with Tree(root) as tree:
        interests = triggers.file_interests(tree.read(triggers.FILE) or b"")
        paths = {one.package.info.encode(): one.listed for one in shipped}
        named = {one.package.info.encode(): triggers.directives(_content(one, "triggers"), b"")[1] for one in shipped}
        found = triggers.activations(paths, named, interests)
        old = tree.read(triggers.UNINCORPORATED) or b""
        tree.write(triggers.UNINCORPORATED, old + triggers.unincorporated(found))


def _places(
    shipped: Sequence[Shipped], diversions: Mapping[bytes, Diversion]
) -> dict[bytes, list[tuple[Shipped, bytes]]]:
    """Where every file of the wave is to lie: path in the tree -> who ships it, and under which path of the tree."""
    found: dict[bytes, list[tuple[Shipped, bytes]]] = {}
    for one in shipped:
        for path, inner in one.files.items():
            target = place(b"/" + inner, one.package.name.encode(), dict(diversions))
            final = path if target == b"/" + inner else target[1:]
            found.setdefault(final, []).append((one, path))
    return found


def _settle_overlaps(wave: Wave, shipped: Sequence[Shipped], root: Path) -> None:
    """Put the right package's file at each path that is diverted or that several packages ship; mend their lists."""
    with Tree(root) as tree:
        diversions = parse_diversions(tree.read(DIVERSIONS) or b"")
        places = _places(shipped, diversions)
        lost: dict[str, set[bytes]] = {}
        wanted: list[tuple[Shipped, bytes, bytes]] = []
        vacated: set[bytes] = set()
        for final, several in places.items():
            moved = [path for _, path in several if path != final]
            if len(several) == 1 and not moved:
                continue
            decided = winners([one for one, _ in several])
            if decided is None:
                raise NotThisWay(f"/{os.fsdecode(final)} is in several packages and none replaces the other")
            owner = decided[0]
            wanted.append((owner, next(path for one, path in several if one is owner), final))
            vacated.update(moved)
            for loser in decided[1]:
                lost.setdefault(loser.package.info, set()).add(loser.files[final])
            for loser in decided[2]:
                _forget_sum(tree, loser, loser.files[final])
        for one in shipped:
            if gone := lost.get(one.package.info):
                tree.write(INFO + b"/" + one.package.info.encode() + b".list", without_lines(one.listing, gone))
        for path in vacated:
            if path not in places:
                tree.remove(path)
            elif len(places[path]) == 1 and places[path][0][1] == path:
                wanted.append((places[path][0][0], path, path))
    for one, source, final in wanted:
        _put(wave, one, source, final, root)


def _forget_sum(tree: Tree, one: Shipped, inner: bytes) -> None:
    """dpkg makes sums, where a package brings none, of what it unpacks; it never unpacked this one."""
    path = INFO + b"/" + one.package.info.encode() + b".md5sums"
    if "md5sums" not in one.package.control:
        lines = (tree.read(path) or b"").splitlines(keepends=True)
        tree.write(path, b"".join(line for line in lines if line[34:].rstrip(b"\n") != inner))


def _put(wave: Wave, one: Shipped, source: bytes, final: bytes, root: Path) -> None:
    """One file of a package, from its .deb, at another path or over what a fragment shows there."""
    with open_deb(one.package.file) as deb:
        found: dict[bytes, Item] = {item[0].path: item for item in items(deb, wave.keep, wave.renames)}
        entry, content = found[source]
        if entry.kind == "hardlink":
            first, content = found[entry.target]
            entry = replace(first, path=source)
        put_all(root, [(replace(entry, path=final), content)], keep_folders=True)


Folder = tuple[int, int, int]


def _folders_below(wave: Wave, shipped: Sequence[Shipped], root: Path) -> dict[bytes, Folder]:
    """Mode and owner of the wave's folders that the tree has already."""
    found = {}
    base = os.fsencode(root) + b"/"
    modes: dict[bytes, int] = {}
    absent: set[bytes] = set()
    for one in shipped:
        for path in one.folders:
            mode = _look(base, path, modes, absent)
            if mode is not None and mode & 0o170000 == 0o040000 and path not in found:
                status = os.lstat(base + path)
                found[path] = (status.st_mode & 0o7777, status.st_uid, status.st_gid)
    return found


def _settle_folders(shipped: Sequence[Shipped], root: Path, before: Mapping[bytes, Folder], wave: Wave) -> None:
    """dpkg leaves a folder that is there as it is; a fragment above would show its own mode and owner."""
    base = os.fsencode(root) + b"/"
    with Tree(root) as tree:
        for path, (mode, uid, gid) in before.items():
            status = os.lstat(base + path)
            if (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (mode, uid, gid):
                tree.set_metadata(path, mode, uid, gid)


def check_configured(wave: Wave, root: Path) -> None:
    """Raises StepError unless dpkg calls every package of the wave installed."""
    with Tree(root) as tree:
        states = {(e.name, e.architecture): e for e in status_entries(tree.read(STATUS) or b"")}
    for package in wave.packages:
        entry = states.get((package.name, package.architecture))
        if entry is None or entry.status != "installed" or entry.version != package.version:
            state = "not known" if entry is None else f"{entry.version} {entry.status}"
            raise StepError(f"package {package.name} did not become installed", why=f"dpkg says: {state}")
    here = {qualified(*key, wave.architecture) for key, entry in states.items() if entry.status[0] in "iuht"}
    for name in wave.remove:
        if name in here:
            raise StepError(f"package {name} was not removed", why="dpkg still has it")
