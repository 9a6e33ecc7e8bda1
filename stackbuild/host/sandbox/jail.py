"""A chroot that leaves nothing running: what a child does to itself between fork and exec. Mounts nothing.

The child becomes a watcher, outside of the chroot, whose only child is the command. As a child subreaper it inherits
every process that the command leaves; it kills them when the command has ended, or when it is told to stop.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import time
from contextlib import suppress
from typing import NoReturn

from stackbuild.host import syscalls

STOP = signal.SIGTERM  # stops a watcher, and with it all that it watches
_SECONDS = 8.0  # less than the grace that core/process.py gives to what gets a stop signal


def jail(root: str, cwd: str, capabilities: tuple[str, ...], filters: tuple[bytes, ...], report: int) -> None:
    """Fork; the parent watches and never returns, the child is confined to `root` and returns, to exec.

    capabilities: without CAP_; those that this process lacks are left out. filters: seccomp programs.
    report: a descriptor that gets "WHAT: WHY" if it fails. Runs after fork: imports nothing.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {STOP, signal.SIGCHLD})
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    watcher = os.getpid()
    child = os.fork()
    if child:
        _watch(child)
    what = "watch it"
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != watcher:
            os._exit(1)
        os.setsid()  # out of the watcher's process group: it must outlive a `kill 0`
        with suppress(OSError):  # stdin is no terminal, or another session's
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP, signal.SIGCHLD})
        what = "enter the tree"
        os.chroot(root)
        what = f"chdir to {cwd}"
        os.chdir(cwd)
        what = "drop capabilities"
        _drop(capabilities)
        what = "load the seccomp filter"
        for program in filters:
            syscalls.load_seccomp(program)
    except OSError as error:
        os.write(report, f"{what}: {error.strerror}".encode())
        os._exit(126)


def _drop(names: tuple[str, ...]) -> None:
    """Keep these capabilities and no way to others."""
    for number, name in enumerate(syscalls.CAPABILITIES):
        if name not in names:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
            except OSError:  # a kernel that does not know this one
                pass
    mask = syscalls.capability_mask(names)
    syscalls.set_capabilities(mask, mask, 0)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def permitted() -> tuple[str, ...]:
    """The capabilities that this process has, without CAP_."""
    with open("/proc/self/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm"))
    return tuple(name for number, name in enumerate(syscalls.CAPABILITIES) if mask >> number & 1)


def _watch(child: int) -> NoReturn:
    """Wait for the command or the order to stop, kill all that is left, exit as the command did."""
    code = 137
    try:
        os.closerange(3, 1 << 16)  # the pipe by which subprocess learns of the exec among them
        stopped = False
        while not stopped:
            done, status = os.waitpid(-1, os.WNOHANG)
            if done == child:
                code = os.waitstatus_to_exitcode(status)
                code = 128 - code if code < 0 else code
                break
            if done == 0:
                stopped = signal.sigwait({STOP, signal.SIGCHLD}) == STOP
        _kill_descendants()
    finally:
        os._exit(code)


def _kill_descendants() -> None:
    """Kill and reap until there is nobody left, or time is up."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def descendants(ancestor: int) -> list[int]:
    """The processes below a process, by /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(ancestor, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found
