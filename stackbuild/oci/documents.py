"""JSON documents of strangers, read with suspicion: bounded, no key twice, each field of its type. Knows no schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stackbuild.core.errors import NetworkError

MAX_DOCUMENT = 4 << 20  # bytes; the distribution spec tells registries to take manifests of at least 4 MiB
_DEPTH = 32


def read_object(raw: bytes, name: str) -> Fields:
    """The JSON object that `raw` holds. `name`: what the user calls it. Raises NetworkError."""
    if len(raw) > MAX_DOCUMENT:
        raise NetworkError(f"{name} is too large", why=f"{len(raw)} bytes; at most {MAX_DOCUMENT} are read")
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        _shallow(tree, _DEPTH)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{name} is not valid JSON", why=shown(str(error))) from error
    if not isinstance(tree, dict):
        raise NetworkError(f"{name} is not a JSON object", why=f"it is {type(tree).__name__}")
    return Fields(tree, name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")  # two readers might take two different ones
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _shallow(tree: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError("nested too deeply")
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        _shallow(child, depth - 1)


def shown(text: str, limit: int = 200) -> str:
    """Text of a stranger, made fit for a terminal: no control characters, bounded."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[:limit] + "…"


class Fields:
    """An object of a document whose fields are asked for with their types. A wrong type raises NetworkError."""

    def __init__(self, tree: Mapping[str, Any], name: str) -> None:
        self.tree, self.name = tree, name

    def __contains__(self, key: str) -> bool:
        return self.tree.get(key) is not None

    def wrong(self, key: str, why: str) -> NetworkError:
        """The error that says what is wrong with a field."""
        return NetworkError(f"{self.name} is malformed", why=f"`{key}` {why}")

    def _get(self, key: str, kind: type, word: str, default: Any) -> Any:
        value = self.tree.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(key, f"is not {word}")
        return value

    def text(self, key: str, default: str = "") -> str:
        value: str = self._get(key, str, "a string", default)
        return value

    def number(self, key: str, default: int = 0) -> int:
        value: int = self._get(key, int, "an integer", default)
        return value

    def flag(self, key: str) -> bool:
        value: bool = self._get(key, bool, "true or false", False)
        return value

    def object(self, key: str) -> Fields:
        """A nested object; an absent one is empty."""
        return Fields(self._get(key, dict, "an object", {}), f"{self.name}: {key}")

    def objects(self, key: str) -> tuple[Fields, ...]:
        """A list of objects; an absent one is empty."""
        items: Sequence[Any] = self._get(key, list, "a list", [])
        if not all(isinstance(item, dict) for item in items):
            raise self.wrong(key, "holds something that is not an object")
        return tuple(Fields(item, f"{self.name}: {key}[{n}]") for n, item in enumerate(items))

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings; None if it is absent."""
        items: Sequence[Any] | None = self._get(key, list, "a list", None)
        if items is None:
            return None
        if not all(isinstance(item, str) for item in items):
            raise self.wrong(key, "holds something that is not a string")
        return tuple(items)

    def keys(self, key: str) -> tuple[str, ...]:
        """The keys of an object that serves as a set: {"8080/tcp": {}}."""
        return tuple(self._get(key, dict, "an object", {}))

    def mapping(self, key: str) -> dict[str, str]:
        """An object of strings; an absent one is empty."""
        tree: Mapping[str, Any] = self._get(key, dict, "an object", {})
        if not all(isinstance(value, str) for value in tree.values()):
            raise self.wrong(key, "holds something that is not a string")
        return dict(tree)
