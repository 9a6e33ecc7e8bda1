"""A command of ours on a pseudo-terminal, typed at and read as a person would."""

from __future__ import annotations

import os
import pty
import select
import signal
import time

from tests.conftest import Stackbuild


class Terminal:
    """Starts it; leaving the context ends it."""

    def __init__(self, stackbuild: Stackbuild, *words: str) -> None:
        self.said = b""
        environ = {**stackbuild.environment(), "TERM": "xterm", "LANG": "C.UTF-8"}
        environ.pop("CI", None)  # a terminal of a person's: the live view draws on it
        argv = [*stackbuild.argv, *words]
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(stackbuild.folder)
                os.execvpe(argv[0], argv, environ)
            finally:
                os._exit(127)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def type(self, text: bytes) -> None:
        os.write(self._end, text)

    def until(self, text: bytes) -> bytes:
        """Read on until this has come; returns what came up to there since the last call."""
        seen, deadline = b"", time.monotonic() + 30
        while text not in self.said and select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                self.said += os.read(self._end, 4096)
            except OSError:  # the other end is closed
                break
        assert text in self.said, self.said
        seen, _, self.said = self.said.partition(text)
        return seen

    def code(self) -> int:
        """The exit code, when it has ended. What is still written is read: nobody waits for a full terminal."""
        try:
            while piece := os.read(self._end, 4096):
                self.said += piece
        except OSError:
            pass
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
