"""Stack: all settings of one stack, settled, each with where it came from. A value; reads and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.digest import Digest
from stackbuild.core.origin import Origin
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import Path as Key
from stackbuild.settings.setting import Settings, beneath
from stackbuild.stack.place import shown_path

if TYPE_CHECKING:  # settled, each is a SettledTable of the same fields: no reader of a stack needs pydantic
    from stackbuild.stack.container_tables import Container
    from stackbuild.stack.image_tables import Base, Build, Image, Layer, Packages, Push, Registry, Source, UserTable

IN_THE_IMAGE = ("stack", "base", "packages", "users", "layer", "stages", "image")
"""Tables that decide what is in the image."""

TABLES = ("base", "packages", "users", "layers", "image", "push", "container", "build", "registries", "sources")
"""Attributes of a Stack that hold the settled tables."""


@dataclass(frozen=True, eq=False)
class Stack:
    """What one stack file describes, with every default, profile and override laid over it.

    file: the stack file. project: the folder of it, absolute; paths in `copy` and `inputs` are relative to it.
    lock_file: where its lock is. settings: path -> all that was said about it, what still counts;
    `everything` also holds what a reset ended. tree: the settled tables as TOML has them, for `config`.
    read: every file that was looked at, those that are not there too (a `stat` of them says whether
    settling again can differ). variables: the environment variables that were looked at.
    recipes: reference -> digest of each recipe from elsewhere, for the lock to pin.
    stages: the build-only images, each as a stack of its own, one that others copy from before these.
    stage: the name of the stage that this is; "": it is the stack.
    distro: where its packages come from ("debian/bookworm"), as far as that is known without a look at an image.
    """

    name: str
    file: Path
    project: Path
    lock_file: Path
    base: Base
    packages: Packages
    users: Mapping[str, UserTable]
    layers: tuple[Layer, ...]
    image: Image
    push: Push
    container: Container
    build: Build
    registries: Mapping[str, Registry]
    sources: Mapping[str, tuple[Source, ...]]
    settings: Settings = field(repr=False)
    everything: Settings = field(repr=False)
    tree: Mapping[str, Any] = field(repr=False)
    read: tuple[Path, ...] = field(default=(), repr=False)
    variables: tuple[str, ...] = field(default=(), repr=False)
    recipes: Mapping[str, Digest] = field(default_factory=dict, repr=False)
    stages: Mapping[str, Stack] = field(default_factory=dict, repr=False)
    stage: str = ""
    distro: str = ""

    def origin(self, *key: str | int) -> Origin:
        """Where a value came from: `origin("layer", "site", "copy", 0)`, `origin("packages", "install", "nginx")`.

        Named things go by their name (requests, layers, sources, ports by "8080/tcp", volumes by target). A table's
        origin is that of its first value. A key that nobody said anything about: the stack file.
        """
        for length in range(len(key), 0, -1):
            path: Key = tuple(str(part) for part in key[:length])
            setting = self.settings.get(path) or self._choice(path)
            if setting is None and length == len(key):
                below = beneath(self.settings, path)
                setting = next(iter(below.values()), None)
            if setting is not None:
                said = setting.last
                return said.source.origin((*said.key, *key[length:]))
        return Origin(Level.PROJECT.value, shown_path(self.file), 0, key)

    def _choice(self, path: Key) -> Any:
        """The setting of a key that shares its path with others ("base.distro"), if it is the chosen one."""
        for place, setting in beneath(self.settings, path[:-1]).items():
            if len(place) == len(path) and "|" in place[-1] and path[-1] in place[-1].split("|"):
                return setting if setting.value.key == path[-1] else None
        return None

    def overrides(self) -> tuple[tuple[Key, Origin], ...]:
        """Values of the image that the environment or the command line set: it is then not the project's image."""
        loud = {Level.ENVIRONMENT.value, Level.COMMAND_LINE.value}
        return tuple(
            (path, setting.last.origin)
            for path, setting in self.settings.items()
            if path[0] in IN_THE_IMAGE
            and setting.last.origin.level in loud
            and [said.value for said in setting.history[-2:-1]] != [setting.value]
        )


def source_name(url: str, suites: Iterable[str]) -> str:
    """What an entry of `packages.source` or of `sources` goes by."""
    return " ".join([url, *suites])
