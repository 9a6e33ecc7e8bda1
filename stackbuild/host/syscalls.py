"""The few Linux calls that Python 3.11 lacks: mount, unshare, setns, prctl, capset, openat2. Imports none of ours."""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
NAMESPACES = {
    "mnt": CLONE_NEWNS,
    "cgroup": CLONE_NEWCGROUP,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
}
"""Name in /proc/PID/ns -> flag; without "user", which nobody may join twice."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_SECCOMP, PR_CAPBSET_DROP = 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47

RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = tuple(_CAPABILITIES.split())
"""In the order of their numbers (capabilities(7)), without CAP_."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_OPENAT2 = 437  # the same number on every architecture, as all calls since Linux 5.1


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _check_of(result: int, path: str | None = None) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread. Raises OSError."""
    _check_of(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: os.PathLike[str] | str, kind: str = "none", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    options = os.fsencode(data) if data else None
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options)
    _check_of(result, str(target))


def umount2(target: os.PathLike[str] | str, flags: int) -> None:
    """umount2(2). Raises OSError that names the target."""
    _check_of(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), str(target))


def setns(fd: int, flags: int) -> None:
    """Join a namespace (its descriptor) or, with a pidfd, several at once (Linux 5.8). Raises OSError."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2) with number arguments. Raises OSError."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(ctypes.c_int(option), *padded), "prctl")


def load_seccomp(program: bytes) -> None:
    """Put this process under a seccomp filter: BPF instructions of 8 bytes each. Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of this thread, as bit masks. Raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    sets = (effective, permitted, inheritable)
    words = [*(one & 0xFFFFFFFF for one in sets), *(one >> 32 for one in sets)]
    data = ctypes.create_string_buffer(struct.pack("6I", *words))
    _check(_libc.capset(header, data), "capset")


def capability_mask(names: tuple[str, ...] | list[str]) -> int:
    """The bit mask of capability names (without CAP_). Raises ValueError for an unknown one."""
    return sum(1 << CAPABILITIES.index(name) for name in set(names))


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process whose root is the folder descriptor `root` would: links are followed, never out of it.

    Raises OSError (Linux 5.6 or later).
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    return _check(_libc.syscall(_OPENAT2, root, os.fsencode(path), how, ctypes.c_size_t(len(how))), path)
