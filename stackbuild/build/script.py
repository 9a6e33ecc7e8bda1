"""The lines of a `run` layer as one `sh -eu` script that can tell which line failed. Runs nothing.

Between two lines the script notes a number, but only where a new command certainly begins: a line may as well end
inside quotes, a loop or a here-document. `lines[n:m]` that cannot be told apart are named together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MARK = re.compile(rb"\x1e([0-9]+)\x1e\n")
_TRAP = (
    "stackbuild_line=1; trap 'stackbuild_status=$?; "
    '[ "$stackbuild_status" = 0 ] || printf "\\036%s\\036\\n" "$stackbuild_line" >&2\' EXIT; '
)
_OPENING = {"if": "fi", "while": "done", "until": "done", "for": "done", "{": "}"}
_GOES_ON = {"if", "then", "else", "elif", "while", "until", "do", "!", "{"}  # a command follows these words
_HANGING = ("|", "&&", "||", "()", "!")  # more must come, on the next line too
_UNKNOWN = {"case", "select", "function", "coproc", "[["}


@dataclass(frozen=True, slots=True)
class Script:
    """text: what `sh -eu -c` gets. starts: 1-based numbers of the lines that begin a part that can be told."""

    text: str
    starts: tuple[int, ...]
    lines: tuple[str, ...]

    def part(self, number: int) -> tuple[int, int]:
        """First and last line of the part that begins at line `number`."""
        later = [start for start in self.starts if start > number]
        return number, (later[0] - 1 if later else len(self.lines))


def script_of(lines: Sequence[str]) -> Script:
    """The script of these lines. The shell's own line numbers are not moved by what is added."""
    starts = [1]
    text = lines[0]
    for number, line in enumerate(lines[1:], 2):
        if complete(text):
            starts.append(number)
            line = f"stackbuild_line={number}; {line}"
        text += "\n" + line
    return Script(_TRAP + text if len(lines) > 1 else text, tuple(starts), tuple(lines))


class _Unsure(Exception):
    """The text has something that this reader does not follow."""


def complete(text: str) -> bool:
    """Whether a new command certainly begins after this text and a line break. When in doubt, no."""
    try:
        return _Reader(text).complete()
    except (_Unsure, IndexError):
        return False


class _Reader:
    """Enough of the shell's grammar (POSIX, Shell Command Language) to know what is still open."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._open: list[str] = []  # what closes each open construct
        self._command = True  # the next word is a command's first
        self._last = ""

    def complete(self) -> bool:
        text = self._text
        while self._at < len(text):
            character = text[self._at]
            if character == "\n":
                self._end(self._last if self._last in _HANGING else "\n")
            elif character in " \t":
                self._at += 3 if text.startswith("\\\n", self._at + 1) else 1  # a blank, and the line goes on
            elif character == "#":
                self._at = (text + "\n").index("\n", self._at)
            elif character in ";&|":
                self._end(character * 2 if text.startswith(character * 2, self._at) else character)
            elif character in "()":
                self._parenthesis(character)
            elif character in "<>":
                self._redirect()
            else:
                self._word()
        return not self._open and self._last not in _HANGING

    def _end(self, operator: str) -> None:
        if operator == ";;":
            raise _Unsure
        self._at += 1 if self._text[self._at] == "\n" else len(operator)
        self._command, self._last = True, operator

    def _parenthesis(self, character: str) -> None:
        self._at += 1
        if character == "(":
            self._open.append(")")
        elif not self._open or self._open.pop() != ")":
            raise _Unsure
        self._last = "()" if character == ")" and self._last == "(" else character
        self._command = True

    def _redirect(self) -> None:
        if self._text.startswith("<<", self._at):
            raise _Unsure  # a here-document goes on after the line
        while self._at < len(self._text) and self._text[self._at] in "<>&|":
            self._at += 1
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        command = self._command
        if self._at < len(self._text) and self._text[self._at] not in "\n;&|()<>#":
            self._word()
        self._command, self._last = command, ">"

    def _word(self) -> None:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in " \t\n;&|()<>":
            self._piece()
        word = self._text[start : self._at]
        self._last = word
        if not self._command:
            return
        if word in _UNKNOWN:
            raise _Unsure
        if word in _OPENING:
            self._open.append(_OPENING[word])
        elif word in ("fi", "done", "}") and (not self._open or self._open.pop() != word):
            raise _Unsure
        self._command = word in _GOES_ON

    def _piece(self) -> None:
        """One character of a word, or a quoted piece or expansion as a whole."""
        text, at = self._text, self._at
        if text[at] == "\\":
            if at + 1 >= len(text) or text[at + 1] == "\n":
                raise _Unsure  # the line goes on
            self._at += 2
        elif text[at] == "'":
            self._at = self._find("'", at + 1)
        elif text[at] == '"':
            self._at = at + 1
            while text[self._at] != '"':
                self._quoted()
            self._at += 1
        elif text[at] == "`" or text.startswith("$'", at):
            raise _Unsure
        elif text.startswith(("$(", "${"), at):
            self._expansion()
        else:
            self._at += 1

    def _quoted(self) -> None:
        text, at = self._text, self._at
        if text[at] == "\\":
            self._at += 2
        elif text[at] == "`":
            raise _Unsure
        elif text.startswith(("$(", "${"), at):
            self._expansion()
        else:
            self._at += 1

    def _expansion(self) -> None:
        """Past `$( )` or `${ }`, with what they nest."""
        ends = [")" if self._text[self._at + 1] == "(" else "}"]
        self._at += 2
        while ends:
            character = self._text[self._at]
            if (character in "#<" and ends[-1] == ")") or (character == "'" and ends[-1] == "}"):
                raise _Unsure  # a comment or here-document could hide the end; a quote may be none
            if character == ends[-1]:
                ends.pop()
                self._at += 1
            elif character == "(":
                ends.append(")")
                self._at += 1
            elif re.match(r"case\b", self._text[self._at :]):
                raise _Unsure
            else:
                self._piece()

    def _find(self, what: str, start: int) -> int:
        end = self._text.find(what, start)
        if end < 0:
            raise _Unsure
        return end + 1
