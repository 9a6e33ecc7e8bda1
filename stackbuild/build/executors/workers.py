"""Worker processes, one for each action: forked from a warm process, or started anew; says nothing of actions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from stackbuild.build.zygote import AHEAD, MESSAGE


class Process(Protocol):
    """A worker under way. output: the reading end of what its commands write. news: a descriptor that can be read when
    it has something to say, or has ended; None: it never has."""

    output: int
    news: int | None

    def is_ahead(self) -> bool:
        """Whether it waits for leave to write its outputs. Asked once, when there is news."""

    def go_on(self) -> None:
        """Give it leave."""

    def wait(self) -> int:
        """Its exit code, when it has ended; negative: the signal that killed it (-9 if nobody knows)."""

    def terminate(self) -> None:
        """End it; it may have ended."""

    def close(self) -> None:
        """Kill it if it runs, and give back what it holds."""


class Workers:
    """Starts workers. warm: fork them from one process that is started when first asked for, `warm()` at the latest.

    Thread-safe but for `warm()`, which is for the main thread: the warm process ends with the thread that made it.
    """

    def __init__(self, *, warm: bool = True) -> None:
        self._wanted = warm
        self._control: socket.socket | None = None
        self._zygote: subprocess.Popen[bytes] | None = None

    def warm(self) -> None:
        """Start the warm process now: its imports run while the caller settles and plans."""
        if not self._wanted or self._control is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "stackbuild.build.zygote", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        self._control = ours

    def start(self, request: Path) -> Process:
        """A worker for the action in `request`; its folder is that of the file."""
        if self._control is not None:
            with suppress(OSError):  # the warm process is gone: start one the plain way
                return _Forked(self._control, request)
        return _Started(request)

    def close(self) -> None:
        """End the warm process; workers that run end with it."""
        if self._control is not None and self._zygote is not None:
            self._control.close()
            self._zygote.wait()
            self._control = self._zygote = None


class _Started:
    """A process of its own: `python -m stackbuild.build.worker`. It is never ahead."""

    news: int | None = None

    def __init__(self, request: Path) -> None:
        with open(
            request.with_name("trouble"), "wb"
        ) as trouble:  # a file, not a pipe: nobody reads it unless it failed
            self._child = subprocess.Popen(
                [sys.executable, "-m", "stackbuild.build.worker", str(request), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=trouble,
                cwd=request.parent,
                env=environment(),
                start_new_session=True,
            )
        assert self._child.stdout is not None
        self.output = self._child.stdout.fileno()

    def is_ahead(self) -> bool:
        return False

    def go_on(self) -> None:
        return

    def wait(self) -> int:
        return self._child.wait()

    def terminate(self) -> None:
        self._child.terminate()

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()


class _Forked:
    """A fork of the warm process. Raises OSError if that is gone."""

    def __init__(self, control: socket.socket, request: Path) -> None:
        self._report, theirs = socket.socketpair()
        self.news: int | None = self._report.fileno()
        self.output, output = os.pipe()
        self._pid, self._said = -1, b""
        try:
            data = json.dumps({"request": str(request)}).encode()
            assert len(data) < MESSAGE
            socket.send_fds(control, [data], [theirs.fileno(), output])
            theirs.close()
            os.close(output)
            first = self._line()
            if not first:
                raise ConnectionError("the warm process ended")
            self._pid = os.pidfd_open(int(first))
        except ProcessLookupError:  # it has ended already; what it says of that is still to be read
            pass
        except BaseException:
            theirs.close()
            with suppress(OSError):
                os.close(output)
            self.close()
            raise

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            piece = self._report.recv(1)
            if not piece:
                return b""
            line += piece
        return line

    def is_ahead(self) -> bool:
        self._said = self._line()
        return self._said.strip() == AHEAD

    def go_on(self) -> None:
        self._said = b""
        with suppress(OSError):  # it may have been killed
            self._report.send(b"\n")

    def wait(self) -> int:
        line = self._said or self._line()
        return int(line) if line else -signal.SIGKILL

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._pid >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pid, number)

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        if self._pid >= 0:
            os.close(self._pid)
            self._pid = -1
        os.close(self.output)
        self._report.close()


def environment() -> dict[str, str]:
    """What a worker's own Python needs; commands of a step get an environment of their own."""
    kept = ("PATH", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
