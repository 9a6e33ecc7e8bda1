"""Where recipes are found: in folders, in order, or fetched by a reference; not what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.levels import Level
from stackbuild.stack.mistakes import near_keys
from stackbuild.stack.place import Saying, file_said, shown_path

SHIPPED = Path(__file__).parent.parent / "recipes"
"""The recipes that ship with stackbuild: stackbuild/recipes/NAME/recipe.toml, and what their templates name."""
FILE = "recipe.toml"
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A recipe from elsewhere: the folder that holds it now, and the digest that a lock pins it by."""

    folder: Path
    digest: Digest


class Remote(Protocol):
    """Brings recipes from git and registries (stack/remote_recipe.py)."""

    def __call__(self, reference: str, pin: Digest | None, where: Origin | None) -> Fetched:
        """The recipe of a reference; of exactly these bytes if a lock pins it. Raises StackError."""


@dataclass(frozen=True)
class Recipe:
    """A recipe that was found. saying: its file. folder: what its templates are in; None: it is a file by itself."""

    use: str
    saying: Saying
    folder: Path
    digest: Digest | None = None


@dataclass
class Shelves:
    """All places of recipes. folders: (what people call it, folder), the first that has a name wins.

    pins: reference -> digest, of the lock. looked: gets every file that was looked for, absent ones too.
    pinned: gets the digest of each remote recipe that was used.
    """

    folders: tuple[tuple[str, Path], ...]
    remote: Remote | None = None
    pins: Mapping[str, Digest] = field(default_factory=dict)
    looked: list[Path] = field(default_factory=list)
    pinned: dict[str, Digest] = field(default_factory=dict)

    def find(self, use: str, where: Origin | None) -> Recipe:
        """The recipe of a name or reference. Raises UsageError (with the places looked in and near names)."""
        if use.startswith(("oci://", "git+")):
            return self._fetched(use, where)
        if not _NAME.match(use):
            raise UsageError(
                f'"{use}" is not the name of a recipe',
                where=where,
                hints=(Hint("write a name, git+https://HOST/PATH@REVISION#FOLDER or oci://HOST/PATH:TAG"),),
            )
        for place, folder in self.folders:
            for file in (folder / use / FILE, folder / f"{use}.toml"):
                self.looked.append(file)
                shown = f"{use}/{FILE} (ships with stackbuild)" if place == "shipped" else shown_path(file)
                said = file_said(file, shown, Level.RECIPE)
                if said is not None:
                    return Recipe(use, said, file.parent)
        places = ", ".join(f"{shown_path(folder)} ({place})" for place, folder in self.folders if place != "shipped")
        raise UsageError(
            f'there is no recipe "{use}"',
            where=where,
            why=f"looked in {places} and among those that ship with stackbuild",
            hints=near_keys(use, tuple(sorted(self.names()))),
        )

    def names(self) -> dict[str, str]:
        """All recipes of the folders: name -> which place has it."""
        found: dict[str, str] = {}
        for place, folder in self.folders:
            if folder.is_dir():
                for path in sorted(folder.iterdir()):
                    name = path.name if (path / FILE).is_file() else path.stem if path.suffix == ".toml" else ""
                    if _NAME.match(name):
                        found.setdefault(name, place)
        return found

    def _fetched(self, use: str, where: Origin | None) -> Recipe:
        if self.remote is None:
            raise UsageError(f"{use} cannot be fetched here", where=where)
        found = self.remote(use, self.pins.get(use), where)
        self.pinned[use] = found.digest
        file = found.folder / FILE
        said = file_said(file, f"{use}: {FILE}", Level.RECIPE)
        if said is None:
            raise UsageError(f"{use} holds no {FILE}", where=where)
        return Recipe(use, said, found.folder, found.digest)


def shelves(
    project: Path,
    user_config: Path | None,
    site_config: Path | None,
    *,
    remote: Remote | None = None,
    pins: Mapping[str, Digest] | None = None,
) -> Shelves:
    """The places of DESIGN section 4: the project's recipes/, the user's, the site's, those that ship; then remote."""
    folders = [("project", project / "recipes")]
    folders += [
        (name, file.parent / "recipes") for name, file in (("user", user_config), ("site", site_config)) if file
    ]
    return Shelves((*folders, ("shipped", SHIPPED)), remote, pins or {})
