"""Errors for people and programs, and data on stdout."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest

from stackbuild.cli.output import error_json, render_error, show, wants_color, write
from stackbuild.core.errors import Hint, StackError, StepError, UsageError
from stackbuild.core.origin import Origin

FAILED = StepError(
    "the step `run/compile` failed",
    where=Origin("project", "stack.toml", 12, ("layer", "compile", "run")),
    why="`npm run build` exited with 2",
    hints=[Hint("look at the tree as it was", "stackbuild build --shell-on-failure")],
    output="compiling\n\x1b]0;owned\x07error: no such module\n",
)


def test_an_error_says_what_where_why_its_output_and_what_to_do() -> None:
    assert render_error(FAILED).splitlines() == [
        "error: the step `run/compile` failed",
        "  where: stack.toml:12: layer.compile.run",
        "  why:   `npm run build` exited with 2",
        "  its last output:",
        "  | compiling",
        "  | error: no such module",
        "  hint:  look at the tree as it was",
        "         stackbuild build --shell-on-failure",
    ]


def test_all_mistakes_of_a_file_are_listed_each_with_its_line() -> None:
    mistakes = [
        UsageError(
            "unknown key `nmae`", where=Origin("project", "stack.toml", 3), hints=[Hint("did you mean `name`?")]
        ),
        UsageError("`ports` is no list", where=Origin("project", "stack.toml", 9), why="it is a number"),
    ]
    text = render_error(UsageError.of(mistakes))
    assert (
        text.index("2 mistakes") < text.index("stack.toml:3") < text.index("did you mean") < text.index("stack.toml:9")
    )
    assert "it is a number" in text


def test_a_long_output_is_cut_unless_verbose() -> None:
    error = StepError("failed", output="\n".join(f"line {n}" for n in range(100)))
    assert "line 79\n" not in render_error(error) and "80 lines more" in render_error(error)
    assert render_error(error).endswith("line 99") and "line 0\n" in render_error(error, verbose=True)


@pytest.mark.parametrize("field", ["what", "why", "hint", "output", "file"])
def test_no_escape_sequence_of_outside_text_reaches_the_terminal(field: str) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b1m\u202e"
    error = StackError(
        "x" + evil * (field == "what"),
        why=evil * (field == "why"),
        where=Origin("project", "f" + evil * (field == "file")),
        hints=[Hint(evil, evil)] if field == "hint" else [],
        output=evil * (field == "output"),
    )
    assert all(c.isprintable() or c == "\n" for c in render_error(error, color=False))


class Terminal(io.StringIO):
    """What a terminal answers."""

    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal_that_wants_them() -> None:
    assert "\x1b" in render_error(FAILED, color=True) and "\x1b" not in render_error(FAILED, color=False)
    tty = Terminal()
    assert wants_color(tty, {"TERM": "xterm"})
    assert not wants_color(tty, {"TERM": "xterm", "NO_COLOR": "1"}) and not wants_color(tty, {"TERM": "dumb"})
    assert not wants_color(io.StringIO(), {"TERM": "xterm"})


def test_an_error_for_programs_holds_the_same_facts() -> None:
    told = json.loads(json.dumps(error_json(FAILED)))
    assert (told["v"], told["type"], told["exit_code"]) == (1, "error", 1)
    assert told["where"] == {"level": "project", "file": "stack.toml", "line": 12, "key": ["layer", "compile", "run"]}
    assert told["hints"] == [{"text": "look at the tree as it was", "command": "stackbuild build --shell-on-failure"}]


@dataclass
class Table:
    rows: list[str]

    def to_text(self) -> str:
        return "\n".join(self.rows)

    def to_json(self) -> Any:
        return self.rows


def test_data_is_shown_as_text_or_json() -> None:
    out = io.StringIO()
    show(Table(["a\x1b[31m", "b"]), "text", out)
    assert out.getvalue() == "a\nb\n"
    out = io.StringIO()
    show(Table(["a\x1b", "é"]), "json", out)
    assert json.loads(out.getvalue()) == ["a\x1b", "é"] and "\x1b" not in out.getvalue()
    out = io.StringIO()
    show(Table([]), "text", out)
    assert out.getvalue() == ""


def test_a_terminal_of_another_encoding_gets_what_it_can_hold() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    write(stream, "é✔\n")
    assert raw.getvalue() == b"\\xe9\\u2714\n"
