"""Lays out the project files of a step in a folder, the same whatever checkout they come from; checks each digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackbuild.build.own_layer import GONE, changed
from stackbuild.core.action import Action, Room
from stackbuild.core.digest import chunks, finish
from stackbuild.core.errors import StepError


def lay_out(action: Action, room: Room, entries: Sequence[Sequence[Any]], folder: Path, epoch: int) -> None:
    """entries: [project path, kind, text of a link] in any order; kind as of project_files.Item.

    A file's bytes are the input "files/PROJECT PATH". All of it belongs to root, is 0644 or 0755 and has the time
    `epoch`, whatever umask, user or checkout. Raises StepError for a file that is not what was promised.
    """
    folder.mkdir()
    folders = {folder}
    for path, kind, target in sorted(map(tuple, entries)):
        if any(name.startswith(".wh.") for name in path.split("/")):
            raise StepError(f"{path} cannot be an input", why="names that begin with `.wh.` mean deletions")
        place = folder / path
        parents = [above for above in (place, *place.parents) if above.is_relative_to(folder)]
        for above in reversed(parents if kind == "dir" else parents[1:]):
            if above not in folders:
                above.mkdir()
                folders.add(above)
        if kind == "link":
            os.symlink(target, place)
        elif kind in ("file", "program"):
            _file(action, room, path, place)
            os.chmod(place, 0o755 if kind == "program" else 0o644)
        if kind != "dir":
            _finish(place, epoch)
    for place in sorted(folders, reverse=True):
        os.chmod(place, 0o755)
        _finish(place, epoch)


def _finish(place: Path, epoch: int) -> None:
    os.chown(place, 0, 0, follow_symlinks=False)
    os.utime(place, (epoch, epoch), follow_symlinks=False)


def _file(action: Action, room: Room, path: str, place: Path) -> None:
    name = f"files/{path}"
    hasher = hashlib.sha256()
    try:
        with open(room.inputs[name], "rb") as source, open(place, "xb") as out:
            for piece in chunks(source):
                hasher.update(piece)
                out.write(piece)
    except FileNotFoundError:
        raise changed(path, GONE) from None
    if finish(hasher) != action.inputs[name].digest:
        raise changed(path, "its content is another than when the build began")
