"""host/seccomp.py: filters that the kernel takes, that refuse what they say, in both forms from one table."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import HostError
from stackbuild.host import seccomp
from tests.machine import lacking

PODMANS = Path("/usr/share/containers/seccomp.json")


def under(profile: str, code: str, **options: Any) -> str:
    """What Python code prints under a filter, loaded by a process without rights."""
    program = seccomp.program(profile, **options)
    loader = (
        "import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(name, *a):\n    ctypes.set_errno(0)\n    return getattr(libc, name)(*a), ctypes.get_errno()\n"
        "from stackbuild.host.syscalls import *\nprctl(PR_SET_NO_NEW_PRIVS, 1)\n"
        f"load_seccomp(bytes.fromhex({program.hex()!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", loader + code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_filter_is_whole_instructions_and_always_the_same() -> None:
    for profile in ("build", "chroot", "container", "terminal"):
        one = seccomp.program(profile)
        seccomp._program.cache_clear()
        assert one and len(one) % 8 == 0 and seccomp.program(profile) == one


def test_programs_work_under_it() -> None:
    code = "import subprocess, threading, socket, tempfile, json\nthreading.Thread(target=print).start()\n"
    code += "print(subprocess.run(['sh', '-c', 'ls / >/dev/null && echo fine'], capture_output=True).stdout)"
    for profile in ("build", "chroot", "container"):
        assert "fine" in under(profile, code)


def test_refused_calls_say_eperm_and_unknown_ones_enosys() -> None:
    code = "print(call('unshare', 0x10000000), call('mount', 0, 0, 0, 0, 0), call('syscall', 1000), call('getpid')[1])"
    eperm, enosys = errno.EPERM, errno.ENOSYS
    assert under("container", code) == f"(-1, {eperm}) (-1, {eperm}) (-1, {enosys}) 0"


def test_a_capability_opens_its_calls() -> None:
    code = "print(call('unshare', 0)[0], call('chroot', b'/nonexistent')[1])"
    assert under("container", code, capabilities=("SYS_ADMIN", "SYS_CHROOT")) == f"0 {errno.ENOENT}"
    assert under("container", code, capabilities=()) == f"-1 {errno.EPERM}"


def test_fsync_is_free_where_the_tree_is_thrown_away() -> None:
    code = "print(call('fsync', 9999), call('fdatasync', 9999))"  # no such descriptor: the real call would fail
    assert under("build", code) == under("chroot", code) == "(0, 0) (0, 0)"
    assert under("container", code) == f"(-1, {errno.EBADF}) (-1, {errno.EBADF})"


def test_the_chroot_profile_refuses_internet_sockets_unless_network_is_asked() -> None:
    code = "print(*(call('socket', family, 1, 0)[1] for family in (1, 2, 10, 16)))"
    assert under("chroot", code, network=False) == f"0 {errno.EACCES} {errno.EACCES} {errno.ESOCKTNOSUPPORT}"
    assert under("chroot", code, network=True).split()[1] == "0"


def test_nothing_reaches_the_hypervisor() -> None:
    assert under("container", "print(call('socket', 40, 1, 0)[1])") == str(errno.EAFNOSUPPORT)


def test_calls_of_another_convention_are_no_way_around(tmp_path: Path) -> None:
    """int 0x80 makes i386 calls: in the chroot profile they all fail."""
    if os.uname().machine != "x86_64":
        pytest.skip("only x86_64 has i386 calls")
    code = (
        "import mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
        # mov eax, 20 (getpid of i386); int 0x80; cdqe; ret
        "m.write(bytes.fromhex('b814000000cd804898c3'))\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nprint(f())"
    )
    assert under("chroot", code) == str(-errno.ENOSYS)


def test_what_podman_allows_without_capabilities_is_allowed_or_known_to_be_left_out() -> None:
    if not PODMANS.exists():
        lacking("podman's seccomp profile is not on this machine")
    rules = json.loads(PODMANS.read_text())["syscalls"]
    theirs = {n for r in rules if r["action"] == "SCMP_ACT_ALLOW" and not r.get("includes") for n in r["names"]}
    ours = seccomp.oci_profile(["CHOWN"])["syscalls"]
    allowed = {name for rule in ours if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    left_out = theirs - allowed
    # Mounts and namespaces need rights that a container lacks, keyrings are not namespaced; two are no calls of Linux.
    mounts = {"mount", "umount", "umount2", "pivot_root", "fsconfig", "fsmount", "fsopen", "fspick", "move_mount"}
    assert left_out == mounts | {
        *("open_tree", "mount_setattr", "setns", "unshare", "clone3", "keyctl", "pidfd_getfd", "reboot", "syslog"),
        *("syscall", "timerfd"),
    }


def test_the_oci_form_is_the_same_table() -> None:
    profile = seccomp.oci_profile(["CAP_SYS_CHROOT", "CHOWN"], allow=["keyctl"])
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO" and profile["defaultErrnoRet"] == errno.ENOSYS
    allowed = {n for r in profile["syscalls"] if r["action"] == "SCMP_ACT_ALLOW" for n in r["names"]}
    refused = {
        n for r in profile["syscalls"] if r["action"] != "SCMP_ACT_ALLOW" and "args" not in r for n in r["names"]
    }
    assert {"chroot", "read", "keyctl"} <= allowed and {"mount", "unshare", "add_key"} <= refused
    assert not allowed & refused
    json.dumps(profile)


def test_without_the_library_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)  # its import fails
    seccomp.library.cache_clear()
    try:
        with pytest.raises(HostError, match="libseccomp is missing") as caught:
            seccomp.library()
        assert caught.value.hints[0].command == "apt-get install libseccomp2"
    finally:
        seccomp.library.cache_clear()
