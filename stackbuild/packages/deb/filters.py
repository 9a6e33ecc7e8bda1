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
        name = b"/" + path
        skip = False
        for pattern, included in self._rules:
            if pattern.fullmatch(name):
                skip = not included
        if skip and kind in ("dir", "symlink"):
            return not any(name.startswith(start) for start in self._starts)
        return skip

    def relevant(self, paths: Sequence[bytes]) -> tuple[str, ...]:
        """The exclude patterns that match any of the paths: the part of the filter that a fragment depends on."""
        if not self.exclude:
            return ()
        return tuple(p for p in self.exclude if any(_translate(p).fullmatch(b"/" + path) for path in paths))


def _start(pattern: str) -> bytes:
    """The part of an include that has no wildcard, without trailing slashes."""
    wild = _WILD.search(pattern)
    return (pattern[: wild.start()] if wild else pattern).rstrip("/").encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _translate(pattern: str) -> re.Pattern[bytes]:
    """fnmatch(3) without flags: `*` and `?` match a slash too, a backslash takes the next character as it is."""
    raw = pattern.encode("utf-8", "surrogateescape")
    out, at = b"", 0
    while at < len(raw):
        one = raw[at : at + 1]
        at += 1
        if one == b"*":
            out += b".*"
        elif one == b"?":
            out += b"."
        elif one == b"\\" and at < len(raw):
            out += re.escape(raw[at : at + 1])
            at += 1
        elif one == b"[" and (found := _bracket(raw, at)):
            text, at = found
            out += text
        else:
            out += re.escape(one)
    return re.compile(out, re.DOTALL)


def _bracket(raw: bytes, at: int) -> tuple[bytes, int] | None:
    """A bracket expression as a class of `re`, and where it ends; None if it has no end."""
    start = at
    negated = raw[at : at + 1] in (b"!", b"^")
    at += negated
    end = raw.find(b"]", at + 1)
    if end < 0:
        return None
    body = raw[at:end]
    safe = b"".join(re.escape(body[i : i + 1]) if body[i : i + 1] != b"-" else b"-" for i in range(len(body)))
    text = b"[" + (b"^" if negated else b"") + safe + b"]"
    try:
        re.compile(text)
    except re.error:
        return re.escape(raw[start - 1 : end + 1]), end + 1
    return text, end + 1
