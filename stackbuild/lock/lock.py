"""The lock as a value, and stack.lock as its text (DESIGN, section 6); knows no resolver and no URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from stackbuild.core.digest import Digest, hex_of, parse_digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.files import host_error, write_file
from stackbuild.core.origin import Origin

VERSION = 2
"""Of the file's form: 2 has stages; a lock without them is still written as 1. An older one keeps its reader."""

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

    archive: id of a LockedArchive; path: below the archive's root ("pool/main/c/curl/…").
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


@dataclass(frozen=True, slots=True)
class LockFile:
    """stack.lock on disk."""

    path: Path

    def read(self) -> Lock | None:
        """The lock; None if there is no file. Raises UsageError (with the line) if it is not a lock."""
        try:
            with open(self.path, "rb") as file:
                data = file.read(LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise host_error(error, self.path) from error
        if len(data) > LIMIT:
            raise UsageError("the lock is too large", where=Origin("lock", str(self.path)))
        return parse(data, str(self.path))

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

    version = VERSION if any(platform.stages for platform in lock.platforms.values()) else 1
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
    usual |= {"pre-depends": [], "depends": []}
    return {key: value for key, value in tree.items() if key not in usual or value != usual[key]}


# ---- reading: a lock may have been merged by hand or by somebody who wishes us ill --------------------------


@lru_cache(maxsize=2)
def parse(data: bytes, file: str) -> Lock:
    """The lock in these bytes. Raises UsageError that names file, line and key. `file`: what the user calls it.

    A command reads its lock several times (recipes, base image, packages): the same bytes are parsed once.
    """
    import tomllib

    try:
        text = data.decode()
        tree = tomllib.loads(text)
    except UnicodeDecodeError:
        raise _bad(file, 0, (), "it is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        raise _bad(file, int(found[1]) if found else 0, (), str(error)) from None
    return _Reader(text, file).lock(tree)


def _bad(file: str, line: int, key: tuple[str | int, ...], why: str) -> UsageError:
    hints = (Hint("restore the file from version control, or make it anew", "stackbuild lock --update"),)
    return UsageError("the lock cannot be read", where=Origin("lock", file, line, key), why=why, hints=hints)


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}\Z")
_DEPEND = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}(:[a-z0-9-]+)?\Z")
_VERSION = re.compile(r"[A-Za-z0-9.+:~-]{1,254}\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_PATH = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[!-~]{1,1024}\Z")
_TEXT = re.compile(r"[ -~\u00a0-\U0010ffff]{0,255}\Z")
_IMAGE = re.compile(r"[!-~\u00a0-\U0010ffff ]{1,4096}\Z")
_KEYS = {
    "": {"version", "format", "requests", "vendor", "recipes", "platform"},
    "platform": {"base", "base-image", "archive", "package", "stage", "remove"},
    "stage": {"base", "base-image", "archive", "package", "remove"},
    "remove": {"name", "version", "architecture"},
    "archive": {"id", "origin", "suite", "codename", "date", "release"},
    "package": {
        *("name", "version", "architecture", "source", "wave", "manual", "essential", "sha256", "size"),
        *("archive", "path", "pre-depends", "depends", "replaces"),
    },
}


