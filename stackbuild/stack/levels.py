"""The levels of one stack: which files, variables and options say what, read, rendered and validated; not merged."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stackbuild import __version__
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key, original, without_markers
from stackbuild.settings.levels import Level
from stackbuild.stack.document import OF_THE_MACHINE, Document
from stackbuild.stack.image_tables import Registry
from stackbuild.stack.merge_rules import RULES, UNIQUE
from stackbuild.stack.mistakes import mistakes_of, near_keys
from stackbuild.stack.overrides import from_environment, from_options
from stackbuild.stack.place import Place, Saying, file_said, shown_path
from stackbuild.stack.question import Question
from stackbuild.stack.table import project_path


def engine_said() -> Saying:
    """The built-in defaults."""
    text, tree = _engine()
    return Saying(Place(Level.ENGINE, "engine.toml", text), tree)


@lru_cache(maxsize=1)
def _engine() -> tuple[str, dict[str, Any]]:
    text = Path(__file__).with_name("engine.toml").read_text(encoding="utf-8")
    return text, tomllib.loads(text)


def files_said(question: Question) -> tuple[list[Saying], list[Saying], list[Saying]]:
    """What files say: the site's config, the project's files, the user's config. Raises UsageError, HostError."""
    project = file_said(question.file, shown_path(question.file), Level.PROJECT)
    if project is None:
        raise _no_file(question.file)
    _check_version(project)
    files = [project]
    for name in question.profiles:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UsageError(f'"{name}" is not the name of a profile')
        path = question.profile(name)
        said = file_said(path, shown_path(path), Level.PROFILE)
        if said is None:
            raise _no_profile(question, name, path)
        files.append(said)
    machine = []
    for file, level in ((question.site_config, Level.ENGINE), (question.user_config, Level.USER)):
        said = file_said(file, shown_path(file), level) if file else None
        machine.append([Saying(said.place, _absolute_keys(said.tree, file.parent))] if said and file else [])
    return machine[0], files, machine[1]


def machine_registries(question: Question) -> dict[str, Registry]:
    """`[registries]` of the site's and the user's config alone, for what happens before a stack is settled."""
    found: dict[str, Registry] = {}
    for file, level in ((question.site_config, Level.ENGINE), (question.user_config, Level.USER)):
        said = file_said(file, shown_path(file), level) if file else None
        if said and file and isinstance(said.tree.get("registries"), dict):
            tree = {"registries": _absolute_keys(said.tree, file.parent)["registries"]}
            mistakes = validate(Saying(said.place, tree))
            if mistakes:
                raise UsageError.of(mistakes)
            found.update(Document.model_validate(tree).registries)
    return found


def overrides_said(question: Question, mistakes: list[UsageError]) -> list[Saying]:
    """What variables and options say. Mistakes are added to the list."""
    return [*from_environment(question.environ, mistakes), *from_options(question.sets, mistakes)]


def validate(saying: Saying) -> list[UsageError]:
    """All mistakes of one level by itself."""
    found = _not_here(saying)
    refused = {error.where.key[0] for error in found if error.where and error.where.key}
    tree, moved = without_markers({key: item for key, item in saying.tree.items() if key not in refused}, RULES)
    found += _said_twice(tree, saying.place, moved) + _keys_outside(tree, saying.place, moved)
    try:
        Document.model_validate(tree)
    except ValidationError as error:
        found += mistakes_of(error.errors(), tree, saying.place, moved)
    return sorted(found, key=lambda error: error.where.line if error.where else 0)


def _not_here(saying: Saying) -> list[UsageError]:
    """Tables of the image in the config of a user or machine."""
    place = saying.place
    if place.level is not Level.USER and (place.level is not Level.ENGINE or place.shown == "engine.toml"):
        return []
    return [
        UsageError(
            f"`{key}` cannot be set here",
            where=place.origin((key,)),
            why="what is in an image is the project's to say, so that every machine makes the same one",
            hints=(Hint(f"here may stand: {', '.join(OF_THE_MACHINE)}"),),
        )
        for key in saying.tree
        if key in Document.model_fields and key not in OF_THE_MACHINE
    ]


def _said_twice(tree: Mapping[str, Any], place: Place, moved: Mapping[Key, list[int]]) -> list[UsageError]:
    found = []
    for path, items in _lists(tree, UNIQUE):
        namer = RULES.namer(path)
        first: dict[str, int] = {}
        for index, item in enumerate(items if namer and isinstance(items, list) else ()):
            name = _name(namer, item)
            if name is None:
                continue
            if name in first:
                key: Key = (*path, index, "name") if isinstance(item, dict) else (*path, index)
                line = place.origin(original((*path, first[name]), moved)).line
                found.append(
                    UsageError(
                        f'"{name}" stands twice in `{".".join(path)}`',
                        where=place.origin(original(key, moved)),
                        why=f"the first is at line {line}" if line else "names are unique",
                    )
                )
            first.setdefault(name, index)
    return found


