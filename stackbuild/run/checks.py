"""A container's health check, over and over, as child processes of the supervisor. The rule is run/health.py's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from stackbuild.core.errors import StackError
from stackbuild.run import health
from stackbuild.run.loop import Loop, Timer
from stackbuild.run.spec import Health


class Checks:
    """The checks of one start of a container, from now until `cancel`.

    enter: runs a command in the container with these descriptors, gives its pid. tell: gets the health, and what
    the last check said, after each.
    """

    def __init__(
        self,
        check: Health,
        loop: Loop,
        enter: Callable[[tuple[str, ...], tuple[int, int, int]], int],
        tell: Callable[[str, str], None],
    ) -> None:
        self._check, self._loop, self._enter, self._tell = check, loop, enter, tell
        self._progress = health.Progress()
        self._began = time.monotonic()
        self._over = False
        self._next = loop.later(0, self._start)

    def cancel(self) -> None:
        self._over = True
        self._next.cancel()

    def _start(self) -> None:
        try:
            pid, out = self._command() if self._check.kind == "test" else health.start_request(self._check)
        except StackError as error:
            self._judge(1, str(error))
            return
        deadline = self._loop.later(self._check.timeout, partial(os.kill, pid, signal.SIGKILL))
        self._loop.on_exit(pid, partial(self._ended, out, deadline))

    def _command(self) -> tuple[int, int]:
        out, out_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            return self._enter(health.shell_argv(self._check), (null, out_write, out_write)), out
        finally:
            os.close(out_write)
            os.close(null)

    def _ended(self, out: int, deadline: Timer, code: int) -> None:
        deadline.cancel()
        try:
            said = os.read(out, 4096).decode(errors="replace").strip()
        except BlockingIOError:
            said = ""
        os.close(out)
        self._judge(code, said or ("no answer in time" if code == 137 else f"exit code {code}" if code else ""))

    def _judge(self, code: int, said: str) -> None:
        if self._over:
            return
        self._progress = health.after(self._check, self._progress, code == 0, time.monotonic() - self._began)
        self._tell(self._progress.state, said)
        self._next = self._loop.later(health.pause(self._check, self._progress), self._start)
