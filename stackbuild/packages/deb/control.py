"""Debian control data: deb822 stanzas and relation fields; reads anything, understands no more than its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from stackbuild.packages.deb.version import satisfies

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*\Z")
_FIELD = re.compile(r"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", re.M)
_RELATION = re.compile(
    r"\s*([^\s:()\[\]<>|,]+)(?::([^\s()\[\]<>|,]+))?\s*"
    r"(?:\(\s*(<<|<=|>=|>>|=|<|>)\s*([^\s()]+)\s*\))?\s*(?:\[[^\]]*\])?\s*(?:<[^>]*>\s*)*\Z"
)


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of deb822 text (deb822(5)): field name in lower case -> value, folded lines kept as lines.

    Comment lines are left out; what is no field is skipped; of a field that stands twice the first counts.
    """
    text = text.replace("\r\n", "\n")
    if text.startswith("#") or "\n#" in text:
        text = re.sub(r"^#.*\n?", "", text, flags=re.M)
    for block in re.split(r"\n(?:[ \t]*\n)+", text):
        fields: dict[str, str] = {}
        for name, value in _FIELD.findall(block):
            fields.setdefault(name.lower(), value.rstrip())
        if fields:
            yield fields


def decode(data: bytes) -> str:
    """Control data as text: UTF-8, and what is not stands as a surrogate. Never raises."""
    return data.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Relation:
    """One alternative of a relation field: `name:arch (op version)`. arch: "", "any" or "native"; another one is part
    of the name ("libc6:i386").

    own: no field says it, a user's request does: the package of this name, and nothing that provides it.
    """

    name: str
    arch: str = ""
    op: str = ""
    version: str = ""
    own: bool = False

    def __str__(self) -> str:
        itself = " itself" if self.own else ""
        return f"{self.name}{':' + self.arch if self.arch else ''}{itself}" + (
            f" ({self.op} {self.version})" if self.op else ""
        )

    def accepts(self, version: str) -> bool:
        return satisfies(version, self.op, self.version)


Group = tuple[Relation, ...]


def _relation(name: str, arch: str, op: str, version: str) -> Relation:
    """A name with an architecture is a name of its own; `any` and `native` qualify one."""
    named, _, last = arch.rpartition(":")
    if last not in ("any", "native", ""):
        named, last = arch, ""
    return Relation(f"{name}:{named}" if named else name, last, op, version)


@lru_cache(maxsize=1 << 16)
def relations(text: str) -> tuple[Group, ...]:
    """`a, b (>= 1) | c` as groups of alternatives (policy 7.1). What is malformed is left out."""
    groups = []
    for part in text.split(","):
        group = []
        for word in part.split("|"):
            found = _RELATION.match(word)
            if found:
                group.append(_relation(*found.groups("")))
        if group:
            groups.append(tuple(group))
    return tuple(groups)


def words(group: Group) -> str:
    """The group as a person writes it."""
    return " | ".join(map(str, group))
