"""Runs actions on this machine: each in an empty folder of the store, in a worker process or in-line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackbuild.build.executors.workers import Process, Workers
from stackbuild.build.images import LayerFolders
from stackbuild.build.worker import decode_error, encode, perform
from stackbuild.core.action import Action, ActionResult, Blob, Places, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, Interrupted, StackError
from stackbuild.store.objects import ObjectStore
from stackbuild.store.scratch import scratch_folder


class LocalExecutor:
    """The local pool's one worker slot; the scheduler decides how many run at once. Thread-safe."""

    def __init__(
        self,
        blobs: ObjectStore,
        downloads: ObjectStore,
        folders: LayerFolders,
        scratch: Path,
        workers: Workers | None = None,
    ) -> None:
        self._blobs, self._downloads, self._folders, self._scratch = blobs, downloads, folders, scratch
        self._workers = workers or Workers(warm=False)
        self._children: set[Process] = set()
        self._cancelled = False

    def run(
        self,
        action: Action,
        places: Places,
        *,
        in_process: bool,
        output: Callable[[bytes], None],
        failed: Callable[[Action, Room], None] | None = None,
    ) -> ActionResult:
        """As `Executor.run`; in a worker process of its own unless in_process."""
        started = time.monotonic()
        if self._cancelled:
            raise Interrupted("interrupted")
        with scratch_folder(self._scratch) as work:
            for name in ("out", "scratch"):
                (work / name).mkdir()
            room = Room(
                inputs={name: places.inputs.get(name) or self._find(blob) for name, blob in action.inputs.items()},
                lowers=places.lowers,
                out=work / "out",
                scratch=work / "scratch",
                sandbox=self._folders.form,
                secrets=places.secrets,
                caches=places.caches,
                output=output,
            )
            try:
                done = perform(action, room) if in_process else self._in_worker(action, room, work)
            except StackError:
                if failed and not self._cancelled:
                    failed(action, room)
                raise
            outputs = {name: Blob(Digest(digest), size) for name, (digest, size) in done["outputs"].items()}
            for name, blob in outputs.items():
                self._blobs.add_file(room.out / name, blob)
            if (room.out / "tree").is_dir() and "diff_id" in done["facts"]:
                self._folders.keep(room.out / "tree", Digest(done["facts"]["diff_id"]))
        return ActionResult(outputs, done["facts"], time.monotonic() - started)

    def cancel(self) -> None:
        """End what runs; each `run` under way raises Interrupted."""
        self._cancelled = True
        for child in list(self._children):
            child.terminate()

    def _find(self, blob: Blob) -> Path:
        for store in (self._downloads, self._blobs):
            if store.has(blob):
                return store.checked(blob)
        raise HostError(f"the store lost {blob.digest}", why="a step's input was there a moment ago")

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
