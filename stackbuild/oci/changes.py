"""Deletions as layers say them: whiteout names (image-spec, layer.md). Touches no file system."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"


def split(path: bytes) -> tuple[bytes, bytes]:
    """Folder (b"" is the root) and last name of a relative path."""
    folder, _, name = path.rpartition(b"/")
    return folder, name


def whiteout(path: bytes) -> bytes:
    """The path of the entry that deletes `path`: "a/b" -> "a/.wh.b"."""
    folder, name = split(path)
    return (folder + b"/" if folder else b"") + PREFIX + name


def is_whiteout_name(path: bytes) -> bool:
    """Whether the last name of a path means a deletion, or another thing of the reserved family."""
    return split(path)[1].startswith(PREFIX)


def deleted_by(path: bytes) -> bytes | None:
    """The path that a whiteout entry deletes; None for an opaque marker. Raises ValueError if it is neither."""
    folder, name = split(path)
    if name == OPAQUE:
        return None
    gone = name[len(PREFIX) :]
    if not name.startswith(PREFIX) or gone in (b"", b".", b"..") or gone.startswith(PREFIX):
        raise ValueError(f"not a whiteout: {path!r}")
    return (folder + b"/" if folder else b"") + gone


def with_ancestors(present: Iterable[bytes], deleted: Iterable[bytes] = ()) -> set[bytes]:
    """The present paths and every directory above them and above the deleted ones, the root left out."""
    found = set(present)
    for path in [*found, *deleted]:
        folder = split(path)[0]
        while folder and folder not in found:
            found.add(folder)
            folder = split(folder)[0]
    return found
