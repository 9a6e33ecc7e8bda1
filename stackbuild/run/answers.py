"""The other end of run/requests.py: how a supervisor answers exec, stop, signal, wait, follow and the terminal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from stackbuild.core.errors import HostError, StackError, StepError
from stackbuild.run import control

if TYPE_CHECKING:
    from pathlib import Path

    from stackbuild.host.enter import Entered
    from stackbuild.run.loop import Loop
    from stackbuild.run.runtimes.protocol import Process


class Supervised(Protocol):
    """What can be asked of a supervisor; as run/supervisor.py has it."""

    @property
    def loop(self) -> Loop: ...
    @property
    def process(self) -> Process | None: ...
    def enter(
        self,
        argv: tuple[str, ...],
        stdio: tuple[int, int, int],
        user: str | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        terminal: bool = False,
    ) -> Entered: ...
    def signal(self, number: int) -> None: ...
    def stop(self, grace: float | None = None) -> None: ...
    def write(self, stream: str, data: bytes) -> None: ...


class Answers:
    """Listens in the container's folder and answers each request, at once or when what it waits for has happened."""

    def __init__(self, supervised: Supervised, folder: Path) -> None:
        self._supervised, self._loop = supervised, supervised.loop
        self._waiters: list[control.Line] = []
        self._followers: list[control.Line] = []
        self._control = control.serve(folder)
        self._loop.watch(self._control.fileno(), read=partial(self._accept, self._control))

    def news(self) -> None:
        """There is something new in the log or the state: let those who follow look again."""
        for line in self._followers:
            line.nudge()

    def ended(self, exit_code: int | None) -> None:
        """The container has ended for good."""
        for line in self._waiters:
            self._answer(line, {"exit": exit_code})

    def _accept(self, sock: socket.socket) -> None:
        line = control.Line(sock.accept()[0])
        self._loop.watch(line.fileno(), read=partial(self._request, line))

    def _request(self, line: control.Line) -> None:
        self._loop.watch(line.fileno())
        message, fds = line.receive(1.0)
        try:
            if message is None:
                line.close()
                return
            handlers: dict[str, Callable[[control.Line, dict[str, Any], list[int]], None]] = {
                "exec": self._exec,
                "stop": self._stop,
                "signal": self._signal,
                "wait": lambda line, message, fds: self._waiters.append(line),
                "follow": self._follow,
                "terminal": self._lend_terminal,
            }
            handlers[str(message.get("do"))](line, message, fds)
        except StackError as error:
            self._answer(line, {"error": as_json(error)})
        except (KeyError, TypeError, ValueError) as error:
            self._answer(line, {"error": as_json(HostError("not a request to a supervisor", why=repr(error)))})
        finally:
            for fd in fds:
                os.close(fd)

    def _answer(self, line: control.Line, message: dict[str, Any]) -> None:
        try:
            line.send(message)
        except OSError:
            pass
        line.close()

    def _stop(self, line: control.Line, message: dict[str, Any], fds: list[int]) -> None:
        self._waiters.append(line)
        grace = message.get("grace")
        self._supervised.stop(None if grace is None else float(grace))

    def _signal(self, line: control.Line, message: dict[str, Any], fds: list[int]) -> None:
        self._supervised.signal(int(message["signal"]))
        self._answer(line, {})

    def _follow(self, line: control.Line, message: dict[str, Any], fds: list[int]) -> None:
        self._followers.append(line)
        line.nudge()
        self._loop.watch(line.fileno(), read=partial(self._unfollow, line))

    def _unfollow(self, line: control.Line) -> None:
        """Who followed says no more, so it is gone."""
        self._followers.remove(line)
        self._loop.watch(line.fileno())
        line.close()

    def _lend_terminal(self, line: control.Line, message: dict[str, Any], fds: list[int]) -> None:
        if self._supervised.process is None or self._supervised.process.terminal < 0:
            raise StepError("the container has no terminal")
        terminal = self._supervised.process.terminal
        self._loop.watch(terminal)
        line.send({}, [terminal])
        self._loop.watch(line.fileno(), read=partial(self._terminal_back, line, terminal))

    def _terminal_back(self, line: control.Line, terminal: int) -> None:
        """Who had it is gone: from now on the log gets what the container writes, or it would come to a halt."""
        self._loop.watch(line.fileno())
        line.close()
        if self._supervised.process is not None and self._supervised.process.terminal == terminal:
            os.set_blocking(terminal, False)
            self._loop.watch(terminal, read=partial(self._from_terminal, terminal))

    def _from_terminal(self, terminal: int) -> None:
        try:
            self._supervised.write("stdout", os.read(terminal, 1 << 16))
        except BlockingIOError:
            pass
        except OSError:  # nobody holds the other end any more
            self._loop.watch(terminal)

    def _exec(self, line: control.Line, message: dict[str, Any], fds: list[int]) -> None:
        if self._supervised.process is None or len(fds) != 3:
            raise StepError("the container is not running")
        user, env, cwd = message.get("user"), dict(message.get("env") or {}), message.get("cwd")
        entered = self._supervised.enter(
            tuple(message["argv"]), (fds[0], fds[1], fds[2]), user, env, cwd, bool(message.get("terminal"))
        )
        if entered.terminal >= 0:
            line.send({"started": entered.pid}, [entered.terminal])
            os.close(entered.terminal)
        else:
            line.send({"started": entered.pid})
        self._loop.on_exit(entered.pid, lambda code: self._answer(line, {"exit": code}))


def as_json(error: StackError) -> dict[str, Any]:
    """An error as it travels to the command that asked."""
    hints = [[hint.text, hint.command] for hint in error.hints]
    return {"kind": type(error).__name__, "what": error.what, "why": error.why, "hints": hints}
