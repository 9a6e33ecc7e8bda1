"""Root in a plain container, without the right to mount: the chroot sandbox is chosen, and keeps the contract there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from stackbuild.core.process import run as run_tool
from tests.machine import REPOSITORY, need, need_root, run

DOCKERS = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write "
    "setfcap"
)
"""The capabilities that docker gives to a container by default."""


def in_container(*words: str | Path, without: tuple[str, ...] = ()) -> list[str]:
    """A command of this interpreter with docker's capabilities at most, as after docker's own exec."""
    names = [name for name in DOCKERS.split() if name not in without]
    only = "-all," + ",".join(f"+{name}" for name in names)
    return [need("setpriv"), f"--bounding-set={only}", f"--inh-caps={'-all'}", sys.executable, *map(str, words)]


@pytest.fixture(autouse=True)
def _root() -> None:
    need_root()


def test_the_chroot_sandbox_is_chosen() -> None:
    ran = run(in_container("-c", "from stackbuild.host.sandbox import choose; print(choose())"), cwd=REPOSITORY)
    assert ran.out == "chroot\n"


def test_without_the_right_to_chroot_the_error_names_what_is_missing() -> None:
    code = "from stackbuild.host.sandbox import choose; choose()"
    ran = run(in_container("-c", code, without=("sys_chroot",)), cwd=REPOSITORY, code=1)
    assert "build steps cannot run here: cannot make a mount namespace: Operation not permitted" in ran.err


@pytest.mark.parametrize("without", [(), ("mknod", "net_raw")], ids=["docker", "without mknod"])
def test_the_contract_holds_there(without: tuple[str, ...]) -> None:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/host/sandbox/test_chroot.py"]
    ran = run(in_container(*words, without=without), code=None, timeout=200, cwd=REPOSITORY)
    assert ran.code == 0, ran.out[-5000:]
    assert " passed" in ran.out and "skipped" not in ran.out


def test_a_command_is_confined_as_far_as_it_can_be(tiny: Path, tmp_path: Path) -> None:
    """Twelve capabilities, no new ones, a filter; no mount, no ptrace, no internet socket; an empty /proc."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom stackbuild.host.sandbox import open_sandbox\n"
        "from stackbuild.host.sandbox.protocol import Command\n"
        "with open_sandbox('chroot').open([Path(sys.argv[1])], Path(sys.argv[2])) as box:\n"
        "    for text in sys.argv[3:]:\n"
        "        print(box.run(Command(('sh', '-c', text), {'PATH': '/usr/bin'}),"
        " lambda data: print(data.decode().strip())))\n"
    )
    calls = {  # x86_64 and others differ: perl asks the C library where it can
        "mount -t tmpfs none /var": "not permitted|denied|only root|must be superuser",
        "perl -e 'socket(S, 2, 1, 0) or print \"refused: $!\\n\"'": "refused: Permission denied",
        "perl -e 'socket(S, 10, 2, 0) or print \"refused: $!\\n\"'": "refused: Permission denied",
        "perl -e 'socket(S, 1, 1, 0) and print \"local is fine\\n\"'": "local is fine",
        "ls -A /proc /sys": r"/proc:\n\n/sys:",
        "mknod /var/null c 1 3": "not permitted",
    }
    ran = run(in_container("-c", code, tiny, tmp_path / "scratch", *calls), cwd=REPOSITORY)
    for text, expected in calls.items():
        assert re.search(expected, ran.out), (text, ran.out)


def test_a_host_process_cannot_be_traced(tiny: Path, tmp_path: Path) -> None:
    from stackbuild.host import seccomp
    from stackbuild.host.sandbox import open_sandbox
    from stackbuild.host.sandbox.protocol import Command

    number = seccomp.library().resolve_syscall(seccomp.library().system_arch(), "ptrace")
    output: list[bytes] = []
    with open_sandbox("chroot").open([tiny], tmp_path / "scratch") as box:
        perl = f'print syscall({number}, 16, getppid(), 0, 0), " $!"'
        assert box.run(Command(("perl", "-e", perl), {"PATH": "/usr/bin"}), output.append) == 0
    assert b"".join(output) == b"-1 Operation not permitted"
    assert run_tool(["true"], env={"PATH": "/usr/bin:/bin"}).code == 0  # and we go on
