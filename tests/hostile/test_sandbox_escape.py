"""A build command is root in the overlay sandbox, and cannot get out of it, see the host, or leave anything behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackbuild.host import seccomp
from stackbuild.host.bwrap import MASKED
from stackbuild.host.sandbox import open_sandbox
from stackbuild.host.sandbox.protocol import Box, Command
from tests.host import tiny_root
from tests.host.contract import running, seconds_of_our_own
from tests.host.tiny_root import ENV
from tests.machine import wait_until

pytestmark = pytest.mark.root
TWELVE = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "SETFCAP", "SYS_CHROOT", "NET_BIND_SERVICE", "AUDIT_WRITE"),
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("escape")
    tiny = tiny_root.make(folder / "tiny")
    with open_sandbox("overlay").open([tiny], folder / "scratch") as box:
        yield box


def sh(box: Box, text: str, **more: Any) -> tuple[int, str]:
    output: list[bytes] = []
    code = box.run(Command(("sh", "-c", text), ENV, **more), output.append)
    return code, b"".join(output).decode(errors="replace")


def syscall(box: Box, name: str, *arguments: str) -> tuple[int, str]:
    """Make one system call as root in the box by perl, which checks nothing; (result, error text)."""
    number = seccomp.library().resolve_syscall(seccomp.library().system_arch(), name)
    perl = f'@a = ({", ".join(arguments)}); $r = syscall({number}, @a); print $r, " $!"'
    code, output = sh(box, f"perl -e '{perl}'")
    assert code == 0, output
    result, _, error = output.partition(" ")
    return int(result), error


def test_it_has_the_twelve_capabilities_and_no_other(box: Box) -> None:
    code, output = sh(box, "cat /proc/self/status")
    assert code == 0
    status = dict(line.split(":", 1) for line in output.splitlines())
    mask = sum(1 << number for number, name in enumerate(_capabilities()) if name in TWELVE)
    for one in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(status[one], 16) == mask, one
    assert status["NoNewPrivs"].strip() == "1"  # so what bwrap leaves in the bounding set cannot be had
    assert status["Seccomp"].strip() == "2"


def _capabilities() -> tuple[str, ...]:
    from stackbuild.host.syscalls import CAPABILITIES

    return CAPABILITIES


@pytest.mark.parametrize(
    "path", ["sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/drop_caches", "sysrq-trigger"]
)
def test_it_cannot_write_the_kernels_settings(box: Box, path: str) -> None:
    if not Path("/proc", path).exists():
        pytest.skip(f"this kernel has no {path}")
    code, output = sh(box, f"echo 1 >/proc/{path}")
    assert code != 0 and "Read-only file system" in output


def test_it_cannot_mount(box: Box) -> None:
    assert sh(box, "mkdir -p /m; mount -t tmpfs none /m")[0] != 0
    assert syscall(box, "mount", '"none"', '"/var"', '"tmpfs"', "0", "0") == (-1, "Operation not permitted")
    assert syscall(box, "umount2", '"/proc"', "2") == (-1, "Operation not permitted")
    for name in ("fsopen", "open_tree", "move_mount", "pivot_root", "mount_setattr"):
        assert syscall(box, name, '""', '""', "0", "0", "0")[0] == -1, name


def test_it_cannot_make_a_namespace_to_have_more_rights_in(box: Box) -> None:
    assert syscall(box, "unshare", "0x10000000") == (-1, "Operation not permitted")
    assert syscall(box, "clone", "0x10000011", "0", "0", "0", "0")[0] == -1
    assert syscall(box, "clone3", "0", "88") == (-1, "Function not implemented")
    assert syscall(box, "setns", "0", "0") == (-1, "Operation not permitted")


@pytest.mark.parametrize(
    "name",
    ["add_key", "request_key", "keyctl", "bpf", "perf_event_open", "init_module", "kexec_load", "swapon", "reboot"],
)
def test_it_cannot_reach_into_the_kernel(box: Box, name: str) -> None:
    assert syscall(box, name, '"user"', '"name"', '"data"', "4", "0") == (-1, "Operation not permitted")


def test_it_cannot_set_the_clock_or_the_hosts_name(box: Box) -> None:
    assert syscall(box, "clock_settime", "0", '"0123456789abcdef"')[1] == "Operation not permitted"
    assert syscall(box, "sethostname", '"x"', "1") == (-1, "Operation not permitted")
    assert sh(box, "hostname") == (0, "stackbuild\n")


def test_it_cannot_make_or_open_devices(box: Box) -> None:
    code, output = sh(box, "mknod /var/disk b 254 0")
    assert code != 0 and "not permitted" in output
    os.mknod(box.root / "var/zero", 0o20666, os.makedev(1, 5))  # as if a lower layer brought one
    try:
        code, output = sh(box, "cat /var/zero")
        assert code != 0 and "Permission denied" in output  # nodev
    finally:
        (box.root / "var/zero").unlink()
    assert sorted(os.listdir("/dev")) != sh(box, "ls /dev")[1].split()
    assert not {"sda", "vda", "mem", "kmsg", "kvm", "fuse", "net"} & set(sh(box, "ls /dev")[1].split())


def test_it_sees_no_environment_processes_or_files_of_the_host(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKBUILD_TEST_SECRET", "very-secret")
    output = sh(box, "cat /proc/*/environ /proc/*/cmdline; ls -d /proc/[0-9]*")[1]
    assert "very-secret" not in output and "pytest" not in output
    assert len(re.findall(r"^/proc/\d+$", output, re.M)) <= 4  # bwrap as init, the shell, ls
    assert str(box.root) not in sh(box, "cat /proc/1/cmdline")[1]
    assert sh(box, "ls /sys")[1] == ""
    assert sh(box, "ls /proc/1/root/../../../home; ls -d /tmp/pytest*")[0] != 0


def test_masked_files_hold_nothing(box: Box) -> None:
    for name in MASKED:
        if Path("/proc", name).exists():
            code, output = sh(box, f"if test -d /proc/{name}; then ls -A /proc/{name}; else cat /proc/{name}; fi")
            assert (code, output) == (0, ""), name


def test_it_has_no_network_unless_asked(box: Box) -> None:
    output = sh(box, "cat /proc/net/dev /proc/net/route")[1]
    assert set(re.findall(r"^\s*(\w+):", output, re.M)) == {"lo"}
    inside = sh(box, "cat /proc/net/dev", network=True)[1]
    assert set(re.findall(r"^\s*(\S+):", inside, re.M)) == set(os.listdir("/sys/class/net"))


def test_it_cannot_use_the_callers_terminal(tmp_path: Path) -> None:
    """Input put into the terminal would be typed into the caller's shell when stackbuild has ended."""
    import pty

    tiny = tiny_root.make(tmp_path / "tiny")
    code = (
        "import sys\nfrom pathlib import Path\nfrom stackbuild.host.sandbox import open_sandbox\n"
        "from stackbuild.host.sandbox.protocol import Command\n"
        "with open_sandbox('overlay').open([Path(sys.argv[1])], Path(sys.argv[2])) as box:\n"
        '    perl = \'$c = "x"; print ioctl(STDIN, 0x5412, $c) ? "typed" : "refused: $!", "\\\\n"\'\n'
        "    box.run(Command(('perl', '-e', perl), {'PATH': '/usr/bin'}, terminal=True), print)\n"
    )
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tiny), str(tmp_path / "scratch")],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    ) as child:
        os.close(follower)
        assert child.wait(timeout=30) == 0
    output = os.read(leader, 4096).decode()
    os.close(leader)
    assert "refused: Operation not permitted" in output


