"""The recipes that a stack uses, and those that they use: found, bound to parameters, lowest first; not merged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key
from stackbuild.stack.context import Context, at, cannot
from stackbuild.stack.document import RecipeDocument
from stackbuild.stack.find_recipe import Shelves
from stackbuild.stack.mistakes import mistakes_of
from stackbuild.stack.place import Place, Saying
from stackbuild.stack.recipe import Header, bind

LIMIT = 2000
"""Uses of recipes in one stack, those within recipes counted each time."""


@dataclass(frozen=True)
class Used:
    """One use of a recipe. saying: its tables, not yet rendered. path: the names that lead to it, itself last.

    given: where the value of a parameter stands: in a `with`, or as a default; None for what is none."""

    saying: Saying
    params: Mapping[str, Any]
    folder: Path
    path: tuple[str, ...]
    given: Callable[[str], Origin | None]

    def traced(self, mistakes: Sequence[UsageError]) -> None:
        """Tell each mistake in the rendered tables of which parameters its value was made, and where these stand."""
        for error in mistakes:
            key = error.where.key if error.where else ()
            try:
                text = str(at(self.saying.tree, key))
            except (KeyError, IndexError, TypeError):
                continue  # what is missing was not made of anything
            for name in dict.fromkeys(re.findall(r"\bparams(?:\.|\[['\"])([\w-]+)", text)):
                if where := self.given(name):
                    error.hints = (*error.hints, Hint(f"it is made of the parameter `{name}`: {where}"))


def uses_of(said: Sequence[Saying], context: Context, shelves: Shelves, mistakes: list[UsageError]) -> list[Used]:
    """All recipes of the highest level that names some, in order; one that another uses comes before it."""
    for saying in reversed(said):
        table = saying.tree.get("stack")
        if isinstance(table, dict) and "recipes" in table:
            walk = _Walk(context, shelves, mistakes)
            walk.of(saying, None, ())
            return walk.found
    return []


class _Walk:
    def __init__(self, context: Context, shelves: Shelves, mistakes: list[UsageError]) -> None:
        self._context, self._shelves, self._mistakes = context, shelves, mistakes
        self.found: list[Used] = []

    def of(self, saying: Saying, params: Mapping[str, Any] | None, path: tuple[str, ...]) -> None:
        """The uses that one file names."""
        table = saying.tree.get("stack")
        asked = Saying(saying.place, {"stack": {"recipes": table.get("recipes")}} if isinstance(table, dict) else {})
        if not isinstance(table, dict) or not isinstance(table.get("recipes"), list):
            return  # if it is there, validation says what is wrong
        made = self._context.rendered(asked, params, [])  # its mistakes are told when the whole level is rendered
        for index, use in enumerate(made.tree["stack"]["recipes"]):
            if isinstance(use, dict) and isinstance(use.get("use"), str) and isinstance(use.get("with", {}), dict):
                self._use(use, ("stack", "recipes", index), made.place, path)

    def _use(self, use: Mapping[str, Any], key: Key, place: Place, path: tuple[str, ...]) -> None:
        name = use["use"]
        where = place.origin((*key, "use"))
        if name in path:
            chain = " → ".join((*path[path.index(name) :], name))
            self._mistakes.append(UsageError(f'recipe "{name}" uses itself', where=where, why=chain))
            return
        if len(self.found) >= LIMIT:
            raise UsageError("this stack uses too many recipes", where=where, why=f"at most {LIMIT} are read")
        try:
            recipe = self._shelves.find(name, where)
        except UsageError as error:
            self._mistakes.append(error)
            return
        header = self._header(recipe.saying, name, where)
        if header is None:
            return

        def make(value: Any, before: Mapping[str, Any], here: Key) -> Any:
            def failed(_: Key, why: str) -> None:
                self._mistakes.append(cannot(recipe.saying.place, here, str(value), why, before))

            return self._context.value(value, before, failed)

        def asked(below: Key) -> Origin:
            return place.origin((*key, *below))

        own = recipe.saying.place.origin
        values, wrong = bind(header, use.get("with", {}), asked, own, make)
        self._mistakes += wrong
        if wrong:
            return

        def given(name: str) -> Origin | None:
            for param in header.params:
                if name in (param, param.replace("-", "_")):
                    default = own(("recipe", "params", param, "default"))
                    return asked(("with", param)) if param in use.get("with", {}) else default
            return None

        tables = {table: item for table, item in recipe.saying.tree.items() if table != "recipe"}
        said = Saying(recipe.saying.place, tables)
        here = (*path, name)
        self.of(said, values, here)
        if isinstance(tables.get("stack"), dict):  # which recipes it uses is known now, and the stack's own list is not
            tables["stack"] = {name: item for name, item in tables["stack"].items() if name != "recipes"}
        self.found.append(Used(said, values, recipe.folder, here, given))

    def _header(self, saying: Saying, name: str, where: Origin) -> Header | None:
        try:
            header = read_header(saying)
        except UsageError as error:
            self._mistakes.append(error)
            return None
        if header is None:
            self._mistakes.append(
                UsageError(f'"{name}" is not a recipe', where=where, why=f"{saying.place.shown} has no [recipe] table")
            )
        return header


def read_header(saying: Saying) -> Header | None:
    """The `[recipe]` table of a file; None if it has none. Raises UsageError with all its mistakes."""
    if "recipe" not in saying.tree:
        return None
    tree = {"recipe": saying.tree["recipe"]}
    try:
        header: Header = RecipeDocument.model_validate(tree).recipe
        return header
    except ValidationError as error:
        raise UsageError.of(mistakes_of(error.errors(), tree, saying.place, {})) from None
