"""Debian's and Ubuntu's packages: the Ecosystem of this family. Work is done by the modules beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild.core.clock import Clock
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Listener

if TYPE_CHECKING:
    from stackbuild.packages.deb.local import LocalPackages
    from stackbuild.packages.ecosystem import Choice, Question, Resolution
    from stackbuild.packages.fetch import Fetcher
    from stackbuild.packages.source import Source

ARCHITECTURES = {
    "linux/amd64": "amd64",
    "linux/arm64": "arm64",
    "linux/arm64/v8": "arm64",
    "linux/arm": "armhf",
    "linux/arm/v7": "armhf",
    "linux/arm/v6": "armel",
    "linux/arm/v5": "armel",
    "linux/386": "i386",
    "linux/ppc64le": "ppc64el",
    "linux/s390x": "s390x",
    "linux/riscv64": "riscv64",
    "linux/mips64le": "mips64el",
    "linux/loong64": "loong64",
}
"""OCI platforms in Debian's words (image-spec, "platform"; deb-architecture)."""


class Deb:
    """See Ecosystem. Modules are imported when they are needed: `build` may need none of them."""

    def architecture(self, platform: str) -> str:
        if platform not in ARCHITECTURES:
            raise UsageError(f"Debian has no architecture for the platform {platform}",
                             hints=(Hint(f"known: {', '.join(ARCHITECTURES)}"),))  # fmt: skip
        return ARCHITECTURES[platform]

    def host_sources(self, distro: str, listener: Listener, root: Path = Path("/")) -> list[Source]:
        from stackbuild.packages.deb.sources_list import host_sources

        return host_sources(distro, listener, root)

    def resolve(
        self, question: Question, sources: Sequence[Source], fetcher: Fetcher, clock: Clock | None = None
    ) -> Resolution:
        from stackbuild.packages.deb.repository import open_all
        from stackbuild.packages.deb.resolver import resolve

        repositories = open_all(sources, (question.architecture, *question.foreign), fetcher, clock)
        return resolve(question, repositories, _local(question, fetcher))

    def choices(
        self,
        name: str,
        locked: Mapping[str, str],
        parents: Collection[str],
        question: Question,
        sources: Sequence[Source],
        fetcher: Fetcher,
    ) -> tuple[Choice, ...]:
        from stackbuild.packages.deb.choices import choices
        from stackbuild.packages.deb.repository import open_all
        from stackbuild.packages.deb.resolver import catalogue_of, pairs_of

        repositories = open_all(sources, (question.architecture, *question.foreign), fetcher)
        catalogue, _ = catalogue_of(question, pairs_of(repositories, _local(question, fetcher)))
        return choices(name, locked, parents, catalogue, question)


def _local(question: Question, fetcher: Fetcher) -> LocalPackages | None:
    """The project's own package files, if the question names some."""
    if not question.files:
        return None
    from stackbuild.packages.deb.local import read

    return read(question.requests, question.files, question.architecture, fetcher)


ECOSYSTEM = Deb()
