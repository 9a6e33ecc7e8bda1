"""Seccomp filters: which system calls a sandbox or container may make, as BPF or as runtime-spec JSON. Loads none.

One table serves all profiles. It lists what is allowed: what it does not know (newer calls too) fails with ENOSYS, so
that a C library falls back; what it knows to be dangerous fails with EPERM.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from stackbuild.core.errors import Hint, HostError
from stackbuild.core.files import write_file

BUILD_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "SETFCAP", "SYS_CHROOT", "NET_BIND_SERVICE", "AUDIT_WRITE"),
)
"""What commands of a build may do as root (DESIGN, section 10), without CAP_."""

_ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range
lseek _llseek readahead fadvise64 fadvise64_64 arm_fadvise64_64 copy_file_range sendfile sendfile64 splice tee
dup dup2 dup3 fcntl fcntl64 flock ioctl fallocate truncate truncate64 ftruncate ftruncate64
fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range cachestat
stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64
access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir umask getdents getdents64 readdir
mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat
chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 lchown lchown32 fchownat
utime utimes futimesat utimensat utimensat_time64 name_to_handle_at
getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr
removexattr lremovexattr fremovexattr
inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
eventfd eventfd2 pipe pipe2 memfd_create memfd_secret
io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64
brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
membarrier remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack mseal
fork vfork execve execveat exit exit_group wait4 waitpid waitid kill tkill tgkill
getpid getppid gettid getpgid getpgrp getsid setpgid setsid
pidfd_open pidfd_send_signal process_mrelease
getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32
setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32
setfsuid setfsuid32 setfsgid setfsgid32 getgroups getgroups32 setgroups setgroups32 capget capset prctl seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self arch_prctl modify_ldt
set_thread_area get_thread_area set_tid_address set_robust_list get_robust_list rseq set_tls cacheflush breakpoint
futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue restart_syscall
sigaction signal sigaltstack sigpending sigprocmask sigreturn sigsuspend signalfd signalfd4
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo pause alarm
getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
time times gettimeofday nanosleep clock_nanosleep clock_nanosleep_time64 clock_getres clock_getres_time64
clock_gettime clock_gettime64 clock_adjtime clock_adjtime64 adjtimex
sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler
sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval
sched_rr_get_interval_time64 get_mempolicy set_mempolicy mbind getpriority setpriority ioprio_get ioprio_set getcpu
getrlimit ugetrlimit setrlimit prlimit64 getrusage sysinfo uname getrandom
socketcall bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown socketpair
send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64
ipc semget semop semctl semtimedop semtimedop_time64 msgget msgsnd msgrcv msgctl shmget shmat shmdt shmctl
mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64
ptrace process_vm_readv process_vm_writev s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr riscv_flush_icache
"""

_WITH_CAPABILITY = {
    "SYS_ADMIN": "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr "
    "unshare setns clone3 sethostname setdomainname bpf perf_event_open quotactl quotactl_fd lookup_dcookie "
    "fanotify_init syslog",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "init_module finit_module delete_module query_module",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
    "SYS_NICE": "set_mempolicy_home_node nice",
    "SYS_BOOT": "reboot",
    "SYSLOG": "syslog",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
}

_REFUSED = """
add_key request_key keyctl kexec_load kexec_file_load swapon swapoff userfaultfd uselib ustat sysfs nfsservctl
bdflush vm86 vm86old move_pages migrate_pages pciconfig_iobase pciconfig_read pciconfig_write swapcontext vmsplice
"""

_NEVER_IN_CHROOT = "ptrace process_vm_readv process_vm_writev name_to_handle_at pidfd_send_signal"  # no pid namespace
_FREE = "fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range"  # the tree is thrown away
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, PER_LINUX32, UNAME26 with each, ask
_NEW_NAMESPACES = 0x7E020000  # all CLONE_NEW* flags of clone(2)
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_PACKET, _AF_VSOCK = 1, 2, 10, 16, 17, 40
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SUB_ARCHITECTURES = {"X86_64": ("X86",), "AARCH64": ("ARM",)}


class Match(NamedTuple):
    """A condition on one argument. operator: libseccomp's name; two: the value of a masked comparison."""

    argument: int
    operator: str
    value: int
    two: int = 0


class Rule(NamedTuple):
    """What happens on these calls. error: None allows them, else their errno (0: success without effect)."""

    names: tuple[str, ...]
    error: int | None = None
    match: Match | None = None


def rules(profile: str, capabilities: Collection[str], network: bool, allow: Collection[str]) -> Iterator[Rule]:
    """The rules of a profile; each call is named under one action only, but for conditions."""
    allowed = {*_ALLOWED.split(), *allow}
    known = {*_REFUSED.split()}
    for capability, names in _WITH_CAPABILITY.items():
        (allowed if capability in capabilities else known).update(names.split())
    if profile == "chroot":
        known.update(_NEVER_IN_CHROOT.split())
        allowed.difference_update(_NEVER_IN_CHROOT.split())
    known.discard("clone3")  # its flags are in memory: ENOSYS sends the C library to clone
    if profile != "container":
        allowed.difference_update(_FREE.split())
        yield Rule(tuple(sorted(_FREE.split())), error=0)
    yield Rule(tuple(sorted(allowed)))
    yield Rule(tuple(sorted(known - allowed)), error=errno.EPERM)
    for value in _PERSONALITIES:
        yield Rule(("personality",), match=Match(0, "EQ", value))
    if "SYS_ADMIN" in capabilities:
        yield Rule(("clone",))
    else:
        flags = 1 if os.uname().machine.startswith("s390") else 0
        yield Rule(("clone",), match=Match(flags, "MASKED_EQ", _NEW_NAMESPACES, 0))
    yield from _socket_rules(profile, network)


