"""A child process with bounds: time, output, and a life no longer than its parent's. Knows no sandboxes."""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, cast

from stackbuild.core.errors import HostError

_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded now: between fork and exec nothing may be imported
_PR_SET_PDEATHSIG = 1
_CHUNK = 1 << 16
GRACE = 10.0

Output = Callable[[bytes], None]


class TimeIsUp(Exception):
    """The child did not end by its deadline; it was killed."""


class TooMuchOutput(Exception):
    """The child wrote more than its limit; it was killed."""


class Ended(NamedTuple):
    """How a child ended. code: its exit code, 128 + N after signal N. stdout, stderr: all that it wrote."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Both streams for a person: stripped, undecodable bytes replaced."""
        return (self.stdout + self.stderr).decode(errors="replace").strip()


class Child:
    """One child in its own session. As a context manager it is dead, with its process group, at the end.

    argv: the program (looked up in env's PATH) and its arguments. env: complete, nothing is inherited.
    stdin: bytes that it reads; an int is a descriptor. stdout, stderr: None for a pipe that `wait` reads, else a
    descriptor; stderr may be subprocess.STDOUT. reads: a descriptor (a FIFO open for both) that `wait` reads as stdout.
    terminal: keeps the caller's session and all three streams.
    setup: runs in the child just before exec and may neither import nor take locks.
    stop_signal: ends the child (SIGKILL, the default, its whole group); it also gets it when the thread that
    started it ends, so start and wait for it in one thread. What ignores it for GRACE seconds is killed.
    Raises HostError if it cannot be started (FileNotFoundError, PermissionError are its __cause__).
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        *,
        env: Mapping[str, str],
        cwd: Path | str | bytes | None = None,
        stdin: bytes | int = b"",
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        terminal: bool = False,
        setup: Callable[[], None] | None = None,
        stop_signal: int = signal.SIGKILL,
        reads: int | None = None,
    ) -> None:
        self._input = stdin if isinstance(stdin, bytes) else b""
        source = stdin if isinstance(stdin, int) else subprocess.PIPE if stdin else subprocess.DEVNULL
        pipe = subprocess.PIPE
        parent = os.getpid()

        def before_exec() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)
            if setup is not None:
                setup()

        try:
            self._child = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=None if terminal else source,
                stdout=None if terminal else pipe if stdout is None else stdout,
                stderr=None if terminal else pipe if stderr is None else stderr,
                pass_fds=pass_fds,
                start_new_session=not terminal,
                preexec_fn=before_exec,
                bufsize=0,
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            name = os.fsdecode(argv[0])
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise HostError(f"cannot start {name}", why=why) from error
        self.pid = self._child.pid
        self._own_group = not terminal
        self._stop_signal = stop_signal
        self._reads = reads
        self._lock = threading.Lock()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def signal(self, number: int) -> None:
        """Send a signal to the child alone; nothing if it has ended. May be called from any thread."""
        with self._lock:
            if self._child.returncode is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Stop the child, with its process group if by SIGKILL. From any thread; `wait` then returns 128 + signal."""
        if self._stop_signal == signal.SIGKILL:
            self._kill_group()
        else:
            self.signal(self._stop_signal)

    def _kill_group(self) -> None:
        with self._lock:
            if self._child.returncode is None:  # not reaped: the number is still this child's
                try:
                    if self._own_group:
                        os.killpg(self.pid, signal.SIGKILL)
                    else:
                        os.kill(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def end(self) -> int:
        """Kill what is left, reap, close the pipes. Returns the exit code. May be called again."""
        if self._child.returncode is None:
            if self._stop_signal != signal.SIGKILL:
                self.kill()
                self._ended_within(GRACE)
            self._kill_group()
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # without the lock, so `kill` never blocks
        with self._lock:
            self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        code = self._child.returncode
        return 128 - code if code < 0 else code

    def _ended_within(self, seconds: float) -> None:
        ended = os.pidfd_open(self.pid)
        try:
            select.select([ended], [], [], seconds)
        finally:
            os.close(ended)

    def wait(
        self,
        stdout: Output | None = None,
        stderr: Output | None = None,
        *,
        timeout: float | None = None,
        limit: int | None = None,
    ) -> int:
        """Feed stdin, hand out what comes, until the child ends; then kill its group and reap.

        timeout: seconds. limit: bytes of both streams together. Descendants that keep the pipes open are
        not waited for. Returns the exit code, 128 + N after signal N. Raises TimeIsUp, TooMuchOutput.
        """
        try:
            self._pump(stdout or _forget, stderr or _forget, timeout, limit)
        finally:
            code = self.end()
        return code

    def _pump(self, stdout: Output, stderr: Output, timeout: float | None, limit: int | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = os.pidfd_open(self.pid)
        try:
            with selectors.DefaultSelector() as wait:
                wait.register(ended, selectors.EVENT_READ)
                if self._child.stdin is not None:
                    os.set_blocking(self._child.stdin.fileno(), False)
                    wait.register(self._child.stdin, selectors.EVENT_WRITE, memoryview(self._input))
                for stream, out in ((self._reads or self._child.stdout, stdout), (self._child.stderr, stderr)):
                    if stream is not None:
                        os.set_blocking(stream if isinstance(stream, int) else stream.fileno(), False)
                        wait.register(stream, selectors.EVENT_READ, out)
                self._loop(wait, ended, deadline, limit)
        finally:
            os.close(ended)

    def _loop(self, wait: selectors.BaseSelector, ended: int, deadline: float | None, limit: int | None) -> None:
        written, over = 0, False
        while wait.get_map():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = wait.select(0 if over else left)
            if not ready:
                if over:
                    return  # what keeps the pipes open now is no longer ours
                if left == 0:
                    raise TimeIsUp
            for key, _ in ready:
                if key.fd == ended:
                    over = True
                    wait.unregister(ended)
                    self._kill_group()  # before it is reaped: its group still has its number
                elif key.events & selectors.EVENT_WRITE:
                    _feed(wait, key)
                else:
                    written += _read(wait, key)
                    if limit is not None and written > limit:
                        raise TooMuchOutput


def run(
    argv: Sequence[str | bytes],
    *,
    env: Mapping[str, str],
    cwd: Path | str | bytes | None = None,
    stdin: bytes | int = b"",
    timeout: float = 60.0,
    limit: int = 64 << 20,
    pass_fds: Sequence[int] = (),
    output: Output | None = None,
) -> Ended:
    """Run a tool of the host to its end and keep what it wrote.

    env: complete. timeout: seconds. limit: bytes of stdout and stderr together. output: also gets each chunk
    as it comes. Any exit code is a result. Raises HostError if it cannot start, takes too long or writes too much.
    """
    kept: tuple[list[bytes], list[bytes]] = ([], [])

    def keep(index: int) -> Output:
        def take(data: bytes) -> None:
            kept[index].append(data)
            if output is not None:
                output(data)

        return take

    with Child(argv, env=env, cwd=cwd, stdin=stdin, pass_fds=pass_fds) as child:
        try:
            code = child.wait(keep(0), keep(1), timeout=timeout, limit=limit)
        except TimeIsUp:
            raise HostError(f"{os.fsdecode(argv[0])} did not end", why=f"killed after {timeout:g} seconds") from None
        except TooMuchOutput:
            raise HostError(f"{os.fsdecode(argv[0])} wrote too much", why=f"more than {limit} bytes") from None
    return Ended(code, b"".join(kept[0]), b"".join(kept[1]))


def _forget(data: bytes) -> None:
    """Where output goes that nobody asked for."""


def _feed(wait: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Write the next piece of stdin; a child that does not read it is no error."""
    rest: memoryview = key.data
    try:
        rest = rest[os.write(key.fd, rest[:_CHUNK]) :]
    except BlockingIOError:
        return
    except BrokenPipeError:
        rest = rest[:0]
    if rest:
        wait.modify(key.fileobj, selectors.EVENT_WRITE, rest)
    else:
        wait.unregister(key.fileobj)
        cast(IO[bytes], key.fileobj).close()  # what was registered is the pipe itself


def _read(wait: selectors.BaseSelector, key: selectors.SelectorKey) -> int:
    """Hand out what one pipe holds; returns how many bytes that were."""
    try:
        data = os.read(key.fd, _CHUNK)
    except BlockingIOError:
        return 0
    if data:
        key.data(data)
    else:
        wait.unregister(key.fileobj)
    return len(data)
