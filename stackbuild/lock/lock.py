"""The lock as a value, and stack.lock as its text (DESIGN, section 6); knows no resolver and no URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from stackbuild.core.digest import Digest, hex_of
from stackbuild.core.errors import UsageError
from stackbuild.core.files import host_error, write_file
from stackbuild.core.origin import Origin

VERSION = 3
"""Of the file's form: 2 has stages, 3 files of the project; one without them is still written as 2 or 1."""

FORMAT = 1
"""The generation of all byte-producing code that a new lock asks for."""

LIMIT = 64 << 20
"""Bytes; a lock that is larger was not written by us."""

HEAD = "# Written by `stackbuild lock`; meant to be committed, not edited.\n"


@dataclass(frozen=True, slots=True)
class LockedArchive:
    """An archive by its Release identity. id: what packages call it: "Debian/bookworm".

    date: of the Release that was read (RFC 3339, UTC); release: digest of its verified bytes.
    """

    id: str
    origin: str
    suite: str
    codename: str
    date: str
    release: Digest


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One exact package file, and why and when it is installed.

    archive: id of a LockedArchive; path: below the archive's root ("pool/main/c/curl/…"). "" is the project itself:
    the path is that of a file in it.
    wave: 0 is the variant. manual: asked for by name. depends, pre_depends: names (or "name:arch" for a
    foreign architecture) of the locked packages that its dependencies were resolved to. replaces: the version that
    the base image has of it.
    """

    name: str
    version: str
    architecture: str
    sha256: Digest
    size: int
    archive: str
    path: str
    source: str
    wave: int
    manual: bool = False
    depends: tuple[str, ...] = ()
    pre_depends: tuple[str, ...] = ()
    essential: bool = False
    replaces: str = ""

    @property
    def local(self) -> bool:
        """Whether it is a file of the project."""
        return not self.archive

    def called(self, native: str) -> str:
        """The name under which others need it; native: the platform's architecture."""
        return self.name if self.architecture in (native, "all") else f"{self.name}:{self.architecture}"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class LockedRemoval:
    """A package of the base image that is removed before anything is installed (its configuration files stay)."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True)
class PlatformLock:
    """What one platform is made of. base_digest: of the base image's manifest, None for a bootstrapped base;
    base_image: what `base.image` said when it was found, so that the digest is kept only for the same reference.
    Of a base stack: `base_stack.packages_digest` of what it has locked, and "stack:" with what `base.stack` said.

    packages: in the order in which they are unpacked and configured; waves never go back.
    stages: the same of each stage, by name; they have none themselves.
    """

    base_digest: Digest | None = None
    archives: tuple[LockedArchive, ...] = ()
    packages: tuple[LockedPackage, ...] = ()
    base_image: str = ""
    stages: Mapping[str, PlatformLock] = field(default_factory=dict)
    removed: tuple[LockedRemoval, ...] = ()

    @property
    def everything(self) -> tuple[LockedPackage, ...]:
        """The packages of the image, then those of each stage."""
        return (*self.packages, *(package for stage in self.stages.values() for package in stage.packages))

    @property
    def waves(self) -> tuple[tuple[LockedPackage, ...], ...]:
        """The packages by wave, 0 first."""
        count = self.packages[-1].wave + 1 if self.packages else 0
        return tuple(tuple(p for p in self.packages if p.wave == number) for number in range(count))

    def package(self, name: str) -> LockedPackage | None:
        return next((p for p in self.packages if p.name == name), None)

    def archive(self, id: str) -> LockedArchive:
        """Raises KeyError."""
        for archive in self.archives:
            if archive.id == id:
                return archive
        raise KeyError(id)


@dataclass(frozen=True, slots=True)
class Lock:
    """Every exact input of a stack, per platform ("linux/amd64"). requests: digest of what it answers.

    vendor: the folder, below the project, that holds a copy of every package file; "" is none.
    """

    requests: Digest
    platforms: Mapping[str, PlatformLock]
    recipes: Mapping[str, Digest] = field(default_factory=dict)
    format: int = FORMAT
    vendor: str = ""


def by_place(lock: Lock) -> dict[str, PlatformLock]:
    """What is locked, by platform, each followed by its stages: "linux/amd64", "linux/amd64 stage builder"."""
    found: dict[str, PlatformLock] = {}
    for name, platform in lock.platforms.items():
        found[name] = platform
        found |= {f"{name} stage {stage}": inner for stage, inner in platform.stages.items()}
    return found


def names_of(place: str, locked: PlatformLock) -> dict[str, LockedPackage]:
    """The packages of a place (see by_place) in their order, under the names by which others need them."""
    from stackbuild.packages.ecosystem import ecosystem

    native = ecosystem("debian/any").architecture(place.partition(" ")[0])
    return {name: replace(p, name=name) for p in locked.packages for name in (p.called(native),)}


@dataclass(frozen=True, slots=True)
class LockFile:
    """stack.lock on disk."""

    path: Path

    def read(self) -> Lock | None:
        """The lock; None if there is no file. Raises UsageError (with the line) if it is not a lock."""
        data = self._bytes()
        return None if data is None else parse(data, str(self.path))

    def recipes(self) -> Mapping[str, Digest]:
        """The digests of remote recipes: the lock is parsed only if it may have some. Raises as `read` does."""
        data = self._bytes()
        if data is None or (b"recipes" not in data and b"\\" not in data):  # how else could a key say it?
            return {}
        return parse(data, str(self.path)).recipes

    def _bytes(self) -> bytes | None:
        try:
            with open(self.path, "rb") as file:
                data = file.read(LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise host_error(error, self.path) from error
        if len(data) > LIMIT:
            raise UsageError("the lock is too large", where=Origin("lock", str(self.path)))
        return data

    def write(self, lock: Lock) -> bool:
        """Replace the file, whole or not at all; False if it held these bytes already."""
        data = render(lock)
        try:
            if self.path.read_bytes() == data:
                return False
        except OSError:
            pass
        write_file(self.path, data, durable=True)
        return True


def render(lock: Lock) -> bytes:
    """The file's bytes: UTF-8, the same for equal locks, one value a line. What has its default is left out."""
    import tomli_w

    platforms = lock.platforms.values()
    version = 2 if any(platform.stages for platform in platforms) else 1
    if any(package.local for platform in platforms for package in platform.everything):
        version = VERSION
    tree: dict[str, Any] = {"version": version, "format": lock.format, "requests": lock.requests}
    if lock.vendor:
        tree["vendor"] = lock.vendor
    if lock.recipes:
        tree["recipes"] = dict(sorted(lock.recipes.items()))
    tree["platform"] = {name: _platform_tree(lock.platforms[name]) for name in sorted(lock.platforms)}
    return (HEAD + tomli_w.dumps(tree)).encode()


