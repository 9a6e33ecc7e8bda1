"""Package files that a stack's requests name by path: found below the project, known by digest; resolves nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.digest import Digest, finish
from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.core.files import open_beneath
from stackbuild.core.stamps import signature
from stackbuild.packages.local import LocalFile

if TYPE_CHECKING:  # every build asks what its lock depends on: what only a lock anew needs is imported there
    from stackbuild.lock.lock import Lock, LockedPackage
    from stackbuild.packages.fetch import Fetcher
    from stackbuild.stack.request import Request
    from stackbuild.stack.stack import Stack


_BUILD_IT = Hint("a package file has to be there before the packages are locked: build it first")


def local_files(stack: Stack) -> dict[str, tuple[LocalFile, ...]]:
    """What the stack's requests name (its stages' are their own), by the request's name, in the order asked.

    Costs a stat for each file, and a read where that differs from what it was. Raises UsageError.
    """
    return {
        request.name: tuple(_file(stack, request, path) for path in _paths(stack, request))
        for request in stack.packages.install
        if request.path
    }


def read_by(stack: Stack) -> list[Path]:
    """All that the stack and its lock were read from: a `stat` of them says whether anything may have changed."""
    found = [*stack.read]
    for one in (stack, *stack.stages.values()):
        for request in one.packages.install:
            if request.path:
                found.append(one.project / request.path)
                found += (one.project / path for path in _paths(one, request))
    for path in found[len(stack.read) :]:
        if (real := path.resolve()) != path:
            found.append(real)
    return list(dict.fromkeys(found))


def bring(stack: Stack, fetcher: Fetcher) -> Mapping[str, tuple[LocalFile, ...]]:
    """local_files(), each of them copied into the store. Raises UsageError, NetworkError."""
    found = local_files(stack)
    for files in found.values():
        for file in files:
            _take(stack.project, file, fetcher)
    return found


def take(project: Path, package: LockedPackage, fetcher: Fetcher) -> None:
    """Have a locked file of the project in the store. Raises NetworkError if it is another one by now."""
    _take(project, LocalFile(package.path, package.sha256, package.size), fetcher)


def _take(project: Path, file: LocalFile, fetcher: Fetcher) -> None:
    from stackbuild.lock.vendor import copy_in

    final = fetcher.path(file.sha256)
    if final.exists():
        return
    why = f"it should be {file.size} bytes with {file.sha256}"
    try:
        with _open(project, file.path) as bytes_:
            if copy_in(bytes_, final, file.size, file.sha256):
                return
    except (OSError, ValueError) as error:
        why = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
    raise NetworkError(
        f"{file} is not what the lock says", why=why, hints=(Hint("lock the file that is there", "stackbuild lock"),)
    )


def differences(stack: Stack, lock: Lock) -> Iterator[str]:
    """In words, which files of the project are others than the lock was written for."""
    locked = {p.path: p.sha256 for platform in lock.platforms.values() for p in platform.everything if p.local}
    for one in (stack, *stack.stages.values()):
        for files in local_files(one).values():
            for file in files:
                if file.path in locked and locked[file.path] != file.sha256:
                    yield f"{file} has changed"


def _open(project: Path, path: str) -> BufferedReader:
    """A regular file of the project, opened; links that stay in it are followed. Raises OSError, ValueError."""
    top = os.path.realpath(project)
    real = os.path.realpath(os.path.join(top, path))
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root, os.path.relpath(real, top), os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError("it is no regular file")
    return open(fd, "rb")


def _paths(stack: Stack, request: Request) -> list[str]:
    """The files of a request, below the project: itself, or what a folder holds."""
    top = stack.project.resolve()
    place = (top / request.path).resolve()
    where = stack.origin("packages", "install", request.name)
    if not place.is_relative_to(top):
        raise UsageError(f"{request.text} leaves the project", where=where, why=f"it is a link to {place}")
    try:
        if not stat.S_ISDIR(place.stat().st_mode):
            if request.text.endswith("/"):
                raise NotADirectoryError
            return [request.path]
        names = sorted(name for name in os.listdir(place) if name.endswith(".deb") and not name.startswith("."))
    except OSError as error:
        raise UsageError(
            f"there is no {request.text}",
            where=where,
            why=error.strerror or "it is no folder",
            hints=(_BUILD_IT,),
        ) from None
    if not names:
        raise UsageError(f"there is no .deb in {request.text}", where=where, hints=(_BUILD_IT,))
    return [os.path.normpath(f"{request.path}/{name}") for name in names]


def _file(stack: Stack, request: Request, path: str) -> LocalFile:
    where = stack.origin("packages", "install", request.name)
    place = stack.project / path
    try:
        return LocalFile(path, *_content(str(stack.project), path, tuple(signature(str(place.resolve())) or ())))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"./{path} cannot be used", where=where, why=why) from None


@lru_cache(maxsize=1024)
def _content(project: str, path: str, seen: tuple[int, ...]) -> tuple[Digest, int]:
    """Digest and size in bytes. seen: the file's signature, so that a changed one is read anew."""
    with _open(Path(project), path) as file:
        digest = finish(hashlib.file_digest(file, "sha256"))
        return digest, file.tell()
