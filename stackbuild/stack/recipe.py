"""A recipe's own header and the values of its parameters; not where recipes are found nor what they set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Key
from stackbuild.stack.table import UNSAID, Plain, Several, Table, matching, read_by

PARAM_NAME = r"[a-z][a-z0-9_-]{0,62}"
RecipeName = Annotated[
    str,
    *read_by(
        matching(r"[a-z0-9]+([._-][a-z0-9]+)*", "a recipe's name: lower-case letters, digits and single .-_ between"),
        "string",
    ),
]
ParamName = Annotated[
    str, *read_by(matching(PARAM_NAME, "a parameter's name: lower-case letters, digits, - and _"), "string")
]
_KINDS: Mapping[str, tuple[type, str]] = {
    "string": (str, "text"),
    "choice": (str, "text"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
    "list": (list, "a list"),
}


class Param(Table):
    """`[recipe.params.NAME]`: a parameter; one without a default has to be given."""

    type: Literal["string", "integer", "boolean", "list", "choice"] = Field(description="The type of its values.")
    default: Any = Field(None, description="Its value where none is given; may be a template.")
    choices: Several[Plain] = Field((), description="choice: what it can be.")
    help: str = Field("", description="What it is for, in one line.")
    pattern: str | None = Field(None, description="string, list: a regular expression that the whole of it has.")
    min: int | None = Field(None, description="The smallest number, the shortest text or list.")
    max: int | None = Field(None, description="The largest number, the longest text or list.")

    @property
    def required(self) -> bool:
        return "default" not in self.model_fields_set

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError('`choices` are for `type = "choice"`, and it needs them')
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"`pattern` is no regular expression: {error}") from None
        return self


class Header(Table):
    """`[recipe]`: what makes a file a recipe."""

    name: RecipeName = Field(description="What it is called.")
    description: str = Field("", description="What it makes, in one line.")
    params: Mapping[ParamName, Param] = Field({}, description="Its parameters.")


class Use(Table):
    """One entry of `stack.recipes`."""

    use: Plain = Field(UNSAID, description="A name, git+URL@REVISION[#FOLDER] or oci://HOST/PATH[:TAG][@DIGEST].")
    with_: Mapping[str, Any] = Field({}, description="Values of its parameters.")


def wrong(param: Param, value: Any) -> str:
    """Why a value cannot be that parameter's; "" if it can."""
    from stackbuild.stack.mistakes import kind_of  # which knows all tables, this one too

    kind, words = _KINDS[param.type]
    if type(value) is not kind:
        return f"it must be {words}, and is {kind_of(value)}"
    if param.type == "choice" and value not in param.choices:
        return f"it is one of {', '.join(param.choices)}"
    for item in value if isinstance(value, list) else (value,):
        if isinstance(value, list) and not isinstance(item, (str, int, float)):
            return f"its items are text or numbers, not {kind_of(item)}"
        if param.pattern is not None and not re.fullmatch(param.pattern, str(item)):
            return f'"{item}" does not have the form {param.pattern}'
    size = value if isinstance(value, int) else len(value) if isinstance(value, (str, list)) else 0
    unit = "" if isinstance(value, int) else " characters" if isinstance(value, str) else " items"
    if not isinstance(value, bool) and param.min is not None and size < param.min:
        return f"it must be at least {param.min}{unit}"
    if not isinstance(value, bool) and param.max is not None and size > param.max:
        return f"it must be at most {param.max}{unit}"
    return ""


def bind(
    header: Header,
    given: Mapping[str, Any],
    asked: Callable[[Key], Origin],
    own: Callable[[Key], Origin],
    make: Callable[[Any, Mapping[str, Any], Key], Any],
) -> tuple[dict[str, Any], list[UsageError]]:
    """The parameters of one use of a recipe, and all that is wrong with them.

    given: the values of `with`. asked, own: where a key of the use, of the recipe's file stands. make: renders a
    default with the parameters before it. Each name with `-` has a twin with `_`, for `{{ params.health_path }}`.
    """
    from stackbuild.stack.mistakes import near_keys

    values: dict[str, Any] = {}
    found: list[UsageError] = []
    for name in given:
        if name not in header.params:
            found.append(
                UsageError(
                    f'recipe "{header.name}" has no parameter `{name}`',
                    where=asked(("with", name)),
                    hints=near_keys(name, tuple(header.params)),
                )
            )
    for name, param in header.params.items():
        hints = (Hint(f"{name}: {param.help}"),) if param.help else ()
        if name not in given and param.required:
            found.append(
                UsageError(
                    f'parameter `{name}` of recipe "{header.name}" is missing', where=asked(("with",)), hints=hints
                )
            )
            continue
        key: Key = ("recipe", "params", name, "default")
        value = given[name] if name in given else make(param.default, values, key)
        if why := wrong(param, value):
            where = asked(("with", name)) if name in given else own(key)
            found.append(
                UsageError(
                    f'parameter `{name}` of recipe "{header.name}" is not valid', where=where, why=why, hints=hints
                )
            )
        values[name] = values[name.replace("-", "_")] = value
    return values, found
