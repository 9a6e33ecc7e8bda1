"""Settled settings as TOML that can be fed back, with or without where each came from; settles nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stackbuild.core.errors import UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import choice_path
from stackbuild.settings.setting import RESET, Choice, Path, Said, Setting, Settings, beneath
from stackbuild.stack.keys import keys_of, kind_at
from stackbuild.stack.merge_rules import RULES
from stackbuild.stack.mistakes import near_keys
from stackbuild.stack.stack import Stack

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_COLUMN = 48  # where comments start, if there is room


def toml_key(*parts: str) -> str:
    """A dotted key."""
    return ".".join(part if _BARE.match(part) else toml_text(part) for part in parts)


def toml_text(text: str) -> str:
    """A basic string."""
    made = (_ESCAPES.get(c) or (f"\\u{ord(c):04X}" if ord(c) < 32 or ord(c) == 127 else c) for c in text)
    return f'"{"".join(made)}"'


def toml_value(value: Any) -> str:
    """A value on one line. Braces that a template would read are written so that they come out again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        literal = re.sub(r"\{[{%#]", lambda found: f"{{{{ '{found[0]}' }}}}", value)
        return toml_text(literal if "{{" in value or "{%" in value else value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value) if isinstance(value, float) else str(value)


def place(origin: Origin) -> str:
    """ "stack.toml:12 (project)", "STACKBUILD__BUILD__JOBS (environment)"."""
    where = f"{origin.file}:{origin.line}" if origin.line else origin.file
    return f"{where} ({origin.level})" if where else origin.level


def _line(text: str, said: Said | None) -> str:
    return f"{text:<{_COLUMN}}  # {place(said.origin)}" if said else text


@dataclass(frozen=True)
class SettledStack:
    """All of a stack (`config`). origins: say for each value where it came from."""

    stack: Stack
    origins: bool = False

    def to_text(self) -> str:
        lines: list[str] = []
        for name in self.stack.tree:
            lines += _table((name,), self.stack.tree[name], self.stack.settings if self.origins else {})
        return "\n".join(lines).strip("\n")

    def to_json(self) -> Any:
        if not self.origins:
            return dict(self.stack.tree)
        return [_entry(path, self.stack.everything[path]) for path in self.stack.settings]


@dataclass(frozen=True)
class OneSetting:
    """One value, or one table, with everything that it overrode (`config KEY`), the newest first."""

    stack: Stack
    key: tuple[str, ...]

    def paths(self) -> list[Path]:
        """The settings at the key and beneath it. Raises UsageError for a key that cannot be."""
        stack = self.stack
        shared = choice_path(self.key[:-1], RULES.choice(self.key[:-1]))
        if RULES.choice(self.key[:-1]) and self.key[-1] in RULES.choice(self.key[:-1]):
            return [shared] if shared in stack.everything else []
        found = list(beneath(stack.everything, self.key))
        if not found and kind_at(_with_indexes(self.key)) is None:
            raise self._unknown()
        return found

    def _unknown(self) -> UsageError:
        known = list(keys_of(kind_at(_with_indexes(self.key[:-1]))) or ())
        known += [path[len(self.key) - 1] for path in beneath(self.stack.settings, self.key[:-1])]
        return UsageError(f"there is no key `{toml_key(*self.key)}`", hints=near_keys(self.key[-1], tuple(known)))

    def to_text(self) -> str:
        lines: list[str] = []
        for path in self.paths():
            *old, last = self.stack.everything[path].history
            living = path in self.stack.settings
            text = f"{_shown_key(path, last.value)} = {_shown(last.value)}"
            text = text if last.value is not RESET else f"{toml_key(*path)}: reset"
            lines.append(_line(text if living and last.value is not RESET else f"# {text}", last))
            lines += [_line(f"#   over {_shown(said.value, path)}", said) for said in reversed(old)]
        return "\n".join(lines) or f"# {toml_key(*self.key)}: nothing is said"

    def to_json(self) -> Any:
        found = [_entry(path, self.stack.everything[path]) for path in self.paths()]
        return found[0] if len(found) == 1 and found[0]["key"] == list(self.key) else found


def _with_indexes(key: tuple[str, ...]) -> tuple[str | int, ...]:
    """The key as the models know it: an index where a list's items go by name."""
    return tuple(0 if RULES.namer(key[:number]) else part for number, part in enumerate(key))


def _shown_key(path: Path, value: Any) -> str:
    return toml_key(*path[:-1], value.key) if isinstance(value, Choice) else toml_key(*path)


def _shown(value: Any, path: Path | None = None) -> str:
    if value is RESET:
        return "a reset"
    if isinstance(value, Choice):
        return f"{value.key} = {toml_value(value.value)}" if path else toml_value(value.value)
    return toml_value(value)


def _entry(path: Path, setting: Setting) -> dict[str, Any]:
    *old, last = setting.history
    key = [*path[:-1], last.value.key] if isinstance(last.value, Choice) else list(path)
    return {"key": key, **_json(last), "over": [_json(said) for said in reversed(old)]}


def _json(said: Said) -> dict[str, Any]:
    made: dict[str, Any] = {"origin": said.origin._asdict()}
    if said.value is RESET:
        return {"reset": True, **made}
    if isinstance(said.value, Choice):
        return {"name": said.value.key, "value": said.value.value, **made}
    return {"value": said.value, **made}


def _table(path: Path, value: Any, settings: Settings) -> Iterator[str]:
    """The lines of a table: its values first, then the tables in it, as TOML wants them."""
    if isinstance(value, list):  # things with names: each is a table
        namer = RULES.namer(path)
        for item in value:
            yield ""
            yield f"[[{toml_key(*path)}]]"
            yield from _body((*path, namer(item) if namer else ""), item, settings, path)
        return
    yield from _headed(path, value, settings, path)


def _headed(path: Path, value: Mapping[str, Any], settings: Settings, header: Path) -> Iterator[str]:
    lines = list(_body(path, value, settings, header))
    if not lines or lines[0]:  # else there are only tables in it
        yield ""
        yield f"[{toml_key(*header)}]"
    yield from lines


def _body(path: Path, value: Mapping[str, Any], settings: Settings, header: Path) -> Iterator[str]:
    """path: of the settings; header: of the table in the file, without names of things."""
    deeper = []
    for key, item in value.items():
        here = (*path, key)
        if key in RULES.choice(path):
            said = settings.get(choice_path(path, RULES.choice(path)))
            yield _line(f"{toml_key(key)} = {toml_value(item)}", said.last if said else None)
        elif isinstance(item, dict) or (isinstance(item, list) and RULES.namer(here) and _tables(item)):
            deeper.append((key, item))
        elif isinstance(item, list) and (namer := RULES.namer(here)) and item:
            yield f"{toml_key(key)} = ["
            for one in item:
                said = settings.get((*here, namer(one)))
                yield _line(f"    {toml_value(one)},", said.last if said else None)
            yield "]"
        else:
            said = settings.get(here)
            yield _line(f"{toml_key(key)} = {toml_value(item)}", said.last if said else None)
    for key, item in deeper:
        if header == path or isinstance(item, list):
            yield from _table((*header, key), item, settings)
        else:
            yield from _headed((*path, key), item, settings, (*header, key))


def _tables(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) for item in items)
