"""What every local executor does with an action: an empty folder, its inputs at hand, its outputs kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Pool
from pathlib import Path
from typing import Any

from stackbuild.core.action import Action, ActionResult, Ahead, Blob, Places, Room
from stackbuild.core.digest import Digest
from stackbuild.core.errors import Interrupted, StackError
from stackbuild.core.files import host_error, is_full
from stackbuild.store.scratch import scratch_folder


class RoomExecutor(ABC):
    """`Executor` of core/action.py; a subclass says where inputs are, what does the action, and who keeps the outputs.

    scratch: where the folders of actions are made. form: "overlay" or "chroot", of the sandbox and of
    `Places.lowers`. later: deletes those folders beside the next steps; None: each `run` waits for it.
    """

    def __init__(self, scratch: Path, form: str, later: Pool | None = None) -> None:
        self._scratch, self._form, self._later = scratch, form, later
        self._cancelled = False

    def run(
        self,
        action: Action,
        places: Places,
        *,
        in_process: bool,
        output: Callable[[bytes], None],
        failed: Callable[[Action, Room], None] | None = None,
        ahead: Ahead | None = None,
    ) -> ActionResult:
        """As `Executor.run`."""
        try:
            return self._run(action, places, in_process, output, failed, ahead)
        except OSError as error:
            if is_full(error):
                raise host_error(error, self._scratch) from error
            raise

    def _run(
        self,
        action: Action,
        places: Places,
        in_process: bool,
        output: Callable[[bytes], None],
        failed: Callable[[Action, Room], None] | None,
        ahead: Ahead | None,
    ) -> ActionResult:
        started = time.monotonic()
        if self._cancelled:
            raise Interrupted("interrupted")
        with scratch_folder(self._scratch, self._later) as work:
            for name in ("out", "scratch", "inputs"):
                (work / name).mkdir()
            room = Room(
                inputs={
                    name: places.inputs.get(name) or self._find(blob, work / "inputs" / str(number))
                    for number, (name, blob) in enumerate(sorted(action.inputs.items()))
                },
                lowers=places.lowers,
                out=work / "out",
                scratch=work / "scratch",
                sandbox=self._form,
                secrets=places.secrets,
                caches=places.caches,
                output=output,
            )
            try:
                done = self._do(action, room, work, in_process, ahead)
            except StackError:
                if failed and not self._cancelled:
                    failed(action, room)
                raise
            outputs = {name: Blob(Digest(digest), size) for name, (digest, size) in done["outputs"].items()}
            self._keep(room, outputs, done["facts"])
        return ActionResult(outputs, done["facts"], time.monotonic() - started)

    def cancel(self) -> None:
        """Each later `run` raises Interrupted; what is under way ends first, unless a subclass can end it."""
        self._cancelled = True

    @abstractmethod
    def _find(self, blob: Blob, spare: Path) -> Path:
        """A readable file with an input; `spare` may be made for it. Raises HostError if the store lost it."""

    @abstractmethod
    def _do(self, action: Action, room: Room, work: Path, in_process: bool, ahead: Ahead | None) -> Mapping[str, Any]:
        """What build/worker.py's `perform` gives. work: the folder that all of the room is in. ahead: as in `run`."""

    @abstractmethod
    def _keep(self, room: Room, outputs: Mapping[str, Blob], facts: Mapping[str, Any]) -> None:
        """See to it that the outputs in `room.out` outlive the room."""
