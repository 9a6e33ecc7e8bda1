"""Values that hold `{{ … }}`: one at a time, after TOML parsing, in a small safe part of Jinja2; not file templates.

Time and memory are bounded by what is allowed, not by a clock: there are no loops, definitions, calls,
multiplications or formatting, so a value costs at most its own length times what it names, and the filters that
could multiply (`replace`, `join`) check their result's size before they make it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from stackbuild.settings.flatten import Key

SOURCE_LIMIT = 64 << 10
RESULT_LIMIT = 256 << 10
NODE_LIMIT = 2000
NAMED_LIMIT = 16 << 10
"""Characters of a text that a value may name: all limits together keep one value under some 100 MB and a second."""
_ALLOWED = (  # names of Jinja2's nodes
    "Template Output TemplateData Name Const Getattr Getitem Filter Test Compare Operand And Or Not Concat CondExpr "
    "List Tuple Dict Pair Keyword Add Sub Neg Pos Div FloorDiv Slice If"
)
_SIGNS = {"Mul": "`*`", "Pow": "`**`", "Mod": "`%`", "Call": "a call", "Assign": "`set`"}


class Failed(ValueError):
    """A value could not be rendered; the words say why."""


class Distro(str):
    """ "debian/bookworm", with `.name` and `.release`."""

    @property
    def name(self) -> str:
        return self.partition("/")[0]

    @property
    def release(self) -> str:
        return self.partition("/")[2]


ARCHITECTURES = {
    "amd64": "amd64",
    "386": "i386",
    "arm64": "arm64",
    "arm64/v8": "arm64",
    "arm/v7": "armhf",
    "arm/v5": "armel",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64le": "mips64el",
    "loong64": "loong64",
}


def platform_names(platform: str) -> dict[str, str]:
    """os, arch and debian-arch of "linux/arm/v7"; `{{ platform["debian-arch"] }}` or `{{ platform.debian_arch }}`."""
    system, _, arch = platform.partition("/")
    debian = ARCHITECTURES.get(arch, arch.replace("/", ""))
    return {"os": system, "arch": arch, "debian-arch": debian, "debian_arch": debian}


def render_tree(
    tree: Mapping[str, Any],
    context: Mapping[str, Any],
    failed: Callable[[Key, str], None],
    moved: dict[Key, list[int]] | None = None,
) -> Any:
    """The tree with every text value that holds `{{` or `{%` rendered.

    A value that is one whole expression keeps its type; a list so made inside a list is spliced. An entry whose
    `when` becomes false is dropped. failed(key, why) is told of each value that could not be rendered (it then stays
    as it is). moved: gets, for each list whose length changed, the index that each item had (`flatten.original`).
    """
    return _Renderer(context, failed, {} if moved is None else moved).value(dict(tree), (), ())


def has_templates(value: Any) -> bool:
    """Whether there is anything to render (else jinja2 need not be imported)."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, dict):
        return any(has_templates(item) for item in value.values())
    return isinstance(value, list) and any(has_templates(item) for item in value)


def has_conditions(value: Any) -> bool:
    """Whether some entry has a `when`."""
    if isinstance(value, dict):
        return "when" in value or any(has_conditions(item) for item in value.values())
    return isinstance(value, list) and any(has_conditions(item) for item in value)


_DROPPED = object()
_OWN_NAMES = ("users", "stages", "registries")  # tables whose entries are things with a name


class _Renderer:
    def __init__(
        self, context: Mapping[str, Any], failed: Callable[[Key, str], None], moved: dict[Key, list[int]]
    ) -> None:
        self._context = {name: _bounded(value) for name, value in context.items()}
        self._failed = failed
        self._moved = moved

    def value(self, value: Any, key: Key, new: Key) -> Any:
        """key: where the value stands in the tree; new: where it will stand in the rendered one."""
        if isinstance(value, dict):
            return self._table(value, key, new)
        if isinstance(value, list):
            return self._list(value, key, new)
        if not isinstance(value, str) or not has_templates(value):
            return value
        try:
            return render(environment(), value, self._context)
        except ValueError as error:
            self._failed(key, str(error))
            return value

    def _table(self, table: dict[str, Any], key: Key, new: Key) -> Any:
        entry = bool(key) and (isinstance(key[-1], int) or (len(key) == 2 and key[0] in _OWN_NAMES))
        if entry and "when" in table:
            if not self._holds(table["when"], (*key, "when")):
                return _DROPPED
            table = {name: item for name, item in table.items() if name != "when"}
        made = {name: self.value(item, (*key, name), (*new, name)) for name, item in table.items()}
        return {name: item for name, item in made.items() if item is not _DROPPED}

    def _list(self, items: list[Any], key: Key, new: Key) -> list[Any]:
        made: list[Any] = []
        indexes: list[int] = []
        for index, item in enumerate(items):
            one = self.value(item, (*key, index), (*new, len(made)))
            found = one if isinstance(one, list) and isinstance(item, str) else [] if one is _DROPPED else [one]
            made += found
            indexes += [index] * len(found)
        if indexes != list(range(len(items))):
            self._moved[new] = indexes
        return made

    def _holds(self, value: Any, key: Key) -> bool:
        """Whether a condition holds: as in Jinja's own `if`, but text has to say true or false in so many words."""
        made = self.value(value, key, key)
        if isinstance(made, str) and made.strip().lower() in ("true", "false"):
            return made.strip().lower() == "true"
        if isinstance(made, str) and made and made != value:
            self._failed(key, f'`when` became the text "{made[:40]}", which is neither true nor false')
        elif isinstance(made, str) and made and not has_templates(made):
            self._failed(key, "`when` is true, false or a template that becomes one of them")
        return bool(made)