def _socket_rules(profile: str, network: bool) -> Iterator[Rule]:
    """A chroot has no network namespace, so there sockets that reach beyond the machine are refused."""
    if profile == "chroot" and not network:
        for family in (_AF_UNIX, _AF_NETLINK):
            yield Rule(("socket",), match=Match(0, "EQ", family))
        for family in (_AF_INET, _AF_INET6, _AF_PACKET):
            yield Rule(("socket",), errno.EACCES, Match(0, "EQ", family))
    else:
        yield Rule(("socket",), match=Match(0, "NE", _AF_VSOCK))  # reaches the hypervisor, past all namespaces
        yield Rule(("socket",), errno.EAFNOSUPPORT, Match(0, "EQ", _AF_VSOCK))


def program(
    profile: str,
    *,
    capabilities: Collection[str] = BUILD_CAPABILITIES,
    network: bool = True,
    allow: Collection[str] = (),
) -> bytes:
    """The filter of a profile as BPF instructions for this machine's processor.

    profile: "build" (in namespaces), "chroot" (without), "container", or "terminal" (a second filter that keeps
    input out of the caller's terminal). capabilities: those of the process, without CAP_. network: only "chroot"
    cares. allow: more calls. Cost: some milliseconds the first time. Raises HostError without libseccomp.
    """
    return _program(profile, tuple(sorted(capabilities)), network, tuple(sorted(allow)))


def kept_program(profile: str, capabilities: Collection[str], folder: Path) -> bytes:
    """As `program`, from a file in `folder` if one was made of the same rules since this machine was started."""
    import hashlib

    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    text = repr((list(rules(profile, capabilities, True, ())), boot, os.uname().machine))
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.bpf"
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        data = b""
    if data and hashlib.sha256(data[32:]).digest() == data[:32]:  # half a filter must not become a weaker one
        return data[32:]
    made = program(profile, capabilities=capabilities)
    write_file(file, hashlib.sha256(made).digest() + made)
    return made


@cache
def _program(profile: str, capabilities: tuple[str, ...], network: bool, allow: tuple[str, ...]) -> bytes:
    lib = library()
    if profile == "terminal":
        chosen = [Rule(("ioctl",), errno.EPERM, Match(1, "MASKED_EQ", 0xFFFFFFFF, c)) for c in (_TIOCSTI, _TIOCLINUX)]
        made = lib.SyscallFilter(lib.ALLOW)
    else:
        chosen = list(rules(profile, capabilities, network, allow))
        made = lib.SyscallFilter(lib.ERRNO(errno.ENOSYS))
    if profile != "chroot":  # there other calling conventions would be a way around the rule on sockets
        for name in _sub_architectures():
            made.add_arch(getattr(lib.Arch, name))
    made.set_attr(lib.Attr.ACT_BADARCH, lib.ERRNO(errno.ENOSYS))
    for rule in chosen:
        action = lib.ALLOW if rule.error is None else lib.ERRNO(rule.error)
        for name in rule.names:
            _add(lib, made, action, name, rule.match)
    return _exported(made)


def _add(lib: ModuleType, made: Any, action: int, name: str, match: Match | None) -> None:
    try:
        if match is None:
            made.add_rule(action, name)
        else:
            made.add_rule(action, name, lib.Arg(match.argument, getattr(lib, match.operator), match.value, match.two))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFAULT, errno.ENOENT):  # a call that this processor does not have
            raise HostError("cannot make a seccomp filter", why=f"{name}: {error.strerror}") from error


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "r+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def oci_profile(capabilities: Collection[str], allow: Collection[str] = ()) -> dict[str, Any]:
    """The "container" profile as `linux.seccomp` of a runtime-spec config.json. Capabilities with or without CAP_."""
    plain = {name.removeprefix("CAP_") for name in capabilities}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [f"SCMP_ARCH_{name}" for name in (_native(), *_sub_architectures())],
        "syscalls": [_json(rule) for rule in rules("container", plain, True, allow)],
    }


def _json(rule: Rule) -> dict[str, Any]:
    made: dict[str, Any] = {"names": list(rule.names), "action": "SCMP_ACT_ALLOW"}
    if rule.error is not None:
        made |= {"action": "SCMP_ACT_ERRNO", "errnoRet": rule.error}
    if rule.match is not None:
        match = rule.match
        made["args"] = [
            {"index": match.argument, "value": match.value, "valueTwo": match.two, "op": f"SCMP_CMP_{match.operator}"}
        ]
    return made


def _native() -> str:
    """libseccomp's name of this machine's architecture."""
    machine = os.uname().machine
    return {"x86_64": "X86_64", "aarch64": "AARCH64", "armv7l": "ARM", "i686": "X86"}.get(machine, machine.upper())


def _sub_architectures() -> tuple[str, ...]:
    return _SUB_ARCHITECTURES.get(_native(), ())


@cache
def library() -> ModuleType:
    """The binding of libseccomp. Raises HostError that names the package."""
    import ctypes.util

    found = ctypes.util.find_library

    def by_soname(name: str) -> str | None:
        """The binding asks ldconfig or a compiler for two libraries: 20 ms, and wrong where neither is there."""
        return {"c": None, "seccomp": "libseccomp.so.2"}[name]

    ctypes.util.find_library = by_soname
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        hint = Hint("install the library libseccomp", "apt-get install libseccomp2")
        raise HostError("libseccomp is missing", why=str(error), hints=(hint,)) from error
    finally:
        ctypes.util.find_library = found
    module: ModuleType = pyseccomp
    return module
