"""A Debian archive in a folder, of the package files that a stack.lock names. Not a mirror of anything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LocalMirror:
    """folder: holds pool/ and a flat index; its line for sources.list is `line`."""

    folder: Path

    @property
    def line(self) -> str:
        return f"deb [trusted=yes] file:{self.folder} ./"


def locked_packages(lock: Path) -> list[dict[str, Any]]:
    """The packages of a stack.lock's only platform."""
    tree = tomllib.loads(lock.read_text())
    platforms = list(tree["platform"].values())
    assert len(platforms) == 1, f"{lock}: expected one platform"
    return list(platforms[0]["package"])


def make_mirror(folder: Path, lock: Path, store: Path) -> LocalMirror:
    """Link the package files of a lock from a store into a new archive and index them (apt-ftparchive)."""
    pool = folder / "pool"
    pool.mkdir(parents=True)
    for package in locked_packages(lock):
        source = store / "packages.v1" / "sha256" / package["sha256"].removeprefix("sha256:")
        version = package["version"].replace(":", "%3a")
        target = pool / f"{package['name']}_{version}_{package['architecture']}.deb"
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copy(source, target)
    index(folder)
    return LocalMirror(folder)


def index(folder: Path) -> None:
    """Write Packages and Release of a flat archive."""
    packages = subprocess.run(["apt-ftparchive", "packages", "pool"], cwd=folder, check=True, capture_output=True)
    (folder / "Packages").write_bytes(packages.stdout)
    release = subprocess.run(["apt-ftparchive", "release", "."], cwd=folder, check=True, capture_output=True)
    (folder / "Release").write_bytes(release.stdout)