def test_it_leaves_no_process_behind(box: Box) -> None:
    long = seconds_of_our_own()
    sh(box, f"setsid sh -c 'trap \"\" TERM HUP INT; setsid sleep {long} & sleep {long}' & sleep 0.05")
    wait_until(lambda: not running(long), 5, "the end of what the command left behind")


def test_it_ends_with_the_process_that_opened_the_box(tmp_path: Path) -> None:
    tiny = tiny_root.make(tmp_path / "tiny")
    long = seconds_of_our_own()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom stackbuild.host.sandbox import open_sandbox\n"
        "from stackbuild.host.sandbox.protocol import Command\n"
        "with open_sandbox('overlay').open([Path(sys.argv[1])], Path(sys.argv[2])) as box:\n"
        "    kill = lambda data: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    script = f'setsid sleep {sys.argv[3]} & echo up; sleep {sys.argv[3]}'\n"
        "    box.run(Command(('sh', '-c', script), {'PATH': '/usr/bin'}), kill)\n"
    )
    argv = [sys.executable, "-c", code, str(tiny), str(tmp_path / "scratch"), long]
    assert subprocess.run(argv, timeout=30).returncode == -9
    wait_until(lambda: not running(long), 5, "the end of the command")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()  # its mounts ended with it


def test_a_fork_bomb_is_bounded(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackbuild.host.sandbox import limits

    if not _can_bound():
        pytest.skip("no pids control group can be made here")
    real = limits.process_group
    monkeypatch.setattr("stackbuild.host.sandbox.limits.process_group", lambda: real(20))
    output = sh(box, "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all")[1]
    assert "all" not in output and "fork" in output.lower()


def _can_bound() -> bool:
    from stackbuild.host.sandbox.limits import process_group

    with process_group() as files:
        return bool(files)