@lru_cache(maxsize=1)
def environment() -> Any:
    """The Jinja2 environment: sandboxed, strict, nothing built in but the filters below."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    made.globals.clear()
    known = ("default", "lower", "upper", "trim", "first", "last", "length", "int")
    made.filters = {name: made.filters[name] for name in known}
    made.filters.update({"replace": _replace, "join": _join, "string": str, "sh": _sh})
    return made


def render(environment: Any, text: str, context: Mapping[str, Any]) -> Any:
    """One value. Raises ValueError with the reason."""
    from jinja2 import TemplateError, Undefined

    if len(text) > SOURCE_LIMIT:
        raise Failed(f"a value with {{{{ … }}}} may have {SOURCE_LIMIT >> 10} KiB at most")
    simple = _simple(text, context)
    if simple is not None:
        return _plain(simple)
    try:
        whole, template = _compiled(environment, text)
        made = template(**context) if whole else template.render(**context)
        if isinstance(made, Undefined):
            str(made)  # StrictUndefined: raises and says what is not defined
    except TemplateError as error:
        raise Failed(_words(error)) from None
    except (TypeError, ArithmeticError, RecursionError, LookupError, AttributeError) as error:
        raise Failed(str(error) or type(error).__name__) from None
    return _plain(made)


@lru_cache(maxsize=4096)
def _compiled(environment: Any, text: str) -> tuple[bool, Any]:
    """A value ready to be made: whether it is one whole expression, and it. Raises TemplateError, Failed."""
    from jinja2 import nodes

    tree = environment.parse(text)
    for count, node in enumerate(tree.find_all(nodes.Node)):
        if count > NODE_LIMIT:
            raise Failed("the value is too complicated")
        if type(node).__name__ not in _ALLOWED.split():
            name = type(node).__name__
            raise Failed(f"{_SIGNS.get(name, f'`{name.lower()}`')} cannot be used in a value")
    whole = _whole_expression(tree, text)
    if whole is not None:
        return True, environment.compile_expression(whole, undefined_to_none=False)
    return False, environment.from_string(text)


_NAME = re.compile(r"\{\{ *([a-z]+(?:\.[a-z][a-z0-9_]*)*) *\}\}")


def _simple(text: str, context: Mapping[str, Any]) -> Any:
    """A value whose only templates are plain names, `{{ params.port }}`: most are, and compiling costs the most.

    None if it is another kind, or if a name is not there: the long way then says why."""
    pieces = _NAME.split(text)
    if any("{" in piece or "}" in piece for piece in pieces[::2]):
        return None
    values = []
    for name in pieces[1::2]:
        value: Any = context
        for part in name.split("."):
            if type(value) not in (dict, MappingProxyType) or part not in value or hasattr(dict, part):
                return None
            value = value[part]
        values.append(value)
    if len(pieces) == 3 and not pieces[0].strip() and not pieces[2].strip():
        return values[0]
    if not all(type(value) in (str, int) for value in values):
        return None
    made = [str(values[index // 2]) if index % 2 else piece for index, piece in enumerate(pieces)]
    return "".join(made)


def _whole_expression(tree: Any, text: str) -> str | None:
    from jinja2 import nodes

    bare = text.strip()
    if not (bare.startswith("{{") and bare.endswith("}}")) or len(tree.body) != 1:
        return None
    outputs = (
        [node for node in tree.body[0].nodes if not _is_space(node)] if isinstance(tree.body[0], nodes.Output) else []
    )
    if len(outputs) != 1 or isinstance(outputs[0], nodes.TemplateData):
        return None
    return bare[2:-2].strip("+-") if not bare[2:-2].endswith(("-", "+")) else bare[2:-3].lstrip("+-")


def _is_space(node: Any) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _words(error: Any) -> str:
    words = str(error.message or error)
    if words.startswith("'dict object' has no attribute"):
        words = "there is no" + words.removeprefix("'dict object' has no attribute")
    return words


def _plain(value: Any) -> Any:
    """The value as TOML could hold it: text, numbers, booleans, lists, tables."""
    if isinstance(value, str):
        if len(value) > RESULT_LIMIT:
            raise Failed("the value becomes too large")
        return str(value)
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    raise Failed(f"the value becomes {'nothing' if value is None else 'something that TOML cannot hold'}")


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _bounded(item)
            for name, item in value.items()
            if not (isinstance(item, str) and len(item) > NAMED_LIMIT)
        }
    return value


def _replace(text: Any, old: Any, new: Any) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + (text.count(old) + 1) * len(new) > RESULT_LIMIT:
        raise Failed("the value becomes too large")
    made: str = text.replace(old, new)
    return made


def _join(items: Any, between: Any = "") -> str:
    texts = [str(item) for item in items]
    if sum(map(len, texts)) + len(texts) * len(str(between)) > RESULT_LIMIT:
        raise Failed("the value becomes too large")
    return str(between).join(texts)


def _sh(value: Any) -> str:
    """Quoted for a shell; a list as words."""
    words = value if isinstance(value, (list, tuple)) else [value]
    return " ".join(shlex.quote(str(word)) for word in words)
