"""Starts a supervisor (run/supervisor.py), which gets ready while its container is still being made.

A fork of this process would be ready at once. But processes on their way into a container can be looked at from within,
and whoever finds the machine's Python by /proc/PID/exe as root may write to it (CVE-2019-5736). So the supervisor runs
a Python that it sees as read-only.
"""

from __future__ import annotations

import fcntl
import os
import sys

from stackbuild.host import syscalls

TYPE_CHECKING = False  # see cli/main.py, which imports this before all else
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, NoReturn

SECONDS = 60.0
ORDER, READY = 3, 4
"""Descriptors of a supervisor: where it reads its container's folder, and where it says that this runs or why not."""


class Spawned:
    """A supervisor that has no container yet; `close` ends it, unless it was given one. Raises OSError."""

    def __init__(self) -> None:
        order, self._order = os.pipe()
        self._ready, ready = os.pipe()
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _become_supervisor(order, ready)
        except OSError:
            os.close(self._order)
            os.close(self._ready)
            raise
        finally:
            os.close(order)
            os.close(ready)
        self._waits = True

    def close(self) -> None:
        if self._waits:
            self._waits = False
            os.close(self._order)  # to it, the end of its order: it ends
            os.close(self._ready)
            os.waitpid(self._pid, 0)

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def give(self, folder: Path, *, stdin: bool = False) -> None:
        """Give it a container, which it starts at once. stdin: the command reads ours."""
        import json

        self._waits = False
        try:
            with open(self._order, "wb") as order:
                order.write(json.dumps({"folder": os.fspath(folder), "stdin": stdin}).encode())
        except BrokenPipeError:
            pass  # it has ended already, and said why

    def answer(self, folder: Path) -> dict[str, Any]:
        """What it says when the container runs ({}), or why it does not ({"error": …}). Raises HostError."""
        import json

        from stackbuild.core.errors import HostError

        said = _read(self._ready, SECONDS)
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" not in answer:
            return answer
        self._end()
        if isinstance(answer, dict):
            return answer
        why = said.decode(errors="replace").strip().rpartition("\n")[2] or _last_line(folder) or "it says nothing"
        raise HostError("the container's supervisor ended before the container ran", why=why)

    def _end(self) -> None:
        """Wait until it has cleared away what it made; at last, end it."""
        import select

        pidfd = os.pidfd_open(self._pid)
        try:
            if not select.select([pidfd], [], [], SECONDS)[0]:
                os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)
        finally:
            os.close(pidfd)


def spawned() -> Spawned:
    """A supervisor that has no container yet. Raises HostError."""
    try:
        return Spawned()
    except OSError as error:
        from stackbuild.core.errors import HostError

        raise HostError("cannot start the container's supervisor", why=str(error)) from error


def _read(ready: int, seconds: float) -> bytes:
    """What a supervisor says, as far as it comes in this time."""
    import select
    import time

    data = b""
    with open(ready, "rb", buffering=0) as pipe:
        deadline = time.monotonic() + seconds
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = pipe.read(65536)
            data += piece
            if not piece or data.endswith(b"}"):
                break
    return data


def _last_line(folder: Path) -> str:
    try:
        return (folder / "supervisor.log").read_text(errors="replace").strip().rpartition("\n")[2]
    except OSError:
        return ""


def _become_supervisor(order: int, ready: int) -> NoReturn:
    try:
        os.setsid()
        wanted = (0, os.open("/dev/null", os.O_RDWR), ready, order, ready)  # until it has a log it complains to us
        safe = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in wanted]
        for number, fd in enumerate(safe):
            os.dup2(fd, number)
        os.closerange(len(wanted), max(map(int, os.listdir("/proc/self/fd"))) + 1)
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        python = os.path.realpath(sys.executable)
        _protect(python)
        os.chdir("/")
        code = f"import sys; sys.path.insert(0, {root!r}); from stackbuild.run.supervisor import main; main()"
        os.execve(python, [python, "-I", "-S", "-c", code], {"PATH": os.defpath, "LANG": "C.UTF-8"})
    except BaseException as error:
        os.write(ready, str(error).encode())
    os._exit(127)


def _protect(python: str) -> None:
    """Let the supervisor's program be read-only for whoever finds it in /proc."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    syscalls.mount(python, python, "", syscalls.MS_BIND)
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    try:
        syscalls.mount("none", python, "", flags | syscalls.MS_NODEV | syscalls.MS_NOSUID)
    except OSError:
        syscalls.mount("none", python, "", flags | _flags_of(python))  # in a user namespace these may not change


def _flags_of(path: str) -> int:
    """The mount flags that a remount in a user namespace must keep: they are locked."""
    found = os.statvfs(path).f_flag
    pairs = ((os.ST_NOSUID, syscalls.MS_NOSUID), (os.ST_NODEV, syscalls.MS_NODEV), (os.ST_NOATIME, 1024))
    return sum(flag for name, flag in pairs if found & name) | (1 << 21 if found & os.ST_RELATIME else 0)
