"""What a configured tree does not keep: logs, caches, backups, this build's machine id. Deletes only what is new."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stackbuild.packages.deb.database import ADMIN, AVAILABLE, STATUS, Entry, status_entries, status_text
from stackbuild.packages.deb.tree import Tree

_EMPTIED = (b"run", b"tmp", b"var/tmp", b"var/lib/apt/lists", b"var/cache/apt", b"dev/shm")
"""Nothing but folders stays in them."""

_FILES = (
    b"var/cache/ldconfig/aux-cache",  # inode numbers and times of the host
    b"var/cache/debconf/config.dat-old",
    b"var/cache/debconf/templates.dat-old",
    b"var/cache/debconf/passwords.dat-old",
    b"var/lib/apt/lists/lock",
    b"var/lib/sgml-base/supercatalog.old",
    b"var/lib/systemd/random-seed",
    b"var/lib/systemd/credential.secret",
)
_LOGS = b"var/log"
_MACHINE_ID = b"etc/machine-id"
_DBUS_ID = b"var/lib/dbus/machine-id"


def clean(root: Path, lowers: Sequence[Path]) -> None:
    """Take away what the image does not keep and what the lowers do not hold; dpkg's own text gets one form."""
    with Tree(root) as tree:
        for folder in (*_EMPTIED, _LOGS):
            for path in tree.walk(folder):
                found = tree.lstat(path)
                if found is None or held(path, lowers):
                    continue
                # folders of logs have owners that the programs rely on
                if not stat.S_ISDIR(found.st_mode) or folder in (b"run", b"tmp", b"var/tmp", b"dev/shm"):
                    tree.remove(path)
        for path in _FILES:
            if not held(path, lowers):
                tree.remove(path)
        for name in tree.names(ADMIN):
            if name.endswith(b"-old"):
                tree.remove(ADMIN + b"/" + name)
        tree.remove(ADMIN + b"/tmp.ci")
        if tree.read(_MACHINE_ID):
            tree.write(_MACHINE_ID, b"", 0o444)
        if tree.read(_DBUS_ID) is not None:
            tree.remove(_DBUS_ID)  # a copy; made again from /etc/machine-id at the first start
        _one_form(tree)


def _one_form(tree: Tree) -> None:
    """dpkg writes its status in the order of a hash table, which depends on history; `available` serves dselect."""
    status = tree.read(STATUS)
    if status is not None:
        known: dict[tuple[str, str], Entry] = {(e.name, e.architecture): e for e in status_entries(status)}
        text = status_text(known.values())
        if text != status:
            tree.write(STATUS, text)
    if tree.read(AVAILABLE):
        tree.write(AVAILABLE, b"")


def held(path: bytes, lowers: Sequence[Path]) -> bool:
    """Whether any of the folders has something at this path (a whiteout counts: it stays deleted)."""
    return any(os.path.lexists(os.fsencode(folder) + b"/" + path) for folder in lowers)
