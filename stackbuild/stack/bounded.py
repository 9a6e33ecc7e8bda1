"""Template files in a sandbox that counts: loops, calls, includes and every byte made have a budget; reads no file.

Counting, not a clock, so that a template that is stopped is stopped on every machine. What could grow without being
counted (`~`, `*`, captured blocks, lists in lists, printing a list) is rewritten to go through a function that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from stackbuild.stack.render import _join, _replace, _sh

STEPS = 200_000
"""Turns of loops, calls and includes, and each 256 characters that a filter reads."""
MADE = 16 << 20
"""Characters that may be made on the way; the result may have RESULT of them."""
RESULT = 4 << 20
SOURCE = 1 << 20
NODES = 50_000


class Failed(ValueError):
    """A template file could not be rendered; file and line say where, if that is known."""

    def __init__(self, why: str, file: str = "", line: int = 0) -> None:
        super().__init__(why)
        self.file, self.line = file, line


class _Budget:
    def __init__(self) -> None:
        self.steps, self.made = STEPS, MADE

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise Failed(f"it was stopped: it takes more than {STEPS} steps")

    def make(self, text: str) -> str:
        self.made -= len(text)
        if self.made < 0:
            raise Failed(f"it was stopped: it makes more than {MADE >> 20} MiB of text")
        return text

    def size(self, value: Any) -> Any:
        """A list or table as large as it would be printed: parts that are shared count each time."""
        todo = [value]
        while todo:
            self.step()
            one = todo.pop()
            todo += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
        return value


def render_file(name: str, load: Callable[[str], str], context: Mapping[str, Any]) -> str:
    """A template file's text. load: the text of a template by its name (it raises Failed). Raises Failed."""
    from jinja2 import TemplateError, TemplateSyntaxError

    budget = _Budget()
    environment = _environment(budget, load)
    pieces: list[str] = []
    total = 0
    try:
        for piece in environment.get_template(name).generate(**context):
            total += len(piece)
            if total > RESULT:
                raise Failed(f"it was stopped: its result has more than {RESULT >> 20} MiB")
            pieces.append(piece)
    except TemplateSyntaxError as error:
        raise Failed(str(error.message), error.name or name, error.lineno) from None
    except Failed as error:
        raise _placed(error, str(error), name) from None
    except TemplateError as error:
        words = str(error.message or error).replace("'dict object' has no attribute", "there is no")
        raise _placed(error, words, name) from None
    except RecursionError:
        raise Failed("it was stopped: it goes too deep into itself", name) from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise _placed(error, str(error) or type(error).__name__, name) from None
    return "".join(pieces)


def _placed(error: BaseException, words: str, name: str) -> Failed:
    """With the template and line in which it happened: Jinja2 names its frames after templates."""
    file, line = (error.file, error.line) if isinstance(error, Failed) else ("", 0)
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if "__jinja_template__" in frame.f_globals or frame.f_globals.get("__loader__") is None:
            found = frame.f_code.co_filename
            if not found.endswith(".py") and not found.startswith("<frozen"):
                file, line = found, trace.tb_lineno
        trace = trace.tb_next
    return Failed(words, name if file in ("", "<template>", "<unknown>") else file, line)


def _environment(budget: _Budget, load: Callable[[str], str]) -> Any:
    from jinja2 import BaseLoader, StrictUndefined

    class Loader(BaseLoader):
        def get_source(self, environment: Any, template: str) -> Any:
            text = load(template)
            if len(text) > SOURCE:
                raise Failed(f"a template may have {SOURCE >> 20} MiB at most", template)
            return text, template, None

    made = _kind()(undefined=StrictUndefined, keep_trailing_newline=True, loader=Loader(), finalize=_printable)
    made.budget = budget
    made.globals.clear()
    made.globals.update({"range": made_range, "namespace": _namespace()})
    made.concat = lambda pieces: budget.make("".join(_counted(pieces, budget)))
    known = _KNOWN
    filters = {name: _costs(budget, made.filters[name], name in _PASSES) for name in known}
    filters |= {name: _text(budget, made.filters[name]) for name in _OF_TEXT}
    filters |= {"replace": _text(budget, _replace), "join": _costs(budget, _join, False), "sh": _text(budget, _sh)}
    filters |= {"string": _text(budget, str), "tojson": _costs(budget, _json, False)}
    filters |= {"__each": lambda items: _each(items, budget), "__made": budget.size}
    filters["__concat"] = lambda items: budget.make("".join(str(_printable(item)) for item in items))
    made.filters = filters
    return made


