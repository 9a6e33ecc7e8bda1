"""--shell-on-failure: when a step in a sandbox fails, a shell in its tree as it was, on the user's terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Lock

from stackbuild.build.shell import changed_by, request
from stackbuild.core.action import Action, Room
from stackbuild.core.events import Listener, ShellEnded, ShellStarted
from stackbuild.plan.step import Step

_ONE = Lock()  # there is one terminal


def offer_shell(listener: Listener, step: Step, action: Action, room: Room) -> None:
    """Run a shell and wait for its end; what is changed in it is thrown away with the step."""
    if not action.needs.sandbox:
        return
    with _ONE:
        scratch = room.scratch / "shell"
        scratch.mkdir()
        file = room.scratch / "shell.json"
        changed = changed_by(room.scratch, room.sandbox)
        lowers = [*room.lowers, *changed] if room.sandbox == "overlay" else changed or list(room.lowers)
        params = action.params
        env = {name: str(value) for name, value in dict(params.get("env") or {}).items()}
        file.write_bytes(
            request(lowers, scratch, room.sandbox, env, str(params.get("workdir") or "/"), action.needs.network)
        )
        listener(ShellStarted(step.id))
        try:
            _run([sys.executable, "-m", "stackbuild.build.shell", str(file), str(os.getpid())])
        finally:
            listener(ShellEnded(step.id))


def _run(argv: list[str]) -> None:
    """On a terminal of its own that is joined with the user's: Ctrl-C is for what runs in the shell, not for us."""
    if not (os.isatty(0) and os.isatty(2)):
        subprocess.run(argv, check=False)
        return
    from stackbuild.cli.terminal import join

    master, end = os.openpty()
    with subprocess.Popen(argv, stdin=end, stdout=end, stderr=end, start_new_session=True):
        os.close(end)
        join(master, stdin=True, out=2)
