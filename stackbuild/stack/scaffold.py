"""The first stack.toml of a project: the commented text; writes no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.core.text import harmless
from stackbuild.settings.flatten import Key
from stackbuild.settings.levels import Level
from stackbuild.stack.find_recipe import Recipe, Shelves
from stackbuild.stack.recipe import Header, bind
from stackbuild.stack.uses import read_header


def stack_name(folder: Path) -> str:
    """A stack's name made of a folder's."""
    words = re.findall(r"[a-z0-9]+", folder.resolve().name.lower())
    return "-".join(words)[:63].rstrip("-") or "app"


def scaffold(name: str, use: str, given: Mapping[str, Any], shelves: Shelves, command: str) -> str:
    """The text of a stack file that uses a recipe; use: "" for none. given: values of parameters.

    Raises UsageError: no such recipe, a parameter that is missing or wrong."""
    lines = [f"# Written by `{command}`. `stackbuild up` builds and runs it; `stackbuild config --origins` shows all."]
    lines += ["", "[stack]", f"name = {toml_text(name)}"]
    if not use:
        return "\n".join([*lines, *_BASE, *_PACKAGES]) + "\n"
    recipe = shelves.find(use, None)
    header = read_header(recipe.saying)
    if header is None:
        raise UsageError(f'"{use}" is not a recipe', why=f"{recipe.saying.place.shown} has no [recipe] table")
    _check(header, given, use)
    values = f", with = {toml_text(dict(given))}" if given else ""
    lines.append(f"recipes = [{{ use = {toml_text(use)}{values} }}]")
    if header.description:
        lines.insert(4, f"# {harmless(header.description)}")
    if left := [one for one in header.params if one not in given]:
        lines.append(f"# more that `with` can say (`stackbuild recipe show {use}`):")
        lines += [_parameter(one, header) for one in left]
    return "\n".join([*lines, *(() if _has_base(recipe, shelves, ()) else _BASE)]) + "\n"


_BASE = ("", "[base]", 'distro = "debian/bookworm"               # or: image = "registry.example.com/base:1"')
_PACKAGES = (
    *("", "[packages]", 'install = []                              # such as "nginx-light"'),
    *("", "[image]", '# cmd = ["nginx", "-g", "daemon off;"]'),
)


def _parameter(name: str, header: Header) -> str:
    param = header.params[name]
    return f"#   {name} = {toml_text(param.default)}" + (f"  # {harmless(param.help)}" if param.help else "")


def _check(header: Header, given: Mapping[str, Any], use: str) -> None:
    def asked(key: Key) -> Origin:
        return Origin(Level.COMMAND_LINE.value, f"--with {key[1]}" if len(key) > 1 else "--with")

    def own(key: Key) -> Origin:
        return Origin(Level.RECIPE.value, use, 0, key)

    plain = dict(given)
    known = header.model_copy(update={"params": {n: p for n, p in header.params.items() if p.required or n in given}})
    found = bind(known, {n: v for n, v in plain.items() if n in header.params}, asked, own, lambda value, *_: value)[1]
    found += [one for one in bind(header, plain, asked, own, lambda value, *_: value)[1] if "no parameter" in one.what]
    if found:
        missing = [one for one in known.params if one not in given]
        if missing:
            words = " ".join(f"--with {one}=…" for one in missing)
            found[0].hints = (*found[0].hints, Hint("give it a value", f"stackbuild init {use} {words}"))
        raise UsageError.of(found)


def _has_base(recipe: Recipe, shelves: Shelves, path: tuple[str, ...]) -> bool:
    if "base" in recipe.saying.tree:
        return True
    table = recipe.saying.tree.get("stack")
    uses = table.get("recipes") if isinstance(table, dict) else None
    names = [one.get("use") for one in uses if isinstance(one, dict)] if isinstance(uses, list) else []
    return any(
        _has_base(shelves.find(name, None), shelves, (*path, name))
        for name in names
        if isinstance(name, str) and "{{" not in name and name not in path
    )


def toml_text(value: Any) -> str:
    """A value as TOML writes it on one line, tables inline."""
    import tomli_w

    return (
        tomli_w.dumps({"x": value}).removeprefix("x = ").strip()
        if not isinstance(value, (dict, list))
        else _inline(value)
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_toml_key(key)} = {toml_text(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    return "[" + ", ".join(map(toml_text, value)) + "]"


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_text(key)
