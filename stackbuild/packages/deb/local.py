"""The .deb files of a project as an index like an archive's, and which of its packages each request means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from stackbuild.core.errors import Hint, NetworkError, ResolutionError, UsageError
from stackbuild.core.origin import Origin
from stackbuild.packages.deb.packages_index import records_of
from stackbuild.packages.deb.version import order
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.index import Index, Records, build, joined
from stackbuild.packages.local import LocalFile
from stackbuild.stack.request import Request

Key = tuple[str, str, str]  # name, version, architecture: as Package.key


@dataclass(frozen=True, slots=True)
class LocalPackages:
    """What the files hold. asked: the packages that a request stands for, by its name."""

    index: Index
    asked: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)


def read(
    requests: Sequence[Request], files: Mapping[str, Sequence[LocalFile]], architecture: str, fetcher: Fetcher
) -> LocalPackages:
    """The packages of all requests that name files. files: by the request's name, each in the store already.

    A folder stands for its packages of this architecture (or all), the newest version of each; a file that is named
    itself has to be one. Raises UsageError, ResolutionError.
    """
    records: dict[Key, tuple[Records, LocalFile]] = {}
    asked: dict[str, tuple[Key, ...]] = {}
    for request in requests:
        if not request.path:
            continue
        newest: dict[str, Key] = {}
        for file in files[request.name]:
            record = _record(file, request, fetcher)
            key = cast(Key, tuple(value.decode() for value in record.lines[0].split(b"\t", 3)[:3]))
            if key[2] not in (architecture, "all"):
                if file.path == request.path:
                    raise _foreign(request, key[2], architecture)
                continue
            known = records.setdefault(key, (record, file))[1]
            if known.sha256 != file.sha256:
                raise UsageError(f"{known} and {file} are both {key[0]} {key[1]} for {key[2]}, and differ",
                                 where=where(request), hints=(Hint("leave one of them out"),))  # fmt: skip
            if key[0] not in newest or order(newest[key[0]][1]) < order(key[1]):
                newest[key[0]] = key
        if not newest:
            raise ResolutionError(f"`{request.text}` has no package for {architecture}", where=where(request))
        asked[request.name] = tuple(newest.values())
    return LocalPackages(Index(build(joined([record for record, _ in records.values()]))), asked)


def where(request: Request | str) -> Origin:
    """The place of a request in the stack; its file and line are filled in by who knows them."""
    return Origin("project", "", 0, ("packages", "install", str(request)))


def _record(file: LocalFile, request: Request, fetcher: Fetcher) -> Records:
    from stackbuild.packages.deb.archive import open_deb  # most stacks name no files, and decoders are much to import

    try:
        with open_deb(fetcher.path(file.sha256), str(file), data=False) as deb:
            control = deb.fields
    except NetworkError as error:
        raise UsageError(error.what, where=where(request), why=error.why) from None
    records = records_of(control, path=file.path, size=file.size, sha256=file.sha256)
    if not records.lines:
        raise UsageError(
            f"{file} is not a sound Debian package",
            where=where(request),
            why="its control file has no valid Package, Version and Architecture",
        )
    return records


def _foreign(request: Request, its: str, architecture: str) -> ResolutionError:
    return ResolutionError(
        f"`{request.text}` is for another architecture",
        where=where(request),
        why=f"it is for {its}, this image is for {architecture}",
        hints=(Hint("name the folder: of it, each platform of image.platforms takes its own files"),),
    )
