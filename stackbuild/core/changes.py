"""What a sandbox gives back: the entries that were added, changed or deleted. Knows no layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between a tree before and after; the same for every sandbox that ran the same commands.

    root: a folder in which the content and metadata of each entry of `present` can be read, now.
    present: relative paths (bytes, no leading or trailing slash), sorted as bytes: every entry
        that was added or that differs in type, content, mode, owner, link target, device number
        or xattrs (a new mtime alone is no change), and every directory above one.
    deleted: likewise; a deleted directory stands for all that was in it. A path whose type
        changed is in `present` alone, unless a directory became something else or the reverse:
        then what was in the directory and is no more need not be named.
    """

    root: Path
    present: tuple[bytes, ...]
    deleted: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.present or self.deleted)
