"""dpkg's triggers (deb-triggers(5)): who is interested in what, and what an unpacked package activates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stackbuild.packages.deb.tree import Tree

FOLDER = b"var/lib/dpkg/triggers"
FILE = FOLDER + b"/File"
UNINCORPORATED = FOLDER + b"/Unincorp"
LONGEST_LINE = 1000  # bytes; dpkg 1.21 reads 2,000 and not 4,000
_NAME = re.compile(rb"[A-Za-z0-9/][!-~]*\Z")


@dataclass(frozen=True, slots=True)
class Interest:
    """A package that wants to know. trigger: a name, or an absolute path that stands for all beneath it."""

    trigger: bytes
    package: bytes  # with `/noawait` if whoever activates it need not wait

    @property
    def is_file(self) -> bool:
        return self.trigger.startswith(b"/")


def directives(control: bytes, package: bytes) -> tuple[list[Interest], list[bytes]]:
    """The interests and the activated trigger names of a package's `triggers` control file."""
    interests, activates = [], []
    for line in control.splitlines():
        words = line.partition(b"#")[0].split()
        if len(words) != 2 or not _NAME.match(words[1]) or b"/../" in words[1] + b"/":
            continue
        if words[0] in (b"interest", b"interest-await", b"interest-noawait"):
            name = package + (b"/noawait" if words[0] == b"interest-noawait" else b"")
            interests.append(Interest(words[1], name))
        elif words[0] in (b"activate", b"activate-await", b"activate-noawait"):
            activates.append(words[1])
    return interests, activates


def file_interests(text: bytes) -> list[Interest]:
    """The lines of triggers/File."""
    rows = (line.split() for line in text.splitlines())
    return [Interest(row[0], row[1]) for row in rows if len(row) == 2]


def register(tree: Tree, interests: Iterable[Interest]) -> None:
    """Write interests into dpkg's database as its unpack does: file triggers in one file, others in one each."""
    files = [*(tree.read(FILE) or b"").splitlines()]
    named: dict[bytes, list[bytes]] = {}
    for interest in interests:
        if interest.is_file:
            files.append(interest.trigger + b" " + interest.package)
        else:
            path = FOLDER + b"/" + interest.trigger
            lines = named.setdefault(path, (tree.read(path) or b"").splitlines())
            lines.append(interest.package)
    if files:
        tree.write(FILE, b"".join(line + b"\n" for line in dict.fromkeys(files)))
    for path, lines in named.items():
        if b"/" not in path[len(FOLDER) + 1 :]:
            tree.write(path, b"".join(line + b"\n" for line in dict.fromkeys(lines)))


def activations(
    paths: Mapping[bytes, Iterable[bytes]], named: Mapping[bytes, Iterable[bytes]], interests: Iterable[Interest]
) -> dict[bytes, list[bytes]]:
    """Which triggers packages activate: trigger -> the packages that do, in order, each once.

    paths: package -> the absolute paths that it ships, by the names in its archive. named: package ->
    triggers that its control file activates. A file trigger counts for its path and all beneath it.
    """
    wanted = {interest.trigger for interest in interests if interest.is_file}
    found: dict[bytes, dict[bytes, None]] = {}
    for package, shipped in paths.items():
        for trigger in named.get(package, ()):
            found.setdefault(trigger, {})[package] = None
        prefixes: set[bytes] = set()
        for path in shipped:
            while path and path not in prefixes:
                prefixes.add(path)
                path = path.rpartition(b"/")[0]
        for trigger in sorted(wanted & prefixes):
            found.setdefault(trigger, {})[package] = None
    return {trigger: list(packages) for trigger, packages in found.items()}


def unincorporated(found: Mapping[bytes, Iterable[bytes]]) -> bytes:
    """The text of triggers/Unincorp that makes the next dpkg take these activations up.

    A trigger that many packages activate has several lines: dpkg refuses a database with a line of some kilobytes.
    """
    lines: list[bytes] = []
    for trigger, packages in sorted(found.items()):
        line = trigger
        for package in packages:
            if line is not trigger and len(line) + len(package) > LONGEST_LINE:
                lines.append(line)
                line = trigger
            line = line + b" " + package
        lines.append(line)
    return b"".join(line + b"\n" for line in lines)
