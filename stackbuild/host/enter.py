"""Start a command inside the namespaces of a running process: the one way in, for starts, execs and health checks.

It makes no namespaces and no mounts, and does not wait for the command's end.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from stackbuild.core.errors import Hint, HostError, StepError
from stackbuild.host import syscalls

SETUP_SECONDS = 20.0
_TIOCGPTPEER, _TIOCSPTLCK = 0x5441, 0x40045431  # ioctl_tty(2); the termios module lacks them


class Rights(NamedTuple):
    """What a process may do. Capability names have no CAP_ in front.

    bounding: the most it can ever have. effective: what it has now (its permitted set too).
    ambient: what it keeps although it is not root; also in `effective`. seccomp: BPF instructions.
    """

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    seccomp: bytes = b""
    no_new_privs: bool = True


class Entry(NamedTuple):
    """A command and as whom it runs. env is complete. rlimits: name in lower case -> (soft, hard).

    cgroups: the `cgroup.procs` files of the groups that it is put into before it joins anything.
    terminal: it gets a new pseudo-terminal of the container, whose other end is handed back.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    rights: Rights
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    rlimits: Mapping[str, tuple[int, int]] = {}
    cgroups: tuple[str, ...] = ()
    terminal: bool = False


class Entered(NamedTuple):
    """The command runs. pid: as seen from here; a child of this process. terminal: a descriptor or -1."""

    pid: int
    terminal: int = -1


def enter(entry: Entry, target: int, stdio: tuple[int, int, int]) -> Entered:
    """Run `entry` in all namespaces of process `target` but the user namespace, which must be ours already.

    The caller must be a child subreaper (PR_SET_CHILD_SUBREAPER): the command becomes its child.
    Cost: two forks. Raises StepError if the command cannot be executed, HostError for all else.
    """
    with Entering(entry, stdio) as entering:
        return entering.into(target)


class Entering:
    """A command on its way: what of it needs no target is done while the target is still being made.

    The kernel takes some 10 ms to put a process into a control group.
    """

    def __init__(self, entry: Entry, stdio: tuple[int, int, int]) -> None:
        self._entry = entry
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._helper = os.fork()
        if self._helper == 0:
            _helper(entry, stdio, theirs)
        theirs.close()
        self._ours.settimeout(SETUP_SECONDS)

    def __enter__(self) -> Entering:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()  # without a target, the helper ends by that
        if self._helper:
            os.waitpid(self._helper, 0)

    def into(self, target: int) -> Entered:
        """As `enter`."""
        helper, self._helper = self._helper, 0
        try:
            self._ours.send(str(target).encode())
        except OSError:
            pass  # it says why it is gone
        return _follow(self._entry, self._ours, helper)


def _follow(entry: Entry, ours: socket.socket, helper: int) -> Entered:
    """Read what the helper reports, until the command took its place (its end of the socket closes)."""
    pid, terminal, failure = 0, -1, None
    try:
        while True:
            data, fds, _, _ = socket.recv_fds(ours, 65536, 1)
            terminal = fds[0] if fds else terminal
            if not data:
                break
            report = json.loads(data)
            pid = report.get("pid", pid)
            failure = report if "stage" in report else failure
    except TimeoutError:
        failure = {"stage": "enter", "errno": errno.ETIMEDOUT}
        for one in filter(None, (helper, pid)):
            os.kill(one, signal.SIGKILL)
    os.waitpid(helper, 0)
    if failure is None and pid:
        return Entered(pid, terminal)
    if pid:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the caller is no subreaper
    if terminal >= 0:
        os.close(terminal)
    raise _refusal(entry, failure or {"stage": "enter", "errno": errno.ECHILD})


def _refusal(entry: Entry, failure: Mapping[str, object]) -> HostError | StepError:
    stage, code = str(failure["stage"]), int(str(failure["errno"]))
    why = os.strerror(code)
    if stage == "execute":
        hint = "it, or the interpreter that it names, is not in the image" if code == errno.ENOENT else ""
        return StepError(
            f"cannot execute `{entry.argv[0]}` in the container", why=why, hints=(Hint(hint),) if hint else ()
        )
    if stage == "change to its working directory":
        return StepError(f"cannot {stage} {entry.cwd}", why=why)
    return HostError(f"cannot {stage} the container", why=why)


class _Stage:
    """What is being done, for the report if it fails."""

    def __init__(self) -> None:
        self.name = "enter"


