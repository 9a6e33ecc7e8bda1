"""`stackbuild schema`: the JSON Schema of stack.toml or of a recipe, for editors."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackbuild.cli.wiring import App


@dataclass(frozen=True)
class Schema:
    """A JSON document, the same for people and programs."""

    tree: dict[str, Any]

    def to_text(self) -> str:
        return json.dumps(self.tree, indent=2, ensure_ascii=True)

    def to_json(self) -> Any:
        return self.tree


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--recipe", action="store_true", help="of recipe.toml")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="both are JSON")


def run(app: App, args: Namespace) -> None:
    from stackbuild.stack.schema import json_schema

    app.show(Schema(json_schema(recipe=args.recipe)))