_KNOWN: tuple[str, ...] = ("default", "first", "last", "length", "int", "float", "abs", "round", "sort", "unique")
_KNOWN = (*_KNOWN, "reverse", "dictsort", "items", "list", "min", "max")
_OF_TEXT = ("lower", "upper", "trim", "title", "capitalize", "indent")
_PASSES = ("sort", "unique", "min", "max", "first", "last", "dictsort")  # their first argument is the environment


def made_range(*args: int) -> range:
    """range(), of a length that loops can count."""
    found = range(*args)
    if len(found) > STEPS:
        raise Failed(f"a range may have {STEPS} numbers at most")
    return found


def _namespace() -> Any:
    from jinja2.utils import Namespace

    return Namespace


def _printable(value: Any) -> Any:
    from jinja2 import Undefined

    if isinstance(value, (str, bool, int, float, Undefined)):
        return value
    kind = "nothing" if value is None else "a list or table" if isinstance(value, (list, tuple, dict)) else "that"
    raise Failed(f"{kind} cannot be written into a file; use a loop, `join` or `tojson`")


def _counted(pieces: Any, budget: _Budget) -> Iterator[str]:
    for piece in pieces:
        budget.step()
        yield budget.make(piece)


def _each(items: Any, budget: _Budget) -> Iterator[Any]:
    for item in items:
        budget.step()
        yield item


def _costs(budget: _Budget, plain: Any, passes: bool) -> Any:
    from jinja2 import pass_environment

    def weigh(value: Any) -> None:
        budget.step(1 + (len(value) // 256 if isinstance(value, str) else 0))
        if isinstance(value, (list, tuple, dict)):
            budget.size(value)

    if passes:

        @pass_environment
        def with_environment(environment: Any, value: Any, *args: Any, **more: Any) -> Any:
            weigh(value)
            return plain(environment, value, *args, **more)

        return with_environment

    def counted(value: Any, *args: Any, **more: Any) -> Any:
        weigh(value)
        made = plain(value, *args, **more)
        return budget.make(made) if isinstance(made, str) else made

    return counted


def _text(budget: _Budget, plain: Any) -> Any:
    """A filter of a text or number. Widths and the like are small numbers."""

    def counted(value: Any, *args: Any, **more: Any) -> Any:
        if any(isinstance(one, int) and one > 1000 for one in (*args, *more.values())):
            raise Failed("a width may be 1000 at most")
        if isinstance(value, str):
            budget.step(1 + len(value) // 256)
            lines = value.count("\n") + 1
            budget.make(" " * (lines * max((one for one in args if type(one) is int), default=0)))
        elif isinstance(value, (list, tuple)):
            budget.size(value)
        else:
            value = _printable(value)
        return budget.make(plain(value, *args, **more))

    return counted


def _json(value: Any, indent: int | None = None) -> str:
    import json

    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)


def _rewriter() -> Any:
    """Sends what could grow uncounted through filters that count."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def through(name: str, node: Any) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class Rewrite(NodeTransformer):
        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = through("__each", node.iter)
            return node

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return through("__concat", nodes.List(node.nodes, lineno=node.lineno))

        def _visit_made(self, node: Any) -> Any:
            self.generic_visit(node)
            plain = all(isinstance(one, nodes.Const) for one in node.iter_child_nodes())
            return node if plain or getattr(node, "ctx", "load") != "load" else through("__made", node)

        visit_List = visit_Dict = visit_Tuple = _visit_made

    return Rewrite()


@lru_cache(maxsize=1)
def _kind() -> type:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
        budget: _Budget

        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            tree = super()._parse(source, name, filename)
            if sum(1 for _ in tree.find_all(nodes.Node)) > NODES:
                raise Failed("it is too complicated", name or "")
            return _rewriter().visit(tree)

        def get_template(self, *args: Any, **more: Any) -> Any:
            self.budget.step(100)
            return super().get_template(*args, **more)

        def wrap_str_format(self, value: Any) -> Any:
            return None  # `call` refuses it like any other method of a text

        def call(self, context: Any, called: Any, /, *args: Any, **more: Any) -> Any:
            self.budget.step()
            if isinstance(getattr(called, "__self__", None), (str, bytes, int, float, list, tuple)):
                raise Failed(f"`.{called.__name__}()` cannot be called; use a filter")
            return super().call(context, called, *args, **more)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            self.budget.step()
            for side in (left, right):
                str(side) if type(side).__name__ == "StrictUndefined" else None
            numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
            if operator == "+" and isinstance(left, str) and isinstance(right, str):
                return self.budget.make(left + right)
            if operator == "+" and isinstance(left, list) and isinstance(right, list):
                return self.budget.size(left + right)
            if not numbers or operator == "**" or max(abs(left), abs(right)) > 1 << 64:
                raise Failed(f"`{operator}` cannot be used between these")
            return super().call_binop(context, operator, left, right)

    return Environment
