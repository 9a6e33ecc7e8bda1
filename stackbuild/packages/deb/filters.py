"""dpkg's path-exclude and path-include: which entries of a package are left out, by its own rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_WILD = re.compile(r"[*?\[\\]")


class PathFilter:
    """Patterns of dpkg(1)'s `--path-exclude` and `--path-include`, the excludes first; the last match wins."""

    def __init__(self, exclude: Sequence[str] = (), include: Sequence[str] = ()) -> None:
        self.exclude, self.include = tuple(exclude), tuple(include)
        self._rules = [(_translate(p), False) for p in exclude] + [(_translate(p), True) for p in include]
        # dpkg keeps a folder (or a link, which may stand for one) that an include might bring something back into
        self._starts = [_start(p) for p in include]

    def __bool__(self) -> bool:
        return bool(self.exclude)

    def skips(self, path: bytes, kind: str) -> bool:
        """Whether dpkg would not unpack this entry. path: relative, as in the archive; kind: as of Member."""
        if not self.exclude:
            return False
        name = "/" + path.decode("utf-8", "surrogateescape")
        skip = False
        for pattern, included in self._rules:
            if pattern.fullmatch(name):
                skip = not included
        if skip and kind in ("dir", "symlink"):
            return not any(name.startswith(start) for start in self._starts)
        return skip


def _start(pattern: str) -> str:
    """The part of an include that has no wildcard, without trailing slashes."""
    wild = _WILD.search(pattern)
    return (pattern[: wild.start()] if wild else pattern).rstrip("/")


@lru_cache(maxsize=1024)
def _translate(pattern: str) -> re.Pattern[str]:
    """fnmatch(3) without flags: `*` and `?` match a slash too, a backslash takes the next character as it is."""
    out, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        at += 1
        if one == "*":
            out += ".*"
        elif one == "?":
            out += "."
        elif one == "\\" and at < len(pattern):
            out += re.escape(pattern[at])
            at += 1
        elif one == "[" and (found := _bracket(pattern, at)):
            text, at = found
            out += text
        else:
            out += re.escape(one)
    return re.compile(out, re.DOTALL)


_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": "\\s", "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}  # fmt: skip


def _bracket(pattern: str, at: int) -> tuple[str, int] | None:
    """A bracket expression that begins at `at`, as a class of `re`, and where it ends; None if it has no end."""
    out = "["
    if pattern[at : at + 1] in ("!", "^"):
        out, at = "[^", at + 1
    start = at
    while at < len(pattern):
        one = pattern[at]
        if one == "]" and at > start:
            try:
                re.compile(out + "]")
            except re.error:  # a range that runs backwards matches nothing
                return "(?!)", at + 1
            return out + "]", at + 1
        named = re.compile(r"\[:([a-z]+):\]").match(pattern, at)
        if named and named[1] in _CLASSES:
            out, at = out + _CLASSES[named[1]], named.end()
            continue
        if one == "\\" and at + 1 < len(pattern):
            at += 1
            one = pattern[at]
        elif one == "-" and start < at and pattern[at + 1 : at + 2] not in ("", "]"):
            out, at = out + "-", at + 1
            continue
        out, at = out + re.escape(one), at + 1
    return None
