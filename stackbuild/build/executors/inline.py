"""Runs actions in the caller's thread, over any `Blobs`: for tests. It asks nothing of the store but its protocol."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackbuild.build.executors.in_room import RoomExecutor
from stackbuild.build.worker import perform
from stackbuild.core.action import Action, Ahead, Blob, Blobs, Room
from stackbuild.core.errors import HostError


class InlineExecutor(RoomExecutor):
    """An action that has been begun is not cut off by `cancel`: it ends first."""

    def __init__(self, blobs: Blobs, scratch: Path, form: str = "overlay") -> None:
        super().__init__(scratch, form)
        self._blobs = blobs

    def _find(self, blob: Blob, spare: Path) -> Path:
        try:
            with self._blobs.open(blob) as source, open(spare, "wb") as target:
                shutil.copyfileobj(source, target)
        except FileNotFoundError:
            raise HostError(f"the store lost {blob.digest}", why="a step's input was there a moment ago") from None
        return spare

    def _do(self, action: Action, room: Room, work: Path, in_process: bool, ahead: Ahead | None) -> Mapping[str, Any]:
        return perform(action, room)

    def _keep(self, room: Room, outputs: Mapping[str, Blob], facts: Mapping[str, Any]) -> None:
        for name, blob in outputs.items():
            with open(room.out / name, "rb") as file:
                self._blobs.put(file, blob)
