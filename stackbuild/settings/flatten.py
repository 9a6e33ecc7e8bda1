"""Trees of values to flat settings and back, by rules that are handed in; knows no key's meaning.

With an item's *name* in the path, "merge by name" is just paths, and merging is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.settings.setting import RESET, Choice, Path, Said, Setting, Settings, Source

RESET_ITEM = {"reset": True}
"""As the first item of a list: the list starts over."""
RESET_KEY = "!reset"
"""`"!reset" = true` in a table: the table starts over."""

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Rules:
    """What a key's path says about merging. "*" in a path stands for any one name.

    names: lists of named things -> the name of an item. choices: tables -> keys of which exactly one may stand.
    `!NAME` as an item (or as the `name` of one that is a table) takes a thing of that name out.
    """

    names: Mapping[Path, Callable[[Any], str]] = field(default_factory=dict)
    choices: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)

    def namer(self, path: Path) -> Callable[[Any], str] | None:
        namer: Callable[[Any], str] | None = _matching(self.names, path)
        return namer

    def choice(self, path: Path) -> tuple[str, ...]:
        return _matching(self.choices, path) or ()


def _matching(table: Mapping[Path, Any], path: Path) -> Any:
    for pattern, found in table.items():
        if len(pattern) == len(path) and all(want in ("*", have) for want, have in zip(pattern, path, strict=True)):
            return found
    return None


def choice_path(path: Path, keys: tuple[str, ...]) -> Path:
    """The one path that keys of which exactly one may stand share: ("base", "distro|image|scratch")."""
    return (*path, "|".join(keys))


def removed(item: Any, namer: Callable[[Any], str]) -> str | None:
    """The name that `!NAME` takes out; None if the item is an ordinary one."""
    text = item.get("name") if isinstance(item, dict) else item
    if not isinstance(text, str) or not text.startswith("!"):
        return None
    rest = text[1:].strip()
    try:
        return namer({**item, "name": rest} if isinstance(item, dict) else rest)
    except (ValueError, KeyError, TypeError):  # a name as it is, where items are tables
        return rest


def flatten(tree: Mapping[str, Any], rules: Rules, source: Source, rank: int) -> dict[Path, Setting]:
    """The settings that a tree of one source says. rank: the source's place in the order of levels.

    The tree is valid: a table stands where a table is meant, and each named item has its name.
    """
    flat: dict[Path, list[Said]] = {}
    count = 0

    def say(path: Path, value: Any, key: Key) -> None:
        nonlocal count
        count += 1
        flat.setdefault(path, []).append(Said(value, source, key, (rank, count)))

    def walk(value: Any, path: Path, key: Key) -> None:
        namer = rules.namer(path)
        if isinstance(value, dict):
            choice = rules.choice(path)
            if value.get(RESET_KEY) is True:
                say(path, RESET, (*key, RESET_KEY))
            for name, item in value.items():
                if name == RESET_KEY:
                    continue
                if name in choice:
                    say(choice_path(path, choice), Choice(name, _plain_list(item)), (*key, name))
                else:
                    walk(item, (*path, name), (*key, name))
        elif isinstance(value, list) and namer is not None:
            for index, item in enumerate(value):
                gone = removed(item, namer)
                if item == RESET_ITEM:
                    say(path, RESET, (*key, index))
                elif gone is not None:
                    say((*path, gone), RESET, (*key, index))
                elif isinstance(item, dict):
                    walk(item, (*path, namer(item)), (*key, index))
                else:
                    say((*path, namer(item)), item, (*key, index))
        else:
            say(path, _plain_list(value), key)

    walk(dict(tree), (), ())
    return {path: Setting(tuple(said)) for path, said in flat.items()}


def _plain_list(value: Any) -> Any:
    return value[1:] if isinstance(value, list) and value[:1] == [RESET_ITEM] else value


def unflatten(settings: Settings, rules: Rules) -> dict[str, Any]:
    """The tree of settings that count (see `alive`): each path's last value, named things as lists in order."""
    root: dict[str, Any] = {}
    for path, setting in settings.items():
        here = root
        for part in path[:-1]:
            here = here.setdefault(part, {})
        here[path[-1]] = _Leaf(setting.value)
    tree: dict[str, Any] = _shape(root, (), rules)
    return tree


@dataclass(frozen=True)
class _Leaf:
    value: Any


def _shape(node: Any, path: Path, rules: Rules) -> Any:
    if isinstance(node, _Leaf):
        return node.value
    if rules.namer(path) is not None:
        return [_shape(item, (*path, name), rules) for name, item in node.items()]
    tree = {}
    for name, item in node.items():
        if isinstance(item, _Leaf) and isinstance(item.value, Choice):
            tree[item.value.key] = item.value.value
        else:
            tree[name] = _shape(item, (*path, name), rules)
    return tree


def without_markers(tree: Any, rules: Rules) -> tuple[Any, dict[Key, list[int]]]:
    """The tree without reset markers and removals, for validation; and for each list that got shorter (by its key)
    the index that each item left had before."""
    moved: dict[Key, list[int]] = {}

    def strip(value: Any, path: Path, key: Key) -> Any:
        if isinstance(value, dict):
            left = {name: item for name, item in value.items() if not (name == RESET_KEY and item is True)}
            return {name: strip(item, (*path, name), (*key, name)) for name, item in left.items()}
        if not isinstance(value, list):
            return value
        namer = rules.namer(path)
        kept = [
            index
            for index, item in enumerate(value)
            if not (index == 0 and item == RESET_ITEM) and (namer is None or removed(item, namer) is None)
        ]
        if len(kept) < len(value):
            moved[key] = kept
        return [strip(value[index], (*path, "*"), (*key, new)) for new, index in enumerate(kept)]

    return strip(tree, (), ()), moved


def original(key: Key, moved: Mapping[Key, list[int]]) -> Key:
    """The key as it was before items of lists were taken out. moved: see `without_markers`."""
    if not moved:
        return key
    found: Key = ()
    for number, part in enumerate(key):
        indexes = moved.get(key[:number])
        found = (*found, indexes[part] if indexes and isinstance(part, int) else part)
    return found


def path_of(key: Key, tree: Any, rules: Rules) -> Path:
    """The settings path of a key of a tree: ("layer", 1, "run", 0) -> ("layer", "site", "copy|…|run")."""
    path: Path = ()
    for part in key:
        namer = rules.namer(path)
        if isinstance(part, int):
            if namer is None or not isinstance(tree, list):
                break
            path = (*path, namer(tree[part]))
        elif part in rules.choice(path):
            return choice_path(path, rules.choice(path))
        else:
            path = (*path, part)
        tree = _inside(tree, part)
    return path


def _inside(tree: Any, part: str | int) -> Any:
    try:
        return tree[part]
    except (KeyError, IndexError, TypeError):
        return None
