"""Requests to a supervisor, from the side of the commands: exec, stop, wait, the terminal; errors that come back."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from stackbuild.core import errors
from stackbuild.core.errors import Hint, HostError, Interrupted, StackError, StepError
from stackbuild.run import control
from stackbuild.run.container import ALIVE, Container

ANSWER_SECONDS = 60.0
POLL = 0.02  # seconds between two looks at what nobody tells


def from_json(tree: dict[str, Any]) -> StackError:
    """The error that a supervisor reported."""
    kind = getattr(errors, str(tree.get("kind")), HostError)
    hints = tuple(Hint(str(text), str(command)) for text, command in tree.get("hints", ()))
    made: StackError = kind(str(tree.get("what")), why=str(tree.get("why", "")), hints=hints)
    return made


def _ask(container: Container, request: dict[str, Any], fds: tuple[int, ...] = ()) -> control.Line | None:
    """Send a request; None if nobody is there, or its supervisor ends at this very moment."""
    line = control.call(container.folder)
    if line is None:
        return None
    try:
        line.send(request, fds)
    except ConnectionError:
        line.close()
        return None
    return line


def ask_to_stop(container: Container, grace: float | None) -> control.Line | None:
    """Send the request; an answer comes on the line when it has stopped. None if nobody is there."""
    return _ask(container, {"do": "stop", "grace": grace})


class News:
    """Tells when there is something new in the log or the state of a container, its end included."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._line: control.Line | None = None

    def wait(self, seconds: float | None = None, *more: int) -> None:
        """Return when it is time to look again: news, these seconds, or something to read on one of these descriptors.

        Returns for no reason at times, the first time always: what was there before nobody tells.
        """
        if self._line is None:
            self._line = _ask(self._container, {"do": "follow"})
            if self._line is None:
                select.select(more, [], [], POLL)
            return
        ready = select.select([self._line.fileno(), *more], [], [], seconds)[0]
        if self._line.fileno() in ready and not self._line.nudged():
            self.close()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def __enter__(self) -> News:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait(container: Container) -> int:
    """Wait until it ends; its exit code."""
    while (state := container.state()).status in ALIVE:
        line = _ask(container, {"do": "wait"})
        if line is None:
            time.sleep(POLL)
            continue
        with line:
            line.receive()
    return 137 if state.exit_code is None else state.exit_code


class Process(NamedTuple):
    """A command that `exec_` started. terminal: our end of its pseudo-terminal, or -1."""

    line: control.Line
    terminal: int = -1

    def wait(self) -> int:
        """Its exit code. Raises Interrupted if its container ends first."""
        message, _ = self.line.receive()
        self.line.close()
        if message is None or not isinstance(message.get("exit"), int):
            raise Interrupted("the container has ended")
        return int(message["exit"])


def exec_(
    container: Container,
    argv: Sequence[str],
    stdio: tuple[int, int, int],
    *,
    terminal: bool = False,
    env: dict[str, str] | None = None,
    user: str | None = None,
    cwd: str | None = None,
) -> Process:
    """Run one more command in a running container. Raises StepError if it is not running or cannot execute it."""
    request = {"do": "exec", "argv": list(argv), "env": env or {}, "user": user, "cwd": cwd, "terminal": terminal}
    line = _ask(container, request, stdio)
    if line is None:
        raise not_running(container)
    message, fds = line.receive(ANSWER_SECONDS)
    if message is None or "error" in message:
        line.close()
        raise from_json(message["error"]) if message else Interrupted("the container has ended")
    return Process(line, fds[0] if fds else -1)


def borrow_terminal(container: Container) -> tuple[int, control.Line]:
    """The other end of the main command's terminal; give it back by closing the line. Raises StepError."""
    line = _ask(container, {"do": "terminal"})
    if line is None:
        raise not_running(container)
    message, fds = line.receive(ANSWER_SECONDS)
    if not fds:
        raise from_json(message["error"]) if message and "error" in message else not_running(container)
    return fds[0], line


def not_running(container: Container) -> StepError:
    """The error of who asks something of a stopped container."""
    state = container.state()
    why = state.detail or ("" if state.exit_code is None else f"it ended with exit code {state.exit_code}")
    return StepError(f"{container.name} is not running", why=why, hints=(Hint("start it", "stackbuild up -d"),))