def _platform_tree(platform: PlatformLock) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    if platform.base_digest is not None:
        tree["base"] = platform.base_digest
        tree["base-image"] = platform.base_image
    if platform.archives:
        tree["archive"] = [
            {
                "id": a.id,
                "origin": a.origin,
                "suite": a.suite,
                "codename": a.codename,
                "date": a.date,
                "release": a.release,
            }
            for a in platform.archives
        ]
    if platform.packages:
        tree["package"] = [_package_tree(p) for p in platform.packages]
    if platform.removed:
        tree["remove"] = [asdict(one) for one in platform.removed]
    if platform.stages:
        tree["stage"] = {name: _platform_tree(platform.stages[name]) for name in sorted(platform.stages)}
    return tree


def _package_tree(package: LockedPackage) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "source": package.source,
        "wave": package.wave,
        "manual": package.manual,
        "essential": package.essential,
        "sha256": hex_of(package.sha256),
        "size": package.size,
        "archive": package.archive,
        "path": package.path,
        "pre-depends": list(package.pre_depends),
        "depends": list(package.depends),
        "replaces": package.replaces,
    }
    usual: dict[str, Any] = {"source": package.name, "manual": False, "essential": False, "replaces": ""}
    usual |= {"pre-depends": [], "depends": [], "archive": ""}
    return {key: value for key, value in tree.items() if key not in usual or value != usual[key]}


@lru_cache(maxsize=2)
def parse(data: bytes, file: str) -> Lock:
    """The lock in these bytes. Raises UsageError that names file, line and key. `file`: what the user calls it.

    A command reads its lock several times (recipes, base image, packages): the same bytes are parsed once.
    """
    import tomllib

    from stackbuild.lock.reader import Reader, bad

    try:
        text = data.decode()
        tree = tomllib.loads(text)
    except UnicodeDecodeError:
        raise bad(file, 0, (), "it is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        raise bad(file, int(found[1]) if found else 0, (), str(error)) from None
    return Reader(text, file).lock(tree)