class _Reader:
    """Checks a parsed lock, value by value, and knows on which line each stands."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file

    def fail(self, key: tuple[str | int, ...], why: str) -> UsageError:
        return _bad(self._file, self._line(key), key, why)

    def _line(self, key: tuple[str | int, ...]) -> int:
        """The line of a key in the form that render() writes; that of the nearest table above it otherwise."""
        table = key[:1] if len(key) > 1 else ()
        index = -1
        top = 4 if key[2:3] == ("stage",) and len(key) > 4 else 2  # [platform.P], [platform.P.stage.S]
        if len(key) > top + 1 and key[0] == "platform":
            table, index = key[: top + 1], cast(int, key[top + 1])
        elif len(key) > top and key[0] == "platform":
            table = key[:top]
        last = str(key[len(table) + (index >= 0)]) if len(key) > len(table) + (index >= 0) else ""
        here, seen, found = not table, -1, 0
        for number, line in enumerate(self._text.splitlines(), 1):
            if line.startswith("["):
                name = line.strip().strip("[]").replace('"', "")
                seen += name == ".".join(map(str, table))
                here = bool(table) and name == ".".join(map(str, table)) and (index < 0 or seen == index)
                if here:
                    found = number
            elif here and last and re.match(rf'"?{re.escape(last)}"?\s*=', line):
                return number
        return found

    def lock(self, tree: dict[str, Any]) -> Lock:
        version = self.value(tree, (), "version", int, lambda n: n > 0)
        if version > VERSION:
            raise UsageError(
                "the lock was written by a newer stackbuild",
                where=Origin("lock", self._file, self._line(("version",)), ("version",)),
                why=f"its version is {version}, this stackbuild reads up to {VERSION}",
                hints=(Hint("upgrade stackbuild", "pip install --upgrade stackbuild"),),
            )
        self.known(tree, (), "")
        recipes = self.value(tree, (), "recipes", dict, default={})
        platforms = self.value(tree, (), "platform", dict)
        return Lock(
            requests=Digest(self.value(tree, (), "requests", str, _DIGEST.match)),
            platforms={name: self.platform(platforms, name) for name in platforms},
            recipes={n: Digest(self.value(recipes, ("recipes",), n, str, _DIGEST.match)) for n in recipes},
            format=self.value(tree, (), "format", int, lambda n: n > 0),
            vendor=self.value(tree, (), "vendor", str, _PATH.match, default=""),
        )

    def platform(self, platforms: dict[str, Any], name: str) -> PlatformLock:
        key: tuple[str | int, ...] = ("platform", name)
        if not re.match(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?\Z", name):
            raise self.fail(key, "this is not a platform such as linux/amd64")
        tree = self.value(platforms, ("platform",), name, dict)
        found = self.contents(tree, key, "platform")
        stages = self.value(tree, key, "stage", dict, default={})
        if bad := next((stage for stage in stages if not _NAME.match(stage)), None):
            raise self.fail((*key, "stage", bad), "this is not the name of a stage")
        made = {
            stage: self.contents(self.value(stages, (*key, "stage"), stage, dict), (*key, "stage", stage), "stage")
            for stage in stages
        }
        return replace(found, stages=made) if made else found

    def contents(self, tree: dict[str, Any], key: tuple[str | int, ...], kind: str) -> PlatformLock:
        """What a platform or one stage of it is made of."""
        self.known(tree, key, kind)
        base = self.value(tree, key, "base", str, _DIGEST.match, default=None)
        image = self.value(tree, key, "base-image", str, _IMAGE.match, default="")
        archives = tuple(self.archive(t, (*key, "archive", n)) for n, t in self.items(tree, key, "archive"))
        ids = {archive.id for archive in archives}
        if len(ids) != len(archives):
            raise self.fail((*key, "archive"), "two archives have the same id")
        packages = tuple(self.package(t, (*key, "package", n), ids) for n, t in self.items(tree, key, "package"))
        self.consistent(packages, key)
        gone = tuple(self.removal(t, (*key, "remove", n)) for n, t in self.items(tree, key, "remove"))
        return PlatformLock(None if base is None else parse_digest(base), archives, packages, image, removed=gone)

    def consistent(self, packages: tuple[LockedPackage, ...], key: tuple[str | int, ...]) -> None:
        names: set[str] = set()
        wave = 0
        for number, package in enumerate(packages):
            for known in (f"{package.name}:{package.architecture}",):
                if known in names:
                    raise self.fail((*key, "package", number, "name"), f"{package.name} is locked twice")
                names.add(known)
            names.add(package.name)
            if not wave <= package.wave <= wave + (number > 0 or package.wave <= 1):
                raise self.fail((*key, "package", number, "wave"), f"wave {package.wave} follows wave {wave}")
            wave = package.wave
        for number, package in enumerate(packages):
            for field_name, needed in (("depends", package.depends), ("pre-depends", package.pre_depends)):
                for name in needed:
                    if name not in names:
                        raise self.fail((*key, "package", number, field_name), f"{name} is not among the packages")

    def archive(self, tree: dict[str, Any], key: tuple[str | int, ...]) -> LockedArchive:
        self.known(tree, key, "archive")

        def text(name: str) -> str:
            return cast(str, self.value(tree, key, name, str, _TEXT.match))

        release = Digest(self.value(tree, key, "release", str, _DIGEST.match))
        return LockedArchive(text("id"), text("origin"), text("suite"), text("codename"), text("date"), release)

    def package(self, tree: dict[str, Any], key: tuple[str | int, ...], archives: set[str]) -> LockedPackage:
        self.known(tree, key, "package")

        def names(name: str) -> tuple[str, ...]:
            value = self.value(tree, key, name, list, default=[])
            if not all(isinstance(item, str) and _DEPEND.match(item) for item in value):
                raise self.fail((*key, name), "this is not a list of package names")
            return tuple(value)

        name = self.value(tree, key, "name", str, _NAME.match)
        return LockedPackage(
            name=name,
            version=self.value(tree, key, "version", str, _VERSION.match),
            architecture=self.value(tree, key, "architecture", str, _ARCHITECTURE.match),
            sha256=Digest("sha256:" + self.value(tree, key, "sha256", str, _HEX.match)),
            size=self.value(tree, key, "size", int, lambda n: 0 < n < 1 << 40),
            archive=self.value(tree, key, "archive", str, archives.__contains__),
            path=self.value(tree, key, "path", str, _PATH.match),
            source=self.value(tree, key, "source", str, _NAME.match, default=name),
            wave=self.value(tree, key, "wave", int, lambda n: 0 <= n < 1000),
            manual=self.value(tree, key, "manual", bool, default=False),
            depends=names("depends"),
            pre_depends=names("pre-depends"),
            essential=self.value(tree, key, "essential", bool, default=False),
            replaces=self.value(tree, key, "replaces", str, _VERSION.match, default=""),
        )

    def removal(self, tree: dict[str, Any], key: tuple[str | int, ...]) -> LockedRemoval:
        self.known(tree, key, "remove")
        forms = {"name": _NAME, "version": _VERSION, "architecture": _ARCHITECTURE}
        return LockedRemoval(*(self.value(tree, key, name, str, form.match) for name, form in forms.items()))

    def items(self, tree: dict[str, Any], key: tuple[str | int, ...], name: str) -> list[tuple[int, dict[str, Any]]]:
        items = self.value(tree, key, name, list, default=[])
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.fail((*key, name, number), "this is not a table")
        return list(enumerate(items))

    def known(self, tree: dict[str, Any], key: tuple[str | int, ...], kind: str) -> None:
        for name in tree:
            if name not in _KEYS[kind]:
                raise self.fail((*key, name), "a lock has no such key")

    def value(
        self,
        tree: dict[str, Any],
        key: tuple[str | int, ...],
        name: str,
        kind: type,
        good: Callable[[Any], object] = lambda value: True,
        default: Any = ...,
    ) -> Any:
        """tree[name], if it has the type `kind` and is `good`; `default` if it is absent."""
        if name not in tree:
            if default is ...:
                raise self.fail((*key, name), "this key is missing")
            return default
        value = tree[name]
        if type(value) is not kind or not good(value):
            raise self.fail((*key, name), f"{value!r:.80} is not a value for it")
        return value
