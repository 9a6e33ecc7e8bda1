"""The seam to a family of distributions: what each must answer, and the table of those that are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from stackbuild.core.clock import Clock
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.events import Listener
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.local import LocalFile
from stackbuild.packages.package import Archive, Package
from stackbuild.packages.pin import Pin
from stackbuild.packages.source import Source
from stackbuild.stack.request import Request


@dataclass(frozen=True, slots=True)
class Resolved:
    """A package of an answer. depends, pre_depends: names of packages of the answer that its needs were met by.

    replaces: the version that a base image has of it, "" if none.
    """

    package: Package
    wave: int
    manual: bool
    depends: tuple[str, ...] = ()
    pre_depends: tuple[str, ...] = ()
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is to be installed, in order, and what was noticed on the way. Packages of the base are not in it.

    removed: what of the base has to go.
    """

    packages: tuple[Resolved, ...]
    archives: tuple[Archive, ...] = ()
    notes: tuple[str, ...] = ()
    removed: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. variant: of a bootstrapped base, "" on a base image. status: a base image's database.

    upgrade: all that the base image has moves to its candidate where it can. allow_remove: names of it that may go.
    pins: the stack's, then the base image's: the first that fits decides.
    keep: versions that stay where they can, by name (a lock that is only partly moved).
    files: of each request that names files of the project, by its name: which; they are in the store.
    foreign: architectures beside the own one that a base image's dpkg takes packages of.
    """

    requests: tuple[Request, ...]
    architecture: str
    variant: str = ""
    recommends: bool = False
    status: bytes = b""
    keep: Mapping[str, str] | None = None
    pins: tuple[Pin, ...] = ()
    upgrade: bool = False
    allow_remove: tuple[str, ...] = ()
    files: Mapping[str, Sequence[LocalFile]] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A need that a package meets and others could have met. by: who needs it, "" is the user; need: in its words.

    over: the others, in the order in which they would have been tried. why: a sentence without a capital.
    """

    by: str
    need: str
    over: tuple[str, ...]
    why: str


class Ecosystem(Protocol):
    """A family of distributions: its sources, indexes, solver rules and waves."""

    def architecture(self, platform: str) -> str:
        """The family's own word for "linux/arm64". Raises UsageError."""

    def host_sources(self, distro: str, listener: Listener, root: Path = Path("/")) -> list[Source]:
        """The sources of this machine for `distro`, [] if it has none."""

    def resolve(
        self, question: Question, sources: Sequence[Source], fetcher: Fetcher, clock: Clock | None = None
    ) -> Resolution:
        """Raises ResolutionError, NetworkError, UsageError."""

    def choices(
        self,
        name: str,
        locked: Mapping[str, str],
        parents: Collection[str],
        question: Question,
        sources: Sequence[Source],
        fetcher: Fetcher,
    ) -> tuple[Choice, ...]:
        """Over what the answer `locked` (name -> version) to the question has `name`. parents: who needs it.

        Raises NetworkError, UsageError.
        """


ECOSYSTEMS = {"debian": "deb", "ubuntu": "deb"}


def ecosystem(distro: str) -> Ecosystem:
    """The family of "debian/bookworm". Raises UsageError."""
    name, _, release = distro.partition("/")
    if name not in ECOSYSTEMS or not release:
        why = "write it as in debian/bookworm" if name in ECOSYSTEMS else ""
        raise UsageError(
            f"no package support for `{distro}`", why=why, hints=(Hint(f"known: {', '.join(ECOSYSTEMS)}"),)
        )
    return cast(Ecosystem, import_module(f"stackbuild.packages.{ECOSYSTEMS[name]}").ECOSYSTEM)
