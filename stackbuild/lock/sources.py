"""Which archives a stack's packages come from, and where a locked package can be fetched; resolves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.core.events import Listener, nobody
from stackbuild.core.origin import Origin
from stackbuild.lock.lock import LockedArchive, LockedPackage, PlatformLock
from stackbuild.packages.fetch import Fetcher, Wanted
from stackbuild.packages.source import Source
from stackbuild.stack.stack import Stack, source_name


def find_sources(
    stack: Stack, *, base: Path | None = None, listener: Listener = nobody, root: Path = Path("/")
) -> list[Source]:
    """The sources of DESIGN section 5: the stack's own; else a base image's, this machine's, or the config's table.

    base: the unpacked tree of the base image. root: this machine's own root. Raises UsageError if there are none.
    """
    from stackbuild.packages.deb.sources_list import base_sources, host_release, no_sources, table_sources

    def places(tables: Sequence[Any], *key: str) -> Callable[[int], Origin]:
        return lambda n: stack.origin(*key, source_name(tables[n].url, tables[n].suites))

    if own := stack.packages.source:
        return table_sources(own, places(own, "packages", "source"), stack.project)
    distro = stack.base.distro or ""
    if base is not None:
        found = base_sources(base, listener)
        if found:
            return found
        distro = "/".join(host_release(base))
    if distro.strip("/"):
        from stackbuild.packages.ecosystem import ecosystem

        found = ecosystem(distro).host_sources(distro, listener, root)
        if found:
            return found
        tables = stack.sources.get(distro, ())
        if tables:
            origin = stack.origin("sources", distro)
            folder = Path(origin.file).parent if origin.file else stack.project
            return table_sources(tables, places(tables, "sources", distro), folder)
    if not distro.strip("/"):
        raise UsageError(
            "the packages have no source",
            where=stack.origin("packages", "install"),
            why="the base has no distribution and no package sources of its own",
            hints=(Hint("name the archive with [[packages.source]]"),),
        )
    raise no_sources(distro)


def refuse_older(found: PlatformLock, before: PlatformLock, stack: Stack) -> None:
    """Raises NetworkError if an archive is older now than it was for the lock before: nothing moves back unasked.

    What a store has seen it does not take an older index for; this is for a store that is new.
    """

    def newest(platform: PlatformLock) -> dict[tuple[str, str], LockedArchive]:
        dated = sorted(platform.archives, key=lambda archive: archive.date)
        return {(archive.origin, archive.codename or archive.suite): archive for archive in dated}

    known = newest(before)
    for key, archive in newest(found).items():
        if key in known and archive.date < known[key].date:
            raise NetworkError(
                f"the index of {archive.id} is older than the one that {stack.lock_file.name} was made from",
                where=stack.origin("packages", "source"),
                why=f"it is of {archive.date or 'no date'}, the other of {known[key].date}: "
                "its mirror is behind, or somebody replays what was signed before",
                hints=(
                    Hint("try again later, or use another mirror"),
                    Hint(f"to go back on purpose, remove {stack.lock_file.name} first, or name a `snapshot`"),
                ),
            )


def placed(sources: Sequence[Source], fetcher: Fetcher) -> list[Source]:
    """The sources where their files are: at the mirrors of a list, at a snapshot. Raises NetworkError.

    Costs a request for each list and each snapshot.
    """
    from stackbuild.packages.deb.repository import place

    return [place(source, fetcher) for source in sources]


def locate(
    package: LockedPackage, archive: LockedArchive, sources: Sequence[Source], fetcher: Fetcher | None = None
) -> list[tuple[str, str | None]]:
    """(URL, proxy) of every place that may have a locked package, the likeliest first; the digest decides.

    sources: as placed() gives them. A source fits if its suite is the archive's codename or suite; what its Release
    said last time decides the order.
    """
    names = {archive.codename, archive.suite} - {""}
    fitting = [s for s in sources if s.flat or s.suite in names or s.suite in {f"{n}/updates" for n in names}]
    if fetcher is not None and len(fitting) > 1:
        fitting.sort(key=lambda s: _remembered_origin(s, fetcher) not in (archive.origin, None))
    path = quote(package.path, safe="/+:~,=@!$")
    places = [source.at(root) for source in fitting for root in source.roots]
    return [(f"{place.base if place.flat else place.url}/{path}", place.proxy) for place in places]


def _remembered_origin(source: Source, fetcher: Fetcher) -> str | None:
    """The Origin of the source's last Release; not verified: it only orders tries."""
    from stackbuild.packages.deb.repository import release_store

    try:
        with open(release_store(source, fetcher.paths), "rb") as file:
            found = re.search(rb"^Origin: *(.*)$", file.read(4096), re.M)
    except OSError:
        return None
    return found[1].decode("utf-8", "replace").strip() if found else ""


def wanted(package: LockedPackage, platform: PlatformLock, sources: Sequence[Source], fetcher: Fetcher) -> Wanted:
    """A locked package as a file to fetch; when it is gone everywhere, the error says what replaces it."""
    places = locate(package, platform.archive(package.archive), sources, fetcher)
    kinds = (p.architecture for p in (package, *platform.packages) if p.architecture != "all")
    architecture = next(kinds, "amd64")
    return Wanted(
        digest=package.sha256,
        size=package.size,
        name=f"{package.name} {package.version}",
        urls=tuple(url for url, _ in places),
        proxy=next((proxy for _, proxy in places), None),
        gone=lambda: replacement(package, architecture, sources, fetcher),
    )


def replacement(package: LockedPackage, architecture: str, sources: Sequence[Source], fetcher: Fetcher) -> list[Hint]:
    """What to do about a package that its archive no longer has: the version that is there now, if one is.

    architecture: the package's own, or any that it can be found under, in Debian's word.
    """
    from stackbuild.core.errors import StackError
    from stackbuild.packages.deb.catalogue import Catalogue
    from stackbuild.packages.deb.repository import open_repositories

    command = f"stackbuild lock --update {package.name}"
    try:
        repositories = open_repositories(sources, architecture, fetcher)
    except StackError:
        return [Hint("lock the package anew", command)]
    now = Catalogue(architecture, [(index, r.archive) for r in repositories for index in r.indexes])
    found = now.candidate(package.name)
    if found is None:
        return [Hint(f"no source has any version of {package.name} now: name one that does with [[packages.source]]")]
    if found.version == package.version:
        return [Hint(f"the index still names {found}: the mirror may be in the middle of an update, try again")]
    return [Hint(f"the archive has {found} now: lock that", command)]
