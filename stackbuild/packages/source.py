"""Where packages come from: one suite of one archive, with the keys that vouch for it; fetches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from stackbuild.core.origin import Origin


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may sign. files: keyrings, binary or armoured; inline: an armoured block; fingerprints: only these keys.

    No files and no inline block: the keyrings that this machine trusts for every archive.
    """

    files: tuple[Path, ...] = ()
    inline: str = ""
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive. url: its root, no trailing slash. suite: ends in "/" for a flat archive.

    check_valid_until, check_date: as apt's settings of that name. proxy: None is the environment's,
    "" is none. priority: of its versions, None if nothing is said.
    snapshot: "YYYYMMDDTHHMMSSZ" or "". origin: where the user can change it.
    mirrors: further roots, asked in order if the first does not do; listed: the URL of the list that names them all.
    """

    url: str
    suite: str
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    keys: Keys = field(default_factory=Keys)
    trusted: bool = False
    check_valid_until: bool = True
    check_date: bool = True
    proxy: str | None = None
    snapshot: str = ""
    priority: int | None = None
    origin: Origin = field(default=Origin("engine"), compare=False)
    mirrors: tuple[str, ...] = ()
    listed: str = ""

    @property
    def flat(self) -> bool:
        return self.suite.endswith("/")

    @property
    def base(self) -> str:
        """The URL of the folder that holds Release."""
        return f"{self.url}/{self.suite}".rstrip("/") if self.flat else f"{self.url}/dists/{self.suite}"

    @property
    def roots(self) -> tuple[str, ...]:
        """The URL of every place that has the archive, in the order in which they are asked."""
        return (self.url, *self.mirrors)

    def at(self, root: str) -> Source:
        """The source with one of its roots first."""
        return replace(self, url=root, mirrors=tuple(one for one in self.roots if one != root))

    @property
    def identity(self) -> str:
        """What stays the same whichever mirror answers."""
        return replace(self, url=self.listed or self.url).base

    def __str__(self) -> str:
        return " ".join([self.url, self.suite, *self.components])
