"""The tree of a stack.lock to a Lock, checked value by value: it may have been merged by hand, or by a foe of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from stackbuild.core.digest import Digest, parse_digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.lock.lock import VERSION, Lock, LockedArchive, LockedPackage, LockedRemoval, PlatformLock


def bad(file: str, line: int, key: tuple[str | int, ...], why: str) -> UsageError:
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


class Reader:
    """Checks a parsed lock, value by value, and knows on which line each stands."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file

    def fail(self, key: tuple[str | int, ...], why: str) -> UsageError:
        return bad(self._file, self._line(key), key, why)

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
            archive=self.value(tree, key, "archive", str, archives.__contains__, default=""),
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
