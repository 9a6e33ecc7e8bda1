"""All levels to one Stack: read, render, validate, flatten, merge, check what must be there. The flow of DESIGN 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import RESET_KEY, Key, choice_path, flatten, path_of, unflatten
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import RESET, Setting, Settings, alive, beneath, merge
from stackbuild.settings.setting import Path as SettingPath
from stackbuild.stack.document import Document
from stackbuild.stack.git import Git
from stackbuild.stack.image_level import image_said
from stackbuild.stack.image_tables import ACTIONS, BASE_KINDS, OF_RUN
from stackbuild.stack.keys import description, is_free, kind_at
from stackbuild.stack.levels import Question, engine_said, files_said, overrides_said, validate
from stackbuild.stack.merge_rules import RULES
from stackbuild.stack.mistakes import mistakes_of
from stackbuild.stack.place import Saying
from stackbuild.stack.render import Distro, has_templates, platform_names, render_tree
from stackbuild.stack.stack import Stack


def settle(
    file: Path,
    *,
    profiles: Sequence[str] = (),
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    user_config: Path | None = None,
    site_config: Path | None = None,
    image_level: Mapping[str, Any] | None = None,
    platform: str = "",
) -> Stack:
    """The stack that a file describes, with everything laid over it that DESIGN section 5 names.

    environ: the caller's environment (STACKBUILD__…, and what `[stack] env` names). image_level: the base image's
    config document, once it is known; settle without it first to learn `base`. platform: what `{{ platform }}` is;
    "" is the stack's first. Raises UsageError with every mistake of all files, HostError for an unreadable file.
    """
    question = Question(file, tuple(profiles), tuple(sets), environ or {}, user_config, site_config)
    mistakes: list[UsageError] = []
    site, project, user = files_said(question)
    said = [*project, *user, *overrides_said(question, mistakes)]
    context = _Context(question, said, platform)
    rendered = [_rendered(saying, context, mistakes) for saying in said]
    below = [engine_said(), *site]
    if image_level is not None:
        below.append(image_said(image_level, _base_image(rendered)))
    levels = [*below, *rendered]
    for saying in levels[1:]:
        mistakes += validate(saying)
    if mistakes:
        raise UsageError.of(mistakes)
    flat: list[Settings] = [flatten(saying.tree, RULES, saying.place, rank) for rank, saying in enumerate(levels)]
    everything = reduce(merge, flat)
    living = _without_the_moot(_with_defaults(alive(everything), everything))
    tree = unflatten(living, RULES)
    document = _whole(tree, living, project[0])
    return _stack(question, document, tree, living, everything, context)


def _stack(
    question: Question,
    document: Document,
    tree: dict[str, Any],
    living: Settings,
    everything: Settings,
    context: _Context,
) -> Stack:
    return Stack(
        name=document.stack.name,
        file=question.file,
        project=question.project,
        lock_file=question.lock_file,
        base=document.base,
        packages=document.packages,
        users=document.users,
        layers=document.layer,
        image=document.image,
        push=document.push,
        container=document.container,
        build=document.build,
        registries=document.registries,
        sources=document.sources,
        settings=living,
        everything=everything,
        tree=_marked(tree, living, everything),
        read=(
            question.file,
            *(question.profile(name) for name in question.profiles),
            *(path for path in (question.site_config, question.user_config) if path),
            *context.git.read(),
        ),
        variables=document.stack.env,
    )


class _Context:
    """What `{{ … }}` may name."""

    def __init__(self, question: Question, said: Sequence[Saying], platform: str) -> None:
        self.git = Git(question.project, question.environ)
        own = said[0].tree.get("stack")
        declared = own.get("env") if isinstance(own, dict) else None
        names = [name for name in declared if isinstance(name, str)] if isinstance(declared, list) else []
        self.names: dict[str, Any] = {
            "stack": own if isinstance(own, dict) else {},
            "platform": platform_names(platform or _first_platform(said)),
            "distro": Distro(_plain_value(said, "base", "distro") or ""),
            "git": self.git,
            "env": {
                name: question.environ[name] for name in names if isinstance(name, str) and name in question.environ
            },
        }


def _plain_value(said: Sequence[Saying], table: str, key: str) -> Any:
    """A value that no template makes, of the highest level that has one."""
    for saying in reversed(said):
        found = saying.tree.get(table)
        value = found.get(key) if isinstance(found, dict) else None
        if value and not has_templates(value):
            return value if isinstance(value, (str, list)) else None
    return None


def _first_platform(said: Sequence[Saying]) -> str:
    platforms = _plain_value(said, "image", "platforms")
    first = platforms[0] if isinstance(platforms, list) else None
    return first if isinstance(first, str) else str(engine_said().tree["image"]["platforms"][0])


def _base_image(said: Sequence[Saying]) -> str:
    return str(_plain_value(said, "base", "image") or "the base image")


def _rendered(saying: Saying, context: _Context, mistakes: list[UsageError]) -> Saying:
    if not has_templates(saying.tree):
        return saying

    def failed(key: Key, why: str) -> None:
        hints = []
        if "dict" not in why and "env." in str(_at(saying.tree, key)) and "there is no" in why:
            hints.append(Hint("name the variable in `[stack] env = […]`, and set it"))
        if "syntax" in why or "expected" in why or "unexpected" in why:
            hints.append(Hint("braces that are meant literally: {{ '{{' }}"))
        mistakes.append(
            UsageError("this value cannot be rendered", where=saying.place.origin(key), why=why, hints=hints)
        )

    return Saying(saying.place, render_tree(saying.tree, context.names, failed))


def _at(tree: Any, key: Key) -> Any:
    for part in key:
        tree = tree[part]
    return tree


def _with_defaults(living: Settings, everything: Settings) -> dict[SettingPath, Setting]:
    """A table that was reset starts over with the engine's own defaults; one of the user's own keys (env) is empty."""
    made = dict(living)
    for path, setting in everything.items():
        first = setting.history[0]
        if path not in made and first.order[0] == 0 and first.value is not RESET and not _emptied(path, everything):
            made[path] = Setting((first,))
    return made


def _emptied(path: SettingPath, everything: Settings) -> bool:
    """Whether the engine's value is in a table of the user's own keys that was itself reset."""
    said = everything.get(path[:-1], Setting()).history
    return is_free(kind_at(path[:-1])) and any(one.value is RESET for one in said)


def _marked(tree: dict[str, Any], living: Settings, everything: Settings) -> dict[str, Any]:
    """The tree in the order of the document, with a reset where the engine's values would come back when it is read."""
    for path, setting in everything.items():
        if setting.history[0].order[0] == 0 and path not in living and _emptied(path, everything):
            table = tree
            for part in path[:-2]:
                table = table.setdefault(part, {})
            table[path[-2]] = {RESET_KEY: True, **table.get(path[-2], {})}
    return {key: tree[key] for key in map(str, Document.model_fields) if key in tree}


