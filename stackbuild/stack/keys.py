"""Which keys may stand where, read from the models; for near names in errors and keys in environment variables."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from stackbuild.stack.document import Document, RecipeDocument
from stackbuild.stack.settled import kebab


def inside(kind: Any, part: str | int) -> Any:
    """The type of what stands under a key or index of a value of this type; None if nothing may."""
    kind = plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if kebab(name) == part:
                return plain(field.annotation)
        return None
    origin = get_origin(kind)
    if origin is Mapping:
        return plain(get_args(kind)[1])
    if origin is tuple:
        return plain(get_args(kind)[0])
    return None


def plain(kind: Any) -> Any:
    """A type without Annotated and None around it."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__value__"):
            kind = kind.__value__
        elif origin in (Union, types.UnionType):
            left = [arg for arg in get_args(kind) if arg is not type(None)]
            if len(left) != 1:
                return kind
            kind = left[0]
        else:
            return kind


def keys_of(kind: Any) -> tuple[str, ...] | None:
    """The keys of a table of this type; None if they are free or it is no table."""
    kind = plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return tuple(kebab(name) for name in kind.model_fields)
    return None


def is_free(kind: Any) -> bool:
    """Whether it is a table whose keys are the user's own."""
    return get_origin(plain(kind)) is Mapping


def is_list_of_tables(kind: Any) -> bool:
    kind = plain(kind)
    return get_origin(kind) is tuple and keys_of(get_args(kind)[0]) is not None


def kind_at(key: tuple[str | int, ...]) -> Any:
    """The type of the value at a key of a stack file; None if there is none."""
    kind: Any = RecipeDocument if key[:1] == ("recipe",) else Document
    for part in key:
        kind = inside(kind, part)
        if kind is None:
            return None
    return kind


def description(key: tuple[str | int, ...]) -> str:
    """What a key is for, in one line; "" if there is no such key."""
    table = plain(kind_at(key[:-1]))
    if key and isinstance(table, type) and issubclass(table, BaseModel):
        for name, field in table.model_fields.items():
            if kebab(name) == key[-1]:
                return field.description or ""
    return ""
