"""The JSON Schemas of stack.toml and recipe.toml, for editors; made from the models and what templates, resets add."""

from __future__ import annotations

from typing import Any

from stackbuild.stack.document import Document, RecipeDocument

_TEMPLATE = {"type": "string", "pattern": r"\{\{.*\}\}", "description": "a template that becomes such a value"}
_WHEN = {"type": ["boolean", "string"], "description": "the entry is dropped unless this becomes true"}
_RESET_ITEM = {
    "type": "object",
    "properties": {"reset": {"const": True}},
    "required": ["reset"],
    "additionalProperties": False,
    "description": "as the first item: the list starts over",
}


def json_schema(*, recipe: bool = False) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a stack file, or of a recipe's file."""
    schema = (RecipeDocument if recipe else Document).model_json_schema(by_alias=True)
    if recipe:
        schema["required"] = [*schema.get("required", ()), "recipe"]
    made: dict[str, Any] = _open(schema)
    for name in _entries(schema):
        if made["$defs"][name].get("type") == "object":
            made["$defs"][name].setdefault("properties", {})["when"] = _WHEN
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "stackbuild/recipe.toml" if recipe else "stackbuild/stack.toml",
        **made,
        "title": "recipe.toml" if recipe else "stack.toml",
        "description": "A piece of a stack that many share."
        if recipe
        else "What one stack is: one image and how to run it.",
    }


def _entries(node: Any) -> set[str]:
    """The definitions of what stands in lists or under names of one's own: these may have a `when`."""
    if isinstance(node, list):
        return {name for item in node for name in _entries(item)}
    if not isinstance(node, dict):
        return set()
    found = {name for item in node.values() for name in _entries(item)}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict) and "$ref" in node[key]:
            found.add(node[key]["$ref"].rpartition("/")[2])
    return found


def _open(node: Any) -> Any:
    """A schema that also takes templates for what is not text, resets, and has no defaults that are only "absent"."""
    if isinstance(node, list):
        return [_open(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {
        key: _properties(item) if key in ("properties", "$defs") else _open(item) for key, item in node.items()
    }
    if made.get("default", 0) in (None, [], {}):
        del made["default"]
    if isinstance(made.get("anyOf"), list):
        made["anyOf"] = [item for item in made["anyOf"] if item != {"type": "null"}]  # TOML has no null
        if len(made["anyOf"]) == 1:
            made = {**made.pop("anyOf")[0], **made}
    made.pop("title", None)
    if made.get("type") == "object":
        _reset_table(made)
    if made.get("type") == "array" and "items" in made:
        made["items"] = {"anyOf": [made["items"], _RESET_ITEM]}
    if made.get("type") in ("integer", "number", "boolean") or ("enum" in made and made.get("type") != "string"):
        kept: dict[str, Any] = {key: made.pop(key) for key in ("description", "default") if key in made}
        made = {**kept, "anyOf": [made, _TEMPLATE]}
    return made


def _properties(table: dict[str, Any]) -> dict[str, Any]:
    """Named schemas: their names are no keywords."""
    return {name: _open(item) for name, item in table.items()}


def _reset_table(made: dict[str, Any]) -> None:
    if made.get("additionalProperties") is False:
        made["properties"] = {**made.get("properties", {}), "!reset": {"const": True}}
    elif "additionalProperties" in made:
        made["properties"] = {"!reset": {"const": True}}
