"""Another stack as what packages are put on: its packages, as its lock and their files tell; builds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.lock.lock import LockedPackage, PlatformLock

if TYPE_CHECKING:
    from stackbuild.packages.pin import Pin
    from stackbuild.packages.source import Source


@dataclass(frozen=True, slots=True)
class BaseStack:
    """What the resolver asks of a base stack, for one platform. digest: `packages_digest` of what it has locked.

    status: its packages as its dpkg has them in its database. sources: where it gets its packages from. pins: its own.
    skips_scripts: nothing in it can configure packages.
    """

    digest: Digest
    status: Callable[[], bytes]
    sources: Callable[[], list[Source]]
    pins: tuple[Pin, ...] = ()
    skips_scripts: bool = False


def packages_digest(lock: PlatformLock) -> Digest:
    """Of all packages that an image has by its lock: a stack on top has to be resolved anew when it changes."""
    return digest_of(
        canonical(
            {
                "base": lock.base_digest,
                "packages": [[p.name, p.architecture, p.version, p.sha256] for p in lock.packages],
                "removed": [[p.name, p.architecture] for p in lock.removed],
            }
        )
    )


def status_on_top(below: bytes, lock: PlatformLock, file: Callable[[LockedPackage], Path]) -> bytes:
    """The database of dpkg once the locked packages are installed over what is there.

    below: the database of the base, b"" if it is bootstrapped. file: the .deb of a package. Raises NetworkError.
    """
    from stackbuild.packages.deb.archive import open_deb
    from stackbuild.packages.deb.database import Entry, installed, status_entries, status_text

    entries: dict[tuple[str, str], Entry] = {(e.name, e.architecture): e for e in status_entries(below)}
    for gone in lock.removed:
        entries.pop((gone.name, gone.architecture), None)
    for package in lock.packages:
        with open_deb(file(package), package.name, data=False) as deb:
            [entry] = status_entries(installed(deb.fields))
        if package.replaces:  # an upgrade may change the architecture to "all", or from it
            for name, architecture in list(entries):
                if name == package.name and "all" in (architecture, entry.architecture):
                    del entries[name, architecture]
        entries[entry.name, entry.architecture] = entry
    return status_text(entries.values())