def _helper(entry: Entry, stdio: tuple[int, int, int], report: socket.socket) -> NoReturn:
    """In the first fork: join; in the second, which is then in the PID namespace too: become the command."""
    stage = _Stage()
    keep = -1
    try:
        for file in entry.cgroups:
            stage.name = "join the control group of"
            with open(file, "w") as group:
                group.write("0")
        stage.name = "join the namespaces of"
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # nobody in there may look at our memory or descriptors
        signal.set_wakeup_fd(-1)  # our maker's, which is closed here: a signal would be told to the command's stderr
        keep = _only_stdio(stdio, report.fileno())
        target = int(os.read(keep, 32) or b"0")
        if not target:
            os._exit(0)
        pidfd = os.pidfd_open(target)
        syscalls.setns(pidfd, _foreign_namespaces(target))
        os.close(pidfd)
        pid = os.fork()
        if pid:
            _report(keep, {"pid": pid})
            os._exit(0)
        _become(entry, keep, stage)
    except BaseException as error:
        code = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
        _report(report.fileno() if keep < 0 else keep, {"stage": stage.name, "errno": code})
    os._exit(127)


def _report(fd: int, message: Mapping[str, object], fds: tuple[int, ...] = ()) -> None:
    with socket.socket(fileno=os.dup(fd)) as channel:
        socket.send_fds(channel, [json.dumps(message).encode()], fds)


def _only_stdio(stdio: tuple[int, int, int], report: int) -> int:
    """Close every descriptor but stdio and the report (which goes when the command is executed); its new number."""
    safe = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in stdio]
    channel = fcntl.fcntl(report, fcntl.F_DUPFD, 10)
    for number, fd in enumerate(safe):
        os.dup2(fd, number)
    os.dup2(channel, 3, inheritable=False)
    os.closerange(4, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    return 3


def _foreign_namespaces(target: int) -> int:
    """The flags of the namespaces in which `target` is and we are not."""
    flags = 0
    for name, flag in syscalls.NAMESPACES.items():
        # a process has left a PID namespace for its children only: "pid_for_children" says so, "pid" does not
        if os.readlink(f"/proc/{target}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
            flags |= flag
    return flags


def _become(entry: Entry, report: int, stage: _Stage) -> NoReturn:
    stage.name = "give a terminal to a process in"
    if entry.terminal:
        _take_terminal(entry, report)
    else:
        os.setsid()
        _hand_over_pipes(entry.uid)
    stage.name = "set the limits of a process in"
    for name, limit in entry.rlimits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), limit)
    os.umask(0o022)
    stage.name = "change to its working directory"
    moved = _chdir(entry.cwd)
    stage.name = "set the rights of a process in"
    _drop(entry)
    if not moved:  # a folder that only its user may enter
        stage.name = "change to its working directory"
        os.chdir(entry.cwd)
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass  # the C library keeps some to itself
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    stage.name = "set the seccomp filter of a process in"
    if entry.rights.seccomp and entry.rights.no_new_privs:
        syscalls.load_seccomp(entry.rights.seccomp)
    stage.name = "execute"
    os.execvpe(entry.argv[0], entry.argv, dict(entry.env))


def _hand_over_pipes(uid: int) -> None:
    """Let the process's user open /dev/stdout, a pipe here, by its path: servers log there. As runc does it."""
    for fd in (0, 1, 2):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            try:
                os.fchown(fd, uid, -1)
            except OSError:
                pass  # the pipe of an id that this namespace does not know


def _chdir(path: str) -> bool:
    try:
        os.chdir(path)
    except PermissionError:
        return False
    return True


def _take_terminal(entry: Entry, report: int) -> None:
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)  # by the open file: no path to be fooled with
    os.fchown(slave, entry.uid, -1)
    _report(report, {}, (master,))
    os.close(master)
    os.login_tty(slave)


def attainable(name: str, limit: tuple[int, int]) -> tuple[int, int]:
    """What of a limit (name in lower case, soft and hard, -1: none) this process may set: no more than its hard one."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    return _least(limit[0], hard), _least(limit[1], hard)


def _least(one: int, other: int) -> int:
    """The lower of two limits, of which -1 is none."""
    return other if one < 0 else one if other < 0 else min(one, other)


def _drop(entry: Entry) -> None:
    """Groups, gid, uid and capabilities, in the only order in which each step is still allowed."""
    rights = entry.rights
    if rights.seccomp and not rights.no_new_privs:
        syscalls.load_seccomp(rights.seccomp)  # later we could not: it takes CAP_SYS_ADMIN or no_new_privs
    for number, name in enumerate(syscalls.CAPABILITIES):
        if name not in rights.bounding:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: this kernel does not know it
                    raise
    os.setgroups(entry.groups)
    os.setresgid(entry.gid, entry.gid, entry.gid)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    os.setresuid(entry.uid, entry.uid, entry.uid)
    effective = syscalls.capability_mask(rights.effective)
    ambient = syscalls.capability_mask(rights.ambient)
    syscalls.set_capabilities(effective, effective, ambient)
    for name in rights.ambient:
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, 2, syscalls.CAPABILITIES.index(name))
    if rights.no_new_privs:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
