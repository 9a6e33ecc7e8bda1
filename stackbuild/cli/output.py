"""Data for stdout, as text or JSON, and errors for people. Not the progress of a command: that is progress.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from stackbuild.core.errors import Hint, StackError
from stackbuild.core.events import VERSION
from stackbuild.core.origin import Origin
from stackbuild.core.text import harmless, harmless_lines

TAIL = 20  # lines of a failed command's output that an error shows; the rest is in the log


class Shown(Protocol):
    """A value that a command prints."""

    def to_text(self) -> str:
        """For people: lines without a last newline, "" for nothing."""

    def to_json(self) -> Any:
        """For programs: a JSON value; documented and stable."""


def show(value: Shown, format: str = "text", stream: TextIO | None = None) -> None:
    """Print a value on stdout (or `stream`) as "text" or "json"; control characters in it are made harmless."""
    stream = sys.stdout if stream is None else stream
    if format == "json":
        write(stream, json.dumps(value.to_json(), indent=2, ensure_ascii=True) + "\n")
    elif text := value.to_text():
        write(stream, harmless_lines(text) + "\n")


def write(stream: TextIO, text: str) -> None:
    """Write text to a stream whatever its encoding; what it cannot hold is spelled out."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def wants_color(stream: TextIO, environ: dict[str, str]) -> bool:
    """Whether colours may be written: a terminal that is not dumb, and no NO_COLOR (the convention of no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("", "dumb")


def render_error(error: StackError, verbose: bool = False, color: bool = False) -> str:
    """An error for a person: what, where, why, the command's last output, what to do. Ends without a newline.

    verbose: all of the output instead of its last lines. Text from outside (output, names, file contents that
    stand in `why`) cannot reach the terminal's control functions.
    """
    bold, plain, red = ("\x1b[1m", "\x1b[0m", "\x1b[1;31m") if color else ("", "", "")
    lines = [f"{red}error:{plain} {bold}{harmless(error.what)}{plain}"]
    if error.errors:
        for mistake in error.errors:
            lines += ["", *_body(mistake, verbose, bold, plain, title=True)]
        lines += [""] if error.hints else []
        lines += _hints(error.hints, bold, plain)
    else:
        lines += _body(error, verbose, bold, plain, title=False)
    return "\n".join(lines)


def _body(error: StackError, verbose: bool, bold: str, plain: str, title: bool) -> Iterator[str]:
    if title:
        yield f"  {bold}{harmless(error.what)}{plain}"
    if error.where is not None:
        yield f"  where: {harmless(str(error.where))}"
    if error.why:
        first, *rest = harmless_lines(error.why).split("\n")
        yield f"  why:   {first}"
        yield from (f"         {line}" for line in rest)
    if error.output:
        yield from _tail(error.output, verbose)
    yield from _hints(error.hints, bold, plain)
    for mistake in error.errors:
        yield from _body(mistake, verbose, bold, plain, title=True)


def _tail(output: str, verbose: bool) -> Iterator[str]:
    lines = [harmless(line) for line in output.rstrip("\n").split("\n")]
    left_out = 0 if verbose else max(0, len(lines) - TAIL)
    yield "  its last output:" if left_out or not verbose else "  its output:"
    if left_out:
        yield f"  | … {left_out} lines more with -v"
    yield from (f"  | {line}" for line in lines[left_out:])


def _hints(hints: tuple[Hint, ...], bold: str, plain: str) -> Iterator[str]:
    for hint in hints:
        yield f"  hint:  {harmless(hint.text)}"
        if hint.command and hint.command not in hint.text:
            yield f"         {bold}{harmless(hint.command)}{plain}"


def error_json(error: StackError) -> dict[str, Any]:
    """An error for programs: what `--progress json` writes as its last line."""
    return {"v": VERSION, "type": "error", "exit_code": error.exit_code, **_fields(error)}


def _fields(error: StackError) -> dict[str, Any]:
    return {
        "what": error.what,
        "where": _place(error.where),
        "why": error.why,
        "hints": [hint._asdict() for hint in error.hints],
        "output": error.output,
        "errors": [_fields(mistake) for mistake in error.errors],
    }


def _place(where: Origin | None) -> dict[str, Any] | None:
    if where is None:
        return None
    return {"level": where.level, "file": where.file, "line": where.line, "key": list(where.key)}
