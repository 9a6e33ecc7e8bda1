"""Runs actions on this machine: each in an empty folder of the store, in a worker process or in-line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackbuild.build.executors.in_room import RoomExecutor
from stackbuild.build.executors.workers import Process, Workers
from stackbuild.build.images import LayerFolders
from stackbuild.build.worker import decode_error, encode, perform
from stackbuild.core.action import Action, Blob, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, Interrupted
from stackbuild.store.objects import ObjectStore


class LocalExecutor(RoomExecutor):
    """The local pool's one worker slot; the scheduler decides how many run at once. Thread-safe.

    An action runs in a worker process of its own unless it is asked for in this one.
    """

    def __init__(
        self,
        blobs: ObjectStore,
        downloads: ObjectStore,
        folders: LayerFolders,
        scratch: Path,
        workers: Workers | None = None,
    ) -> None:
        super().__init__(scratch, folders.form)
        self._blobs, self._downloads, self._folders = blobs, downloads, folders
        self._workers = workers or Workers(warm=False)
        self._children: set[Process] = set()

    def cancel(self) -> None:
        """End what runs; each `run` under way raises Interrupted."""
        super().cancel()
        for child in list(self._children):
            child.terminate()

    def _find(self, blob: Blob, spare: Path) -> Path:
        for store in (self._downloads, self._blobs):
            if store.has(blob):
                return store.checked(blob)
        raise HostError(f"the store lost {blob.digest}", why="a step's input was there a moment ago")

    def _do(self, action: Action, room: Room, work: Path, in_process: bool) -> Mapping[str, Any]:
        return perform(action, room) if in_process else self._in_worker(action, room, work)

    def _keep(self, room: Room, outputs: Mapping[str, Blob], facts: Mapping[str, Any]) -> None:
        for name, blob in outputs.items():
            self._blobs.add_file(room.out / name, blob)
        if (room.out / "tree").is_dir() and "diff_id" in facts:
            self._folders.keep(room.out / "tree", Digest(facts["diff_id"]))

    def _in_worker(self, action: Action, room: Room, work: Path) -> dict[str, Any]:
        request = work / "request.json"
        request.write_bytes(encode(action, room))
        child = self._workers.start(request)
        self._children.add(child)
        try:
            if self._cancelled:
                child.terminate()
            while piece := os.read(child.output, 1 << 16):
                room.output(piece)
            code = child.wait()
        finally:
            self._children.discard(child)
            child.close()
        if self._cancelled:
            raise Interrupted("interrupted")
        if (work / "error.json").exists():
            raise decode_error((work / "error.json").read_bytes())
        if code != 0:
            raise HostError(
                f"the worker for `{action.kind}` died",
                why=f"exit code {code}",
                output=(work / "trouble").read_text(errors="replace"),
            )
        done: dict[str, Any] = json.loads((work / "result.json").read_bytes())
        return done
