"""pydantic's findings as our errors: each at its line, in plain words, with the nearest valid key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.settings.flatten import Key, original
from stackbuild.settings.setting import Placed
from stackbuild.stack.keys import description, keys_of, kind_at

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "is_instance_of": "text",
    "dataclass_type": "text",
    "dataclass_exact_type": "text",
}


def mistake(error: ErrorDetails, tree: Any, place: Placed, moved: Mapping[Key, list[int]]) -> UsageError:
    """One finding as an error that points at the place. moved: see `settings.flatten.without_markers`."""
    key, shown = located(error["loc"], tree)
    where = place.origin(original(key, moved))
    kind, name = error["type"], key[-1] if key else ""
    if kind == "extra_forbidden":
        return UsageError(
            f"unknown key `{name}`", where=where, hints=near_keys(str(name), keys_of(kind_at(key[:-1])) or ())
        )
    if kind == "missing":
        return UsageError(f"`{name}` is missing", where=where, hints=_described(key))
    if kind in _TYPES:
        what = f"an item of `{shown}`" if isinstance(name, int) else f"`{shown}`"
        inside = keys_of(kind_at(key)) if _TYPES[kind] == "a table" else None
        hints = (Hint(f"its keys: {', '.join(inside)}"),) if inside else ()
        why = f"it is {kind_of(error['input'])}"
        return UsageError(f"{what} must be {_TYPES[kind]}", where=where, why=why, hints=hints)
    if kind == "literal_error":
        known = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ")
        return UsageError(
            f"`{shown}` cannot be {_quoted(error['input'])}",
            where=where,
            why=f"it is one of {', '.join(known)}" if len(known) > 1 else f"it can only be {known[0].lower()}",
            hints=near_keys(str(error["input"]), tuple(known), others=False),
        )
    words = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    for long, short in (
        ("greater than or equal to", "it must be at least"),
        ("less than or equal to", "it must be at most"),
    ):
        words = words.replace(long, short)
    return UsageError(f"`{shown}` is not valid" if shown else "this is not valid", where=where, why=words)


def mistakes_of(
    errors: Sequence[ErrorDetails], tree: Any, place: Placed, moved: Mapping[Key, list[int]]
) -> list[UsageError]:
    """All findings, in the order of the lines; a key that is only misspelt is not missing, too."""
    unknown: dict[Key, list[str]] = {}
    for error in errors:
        if error["type"] == "extra_forbidden":
            unknown.setdefault(located(error["loc"], tree)[0][:-1], []).append(str(error["loc"][-1]))
    made = []
    for error in errors:
        key, _ = located(error["loc"], tree)
        if error["type"] == "missing" and get_close_matches(str(key[-1]), unknown.get(key[:-1], ()), cutoff=0.6):
            continue
        made.append(mistake(error, tree, place, moved))
    return sorted(made, key=lambda error: error.where.line if error.where else 0)


def located(loc: tuple[str | int, ...], tree: Any) -> tuple[Key, str]:
    """The key in the tree that pydantic's location means (it adds the names of unions' members and "[key]"),
    and what people call it: the last words of it."""
    key: Key = ()
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if part == "[key]":
            continue
        if isinstance(tree, dict) and (part in tree or last):
            key, tree = (*key, part), tree.get(str(part))
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            key, tree = (*key, part), tree[part]
    return key, ".".join([part for part in key if isinstance(part, str)][-2:])


def near_keys(word: str, known: tuple[str, ...], others: bool = True) -> tuple[Hint, ...]:
    """The nearest of the known words, else (others) all of them."""
    close = get_close_matches(word.lower().replace("_", "-"), known, n=1, cutoff=0.6)
    if close:
        return (Hint(f"did you mean `{close[0]}`?"),)
    return (Hint(f"known here: {', '.join(known)}"),) if known and others else ()


def kind_of(value: Any) -> str:
    """What a value of TOML is, for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, name in (
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (dict, "a table"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return f"{name} ({_quoted(value)})" if kind in (str, int, float) else name
    return "a date or time"


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _described(key: Key) -> tuple[Hint, ...]:
    words = description(key)
    return (Hint(f"{key[-1]}: {words}"),) if words else ()
