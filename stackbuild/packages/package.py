"""One package file as an index describes it, and the archive that it comes from; says nothing of choosing."""

from __future__ import annotations

from dataclasses import dataclass, field

from stackbuild.core.digest import Digest

NO_DIGEST = Digest("")


@dataclass(frozen=True, slots=True)
class Archive:
    """A Release identity (no URL) and what apt's policy makes of it.

    id: short name for locks: "Debian/bookworm". date: RFC 3339; release: digest of the verified Release.
    priority: apt_preferences(5): 500, or 1 / 100 for NotAutomatic (+ ButAutomaticUpgrades) archives.
    Not of its identity, but what pins look at: label, version, component, site (the host it is read from); pin:
    the priority that the user gave the source itself.
    """

    id: str
    origin: str = ""
    suite: str = ""
    codename: str = ""
    date: str = ""
    release: Digest = NO_DIGEST
    priority: int = 500
    label: str = field(default="", compare=False)
    version: str = field(default="", compare=False)
    component: str = field(default="", compare=False)
    site: str = field(default="", compare=False)
    pin: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Package:
    """One exact package file. Relations are the text of their fields, read when asked for.

    flags: of "e" (Essential), "i" (Important or Protected). path: below the archive's root.
    archive is None for a package of a base image's database: it is there, no file is needed.
    """

    name: str
    version: str
    architecture: str
    multi_arch: str = ""
    priority: str = ""
    flags: str = ""
    source: str = ""
    section: str = ""
    size: int = 0
    sha256: str = ""
    path: str = ""
    pre_depends: str = ""
    depends: str = ""
    conflicts: str = ""
    breaks: str = ""
    recommends: str = ""
    provides: str = ""
    archive: Archive | None = None

    @property
    def essential(self) -> bool:
        return "e" in self.flags

    @property
    def installed(self) -> bool:
        return self.archive is None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.name, self.version, self.architecture

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
