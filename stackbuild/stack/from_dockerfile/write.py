"""The text of a stack.toml made of a Dockerfile: every value beside the line that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stackbuild.core.text import harmless
from stackbuild.stack.from_dockerfile.result import Imported, Layer, Tables
from stackbuild.stack.scaffold import toml_text

WIDTH = 110


def write(imported: Imported, name: str, command: str) -> str:
    """The whole file, in UTF-8 text that ends with a newline."""
    file = imported.file
    lines = [
        f"# Written by `{command}`. `{file}:N` names the line of the Dockerfile that says it.",
        *(_comment(f"TODO {file}:{line}: {text}") for line, text in imported.todo()),
    ]
    lines += ["", "[stack]", f"name = {toml_text(name)}"]
    lines += _tables(imported.image, file, "")
    for stage, tables in imported.stages.items():
        lines += _tables(tables, file, f"stages.{stage}.")
    if imported.unused:
        lines.append("")
        lines += [
            _comment(f"{file}:{line}: the stage {one} is not needed by this image") for line, one in imported.unused
        ]
    return "\n".join(lines) + "\n"


def _tables(tables: Tables, file: str, prefix: str) -> list[str]:
    lines = ["", f"[{prefix}base]"]
    lines += [_value(key, value, _places(tables, file, "base", key)) for key, value in tables.base.items()]
    if tables.packages:
        lines += ["", f"[{prefix}packages]"]
        for key, value in tables.packages.items():
            lines.append(_value(key, value, _places(tables, file, "packages", key)))
    for layer in tables.layers:
        lines += _layer(layer, file, prefix)
    if tables.image:
        lines += ["", f"[{prefix}image]"]
        lines += [_value(key, value, _places(tables, file, "image", key)) for key, value in tables.image.items()]
    if tables.remarks:
        lines.append("")
        lines += [_comment(f"{file}:{line}: {text}") for line, text in sorted(set(tables.remarks))]
    return lines


def _layer(layer: Layer, file: str, prefix: str) -> list[str]:
    places = ", ".join(f"{file}:{line}" for line in layer.lines)
    lines = ["", _comment("; ".join([places, *layer.remarks])), f"[[{prefix}layer]]", f"name = {toml_text(layer.name)}"]
    lines += [_value(key, value, "") for key, value in layer.values.items()]
    if "…" in str(layer.values.get("fetch")):  # it cannot be used as it stands
        lines[2:] = ["# " + line for text in lines[2:] for line in text.split("\n")]
    return lines


def _places(tables: Tables, file: str, table: str, key: str) -> str:
    lines = tables.origins.get((table, key), [])
    return f"{file}:{', '.join(map(str, lines))}" if lines else ""


def _value(key: str, value: Any, places: str) -> str:
    """`key = value`, its places behind it, or above it if that is too long."""
    text = f"{key} = {_plain(value)}"
    if not places:
        return text
    if "\n" not in text and len(text) + len(places) < WIDTH:
        return f"{text}  # {places}"
    return f"# {places}\n{text}"


def _plain(value: Any, deep: bool = False) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        items = [_plain(one, True) for one in value]
        line = f"[{', '.join(items)}]"
        if deep or (len(line) < WIDTH - 20 and "\n" not in line):
            return line
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_plain(one, True)}" for key, one in value.items()) + " }"
            if value
            else "{}"
        )
    return toml_text(value)


def _string(text: str) -> str:
    """Literal where that reads better: scripts hold quotes, backslashes and line ends."""
    text = escaped(text)
    plain = not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) and "'''" not in text and not text.endswith("'")
    if plain and "\n" in text:
        return f"'''\n{text}'''"
    if plain and ('"' in text or "\\" in text) and "'" not in text:
        return f"'{text}'"
    return toml_text(text)


def escaped(text: str) -> str:
    """A text that stays as it is when it is rendered as a value with `{{ … }}`."""
    if "{{" not in text and "{%" not in text:
        return text
    return re.sub(r"\{[{%#]", lambda match: '{{ "' + match[0] + '" }}', text)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_text(key)


def _comment(text: str) -> str:
    return "# " + harmless(" ".join(text.split()))


def shown(lines: Iterable[tuple[int, str]]) -> str:
    """The lines of a Dockerfile in a message: "4, 9"."""
    return ", ".join(str(line) for line in dict.fromkeys(line for line, _ in lines))
