"""What a recipe is, for people and programs: parameters, defaults, help, what it sets; finds and settles nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stackbuild.report.settings import toml_value
from stackbuild.stack.find_recipe import Recipe
from stackbuild.stack.recipe import Header, Param


@dataclass(frozen=True)
class RecipeList:
    """All recipes that can be named: (name, place, description)."""

    recipes: tuple[tuple[str, str, str], ...]

    def to_text(self) -> str:
        width = max((len(name) for name, _, _ in self.recipes), default=0)
        return "\n".join(f"{name:{width}}  {place:8} {words}".rstrip() for name, place, words in self.recipes)

    def to_json(self) -> Any:
        return [{"name": name, "place": place, "description": words} for name, place, words in self.recipes]


@dataclass(frozen=True)
class ShownRecipe:
    """One recipe (`recipe show`)."""

    recipe: Recipe
    header: Header

    def to_text(self) -> str:
        lines = [f"{self.header.name}: {self.header.description}".rstrip(": "), f"  {self.recipe.saying.place.shown}"]
        for name, param in self.header.params.items():
            lines += ["", f"  {name}  {_type(param)}, {_default(param)}"]
            lines += [f"      {param.help}"] if param.help else []
        for title, names in (("uses", self.uses()), ("sets", self.sets())):
            lines += ["", f"{title}:", *(f"  {name}" for name in names)] if names else []
        return "\n".join(lines)

    def uses(self) -> list[str]:
        """The recipes that it is made of, as it names them."""
        table = self.recipe.saying.tree.get("stack")
        named = table.get("recipes") if isinstance(table, Mapping) else None
        return [str(one.get("use", "")) for one in named if isinstance(one, Mapping)] if isinstance(named, list) else []

    def sets(self) -> list[str]:
        """The keys that its file sets, two deep; layers by name."""
        found = []
        for table, value in self.recipe.saying.tree.items():
            if table == "recipe":
                continue
            if isinstance(value, list):
                found += [f"{table}.{one.get('name', '')}" for one in value if isinstance(one, dict)]
            else:
                found += [f"{table}.{key}" for key in value] if isinstance(value, Mapping) else [table]
        return [name for name in found if name != "stack.recipes"]

    def to_json(self) -> Any:
        params = {
            name: {key: value for key, value in param.model_dump(exclude_unset=True).items() if key != "default"}
            | ({} if param.required else {"default": param.default})
            for name, param in self.header.params.items()
        }
        name, words = self.header.name, self.header.description
        return {
            "v": 1,
            "name": name,
            "description": words,
            "file": self.recipe.saying.place.shown,
            "params": params,
            "uses": self.uses(),
            "sets": self.sets(),
        }


def _type(param: Param) -> str:
    return " | ".join(param.choices) if param.choices else param.type


def _default(param: Param) -> str:
    return "required" if param.required else f"default {toml_value(param.default)}"


@dataclass(frozen=True)
class Tested:
    """Examples of a recipe that settled (`recipe test`): (file, layers, packages)."""

    examples: tuple[tuple[str, int, int], ...]

    def to_text(self) -> str:
        return "\n".join(f"ok {file}: {layers} layers, {packages} requests" for file, layers, packages in self.examples)

    def to_json(self) -> Any:
        return [{"example": file, "layers": layers, "requests": packages} for file, layers, packages in self.examples]


@dataclass(frozen=True)
class PushedRecipe:
    """A recipe that was sent to a registry."""

    reference: str
    digest: str

    def to_text(self) -> str:
        return f"oci://{self.reference}@{self.digest}"

    def to_json(self) -> Any:
        return {"v": 1, "reference": self.reference, "digest": self.digest}
