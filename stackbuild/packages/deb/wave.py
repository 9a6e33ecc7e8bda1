"""A wave: the packages that are unpacked and configured together, with all that both ways read of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackbuild.core.errors import UsageError
from stackbuild.packages.deb.archive import ControlFile, open_deb
from stackbuild.packages.deb.control import decode, relations, stanzas
from stackbuild.packages.deb.filters import PathFilter
from stackbuild.packages.deb.fragment import names

GENERATED = ("remove", "keep", "fail")
WAYS = ("auto", "fast", "reference")


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a wave. info: its stem in dpkg's info folder. fields: of its control file, names in lower case."""

    name: str
    version: str
    architecture: str
    info: str
    file: Path
    manual: bool
    essential: bool
    control: Mapping[str, ControlFile]
    fields: Mapping[str, str]
    upgrades: str = ""  # the version that a base image has of it

    @property
    def selector(self) -> str:
        """How dpkg's command line names it."""
        return self.name if self.architecture == "all" else f"{self.name}:{self.architecture}"

    def replaces(self, other: Package) -> bool:
        """Whether it may take over files of the other (policy 7.6.1)."""
        return any(
            one.name == other.name and one.accepts(other.version)
            for group in relations(self.fields.get("replaces", ""))
            for one in group
        )


@dataclass(frozen=True, slots=True)
class Wave:
    """What `configure` is asked to do. below: the tree without this wave's fragments; own: those, to be put in
    at index `at` of it. architecture: the native one. first: nothing is below, not even dpkg."""

    first: bool
    packages: tuple[Package, ...]
    below: tuple[Path, ...]
    own: tuple[Path, ...]
    at: int
    keep: PathFilter
    renames: Mapping[bytes, bytes]
    architecture: str
    epoch: int
    way: str = "auto"
    generated: str = "remove"
    debconf: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    @property
    def lowers(self) -> tuple[Path, ...]:
        """All folders, this wave's fragments at their place."""
        return (*self.below[: self.at], *self.own, *self.below[self.at :])

    def package(self, name: str) -> Package | None:
        return next((package for package in self.packages if package.name == name), None)


def read_wave(params: Mapping[str, Any], files: Sequence[Path], lowers: Sequence[Path]) -> Wave:
    """The wave of the parameters of a `configure` action (see build/do/configure.py); reads the control archives.

    files: the .deb of each of params["packages"]. Raises UsageError, NetworkError.
    """
    start, end = (int(n) for n in params["own"])
    way, generated = str(params.get("way", "auto")), str(params.get("generated", "remove"))
    if way not in WAYS or generated not in GENERATED or not 0 <= start <= end <= len(lowers):
        raise UsageError("the parameters of a configure step do not fit", why=f"{way!r}, {generated!r}, {start}, {end}")
    packages = tuple(_package(asked, file) for asked, file in zip(params["packages"], files, strict=True))
    native = str(params.get("arch") or next((p.architecture for p in packages if p.architecture != "all"), "all"))
    return Wave(
        first=bool(params.get("first")),
        packages=packages,
        below=(*lowers[:start], *lowers[end:]),
        own=tuple(lowers[start:end]),
        at=start,
        keep=PathFilter(params.get("exclude", ()), params.get("include", ())),
        renames={os.fsencode(a): os.fsencode(b) for a, b in params.get("renames", {}).items()},
        architecture=native,
        epoch=int(params["epoch"]),
        way=way,
        generated=generated,
        debconf=dict(params.get("debconf", {})),
        remove=tuple(params.get("remove", ())),
    )


def _package(asked: Mapping[str, Any], file: Path) -> Package:
    with open_deb(file, str(asked["file"]), data=False) as deb:
        found = names(deb)
        fields = next(stanzas(decode(deb.fields)), {})
        return Package(
            found.package, found.version, found.architecture, found.info, file, bool(asked.get("manual")),
            bool(asked.get("essential")) or fields.get("essential") == "yes", deb.control, fields,
            str(asked.get("upgrades", "")),
        )  # fmt: skip


def bootstrap_set(wave: Wave) -> tuple[Package, ...]:
    """The essential packages of a first wave and all that they need to run, in the wave's order."""
    chosen: dict[str, Package] = {}
    todo = [package for package in wave.packages if package.essential]
    while todo:
        package = todo.pop()
        if package.name in chosen:
            continue
        chosen[package.name] = package
        for key in ("pre-depends", "depends"):
            for group in relations(package.fields.get(key, "")):
                found = (wave.package(one.name) or _provider(wave, one.name) for one in group)
                todo += [one for one in found if one is not None]
    return tuple(package for package in wave.packages if package.name in chosen)


def _provider(wave: Wave, name: str) -> Package | None:
    for package in wave.packages:
        if any(one.name == name for group in relations(package.fields.get("provides", "")) for one in group):
            return package
    return None
