"""The alternatives that maintainer scripts register, read from their text; runs no script and writes no file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

COMMAND = "update-alternatives"
_PLAIN = re.compile(r"[A-Za-z0-9_./+:@%,=~-]+\Z")
_ENDS = frozenset((";", "&&", "||", "|", "&", ")", "}", "fi", "then", "done"))
_REDIRECTION = re.compile(r"(?<=\s)[0-9]?>>?\s*(?:&[0-9]|[^\s;&|]+)")


@dataclass(frozen=True, slots=True)
class Link:
    """link: where programs look (absolute); name: in /etc/alternatives; path: what it is to lead to (absolute)."""

    link: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """One choice of a group: its link, its priority, and the links that go along with it."""

    main: Link
    priority: int
    slaves: tuple[Link, ...] = ()


def registered(script: str) -> tuple[list[Alternative], list[str]]:
    """The alternatives that a shell script installs with words that stand there, and the lines that say another way.

    A line with variables, patterns or substitutions is not guessed at: it is in the second list, as it stands.
    """
    found, unclear = [], []
    for line in re.sub(r"\\\n", " ", script).splitlines():
        if COMMAND not in line or "--install" not in line or line.lstrip().startswith("#"):
            continue
        alternative = _parsed(line[line.index(COMMAND) :])
        if alternative is None:
            unclear.append(" ".join(line.split()))
        else:
            found.append(alternative)
    return found, unclear


def _parsed(line: str) -> Alternative | None:
    try:
        lexer = shlex.shlex(_REDIRECTION.sub(" ", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)[1:]
    except ValueError:
        return None
    stop = next((n for n, word in enumerate(words) if word in _ENDS), len(words))
    words = words[:stop]
    if not all(_PLAIN.match(word) for word in words):
        return None
    if "--install" not in words:
        return None
    at = words.index("--install")
    if any(word not in ("--quiet", "--force", "--verbose") for word in words[:at]):
        return None
    main, rest = words[at + 1 : at + 5], words[at + 5 :]
    slaves = [rest[n : n + 4] for n in range(0, len(rest), 4)]
    if len(main) < 4 or not re.fullmatch(r"-?[0-9]+", main[3]) or not (main[0].startswith("/") and main[2][:1] == "/"):
        return None
    if any(len(slave) != 4 or slave[0] != "--slave" or not slave[1].startswith("/") for slave in slaves):
        return None
    if any("/" in name or name in (".", "..") for name in [main[1], *(slave[2] for slave in slaves)]):
        return None
    return Alternative(
        Link(main[0], main[1], main[2]), int(main[3]), tuple(Link(one[1], one[2], one[3]) for one in slaves)
    )


def chosen(alternatives: Iterable[Alternative]) -> Mapping[str, Alternative]:
    """For each group the choice that is taken in automatic mode: the highest priority, among equals the first path."""
    best: dict[str, Alternative] = {}
    for one in sorted(alternatives, key=lambda one: (one.main.name, -one.priority, one.main.path)):
        best.setdefault(one.main.name, one)
    return best
