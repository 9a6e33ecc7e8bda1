"""What a user asks of the resolver, in apt's words or Debian's relations; not what it finds."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

RELATIONS = ("<<", "<=", "=", ">=", ">>")

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9+.\-]*"
_APT = re.compile(rf"({_NAME})(?::([a-z0-9-]+))?(?:=([^\s/]+)|/([^\s/=]+))?\Z")
_DEBIAN = re.compile(rf"({_NAME})(?::([a-z0-9-]+))?\s*\(\s*(<<|<=|=|>=|>>)\s*([^\s()]+)\s*\)\Z")
_PATH_LIKE = re.compile(r"\.{0,2}/|\.\.?\Z|[^|()]+/[^|()]*\.deb\Z")
_PATH = re.compile(r"[!-)+->@-~]{1,1024}\Z")  # what a lock can hold, and no shell pattern
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z.+~:*?\-]+\Z")


@dataclass(frozen=True, slots=True)
class Term:
    """One alternative. relation: "" or one of RELATIONS; with "=" from apt's form, `version` may be a pattern.

    architecture: "" is the platform's own. suite: of apt's "name/suite": a Codename or Suite.
    """

    name: str
    architecture: str = ""
    relation: str = ""
    version: str = ""
    suite: str = ""

    @property
    def is_pattern(self) -> bool:
        """Whether the version is to be matched as a shell pattern ("7.88*")."""
        return "*" in self.version or "?" in self.version

    def __str__(self) -> str:
        text = self.name + (f":{self.architecture}" if self.architecture else "")
        if self.suite:
            return f"{text}/{self.suite}"
        return f"{text} ({self.relation} {self.version})" if self.relation else text


@dataclass(frozen=True, slots=True)
class Request:
    """One entry of `packages.install`. text: as the user wrote it. forbid: "name-", it must not be there.

    path: of a package file or a folder of them, below the project, "." for itself; it has no terms then.
    """

    text: str
    terms: tuple[Term, ...]
    forbid: bool = False
    path: str = ""

    @property
    def name(self) -> str:
        """What it merges by: the package ("libc6", "libc6:i386"), all of `a | b`, or the path ("./debs")."""
        if self.path:
            return f"./{self.path}"
        if len(self.terms) > 1:
            return " | ".join(str(term) for term in self.terms)
        term = self.terms[0]
        return f"{term.name}:{term.architecture}" if term.architecture else term.name

    @property
    def bare(self) -> bool:
        """Whether it is one name and leaves the version open."""
        return len(self.terms) == 1 and not self.terms[0].relation and not self.terms[0].suite

    def __str__(self) -> str:
        return self.text


def parse_request(text: str) -> Request:
    """Parse one request. Raises ValueError.

    apt: `name`, `name=1.2*`, `name/suite`, `name:arch` (with `=` or `/`), `name-` to forbid.
    Debian relations: `name (>= 1)`, `a | b (<< 2)`. Files of the project, by a path with a slash as in apt:
    `./dist/tool_1.0_amd64.deb`, a folder of them: `./debs/`.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError('a request is text, such as "nginx" or "python3 (>= 3.11)"')
    if _PATH_LIKE.match(text.strip()):
        return Request(text.strip(), (), path=_path(text.strip()))
    words = [word.strip() for word in text.split("|")]
    if len(words) == 1:
        word = words[0]
        if word.endswith("-") and "=" not in word and "/" not in word and "(" not in word:
            return Request(text.strip(), (_term(word[:-1], text),), forbid=True)
        return Request(word, (_term(word, text),))
    return Request(text.strip(), tuple(_term(word, text) for word in words))


def _path(text: str) -> str:
    """The path in its plain form. Raises ValueError for one that is not below the project."""
    found = posixpath.normpath(text)
    if found.startswith(("/", "../")) or found == "..":
        raise ValueError(
            f'"{text}" is not in the project; a package file is named by a path below the folder of the stack file, '
            'such as "./debs/tool_1.0_amd64.deb"'
        )
    if not _PATH.match(found):
        raise ValueError(f'"{text}": the path of a package file has no spaces, `*` or other unusual characters')
    return found


def _term(word: str, text: str) -> Term:
    if word.endswith((".deb", "/")):
        raise ValueError(
            f'not a request: "{text}"; a package file or a folder of them is named by its path: "./{word}"'
        )
    if found := _DEBIAN.match(word):
        name, architecture, relation, version = found.groups()
        if not _VERSION.match(version) or "*" in version or "?" in version:
            raise ValueError(f'not a version: "{version}" in "{text}"')
        return Term(name, architecture or "", relation, version)
    if found := _APT.match(word):
        name, architecture, version, suite = found.groups()
        if version is not None and not _VERSION.match(version):
            raise ValueError(f'not a version: "{version}" in "{text}"')
        return Term(name, architecture or "", "=" if version else "", version or "", suite or "")
    if "(" in word and re.search(r"\(\s*[<>]\s*[^<>=\s]", word):
        raise ValueError(f'"{text}": Debian writes strictly earlier and later as << and >>')
    raise ValueError(
        f'not a request: "{text}"; write "name", "name=1.2*", "name/suite", "name:arch", "name-", '
        f'"name (>= 1)" or "a | b"'
    )
