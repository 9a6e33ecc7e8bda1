"""Runs actions on this machine: each in an empty folder of the store, in a worker process or in-line."""

from __future__ import annotations

import errno
import json
import os
import select
from collections.abc import Mapping
from concurrent.futures import Executor as Pool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackbuild.build.executors.in_room import RoomExecutor
from stackbuild.build.executors.workers import Process, Workers
from stackbuild.build.images import LayerFolders
from stackbuild.build.worker import FULL, decode_error, encode, perform
from stackbuild.core.action import Action, Ahead, Blob, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, Interrupted
from stackbuild.store.objects import ObjectStore, lost


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
        later: Pool | None = None,
    ) -> None:
        super().__init__(scratch, folders.form, later)
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
            with suppress(FileNotFoundError):  # another process has just found it damaged
                if store.has(blob):
                    return store.checked(blob)
        raise lost(str(blob.digest))

    def _do(self, action: Action, room: Room, work: Path, in_process: bool, ahead: Ahead | None) -> Mapping[str, Any]:
        if in_process:
            return perform(action, room)

        def told(facts: Mapping[str, Any]) -> None:
            self._folders.keep(room.out / "tree", Digest(facts["diff_id"]))
            if ahead is not None:
                ahead(facts)

        return self._in_worker(action, replace(room, ahead=ahead and told), work)

    def _keep(self, room: Room, outputs: Mapping[str, Blob], facts: Mapping[str, Any]) -> None:
        for name, blob in outputs.items():
            self._blobs.add_file(room.out / name, blob)
        if (room.out / "tree").is_dir() and "diff_id" in facts:
            self._folders.keep(room.out / "tree", Digest(facts["diff_id"]))

    def _listen(self, child: Process, room: Room, work: Path) -> None:
        """Hand out what a worker writes until it ends; when it is ahead, let it go on when those who care know."""
        poll = select.poll()
        poll.register(child.output, select.POLLIN)
        if child.news is not None:
            poll.register(child.news, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == child.output:
                    if not (piece := os.read(fd, 1 << 16)):
                        return
                    room.output(piece)
                    continue
                poll.unregister(fd)
                if child.is_ahead() and room.ahead is not None:
                    room.ahead(json.loads((work / "ahead.json").read_bytes()))
                    child.go_on()

    def _in_worker(self, action: Action, room: Room, work: Path) -> dict[str, Any]:
        request = work / "request.json"
        request.write_bytes(encode(action, room))
        child = self._workers.start(request)
        self._children.add(child)
        try:
            if self._cancelled:
                child.terminate()
            self._listen(child, room, work)
            code = child.wait()
        finally:
            self._children.discard(child)
            child.close()
        if self._cancelled:
            raise Interrupted("interrupted")
        if code == FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
