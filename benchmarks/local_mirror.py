"""Debian archives in a folder that hold the package files of a stack.lock: under an index of these files alone, or
under the indexes of the archives that this machine uses, as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackbuild.packages.deb.sources_list import host_sources

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class LocalMirror:
    """folder: holds all of it. lines: for sources.list, if the folder stands where `{}` is."""

    folder: Path
    lines: tuple[str, ...] = ("deb [trusted=yes] file:{} ./",)

    def at(self, folder: Path | str) -> list[str]:
        """Its lines for sources.list if it stands in that folder."""
        return [line.format(folder) for line in self.lines]


def locked_packages(lock: Path) -> list[dict[str, Any]]:
    """The packages of a stack.lock's only platform."""
    tree = tomllib.loads(lock.read_text())
    platforms = list(tree["platform"].values())
    assert len(platforms) == 1, f"{lock}: expected one platform"
    return list(platforms[0]["package"])


def make_mirror(folder: Path, lock: Path, store: Path) -> LocalMirror:
    """Link the package files of a lock from a store into a new archive and index them (apt-ftparchive)."""
    for package in locked_packages(lock):
        version = package["version"].replace(":", "%3a")
        _place(store, package, folder / "pool" / f"{package['name']}_{version}_{package['architecture']}.deb")
    index(folder)
    return LocalMirror(folder)


def make_archives(folder: Path, lock: Path, store: Path, distro: str) -> LocalMirror:
    """This machine's archives of a distro: signed releases, whole indexes, and of the pools what a lock names.

    Programs see what they see of the archives themselves, and wait for no network. Downloads by apt's own helper."""
    lines = []
    for number, source in enumerate(host_sources(distro)):
        root = folder / str(number)
        suite = f"dists/{source.suite}"
        for file in (f"{suite}/InRelease", *(f"{suite}/{c}/binary-amd64/Packages.xz" for c in source.components)):
            target = root / file
            target.parent.mkdir(parents=True, exist_ok=True)
            argv = ["/usr/lib/apt/apt-helper", "download-file", f"{source.url}/{file}", str(target)]
            subprocess.run(argv, check=True, capture_output=True, cwd=root)
        for package in locked_packages(lock):
            _place(store, package, root / package["path"])
        lines.append(f"deb [signed-by={KEYRING}] file:{{}}/{number} {source.suite} {' '.join(source.components)}")
    return LocalMirror(folder, tuple(lines))


def _place(store: Path, package: dict[str, Any], target: Path) -> None:
    """Link a package's file out of a store."""
    source = store / "packages.v1" / "sha256" / package["sha256"].removeprefix("sha256:")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def index(folder: Path) -> None:
    """Write Packages and Release of a flat archive."""
    packages = subprocess.run(["apt-ftparchive", "packages", "pool"], cwd=folder, check=True, capture_output=True)
    (folder / "Packages").write_bytes(packages.stdout)
    release = subprocess.run(["apt-ftparchive", "release", "."], cwd=folder, check=True, capture_output=True)
    (folder / "Release").write_bytes(release.stdout)
