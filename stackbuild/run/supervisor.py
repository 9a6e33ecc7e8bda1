"""The small process beside each container: starts it, keeps its log, exit code and health, forwards ports, stops it.

It is started by run/spawn.py, which then gives it a container's folder (run/container.py); it answers with one JSON
message that the container runs, or why not. It imports little, because every start waits for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackbuild.core.errors import StackError
from stackbuild.host import cgroups, syscalls
from stackbuild.host.enter import Entered, Entry, enter
from stackbuild.run import network, rootfs
from stackbuild.run.answers import Answers, as_json
from stackbuild.run.container import Container, State, start_time
from stackbuild.run.log import LogWriter
from stackbuild.run.loop import Loop, Timer
from stackbuild.run.ports import Forwarder
from stackbuild.run.prepare import prepare
from stackbuild.run.runtimes.protocol import Process, rights
from stackbuild.run.runtimes.table import runtime
from stackbuild.run.spawn import ORDER, READY

if TYPE_CHECKING:
    from stackbuild.run.checks import Checks

FIRST_PAUSE, LAST_PAUSE = 0.1, 60.0
"""Seconds before a restart: the first, doubled after each, up to the last."""
STEADY = 10.0
"""Seconds after which a container counts as having run well: the next pause is the first again."""
KILL_SECONDS = 5.0
LISTEN_SECONDS = 0.05
"""Between two looks whether a process catches its stop signal by now."""


class Supervisor:
    """One container's life, from its start to the end of its last restart."""

    def __init__(self, folder: Path) -> None:
        self.container = Container(folder)
        self._live = os.open(self.container.path("live"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._live, fcntl.LOCK_EX)  # until we end, however we end
        self._outside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.spec, self.launch = self.container.spec, self.container.launch
        self.state = State(supervisor=os.getpid(), runtime=self.launch.runtime, notes=self.launch.notes)
        self.runtime = runtime(self.launch.runtime)
        self.loop = Loop()
        self.log = LogWriter(self.container.path("log"))
        self.process: Process | None = None
        self._outputs: dict[str, int] = {}
        self.stopping = False
        self.helper = 0
        self._failures = 0
        self._checks: Checks | None = None
        self._next_start = Timer(0, self._restart)
        self._answers: Answers | None = None

    # -- start ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """All that a restart need not do again: ports, tree, network, who the user is. Raises StackError."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        prepared = prepare(self.container, self.spec, self.launch)
        self.box, self.spec, self.helper = prepared.box, prepared.box.spec, prepared.helper
        Forwarder(self.loop, prepared.listening)
        ports = tuple(port for port, _ in prepared.listening) or self.spec.ports
        self.state = self.state._replace(ports=ports, notes=self.state.notes + prepared.notes)  # told when it runs
        self._answers = Answers(self, self.container.folder)

    def start(self) -> None:
        """Start the main process and watch it. Raises StackError."""
        if self.spec.terminal:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            stdio, ends = (null, null, null), [null]
        else:
            out, out_write = os.pipe2(os.O_CLOEXEC)
            err, err_write = os.pipe2(os.O_CLOEXEC)
            self._keep("stdout", out)
            self._keep("stderr", err)
            stdio, ends = (0, out_write, err_write), [out_write, err_write]
        started = time.time()  # before its first word, which is later in the log
        try:
            self.process = self.runtime.start(self.box._replace(stdio=stdio))
        finally:
            for fd in ends:
                os.close(fd)
        pid = self.process.pid
        self.loop.on_exit(pid, self._exited)
        self.update(
            status="running",
            pid=pid,
            start=start_time(pid),
            health="starting" if self.spec.health else "none",
            report="",
            started=started,
            exit_code=None,
            detail="",
        )
        self._began = time.monotonic()
        if self.spec.health:
            from stackbuild.run.checks import Checks  # only who has a check waits for it

            self._checks = Checks(self.spec.health, self.loop, lambda *how: self.enter(*how).pid, self._judge)

    def _judge(self, health: str, said: str) -> None:
        if (health, said) != (self.state.health, self.state.report):
            self.update(health=health, report=said)

    def _keep(self, stream: str, fd: int) -> None:
        os.set_blocking(fd, False)
        self._outputs[stream] = fd
        self.loop.watch(fd, read=partial(self._read, stream, fd))

    def _read(self, stream: str, fd: int, last: bool = False) -> None:
        """Log what is there; at the end, or if this is the last time, all of it, and close."""
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except OSError:  # nothing there; or a terminal that nobody holds any more
                data = b""
                if not last:
                    return
            if data:
                self.write(stream, data)
                if last:
                    continue
                return
            self.loop.watch(fd)
            os.close(fd)
            if not last:
                del self._outputs[stream]
            return

    def update(self, **changes: Any) -> None:
        """Change the state, here and on disk."""
        self.state = self.state._replace(**changes)
        try:
            self.container.write_state(self.state)
        except StackError:
            pass  # a full disk: the container goes on
        self._tell()

    def write(self, stream: str, data: bytes) -> None:
        """Into the log."""
        self.log.write(stream, data)
        self._tell()

    def _tell(self) -> None:
        """Let those who follow look again: there is something new in the log or the state."""
        if self._answers:
            self._answers.news()

    # -- end -----------------------------------------------------------------------------------------------------

    def _exited(self, code: int) -> None:
        """The main process has ended: so does all else in the container; then perhaps it starts again."""
        if self._checks:
            self._checks.cancel()
        process, self.process = self.process, None
        assert process is not None
        process.kill_all()
        then = Timer(0, partial(self._gone, process, code))
        if process.monitor:
            self.loop.on_exit(process.monitor, lambda _: then.fire())
            self.loop.later(KILL_SECONDS, then.fire)
        else:
            then.fire()

    def _gone(self, process: Process, code: int) -> None:
        for stream, fd in self._outputs.items():
            self._read(stream, fd, last=True)
        self._outputs.clear()
        if process.terminal >= 0:
            self.loop.watch(process.terminal)
            os.close(process.terminal)
        again = not self.stopping and self._again(code)
        self.update(
            status="restarting" if again else "exited",
            pid=0,
            health="none",
            exit_code=code,
            finished=time.time(),
            stopped=self.stopping,
        )
        if not again:
            self._end()
            return
        self.runtime.clear(self.container, self.launch.programs)
        steady = time.monotonic() - self._began >= STEADY
        self._failures = 0 if steady else self._failures
        pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0**self._failures)
        self._failures += 1
        self._next_start = self.loop.later(pause, self._restart)

    def _again(self, code: int) -> bool:
        policy, _, most = self.spec.restart.partition(":")
        if policy == "on-failure":
            return code != 0 and (not most or self.state.restarts < int(most))
        return policy in ("always", "unless-stopped")

    def _restart(self) -> None:
        try:
            self.update(restarts=self.state.restarts + 1)
            self.start()
        except StackError as error:
            self.update(status="exited", detail=str(error), exit_code=127, finished=time.time())
            self._end()

    def _end(self) -> None:
        self.loop.running = False

    def close(self) -> None:
        """Leave nothing behind but the container's folder."""
        if self.process is not None:
            self.process.kill_all()
        if self.helper:
            try:
                os.kill(self.helper, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.runtime.clear(self.container, self.launch.programs)
        record = self.container.path("network.json")
        if record.exists():  # only root has made something out there, and may go back
            syscalls.setns(self._outside, syscalls.CLONE_NEWNET)
            network.clear(record, self.launch.programs)
        self.container.path("control").unlink(missing_ok=True)
        if self._answers:
            self._answers.ended(self.state.exit_code)

    def stop(self, grace: float | None = None) -> None:
        """The stop signal, then SIGKILL after `grace` seconds."""
        self.stopping = True
        if self.process is None and self.state.status == "restarting":
            self._next_start.cancel()
            self.update(status="exited", stopped=True)
            self._end()
            return
        self._ask_to_end()
        after = self.spec.stop_grace if grace is None else grace
        self.loop.later(after, lambda: self.process.kill_all() if self.process else None)

    def _ask_to_end(self) -> None:
        """The stop signal, as soon as it would be heard."""
        if self.process is not None and not self.process.hears(self.spec.stop_signal):
            self.loop.later(LISTEN_SECONDS, self._ask_to_end)
            return
        self.signal(self.spec.stop_signal)

    def signal(self, number: int) -> None:
        if self.process is not None:
            try:
                os.kill(self.process.pid, number)
            except ProcessLookupError:
                pass

    def enter(
        self,
        argv: tuple[str, ...],
        stdio: tuple[int, int, int],
        user: str | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        terminal: bool = False,
    ) -> Entered:
        """Run one more command in the running container."""
        assert self.process is not None
        who = self.box.identity if user is None else rootfs.identity(self.box.root, user)
        entry = Entry(
            argv=argv,
            env={**self.box.env, **({} if user is None else {"HOME": who.home}), **(env or {})},
            rights=rights(self.spec, who.uid, self.box.seccomp),
            cwd=cwd or self.box.cwd,
            uid=who.uid,
            gid=who.gid,
            groups=who.groups,
            rlimits=self.spec.rlimits,
            cgroups=cgroups.procs_of(self.process.pid),
            terminal=terminal,
        )
        return enter(entry, self.process.pid, stdio)


def main() -> None:
    """Wait for an order; end when the container has ended for good, or could not be started."""
    for fd in (ORDER, READY):
        os.set_inheritable(fd, False)
    os.umask(0o022)
    for name in ("bwrap", "pause"):  # most containers are started by these, and there is time now
        import_module(f"stackbuild.run.runtimes.{name}")
    with open(ORDER, "rb") as pipe:
        order = pipe.read()
    if order:
        _obey(**json.loads(order))
    os._exit(0)  # nothing is left to tidy, and somebody may wait for our end


def _obey(folder: str, stdin: bool) -> None:
    """Be the supervisor of the container in this folder. stdin: its command reads what our maker would read."""
    log = os.open(f"{folder}/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number, fd in enumerate((0 if stdin else null, log, log)):
        if number != fd:
            os.dup2(fd, number)
    supervisor = Supervisor(Path(folder))
    supervisor.loop.on_signal(signal.SIGTERM, supervisor.stop)
    supervisor.loop.on_signal(signal.SIGINT, supervisor.stop)
    try:
        try:
            supervisor.prepare()
            supervisor.start()
        except StackError as error:
            supervisor.update(status="exited", detail=str(error), finished=time.time())
            os.write(READY, json.dumps({"error": as_json(error)}).encode())
            return
        os.write(READY, b"{}")
        os.close(READY)
        supervisor.loop.run()
    finally:
        supervisor.close()
