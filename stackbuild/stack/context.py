"""What `{{ … }}` may name in the files of one stack; renders a level with it. Knows no merging."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.settings.flatten import Key
from stackbuild.stack.git import Git
from stackbuild.stack.levels import engine_said
from stackbuild.stack.place import Place, Saying
from stackbuild.stack.question import Question
from stackbuild.stack.render import Distro, has_conditions, has_templates, platform_names, render_tree

NAMES = ("stack", "platform", "distro", "git", "env")
"""What every template may name; `params` in a recipe."""


class Context:
    """The names of DESIGN section 4; `platform` is the stack's first. said: the project's levels, its file first."""

    def __init__(self, question: Question, said: Sequence[Saying]) -> None:
        self.git = Git(question.project, question.environ)
        own = said[0].tree.get("stack")
        declared = own.get("env") if isinstance(own, dict) else None
        names = [name for name in declared if isinstance(name, str)] if isinstance(declared, list) else []
        self.names: dict[str, Any] = {
            "stack": own if isinstance(own, dict) else {},
            "platform": platform_names(first_platform(said)),
            "distro": Distro(plain_value(said, "base", "distro") or ""),
            "git": self.git,
            "env": {name: question.environ[name] for name in names if name in question.environ},
        }

    def settle_distro(self, said: Sequence[tuple[Saying, Mapping[str, Any] | None]]) -> None:
        """`distro` with the recipes known. said: all levels, lowest first, each with its parameters if it is one."""
        for saying, params in reversed(said):
            base = saying.tree.get("base")
            value = base.get("distro") if isinstance(base, dict) else None
            if value and has_templates(value):
                value = self.value(value, params, lambda key, why: None)
            if isinstance(value, str) and value and not has_templates(value):
                self.names["distro"] = Distro(value)
                return

    def value(self, value: Any, params: Mapping[str, Any] | None, failed: Callable[[Key, str], None]) -> Any:
        """One value or tree, rendered."""
        if not has_templates(value) and not has_conditions(value):
            return value
        return render_tree({"": value}, self.of(params), failed)[""]

    def of(self, params: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """All names; `params` in a recipe alone."""
        return self.names if params is None else {**self.names, "params": params}

    def rendered(self, saying: Saying, params: Mapping[str, Any] | None, mistakes: list[UsageError]) -> Saying:
        """A level with every template rendered; mistakes are added to the list."""
        if not has_templates(saying.tree) and not has_conditions(saying.tree):
            return saying

        def failed(key: Key, why: str) -> None:
            mistakes.append(cannot(saying.place, key, str(at(saying.tree, key)), why, params))

        moved: dict[Key, list[int]] = {}
        tree = render_tree(saying.tree, self.of(params), failed, moved)
        place = saying.place
        if moved:
            place = Place(place.level, place.shown, place.text, moved=moved)
        return Saying(place, tree)


def cannot(place: Place, key: Key, text: str, why: str, params: Mapping[str, Any] | None) -> UsageError:
    """A value that cannot be rendered, at its place."""
    return UsageError("this value cannot be rendered", where=place.origin(key), why=why, hints=mends(text, why, params))


def mends(text: str, why: str, params: Mapping[str, Any] | None) -> list[Hint]:
    """What may help where a template fails. text: of the template, around the place; why: Jinja2's words."""
    hints = []
    if "dict" not in why and "env." in text and "there is no" in why:
        hints.append(Hint("name the variable in `[stack] env = […]`, and set it"))
    if "syntax" in why or "expected" in why or "unexpected" in why:
        hints.append(Hint("braces that are meant literally: {{ '{{' }}"))
    if "params" in text and re.search("there is no|undefined", why):
        known = ", ".join(sorted(params)) if params else ""
        hints.append(Hint(f"parameters here: {known}" if known else "only recipes have parameters"))
    elif "is undefined" in why:
        names = (*NAMES, "params") if params is not None else NAMES
        hints.append(Hint(f"known here: {', '.join(names)}"))
    return hints


def at(tree: Any, key: Key) -> Any:
    """The value at a key that is there."""
    for part in key:
        tree = tree[part]
    return tree


def plain_value(said: Sequence[Saying], table: str, key: str) -> Any:
    """A value that no template makes, of the highest level that has one."""
    for saying in reversed(said):
        found = saying.tree.get(table)
        value = found.get(key) if isinstance(found, dict) else None
        if value and not has_templates(value):
            return value if isinstance(value, (str, list)) else None
    return None


def first_platform(said: Sequence[Saying]) -> str:
    platforms = plain_value(said, "image", "platforms")
    first = platforms[0] if isinstance(platforms, list) and platforms else None
    return first if isinstance(first, str) else str(engine_said().tree["image"]["platforms"][0])
