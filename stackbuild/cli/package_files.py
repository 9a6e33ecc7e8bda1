"""The package files that a lock names, brought into the store: from the project, its vendor folder, their archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackbuild.cli.base_stack import sources_of
from stackbuild.cli.network import fetcher
from stackbuild.core.events import Note
from stackbuild.lock.local import take as take_local
from stackbuild.lock.sources import placed, wanted
from stackbuild.lock.vendor import fill, take

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stackbuild.cli.wiring import App
    from stackbuild.core.digest import Digest
    from stackbuild.lock.lock import Lock, LockedPackage, PlatformLock
    from stackbuild.packages.fetch import Fetcher, Wanted
    from stackbuild.packages.source import Source

Known = tuple["LockedPackage", "PlatformLock", str]
"""A package, the part of the lock that it is in, and the stage that this is of."""


class PackageFiles:
    """The files of one lock of the app's stack. What is looked up for one file is kept for the others."""

    def __init__(self, app: App, lock: Lock) -> None:
        self._app, self._lock = app, lock
        self._known: dict[str, dict[Digest, Known]] = {}
        self._sources: dict[str, list[Source]] = {}

    def bring(self, platform: str, digests: Iterable[Digest], name: str = "packages") -> None:
        """Those that are not in the store yet. name: of the step that asks, for events. Raises NetworkError."""
        fetch, project = fetcher(self._app), self._app.stack().project
        missing = []
        for known in map(self._locked(platform).__getitem__, digests):
            package = known[0]
            if package.local:
                take_local(project, package, fetch)
            elif not take(project, self._lock.vendor, package, fetch):
                missing.append(self._wanted(known, fetch))
        if missing:
            fetch.fetch(missing, name)

    def fill_vendor(self, before: Lock | None) -> None:
        """Have a copy of each in the lock's vendor folder, fetched as by a build. before: the lock so far."""
        fetch, project, folder = fetcher(self._app), self._app.stack().project, self._lock.vendor
        missing = [
            self._wanted(known, fetch)
            for platform in self._lock.platforms
            for known in self._locked(platform).values()
            if not known[0].local and not take(project, folder, known[0], fetch, trusting=False)
        ]
        fetch.fetch(missing)
        count, gone = fill(project, self._lock, fetch, before)
        more = f"; {gone} old ones are removed" if gone else ""
        self._app.listener(Note(f"{folder} holds {count} package files{more}"))

    def _locked(self, platform: str) -> dict[Digest, Known]:
        if platform not in self._known:
            lock = self._lock.platforms[platform]
            parts = [*((part, stage) for stage, part in lock.stages.items()), (lock, "")]
            self._known[platform] = {
                package.sha256: (package, part, stage) for part, stage in parts for package in part.packages
            }
        return self._known[platform]

    def _wanted(self, known: Known, fetch: Fetcher) -> Wanted:
        package, part, stage = known
        if stage not in self._sources:
            stack = self._app.stack()
            sources = sources_of(self._app, stack.stages[stage] if stage else stack)
            self._sources[stage] = placed(sources, fetch)
        return wanted(package, part, self._sources[stage], fetch)
