"""The fast path's memory: what the last run read, by `stat`, and what came of it. Imports nothing heavy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

VERSION = 1
MARGIN_NS = 50_000_000  # a file system's clock may tick slower than ours


def signature(path: str) -> list[int] | None:
    """What a change shows in: type and mode, size in bytes, inode, mtime and ctime in ns. None: absent.

    ctime is what makes it safe: an edit that puts the old mtime back is seen too.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_mode, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


class Stamp(NamedTuple):
    """A finished run. files: path -> signature, taken *before* the file was read. env: name -> value or None.

    result: whatever the command wants to know again.
    """

    files: Mapping[str, Any]
    env: Mapping[str, str | None]
    result: Mapping[str, Any]

    def current(self, environ: Mapping[str, str]) -> bool:
        """Whether nothing that the run read has changed since. Cost: one lstat for each file."""
        return all(environ.get(name) == value for name, value in self.env.items()) and all(
            signature(path) == before for path, before in self.files.items()
        )

    def older_than(self, started: int) -> bool:
        """Whether no file has changed since `started`, ns since the epoch: one that did may have been read before."""
        return all(one is None or max(one[3:]) < started - MARGIN_NS for one in self.files.values())


def take(paths: Iterable[Path | str], environ: Mapping[str, str], names: Sequence[str], result: Any) -> Stamp:
    """A stamp of these files and variables as they are now."""
    return Stamp(
        {os.fspath(path): signature(os.fspath(path)) for path in paths},
        {name: environ.get(name) for name in names},
        result,
    )


def place(area: Path, words: Sequence[str]) -> Path:
    """Where the stamp of a run with these words is kept. The words say all that is neither a file nor a variable."""
    import hashlib

    return area / hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:40]


def read(path: Path) -> Stamp | None:
    """The stamp in a file; None if there is none that we understand."""
    try:
        tree = json.loads(path.read_bytes())
        if tree["v"] != VERSION:
            return None
        return Stamp(tree["files"], tree["env"], tree["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, stamp: Stamp, mode: int = 0o644) -> None:
    """Replace a stamp. It may be lost (the next run is then slower), never half-made.

    Where nothing can be written it is lost: what needs the store says so, and what does not need it works.
    """
    from stackbuild.core.errors import HostError
    from stackbuild.core.files import write_file

    tree = {"v": VERSION, "files": dict(stamp.files), "env": dict(stamp.env), "result": dict(stamp.result)}
    with suppress(OSError, HostError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(tree).encode(), mode=mode)


def forget(area: Path) -> None:
    """Take all stamps of an area away: the next run of each command goes the long way."""
    try:
        found = [entry.path for entry in os.scandir(area) if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for path in found:
        with suppress(FileNotFoundError):
            os.unlink(path)