def _without_the_moot(living: dict[SettingPath, Setting]) -> dict[SettingPath, Setting]:
    """What still says something once it is known what the base is and what each layer does.

    A new entrypoint ends the cmd that came with the base image, as in a Dockerfile: another program's arguments.
    What an earlier level said about another kind of base or layer than a later one chose is moot, and no mistake.
    """
    moot: set[SettingPath] = set()
    entrypoint, cmd = living.get(("image", "entrypoint")), living.get(("image", "cmd"))
    if entrypoint and cmd and _level(cmd) is Level.IMAGE and _level(entrypoint).rank > Level.IMAGE.rank:
        moot.add(("image", "cmd"))
    base, variant = living.get(choice_path(("base",), BASE_KINDS)), living.get(("base", "variant"))
    if base and variant and base.value.key != "distro" and not _not_before(variant, base):
        moot.add(("base", "variant"))
    for path, setting in living.items():
        if path[0] == "layer" and len(path) > 2 and path[2] in OF_RUN:
            done = living.get(choice_path(path[:2], ACTIONS))
            if done and done.value.key != "run" and not _not_before(setting, done):
                moot.add(path)
    return {path: setting for path, setting in living.items() if path not in moot}


def _level(setting: Any) -> Level:
    level: Level = setting.last.source.level
    return level


@dataclass(frozen=True)
class _Settled:
    """A place for mistakes that only the whole shows: each points at what said the value last."""

    tree: Mapping[str, Any]
    living: Settings
    project: Saying

    def origin(self, key: Key) -> Origin:
        path = path_of(key, self.tree, RULES)
        below = beneath(self.living, path)
        setting = self.living.get(path) or next(iter(below.values()), None)
        return setting.last.origin if setting else self.project.place.origin(key)


def _whole(tree: Mapping[str, Any], living: Settings, project: Saying) -> Document:
    """The settled whole as a document. Raises UsageError for what no level said, or what two said that does not go."""
    mistakes = list(_missing(tree, living, project))
    try:
        document = Document.model_validate(tree, context={"whole": True})
    except ValidationError as error:
        place = _Settled(tree, living, project)
        mistakes += mistakes_of(error.errors(), tree, place, {})
    if mistakes:
        raise UsageError.of(mistakes)
    return document


def _missing(tree: Mapping[str, Any], living: Settings, project: Saying) -> Any:
    place = project.place
    if ("stack", "name") not in living:
        yield UsageError(
            "`stack.name` is missing",
            where=place.origin(("stack", "name")),
            hints=(Hint(f"name: {description(('stack', 'name'))}"), Hint('add [stack] with name = "my-stack"')),
        )
    base = living.get(choice_path(("base",), BASE_KINDS))
    if base is None:
        yield UsageError(
            "`base` is missing",
            where=place.origin(("base",)),
            why=f"exactly one of {', '.join(BASE_KINDS)} says what the image starts from",
            hints=(Hint('add [base] with distro = "debian/bookworm"'),),
        )
    variant = living.get(("base", "variant"))
    if base and variant and base.value.key != "distro":
        yield UsageError(
            "`base.variant` says nothing here",
            where=variant.last.origin,
            why=f"it is for a bootstrapped distro; this base is {base.value.key}",
        )
    for layer in tree.get("layer", ()):
        action = next((key for key in ACTIONS if key in layer), None)
        where = living[("layer", layer["name"], "name")].last.origin
        if action is None:
            yield UsageError(
                f'layer "{layer["name"]}" does nothing',
                where=where,
                why=f"exactly one of {', '.join(ACTIONS)} must stand",
            )
        elif action != "run":
            for key in OF_RUN:
                for setting in beneath(living, ("layer", layer["name"], key)).values():
                    yield UsageError(
                        f"`{key}` is for layers that run something",
                        where=setting.last.origin,
                        why=f'layer "{layer["name"]}" has `{action}`',
                    )


def _not_before(setting: Setting, other: Setting) -> bool:
    """Whether its level is the other's or a later one."""
    return setting.last.order[0] >= other.last.order[0]
