"""A layer whose unpacked form is made first: who waits for the tree need not wait for its compression."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from stackbuild.core.changes import Changes
from stackbuild.core.digest import Digest
from stackbuild.oci.changes import is_whiteout_name
from stackbuild.oci.tar_write import DiffIdOf, Entry, LayerWriter, Readable, Written, entries_of
from stackbuild.oci.tree_write import TreeWriter

_MAPPED = 4 << 20  # bytes; a bigger file is read as it is needed


def lay_out(
    changes: Changes, tree: Path, *, epoch: int, whiteouts: Literal["device", "file"]
) -> tuple[list[Entry], Digest]:
    """Make the folder `tree`, as unpacking the layer of these changes would. Returns its entries and diff ID.

    Raises StepError as `entries_of` does, HostError for what this machine cannot make.
    """
    tree.mkdir()
    tree.chmod(0o755)
    layer, entries = DiffIdOf(), []
    with TreeWriter(tree, "the layer", links=False, devices=False, whiteouts=whiteouts) as writer:
        for entry, content in entries_of(changes, epoch):
            entries.append(entry)
            if is_whiteout_name(entry.path):
                layer.add(entry)
                writer.whiteout(entry.path)
                continue
            with writer.entry(entry, entry.path) as fd:
                layer.add(entry, content if content is None or fd is None else _Tee(content, fd))
        writer.finish()
    return entries, layer.close()


class _Tee:
    """Content that is written to a file while it is read."""

    def __init__(self, content: Readable, fd: int) -> None:
        self._content, self._fd = content, fd

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        return data


def pack(entries: Iterable[Entry], root: int, layer: Path, compression: str) -> Written:
    """Write the layer of these entries. root: a descriptor of the folder that has them."""
    with open(layer, "wb") as out, LayerWriter(out, compression) as writer:
        for entry in entries:
            writer.add(entry, content_of(root, entry))
        return writer.close()


def content_of(root: int, entry: Entry) -> memoryview | bytes | None:
    """All of a file of the folder with the descriptor `root`; None for what is no file, or has nothing in it."""
    if entry.kind != "file" or not entry.size:
        return None
    fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        if entry.size > _MAPPED:
            return memoryview(mmap.mmap(fd, 0, prot=mmap.PROT_READ))
        return os.read(fd, entry.size)
    finally:
        os.close(fd)
