"""dpkg's and apt's databases as text: status stanzas, file lists, extended_states. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ADMIN = b"var/lib/dpkg"
STATUS = ADMIN + b"/status"
AVAILABLE = ADMIN + b"/available"
EXTENDED = b"var/lib/apt/extended_states"

_FIELD = re.compile(rb"^(Package|Architecture|Version|Status):[ \t]*(.*)$", re.M | re.I)

_STATUS = re.compile(rb"^Status:[ \t]*(.*?)[ \t]*$", re.M | re.I)


@dataclass(frozen=True, slots=True)
class Entry:
    """A package as the status file knows it. status: its third word: "installed", "unpacked", "config-files"…"""

    name: str
    architecture: str
    version: str
    status: str
    text: bytes  # its stanza, with the newline at the end


def status_entries(data: bytes) -> list[Entry]:
    """The stanzas of a status file (or of extended_states), in its order."""
    entries = []
    for block in re.split(rb"\n(?:[ \t]*\n)+", data):
        block = block.strip(b"\n")
        if not block.strip():
            continue
        found = {key.lower(): value.strip().decode("utf-8", "surrogateescape") for key, value in _FIELD.findall(block)}
        entries.append(
            Entry(
                found.get(b"package", ""),
                found.get(b"architecture", ""),
                found.get(b"version", ""),
                (found.get(b"status", "").split() or ["not-installed"])[-1],
                block + b"\n",
            )
        )
    return entries


def is_pending(status: bytes) -> bool:
    """Whether `dpkg --configure --pending` has anything to do, by its status file."""
    states = {line.rpartition(b" ")[2] for line in _STATUS.findall(status)}
    return bool(states - {b"installed", b"config-files", b"not-installed"})


def status_text(entries: Iterable[Entry]) -> bytes:
    """The stanzas sorted by name and architecture: dpkg's own order is that of a hash table, and depends on
    which names it read first."""
    return b"".join(entry.text + b"\n" for entry in sorted(entries, key=lambda e: (e.name, e.architecture)))


def unpacked(control: bytes, conffiles: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The status stanza of a package that is unpacked and not configured.

    control: the package's control file. conffiles: absolute path and MD5 in hexadecimal digits, for each.
    """
    lines = b"".join(b"\n " + path + b" " + digest for path, digest in conffiles)
    return _fields(control) + b"\nStatus: install ok unpacked" + (b"\nConffiles:" + lines if lines else b"") + b"\n"


def installed(control: bytes) -> bytes:
    """The status stanza of an installed package, without its configuration files. control: its control file."""
    return _fields(control) + b"\nStatus: install ok installed\n"


def _fields(control: bytes) -> bytes:
    text = control.replace(b"\r\n", b"\n").strip(b"\n")
    return b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"#"))


def without_lines(listing: bytes, gone: set[bytes]) -> bytes:
    """A .list file without these paths (relative), as dpkg writes it when another package took them over."""
    return b"".join(line + b"\n" for line in listing.splitlines() if line[1:] not in gone)


def conffile_paths(control: bytes) -> list[bytes] | None:
    """The paths of a `conffiles` control file (deb-conffiles(5)), absolute; None if one has a flag before it."""
    lines = [line.strip() for line in control.splitlines()]
    paths = [line for line in lines if line]
    return paths if all(path.startswith(b"/") for path in paths) else None


def extended_states(old: bytes, marks: Mapping[tuple[str, str], bool]) -> bytes:
    """apt's extended_states, sorted, after packages came in. marks: (name, architecture) -> is automatic.

    Architecture is never "all": apt keeps such a package under the native one.
    """
    entries = {(entry.name, entry.architecture): entry.text for entry in status_entries(old)}
    for key, automatic in marks.items():
        entries.pop(key, None)
        if automatic:
            name, architecture = key
            entries[key] = f"Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n".encode()
    return b"".join(entries[key] + b"\n" for key in sorted(entries))
