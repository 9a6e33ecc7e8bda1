"""docs/reference/stack-toml.md, made from the models; a test compares. `python -m stackbuild.report.reference FILE`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stackbuild.report.settings import toml_value
from stackbuild.stack.document import OF_THE_MACHINE, Document
from stackbuild.stack.keys import inside, is_free, is_list_of_tables, keys_of
from stackbuild.stack.levels import engine_said
from stackbuild.stack.settled import kebab

_HEAD = """\
# stack.toml

Every table and key, with its type, its default and what it is for. This page is made from the models
(`python -m stackbuild.report.reference docs/reference/stack-toml.md`); the same models refuse what is not on it.

- A default in the column comes from the engine's own file of settings; "none" means that nothing is said unless you
  say it, "**required**" that you must.
- A size is a number of bytes or text such as `"256MiB"` (1024²), `"256MB"` (1000²), `"256m"` (1024², as Docker means
  it). A time is a number of seconds or text such as `"500ms"`, `"2s"`, `"1m30s"`.
- Any value may hold `{{ … }}`, any list may start with `{ reset = true }`: see [the guide](../howto/settings.md).
"""


def reference() -> str:
    """The page, as Markdown."""
    schema = Document.model_json_schema(by_alias=True)
    lines = [_HEAD]
    for name, field in Document.model_fields.items():
        lines += _section((kebab(name),), inside(Document, kebab(name)), schema)
        if name in OF_THE_MACHINE:
            lines += ["May also stand in a user's or machine's `config.toml`.", ""]
        assert field.description, name
    return "\n".join(lines).rstrip() + "\n"


def _section(path: tuple[str, ...], kind: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """A table, then the tables in it."""
    heading, model = _heading(path, kind)
    if model is None:
        return
    yield f"## {heading}"
    yield ""
    yield _words(model)
    yield ""
    yield "| key | type | default | what it is |"
    yield "|---|---|---|---|"
    properties = schema["$defs"][model.__name__]["properties"]
    deeper = []
    for name, field in model.model_fields.items():
        key = kebab(name)
        below = inside(model, key)
        if _heading((*path, key), below)[1] is not None:
            deeper.append((key, below))
        default = _default(path, key, field)
        about = (field.description or "").replace("|", "\\|")
        yield f"| `{key}` | {_type(properties[key], schema)} | {default} | {about} |"
    yield ""
    for key, below in deeper:
        yield from _section((*path, key), below, schema)


def _heading(path: tuple[str, ...], kind: Any) -> tuple[str, type[BaseModel] | None]:
    """How a table is written, and its model; None if the kind is no table of known keys."""
    name = ".".join(path)
    if is_free(kind):
        inner = inside(kind, "")
        if is_list_of_tables(inner):
            return f'`[[{name}."NAME"]]`', inside(inner, 0)
        return (f"`[{name}.NAME]`", inner) if keys_of(inner) else ("", None)
    if is_list_of_tables(kind):
        items = len(path) > 1 and path[0] == "layer"
        return (f"`{name} = [{{ … }}]`" if items else f"`[[{name}]]`"), inside(kind, 0)
    return (f"`[{name}]`", kind) if keys_of(kind) else ("", None)


def _words(model: type[BaseModel]) -> str:
    text = " ".join((model.__doc__ or "").split())
    head, colon, rest = text.partition(": ")
    words = rest if colon and head.startswith("`") else text
    return words[:1].upper() + words[1:]


def _default(path: tuple[str, ...], key: str, field: Any) -> str:
    said: Any = engine_said().tree
    for part in (*path, key):
        said = said.get(part) if isinstance(said, dict) else None
    if said is not None and not isinstance(said, dict):
        return f"`{toml_value(said)}`"
    if isinstance(said, dict):
        return "see below" if path != ("image",) else f"`{toml_value(said)}`"
    if field.is_required() or (path, key) == (("stack",), "name"):
        return "**required**"
    return f"`{toml_value(field.default)}`" if field.default not in (None, (), {}) else "none"


_NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def _type(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in node:
        found: Mapping[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return "table" if found.get("type") == "object" else _type(found, schema)
    if "anyOf" in node:
        parts = [_type(item, schema) for item in node["anyOf"] if item != {"type": "null"}]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in node:
        return " \\| ".join(f"`{toml_value(item)}`" for item in node["enum"])
    if "const" in node:
        return f"`{toml_value(node['const'])}`"
    kind = node.get("type", "")
    if isinstance(kind, list):
        return " or ".join(_NAMES[one] for one in kind)
    if kind == "array":
        return f"list of {_type(node.get('items', {}), schema)}"
    if kind == "object":
        inner = node.get("additionalProperties")
        return f"table of {_type(inner, schema)}" if isinstance(inner, Mapping) else "table"
    bounds = [f"{words} {node[word]}" for word, words in (("minimum", "from"), ("maximum", "to")) if word in node]
    return " ".join([_NAMES.get(str(kind), str(kind)), *bounds])


def main(argv: list[str]) -> int:
    """Write the page to the file named."""
    Path(argv[0]).write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
