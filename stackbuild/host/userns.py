"""Rootless: one re-exec of an ordinary user into a user namespace with the whole range of ids. Mounts nothing."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stackbuild.core.errors import Hint, HostError
from stackbuild.core.process import run
from stackbuild.host import syscalls
from stackbuild.host.bwrap import SYSTEM_PATH

CLONE_NEWUSER = 0x10000000
MARK = "STACKBUILD_USERNS"  # in the environment of what was re-executed: the user's own id
_NEEDED = 65536  # ids: what distributions give out, "nobody" (65534) included
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Range:
    """Ids of the host that a user may map: first and count."""

    first: int
    count: int


def reenter_if_needed(argv: Sequence[str] | None = None, *, like: int | None = None) -> None:
    """Make an ordinary user root of a user namespace: executes the same command again in it. Root: nothing.

    To be called before anything touches the store, in a process of one thread. argv: the whole command with its
    interpreter, by default the one that runs. like: the id of a running process whose user namespace (made here
    earlier) is joined instead, to reach its other namespaces. The process id stays the same; the environment gets
    STACKBUILD_USERNS. Costs a start of Python. Raises HostError that names the missing piece and what mends it.
    """
    if os.geteuid() == 0:
        return
    if os.environ.get(MARK):
        raise HostError("a user namespace was entered, but not as its root", why=f"{MARK} is set, the id is not 0")
    user = os.geteuid()
    if like is None or not enter(like):
        _new_namespace()
    _become_root()
    _execute(list(sys.orig_argv if argv is None else argv), user)


def enter(pid: int) -> bool:
    """Join the user namespace of a process of ours. False if it is the one we are in, or the process is gone."""
    try:
        if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino:
            return False
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError as error:
        raise HostError(f"cannot join the user namespace of process {pid}", why=error.strerror or "") from error
    try:
        syscalls.setns(fd, CLONE_NEWUSER)
    except OSError as error:
        raise HostError(f"cannot join the user namespace of process {pid}", why=error.strerror or "") from error
    finally:
        os.close(fd)
    return True


def enter_new() -> None:
    """Make this process, which must have one thread, root of a new user namespace, without executing anything.

    For a forked child that tries something out. Raises HostError as `reenter_if_needed` does.
    """
    user = os.geteuid()
    _new_namespace()
    _become_root()
    os.environ[MARK] = str(user)


def _become_root() -> None:
    os.setresgid(0, 0, 0)
    os.setgroups([])  # the host's groups mean nothing in here
    os.setresuid(0, 0, 0)


def _execute(command: list[str], user: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *command[1:]], {**os.environ, MARK: str(user)})


def _new_namespace() -> None:
    """unshare, and have the ids mapped by newuidmap and newgidmap, run by a child that stays outside."""
    found = missing()
    if found is not None:
        raise found
    name = user_name()
    maps = [
        [str(tool("newuidmap")), str(os.getpid()), *_map(os.geteuid(), ranges("/etc/subuid", name, os.geteuid()))],
        [str(tool("newgidmap")), str(os.getpid()), *_map(os.getegid(), ranges("/etc/subgid", name, os.geteuid()))],
    ]
    go, go_end = os.pipe()
    answer, answer_end = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(go_end)
        os.close(answer)
        _map_from_outside(maps, go, answer_end)
    os.close(go)
    os.close(answer_end)
    try:
        if _LIBC.unshare(CLONE_NEWUSER) != 0:
            raise refused(ctypes.get_errno())
        os.write(go_end, b"1")
        failure = os.read(answer, 4096).decode(errors="replace")
    finally:
        os.close(go_end)
        os.close(answer)
        os.waitpid(helper, 0)
    if failure != "ok":
        raise HostError("cannot map the range of ids", why=failure or "newuidmap did not run")


def _map_from_outside(maps: list[list[str]], go: int, answer: int) -> NoReturn:
    """The helper: waits until its parent is in the new namespace, then maps; says "ok" or what went wrong."""
    failure = ""
    try:
        if os.read(go, 1):
            for command in maps:
                ended = run(command, env={"PATH": SYSTEM_PATH}, timeout=20)
                if ended.code != 0:
                    failure = f"{command[0]}: {ended.text}"
                    break
            else:
                failure = "ok"
    except BaseException as error:  # it is a fork: nothing may reach the caller's handlers
        failure = str(error)
    os.write(answer, failure.encode())
    os._exit(0)


def _map(own: int, found: Sequence[Range]) -> list[str]:
    """Arguments of newuidmap: id 0 is the user, then the ranges one after the other."""
    words = ["0", str(own), "1"]
    inside = 1
    for part in found:
        words += [str(inside), str(part.first), str(part.count)]
        inside += part.count
    return words


def user_name() -> str:
    """The name of the user, or the number if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def tool(name: str) -> Path | None:
    """Where newuidmap or newgidmap is."""
    found = shutil.which(name, path=SYSTEM_PATH)
    return Path(found) if found else None


def ranges(file: str, name: str, number: int) -> tuple[Range, ...]:
    """The ranges of a user in /etc/subuid or /etc/subgid (subuid(5)), by name or number."""
    found = []
    for owner, first, count in _entries(file):
        if owner in (name, str(number)):
            found.append(Range(first, count))
    return tuple(found)


def _entries(file: str) -> list[tuple[str, int, int]]:
    try:
        lines = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        parts = line.strip().split(":")
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            found.append((parts[0], int(parts[1]), int(parts[2])))
    return found


def missing(name: str = "", number: int = -1) -> HostError | None:
    """What an ordinary user lacks of what can be told without trying; by default for the user who runs this."""
    name, number = name or user_name(), os.geteuid() if number < 0 else number
    what = "cannot build without root"
    for needed in ("newuidmap", "newgidmap"):
        if tool(needed) is None:
            hint = Hint("install it, as root", "sudo apt-get install uidmap")
            return HostError(what, why=f"{needed} is not installed", hints=(hint,))
    for file in ("/etc/subuid", "/etc/subgid"):
        count = sum(part.count for part in ranges(file, name, number))
        if count < _NEEDED:
            first = max(
                [100000, *(first + size for _, first, size in _entries("/etc/subuid") + _entries("/etc/subgid"))]
            )
            span = f"{first}-{first + _NEEDED - 1}"
            hint = Hint(
                "give the user a range of ids, as root",
                f"sudo usermod --add-subuids {span} --add-subgids {span} {name}",
            )
            return HostError(what, why=f"{file} gives {name} {count} ids, {_NEEDED} are needed", hints=(hint,))
    return disabled()


def disabled() -> HostError | None:
    """Whether the kernel's settings forbid user namespaces."""
    for path, forbids, setting in (
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ):
        if _read(path) == forbids:
            hint = Hint("allow them, as root", f"sudo sysctl -w {setting}")
            return HostError("user namespaces are switched off", why=f"{path} is {forbids}", hints=(hint,))
    return None


def apparmor_restricts() -> bool:
    """Whether AppArmor forbids unknown programs what user namespaces are for (Ubuntu 23.10 and later)."""
    return _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"


def refused(code: int) -> HostError:
    """The error for a user namespace that cannot be made or is of no use."""
    what = "cannot make a user namespace"
    if apparmor_restricts():
        hint = Hint(
            "lift AppArmor's restriction, as root (or write a profile for this program)",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
        return HostError(
            what, why=f"{os.strerror(code)}: AppArmor restricts unprivileged user namespaces", hints=(hint,)
        )
    hint = Hint("in a container, run it as root, or start the container with more rights", "stackbuild doctor")
    return HostError(what, why=os.strerror(code), hints=(hint,))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
