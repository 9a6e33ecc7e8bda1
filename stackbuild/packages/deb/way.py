"""Which way a wave goes, fast or by the image's own dpkg, and why. A pure function of values."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stackbuild.packages.deb.database import Entry, conffile_paths
from stackbuild.packages.deb.diversions import Diversion
from stackbuild.packages.deb.footprint import Shipped
from stackbuild.packages.deb.order import unmet_predepends


@dataclass(frozen=True, slots=True)
class Below:
    """What of the tree below matters.

    modes: st_mode of what is there at each path that the wave ships or puts a folder above. gone: paths that
    a layer above the fragments deletes. installed: by name and architecture. bare: the paths (absolute) of each
    installed package that has no documentation folder of its own, which keeps all others apart.
    """

    installed: Mapping[tuple[str, str], Entry]
    diversions: Mapping[bytes, Diversion]
    overrides: Collection[bytes]
    modes: Mapping[bytes, int]
    gone: Collection[bytes]
    bare: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


def reasons_for_reference(
    wave: Sequence[Shipped], below: Below, removes: Sequence[str] = (), *, first: bool = False
) -> Iterator[str]:
    """Each reason why only dpkg itself can do it; none: the fast way gives the same tree."""
    if removes:
        yield f"{removes[0]} is removed"
    for shipped in wave:
        package = shipped.package
        old = below.installed.get((package.name, package.architecture))
        others = [e for (name, _), e in below.installed.items() if name == package.name and e.status != "not-installed"]
        if old is not None and old.status != "not-installed":
            yield f"{package.name} is in the tree already ({old.version}, {old.status})"
        elif others:
            yield f"{package.name} is in the tree for another architecture"
        if "preinst" in package.control and not first:
            for need in unmet_predepends(package, [one.package for one in wave], below.installed):
                yield f"the preinst of {package.name} needs {need.name}, which is of the same wave"
        if conffile_paths(_control(shipped, "conffiles")) is None:
            yield f"{package.name} has configuration files with flags"
    yield from _disappearances(wave, below)
    yield from _conflicts_inside(wave)
    yield from _conflicts_below(wave, below)


def _control(shipped: Shipped, name: str) -> bytes:
    found = shipped.package.control.get(name)
    return found.content if found else b""


def _disappearances(wave: Sequence[Shipped], below: Below) -> Iterator[str]:
    """dpkg takes a package for gone when all its paths, folders too, are in another that comes in (policy 6.6)."""
    bare = dict(below.bare)
    bare.update({s.package.name: s.own_paths for s in wave if not has_own_folder(s.package.name, s.listing)})
    for shipped in wave:
        for name, paths in bare.items():
            if name != shipped.package.name and paths and paths <= set(shipped.listed):
                yield f"{shipped.package.name} ships every path of {name}, which dpkg then takes for gone"


def has_own_folder(name: str, listing: bytes) -> bool:
    """Whether a .list holds the package's own documentation folder."""
    return b"\n/usr/share/doc/" + name.encode() + b"\n" in listing


def _conflicts_inside(wave: Sequence[Shipped]) -> Iterator[str]:
    """One package's file where another has a folder; two packages' file that neither replaces."""
    owners: dict[bytes, Shipped] = {}
    folders = {path: shipped for shipped in wave for path in shipped.folders}
    for shipped in wave:
        for path in shipped.files:
            if path in folders:
                yield f"{_text(path)} is a folder of {folders[path].package.name} and not one of {shipped.package.name}"
            owners.setdefault(path, shipped)


def _conflicts_below(wave: Sequence[Shipped], below: Below) -> Iterator[str]:
    diverted = {d.path for d in below.diversions.values()} | {d.other for d in below.diversions.values()}
    for shipped in wave:
        name = shipped.package.name
        for path, inner in shipped.files.items():
            if b"/" + inner in diverted or b"/" + path in diverted:
                yield f"{_text(path)} of {name} is diverted in the tree below"
            if b"/" + inner in below.overrides:
                yield f"{_text(path)} of {name} has a statoverride in the tree below"
            if path in below.modes:
                yield f"{_text(path)} of {name} is in the tree below already"
            yield from hidden(path, name, below)
        for path in shipped.folders:
            if b"/" + path in below.overrides:
                yield f"{_text(path)} of {name} has a statoverride in the tree below"
            if path in below.gone:
                yield f"{_text(path)} of {name} is deleted by a layer below"


def hidden(path: bytes, name: str, below: Below) -> Iterator[str]:
    """Whether the fragment's file would not be seen through what lies above it."""
    if path in below.gone:
        yield f"{_text(path)} of {name} is deleted by a layer below"
    while path := path.rpartition(b"/")[0]:
        if path in below.gone:
            yield f"{_text(path)}, which {name} has files in, is deleted by a layer below"
        if path in below.modes and not stat.S_ISDIR(below.modes[path]):
            yield f"{_text(path)}, which {name} has files in, is not a folder in the tree below"


def winners(contributors: Sequence[Shipped]) -> tuple[Shipped, list[Shipped], list[Shipped]] | None:
    """Whose file is seen of several packages' one path, who loses it, and which of those never had it unpacked;
    as dpkg unpacks them in order. None if dpkg would refuse: neither replaces the other.
    """
    owner = contributors[0]
    losers: list[Shipped] = []
    never: list[Shipped] = []
    for shipped in contributors[1:]:
        if shipped.package.name == owner.package.name:
            continue  # the same file of another architecture
        if owner.package.replaces(shipped.package) and not shipped.package.replaces(owner.package):
            losers.append(shipped)
            never.append(shipped)
        elif shipped.package.replaces(owner.package):
            losers.append(owner)
            owner = shipped
        else:
            return None
    return owner, losers, never


def _text(path: bytes) -> str:
    return "/" + path.decode("utf-8", "backslashreplace")
