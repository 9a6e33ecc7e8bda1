"""The database of dpkg that a base stack will have, put together from its lock and its packages' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.lock.base_stack import packages_digest, status_on_top
from stackbuild.lock.lock import LockedPackage, LockedRemoval, PlatformLock
from stackbuild.packages.deb.database import status_entries
from tests.archive import archive
from tests.machine import need

BELOW = b"".join(
    b"Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: 1.0\n\n" % (name, architecture)
    for name, architecture in ((b"lib", b"amd64"), (b"lib", b"i386"), (b"old", b"all"), (b"stays", b"all"))
)


def package(name: str, version: str, replaces: str = "") -> LockedPackage:
    sha = digest_of(f"{name} {version}".encode())
    return LockedPackage(name, version, "all", sha, 1, "A", f"pool/{name}.deb", name, 1, replaces=replaces)


def test_installed_upgraded_and_removed_packages(tmp_path: Path) -> None:
    need("dpkg-deb")
    with archive(tmp_path) as made:
        files = {
            "lib": made.package("lib", "2.0", files={"usr/lib/lib": ""}),
            "new": made.package("new", "3.0", "lib (>= 2)"),
        }
    lock = PlatformLock(
        packages=(package("lib", "2.0", replaces="1.0"), package("new", "3.0")),
        removed=(LockedRemoval("old", "1.0", "all"),),
    )
    status = status_on_top(BELOW, lock, lambda one: files[one.name])
    found = {(entry.name, entry.architecture): (entry.version, entry.status) for entry in status_entries(status)}
    assert found == {
        ("lib", "all"): ("2.0", "installed"),
        ("new", "all"): ("3.0", "installed"),
        ("stays", "all"): ("1.0", "installed"),
    }
    assert b"Depends: lib (>= 2)" in status


@pytest.mark.parametrize(
    "other",
    [
        PlatformLock(packages=(package("lib", "2.1"),)),
        PlatformLock(packages=(package("lib", "2.0"), package("new", "1"))),
        PlatformLock(packages=(package("lib", "2.0"),), removed=(LockedRemoval("old", "1.0", "all"),)),
        PlatformLock(digest_of(b"another base"), packages=(package("lib", "2.0"),)),
    ],
)
def test_the_digest_is_over_all_that_the_image_has(other: PlatformLock) -> None:
    one = PlatformLock(packages=(package("lib", "2.0"),))
    assert packages_digest(one) == packages_digest(PlatformLock(packages=(package("lib", "2.0"),)))
    assert packages_digest(other) != packages_digest(one)