def _lists(tree: Mapping[str, Any], patterns: Iterable[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Key and value of what stands at these keys; "*" in one stands for any name."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for pattern in patterns:
        here: list[tuple[tuple[str, ...], Any]] = [((), tree)]
        for part in pattern:
            here = [
                ((*key, name), value[name])
                for key, value in here
                if isinstance(value, dict)
                for name in (value if part == "*" else (part,))
                if name in value
            ]
        found += here
    yield from found


def _name(namer: Any, item: Any) -> str | None:
    """The name of an item; None if the item is not valid, which is another mistake."""
    try:
        return str(namer(item))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _keys_outside(tree: Mapping[str, Any], place: Place, moved: Mapping[Key, list[int]]) -> list[UsageError]:
    """A project's own sources name keyrings inside the project: another machine has to have them, too."""
    found: list[UsageError] = []
    if place.level not in (Level.RECIPE, Level.PROJECT, Level.PROFILE):
        return found
    lists = _lists(tree, (("packages", "source"), ("stages", "*", "packages", "source")))
    for path, index, item in (
        (p, n, i) for p, sources in lists if isinstance(sources, list) for n, i in enumerate(sources)
    ):
        try:
            if isinstance(item, dict) and isinstance(item.get("signed-by"), str):
                project_path(item["signed-by"])
        except ValueError as error:
            found.append(
                UsageError(
                    "`signed-by` is not valid",
                    where=place.origin(original((*path, index, "signed-by"), moved)),
                    why=str(error),
                    hints=(Hint("copy the keyring into the project, or name the source in your own config"),),
                )
            )
    return found


def _absolute_keys(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config's relative keyrings are beside it, not in the project that it is laid over."""
    made = dict(tree)
    sources = made.get("sources")
    if isinstance(sources, dict):
        made["sources"] = {
            name: [_absolute(item, "signed-by", folder) for item in items] if isinstance(items, list) else items
            for name, items in sources.items()
        }
    registries = made.get("registries")
    if isinstance(registries, dict):
        made["registries"] = {name: _absolute(item, "ca", folder) for name, item in registries.items()}
    build = made.get("build")
    if isinstance(build, dict) and isinstance(build.get("cache"), dict):
        cache = _absolute(build["cache"], "sign-with", folder)
        if isinstance(cache.get("trusted-keys"), list):
            keys = [
                os.path.join(os.path.abspath(folder), k) if isinstance(k, str) else k for k in cache["trusted-keys"]
            ]
            cache = {**cache, "trusted-keys": keys}
        made["build"] = {**build, "cache": cache}
    return made


def _absolute(item: Any, key: str, folder: Path) -> Any:
    if isinstance(item, dict) and isinstance(item.get(key), str):
        return {**item, key: os.path.join(os.path.abspath(folder), item[key])}
    return item


def _check_version(project: Saying) -> None:
    """`stack.requires-stackbuild` first: a newer file's unknown keys have this one reason."""
    table = project.tree.get("stack")
    wanted = table.get("requires-stackbuild") if isinstance(table, dict) else None
    if not isinstance(wanted, str):
        return
    where = project.place.origin(("stack", "requires-stackbuild"))
    have = _numbers(__version__)
    for word in wanted.split(","):
        found = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)\s*", word)
        if found is None:
            raise UsageError("`requires-stackbuild` is not valid", where=where, why='write ">=0.1" or ">=0.1,<2"')
        want = _numbers(found[2])
        holds = {
            ">=": have >= want,
            "<=": have <= want,
            "==": have == want,
            "!=": have != want,
            ">": have > want,
            "<": have < want,
        }
        if not holds[found[1]]:
            raise UsageError(f"this stack needs stackbuild {wanted}", where=where, why=f"this is {__version__}")


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:4]]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _no_file(file: Path) -> UsageError:
    hints = [Hint("go to the folder that has one, or name it with -f FILE or -C FOLDER")]
    beside = sorted(path.name for path in file.parent.glob("*.toml")) if file.parent.is_dir() else []
    hints += list(near_keys(file.name, tuple(beside), others=False))
    return UsageError(f"there is no {file}", where=None, why="a stack is described by a file", hints=hints)


def _no_profile(question: Question, name: str, path: Path) -> UsageError:
    stem = question.file.stem if question.file.suffix == ".toml" else question.file.name
    others = sorted(
        found.name[len(stem) + 1 : -5] for found in path.parent.glob("*.toml") if found.name.startswith(stem + ".")
    )
    known = tuple(other for other in others if other)
    return UsageError(
        f"there is no profile `{name}`", where=Origin("profile", shown_path(path)), hints=near_keys(name, known)
    )
