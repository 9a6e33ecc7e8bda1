"""Tables of a settled stack as plain values: read, stored and compared without pydantic, which is slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kebab(name: str) -> str:
    """The TOML key of a field: "read_only" -> "read-only", "from_" -> "from"."""
    return name.rstrip("_").replace("_", "-")


class SettledTable:
    """What a model of stack/*_tables.py holds: its fields and properties as attributes, under the model's name.

    mypy takes it for the model itself, of which it has all that readers of a settled stack need.
    """

    __slots__ = ("__dict__", "_fields", "_model")
    _model: str
    _fields: tuple[str, ...]

    def __init__(self, model: str, fields: Mapping[str, Any], derived: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_model", model)
        object.__setattr__(self, "_fields", tuple(fields))
        self.__dict__.update(fields, **derived)

    def fields(self) -> dict[str, Any]:
        """The fields of the model, without its properties."""
        return {name: self.__dict__[name] for name in self._fields}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self._model}.{name}: a settled value never changes")

    def __reduce__(self) -> tuple[Any, ...]:
        fields = self.fields()
        return SettledTable, (self._model, fields, {k: v for k, v in vars(self).items() if k not in fields})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SettledTable) and (self._model, vars(self)) == (other._model, vars(other))

    def __hash__(self) -> int:
        return hash(self._model)

    def __repr__(self) -> str:
        return f"{self._model}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def settled(value: Any) -> Any:
    """A value of a validated document, each table in it as a SettledTable."""
    if isinstance(value, tuple):
        return tuple(settled(item) for item in value)
    if isinstance(value, Mapping):
        return {key: settled(item) for key, item in value.items()}
    model = type(value)
    if not hasattr(model, "model_fields"):
        return value
    properties = [name for name, thing in vars(model).items() if isinstance(thing, property)]
    return SettledTable(
        model.__name__,
        {name: settled(getattr(value, name)) for name in model.model_fields},
        {name: getattr(value, name) for name in properties},
    )


def as_tree(value: Any, *, absent: bool = False) -> Any:
    """A settled value as TOML and JSON have it: tables by their keys, arrays as lists. absent: keep what is None."""
    if isinstance(value, SettledTable):
        items = value.fields().items()
        return {kebab(name): as_tree(item, absent=absent) for name, item in items if absent or item is not None}
    if isinstance(value, tuple):
        return [as_tree(item, absent=absent) for item in value]
    if isinstance(value, dict):
        return {key: as_tree(item, absent=absent) for key, item in value.items()}
    return value
