"""All levels to one Stack: read, render, validate, flatten, merge, check what must be there. The flow of DESIGN 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import RESET_KEY, Key, choice_path, flatten, path_of, unflatten
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import RESET, Setting, Settings, alive, beneath, merge
from stackbuild.settings.setting import Path as SettingPath
from stackbuild.stack.context import Context, plain_value
from stackbuild.stack.document import Document
from stackbuild.stack.env_file import env_files_said
from stackbuild.stack.file_template import Templates
from stackbuild.stack.find_recipe import Remote, shelves
from stackbuild.stack.image_level import base_stack_said, image_said
from stackbuild.stack.image_tables import ACTIONS, BASE_KINDS, OF_RUN
from stackbuild.stack.keys import description, is_free, kind_at
from stackbuild.stack.levels import engine_said, files_said, overrides_said, validate
from stackbuild.stack.merge_rules import RULES
from stackbuild.stack.mistakes import mistakes_of
from stackbuild.stack.place import Saying
from stackbuild.stack.question import Question
from stackbuild.stack.recipe_file import RecipeFiles
from stackbuild.stack.render import Distro
from stackbuild.stack.settled import settled
from stackbuild.stack.skipping import without_scripts
from stackbuild.stack.stack import TABLES, Stack
from stackbuild.stack.stages import checked, stages_of
from stackbuild.stack.uses import Used, uses_of


def settle(
    question: Question,
    *,
    image_level: Mapping[str, Any] | None = None,
    below: Stack | None = None,
    pins: Mapping[str, Digest] | None = None,
    remote: Remote | None = None,
) -> Stack:
    """The stack that a file describes, with everything laid over it that DESIGN section 5 names.

    image_level: the base image's config document, below: the settled base stack, once it is known; settle without it
    first to learn `base`. pins: the lock's digests of remote recipes; remote brings these.
    Raises UsageError with every mistake of all files, HostError for an unreadable file.
    """
    mistakes: list[UsageError] = []
    site, project, user = files_said(question)
    said = [*project, *user, *overrides_said(question, mistakes)]
    places = shelves(question.project, question.user_config, question.site_config, remote=remote, pins=pins)
    context = Context(question, said)
    if below is not None:
        context.names["distro"] = Distro(below.distro)
    used = uses_of(said, context, places, mistakes)
    texts = Templates(context)
    files = RecipeFiles([folder for _, folder in places.folders])
    rendered = _all_rendered(used, said, texts, files, question.project, mistakes)
    extra = env_files_said(rendered, question, mistakes)
    lowest = [engine_said(), *site]
    if image_level is not None:
        lowest.append(image_said(image_level, _base_image(rendered)))
    if below is not None:
        lowest.append(base_stack_said(below))
    levels = [*lowest, *extra.woven(rendered)]
    uses = {id(saying): use for saying, use in zip(rendered, used, strict=False)}  # recipes come first
    for saying in levels[1:]:
        found = validate(saying)
        if id(saying) in uses:
            uses[id(saying)].traced(found)
        mistakes += found
    if mistakes:
        raise UsageError.of(mistakes)
    flat: list[Settings] = [flatten(saying.tree, RULES, saying.place, rank) for rank, saying in enumerate(levels)]
    everything = merge(flat)
    if quarrels := _quarrels(everything, used):
        raise UsageError.of(quarrels)
    living = _without_the_moot(_with_defaults(alive(everything), everything))
    fitting = _fitting_variant(living)
    living, everything = {**living, **fitting}, {**everything, **fitting}
    tree = unflatten(living, RULES)
    document = _whole(tree, living, project[0])
    read = (*places.looked, *texts.read, *files.read, *extra.read, *context.git.read())
    return _stack(question, document, tree, living, everything, read, extra.variables, places.pinned, below)


def _stack(
    question: Question,
    document: Document,
    tree: dict[str, Any],
    living: Settings,
    everything: Settings,
    read: tuple[Path, ...],
    variables: tuple[str, ...],
    pinned: Mapping[str, Digest],
    below: Stack | None,
) -> Stack:
    stack = Stack(
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
            *read,
        ),
        variables=(*document.stack.env, *variables),
        recipes=dict(sorted(pinned.items())),
        distro=document.base.distro or (below.distro if below else ""),
    )
    stack = replace(stack, stages=stages_of(stack, document.stages)) if document.stages else checked(stack)
    return _plain(stack)


def _plain(stack: Stack) -> Stack:
    """The same with no model of pydantic left in it."""
    tables = {name: settled(getattr(stack, name)) for name in TABLES}
    return replace(stack, **tables, stages={name: _plain(stage) for name, stage in stack.stages.items()})


def _all_rendered(
    used: Sequence[Used],
    said: Sequence[Saying],
    texts: Templates,
    files: RecipeFiles,
    project: Path,
    mistakes: list[UsageError],
) -> list[Saying]:
    """Recipes, each with its parameters, templates and files, below all else."""
    levels = [*((use.saying, use.params) for use in used), *((saying, None) for saying in said)]
    texts.context.settle_distro(levels)

    def made(saying: Saying, params: Mapping[str, Any] | None, folder: Path) -> Saying:
        rendered = texts.filled(texts.context.rendered(saying, params, mistakes), params, folder, mistakes)
        return files.placed(rendered, folder, mistakes)

    recipes = [made(use.saying, use.params, use.folder) for use in used]
    return recipes + [made(saying, None, project) for saying in said]


def _quarrels(everything: Settings, used: Sequence[Used]) -> list[UsageError]:
    """Layers that two recipes define differently, neither of which uses the other, while nothing above decides."""
    paths = {}
    for use in used:
        paths[use.saying.place.shown] = use.path
    found = []
    for path, setting in everything.items():
        if not _layer_of(path) or setting.last.source.level is not Level.RECIPE:
            continue
        last = setting.last
        for said in setting.history[:-1]:
            one, other = paths.get(said.source.shown, ()), paths.get(last.source.shown, ())
            if said.source.level is not Level.RECIPE or said.value == last.value or other == one[: len(other)]:
                continue
            found.append(
                UsageError(
                    f'two recipes define layer "{_layer_of(path)[-1]}" differently',
                    where=last.origin,
                    why=f"the first is {said.origin}",
                    hints=(Hint("name one of the layers otherwise, or define it in the stack's own file"),),
                )
            )
            break
    return list({error.what: error for error in found}.values())


def _layer_of(path: SettingPath) -> SettingPath:
    """The path of the layer that a setting of one is in; () if it is in none."""
    if path[:1] == ("stages",):
        return path[:4] if len(path) > 4 and path[2] == "layer" else ()
    return path[:2] if len(path) > 2 and path[0] == "layer" else ()


def _base_image(said: Sequence[Saying]) -> str:
    return str(plain_value(said, "base", "image") or "the base image")


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
    tree["stack"] = {key: item for key, item in tree.get("stack", {}).items() if key != "recipes"}  # it is all in here
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
        if (layer := _layer_of(path)) and path[len(layer)] in OF_RUN:
            done = living.get(choice_path(layer, ACTIONS))
            if done and done.value.key != "run" and not _not_before(setting, done):
                moot.add(path)
    return {path: setting for path, setting in living.items() if path not in moot}


def _fitting_variant(living: Settings) -> Settings:
    """Where scripts are skipped nothing configures packages, so the engine's own variant (with apt) becomes none."""
    base, variant = living.get(choice_path(("base",), BASE_KINDS)), living.get(("base", "variant"))
    scripts = living.get(("packages", "scripts"))
    bootstrapped = base is not None and base.value.key == "distro"
    if scripts and scripts.value == "skip" and bootstrapped and variant and _level(variant) is Level.ENGINE:
        return {("base", "variant"): Setting((*variant.history, replace(scripts.last, value="custom")))}
    return {}


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
    yield from without_scripts(tree, living, str(base.value.key) if base else "")
    layers: list[tuple[SettingPath, Any]] = [(("layer", layer["name"]), layer) for layer in tree.get("layer", ())]
    for stage, tables in tree.get("stages", {}).items():
        layers += [(("stages", stage, "layer", layer["name"]), layer) for layer in tables.get("layer", ())]
    for path, layer in layers:
        action = next((key for key in ACTIONS if key in layer), None)
        where = living[(*path, "name")].last.origin
        if action is None:
            yield UsageError(
                f'layer "{layer["name"]}" does nothing',
                where=where,
                why=f"exactly one of {', '.join(ACTIONS)} must stand",
            )
        elif action != "run":
            for key in OF_RUN:
                for setting in beneath(living, (*path, key)).values():
                    yield UsageError(
                        f"`{key}` is for layers that run something",
                        where=setting.last.origin,
                        why=f'layer "{layer["name"]}" has `{action}`',
                    )


def _not_before(setting: Setting, other: Setting) -> bool:
    """Whether its level is the other's or a later one."""
    return setting.last.order[0] >= other.last.order[0]
