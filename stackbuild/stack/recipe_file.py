"""`copy = [{ recipe-file = … }]`: files that lie beside the file that names them, found while a stack is settled.

A settled item has the absolute path of what is copied: the step that copies it does not know of recipes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.settings.flatten import Key
from stackbuild.stack.place import Saying, shown_path

KEY = "recipe-file"


class RecipeFiles:
    """Finds the recipe files of one stack. read: all that was looked at.

    shelves: the folders of recipes; only what lies there may be named by an absolute path, as a settled stack that
    is read again does.
    """

    def __init__(self, shelves: Sequence[Path]) -> None:
        self._shelves = shelves
        self.read: list[Path] = []

    def placed(self, saying: Saying, folder: Path, mistakes: list[UsageError]) -> Saying:
        """A level whose items have absolute paths. folder: that of the file, which no path leaves."""
        tree = saying.tree
        found = {key: self._place(str(item[KEY]), folder) for key, item in _items(tree) if isinstance(item[KEY], str)}
        for key, path in found.items():
            if isinstance(path, UsageError):
                path.where = saying.place.origin((*key, KEY))
                mistakes.append(path)
                path = Path("/")  # any that is no further mistake
            tree = _with(tree, (*key, KEY), str(path))
        return Saying(saying.place, tree) if found else saying

    def _place(self, name: str, folder: Path) -> Path | UsageError:
        path = Path(os.path.abspath(folder / name))
        homes = self._shelves if os.path.isabs(name) else (folder,)
        real = os.path.realpath(path)
        if not any(Path(real).is_relative_to(os.path.realpath(home)) for home in homes):
            return UsageError(
                f'"{name}" leaves the folder of the file that names it',
                why=f"it is {real}" if os.path.realpath(path) != str(path) else "",
                hints=[Hint("keep the file beside the recipe")],
            )
        self.read.append(path)
        if not os.path.lexists(real):
            near = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
            return UsageError(
                f"there is no {shown_path(path)}", why=f"there is {', '.join(near[:8])}" if near else "no such folder"
            )
        return Path(real)


def _items(tree: Mapping[str, Any]) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    """The items of copy layers, of stages too, that name such a file. What is no table is validation's business."""
    for key, table in ((("stages", name), table) for name, table in _table(tree.get("stages")).items()):
        yield from ((((*key, *inner)), item) for inner, item in _items(_table(table)))
    for number, layer in enumerate(_list(tree.get("layer"))):
        for index, item in enumerate(_list(_table(layer).get("copy"))):
            if KEY in _table(item):
                yield ("layer", number, "copy", index), item


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _with(value: Any, key: Key, leaf: str) -> Any:
    """A tree in which one value is another; the rest is shared."""
    if not key:
        return leaf
    if isinstance(value, list):
        return [_with(one, key[1:], leaf) if number == key[0] else one for number, one in enumerate(value)]
    return {**value, key[0]: _with(value[key[0]], key[1:], leaf)}
