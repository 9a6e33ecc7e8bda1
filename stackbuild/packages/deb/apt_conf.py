"""The few settings of the host's apt.conf that concern its sources; runs no apt, follows no include."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from stackbuild.core.origin import Origin
from stackbuild.packages.deb import foreign

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([{};])|([^\s{};"]+)')
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*', re.M | re.S)
_FILE = re.compile(r"[A-Za-z0-9_-]+(?:\.conf)?\Z")
TRUE = {"1", "yes", "true", "with", "on", "enable"}
FALSE = {"0", "no", "false", "without", "off", "disable"}

Settings = Mapping[str, tuple[str, Origin]]


def parse(text: str, file: str) -> dict[str, tuple[str, Origin]]:
    """`A::B "x";` and `A { B "x"; };` as "a::b" -> (value, where). Lists keep their last item; never raises."""
    text = _COMMENT.sub(lambda m: m[1] or re.sub(r"[^\n]", "", m[0]), text)
    found: dict[str, tuple[str, Origin]] = {}
    scope: list[str] = []
    words: list[str] = []
    for token in _TOKEN.finditer(text):
        value, mark, word = token.groups()
        if mark == "{":
            scope.append(words[0] if words else "")
            words = []
        elif mark == "}":
            scope = scope[:-1]
            words = []
        elif mark == ";":
            if len(words) == 2:
                name = "::".join([*(s for s in scope if s), words[0]]).lower()
                found[name] = (words[1], Origin("host", file, text.count("\n", 0, token.start()) + 1, (name,)))
            words = []
        else:
            words.append(word if word is not None else value.replace('\\"', '"'))
    return found


def read(root: Path = Path("/")) -> dict[str, tuple[str, Origin]]:
    """The settings of apt.conf.d and apt.conf below `root`, later files win. What cannot be read is left out."""
    files = [f"etc/apt/apt.conf.d/{n}" for n in foreign.names(root, "etc/apt/apt.conf.d") if _FILE.match(n)]
    found: dict[str, tuple[str, Origin]] = {}
    for file in [*files, "etc/apt/apt.conf"]:
        text = foreign.text(root, file)
        if text is not None:
            found.update(parse(text, str(root / file)))
    return found


def switch(settings: Settings, name: str, default: bool) -> tuple[bool, Origin | None]:
    """A yes/no setting, and where it was said."""
    if name.lower() not in settings:
        return default, None
    value, origin = settings[name.lower()]
    word = value.lower()
    return (True if word in TRUE else False if word in FALSE else default), origin


def proxy(settings: Settings, url: str) -> str | None:
    """The proxy for a URL: of its host, else of its scheme; "" for DIRECT, None if nothing is said."""
    parts = urlsplit(url)
    for scheme in dict.fromkeys([parts.scheme.removeprefix("mirror+"), "http"]):
        for name in (f"acquire::{scheme}::proxy::{parts.hostname}", f"acquire::{scheme}::proxy"):
            if name in settings:
                value = settings[name][0]
                return "" if value.upper() == "DIRECT" or value == "false" else value or None
    return None
