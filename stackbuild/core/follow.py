"""How a path is followed inside a tree that is not ours: by look-ups, never by the kernel. Touches no disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stackbuild.core.errors import StepError

MAX_LINKS = 40  # as Linux: more hops than this are a circle


class Found(Protocol):
    """What a tree has at one path. kind: "dir", "symlink", "file", ... target: the text of a link."""

    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> bytes: ...


class NotAFolder(StepError):
    """A path leads through something that is no folder."""


def show(path: bytes) -> str:
    """A relative path of a tree as an error names it."""
    return "/" + path.decode("utf-8", "backslashreplace")


def follow(lookup: Callable[[bytes], Found | None], path: bytes, *, last: bool) -> bytes:
    """Where a path leads inside a tree: relative, free of links and dots (b"" is the root).

    lookup: a plain relative path -> what is there, links not followed. What is not there is taken as new.
    last: whether a link at the very end is followed too. `..` stays within the root, as in a chroot.
    Raises StepError for a circle of links, or a way through something that is no folder.
    """
    pending = path.split(b"/")[::-1]
    done: list[bytes] = []
    hops = 0
    while pending:
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del done[-1:]
            continue
        here = b"/".join([*done, part])
        node = lookup(here)
        more = any(piece not in (b"", b".") for piece in pending)
        if node is not None and node.kind == "symlink" and (more or last):
            hops += 1
            if hops > MAX_LINKS:
                raise StepError(f"the links of {show(path.strip(b'/'))} lead in a circle")
            if node.target.startswith(b"/"):
                done = []
            pending.extend(node.target.split(b"/")[::-1])
            continue
        if node is not None and node.kind not in ("dir", "symlink") and more:
            raise NotAFolder(
                f"there can be no {show(path.strip(b'/'))}: {show(here)} is not a folder", why=f"it is a {node.kind}"
            )
        done.append(part)
    return b"/".join(done)
