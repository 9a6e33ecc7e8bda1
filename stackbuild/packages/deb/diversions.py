"""dpkg's diversions and statoverrides: whose file lies where. Values from the two database files."""

from __future__ import annotations

from dataclasses import dataclass

DIVERSIONS = b"var/lib/dpkg/diversions"
STATOVERRIDES = b"var/lib/dpkg/statoverride"


@dataclass(frozen=True, slots=True)
class Diversion:
    """`path` of every package but `package` lies at `other` (both absolute). package ":" is the local admin."""

    path: bytes
    other: bytes
    package: bytes


def parse_diversions(text: bytes) -> dict[bytes, Diversion]:
    """The diversions file, three lines each, by path."""
    lines = text.splitlines()
    rows = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    return {path: Diversion(path, other, package) for path, other, package in rows}


def parse_statoverrides(text: bytes) -> set[bytes]:
    """The absolute paths that the statoverride file names."""
    rows = (line.split(b" ", 3) for line in text.splitlines())
    return {row[3] for row in rows if len(row) == 4}


def place(path: bytes, package: bytes, diversions: dict[bytes, Diversion]) -> bytes:
    """Where the file that `package` ships at `path` (absolute) is to lie."""
    found = diversions.get(path)
    return path if found is None or found.package == package else found.other
