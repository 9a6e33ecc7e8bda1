"""Runs actions in the caller's thread, over any `Blobs`: for tests. It asks nothing of the store but its protocol."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from stackbuild.build.worker import perform
from stackbuild.core.action import Action, ActionResult, Blob, Blobs, Places, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import HostError, Interrupted, StackError
from stackbuild.store.scratch import scratch_folder


class InlineExecutor:
    """`Executor` of core/action.py. form: "overlay" or "chroot", of the sandbox and of `Places.lowers`.

    An action that has been begun is not cut off by `cancel`: it ends first.
    """

    def __init__(self, blobs: Blobs, scratch: Path, form: str = "overlay") -> None:
        self._blobs, self._scratch, self._form = blobs, scratch, form
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
        """As `Executor.run`; always in this process, whatever `in_process` says."""
        started = time.monotonic()
        if self._cancelled:
            raise Interrupted("interrupted")
        with scratch_folder(self._scratch) as work:
            for name in ("out", "scratch", "inputs"):
                (work / name).mkdir()
            inputs = {
                name: places.inputs.get(name) or self._fetch(blob, work / "inputs" / str(number))
                for number, (name, blob) in enumerate(sorted(action.inputs.items()))
            }
            room = Room(
                inputs,
                places.lowers,
                work / "out",
                work / "scratch",
                self._form,
                places.secrets,
                places.caches,
                output,
            )
            try:
                done = perform(action, room)
            except StackError:
                if failed and not self._cancelled:
                    failed(action, room)
                raise
            outputs = {name: Blob(Digest(digest), size) for name, (digest, size) in done["outputs"].items()}
            for name, blob in outputs.items():
                with open(room.out / name, "rb") as file:
                    self._blobs.put(file, blob)
        return ActionResult(outputs, done["facts"], time.monotonic() - started)

    def cancel(self) -> None:
        """Each later `run` raises Interrupted."""
        self._cancelled = True

    def _fetch(self, blob: Blob, file: Path) -> Path:
        try:
            with self._blobs.open(blob) as source, open(file, "wb") as target:
                shutil.copyfileobj(source, target)
        except FileNotFoundError:
            raise HostError(f"the store lost {blob.digest}", why="a step's input was there a moment ago") from None
        return file
