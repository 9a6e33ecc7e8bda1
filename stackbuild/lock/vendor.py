"""Copies of locked package files in a folder of the project, used before any mirror; resolves and downloads nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from stackbuild.core.digest import CHUNK, Digest, finish
from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.core.files import host_error, new_file, open_beneath
from stackbuild.core.paths import ensure
from stackbuild.lock.lock import Lock, LockedPackage
from stackbuild.packages.fetch import Fetcher

_FOLDER = re.compile(r"[!-~]{1,200}\Z")


def folder_of(project: Path, text: str) -> str:
    """The folder as a lock holds it: below the project, "/" between its parts. Raises UsageError."""
    whole = Path(os.path.abspath(project / text))
    hints = (Hint("name a folder of the project", "stackbuild lock --vendor vendor"),)
    top = project.resolve()
    if not whole.resolve().is_relative_to(top) or whole.resolve() == top or not whole.is_relative_to(project):
        raise UsageError(f"{text} is no folder below the project", why=f"the project is {project}", hints=hints)
    found = whole.relative_to(project).as_posix()
    if not _FOLDER.match(found):
        raise UsageError(
            f"{text} cannot be written into a lock", why="it has spaces or unusual characters", hints=hints
        )
    return found


def _names(package: LockedPackage) -> tuple[str, str]:
    """The name of a package's file as apt writes it, and the one that it has beside another file of that name."""
    name = f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}"
    return f"{name}.deb", f"{name}.{package.sha256[7:19]}.deb"


def file_names(lock: Lock) -> dict[str, LockedPackage]:
    """What the folder of a lock holds: file name -> package. Each file is there once, however many platforms use it.

    Package files of the project are not among them: they are in the project already.
    """
    found: dict[str, LockedPackage] = {}
    for platform in lock.platforms.values():
        for package in (p for p in platform.everything if not p.local):
            plain, apart = _names(package)
            found[plain if found.setdefault(plain, package).sha256 == package.sha256 else apart] = package
    return found


def take(project: Path, vendor: str, package: LockedPackage, fetcher: Fetcher, *, trusting: bool = True) -> bool:
    """Have a package's file in the store, from the vendor folder; False if that does not have it.

    trusting: a file of the right name with other bytes is a NetworkError; else it counts as not there.
    """
    final = fetcher.path(package.sha256)
    if final.exists():
        return True
    if not vendor:
        return False
    plain, apart = (_open(project, f"{vendor}/{name}") for name in _names(package))
    try:
        for file in (apart, plain):
            if file is not None and copy_in(file, final, package.size, package.sha256):
                return True
        if plain is None or not trusting:
            return False
        raise NetworkError(
            f"{vendor}/{_names(package)[0]} is not what the lock says",
            why=f"it should be {package.size} bytes with {package.sha256}",
            hints=(Hint("fetch it anew", f"stackbuild lock --vendor {vendor}"),),
        )
    finally:
        for file in (apart, plain):
            if file is not None:
                file.close()


def _open(project: Path, path: str) -> BinaryIO | None:
    """A regular file below the project, through no link; None if there is none."""
    root = os.open(project, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NetworkError(f"{path} cannot be used", why=error.strerror or str(error)) from error
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NetworkError(f"{path} cannot be used", why="it is no regular file")
    return open(fd, "rb")


def copy_in(file: BinaryIO, final: Path, size: int, digest: Digest) -> bool:
    """Into the store, if these are the bytes: they are hashed as they are copied, for a file may change meanwhile."""
    if os.fstat(file.fileno()).st_size != size:
        return False
    ensure(final.parent)
    try:
        with new_file(final, durable=False) as out:
            hasher = hashlib.sha256()
            while piece := file.read(CHUNK):
                hasher.update(piece)
                out.write(piece)
            if finish(hasher) != digest:
                raise _OtherBytes
    except _OtherBytes:
        return False
    except OSError as error:
        raise host_error(error, final) from error
    return True


class _OtherBytes(Exception):
    """A copy that is not to appear."""


def fill(project: Path, lock: Lock, fetcher: Fetcher, before: Lock | None = None) -> tuple[int, int]:
    """Copy every file of the lock from the store into its folder; the number of files, and of those removed.

    before: the lock until now: only files that it had put there are removed, never what else is in the folder.
    """
    folder = ensure(project / lock.vendor)
    folder_of(project, lock.vendor)  # a link on the way may have been made since
    wanted = file_names(lock)
    for name, package in wanted.items():
        target = folder / name
        try:
            if not _is(target, package):
                with new_file(target, durable=False) as out, open(fetcher.path(package.sha256), "rb") as file:
                    shutil.copyfileobj(file, out, CHUNK)
        except OSError as error:
            raise host_error(error, target) from error
    gone = 0
    if before is not None and before.vendor == lock.vendor:
        for name in file_names(before).keys() - wanted.keys():
            try:
                (folder / name).unlink()
                gone += 1
            except OSError:
                continue  # somebody else has removed it
    return len(wanted), gone


def _is(target: Path, package: LockedPackage) -> bool:
    """Whether the file is there with the right bytes."""
    if target.is_symlink() or not target.is_file() or target.stat().st_size != package.size:
        return False
    with open(target, "rb") as file:
        return finish(hashlib.file_digest(file, "sha256")) == package.sha256
