"""What the tests need of the machine: peers, root, one thing made once for all workers, and children that end."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SBIN = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin"])


def lacking(why: str) -> None:
    """A test cannot run here: a failure in CI, where all must be there, a skip with its reason elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def need(program: str) -> str:
    """The path of a peer's program. Debian's own is preferred to another of the same name."""
    path = os.pathsep.join(["/usr/bin", "/usr/sbin", os.environ.get("PATH", ""), SBIN])
    found = shutil.which(program, path=path)
    if found is None:
        lacking(f"the program `{program}` is not installed; `scripts/test` as root on Debian installs it")
    assert found is not None
    return found


def need_root() -> None:
    """The test does what only root may."""
    if os.geteuid() != 0:
        lacking("needs root")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One process at a time; the lock goes when its holder dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker to ask fills by `make`; the others wait for it. A failure is tried again."""
    done = folder.with_name(folder.name + ".done")
    with locked(folder.with_name(folder.name + ".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            done.touch()
    return folder


def free_port() -> int:
    """A TCP port that nobody listens on now; the kernel gives it to nobody who asks for any, so it stays free."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.SystemRandom().randrange(10000, max(first, 20000))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port
    pytest.fail("no TCP port is free")


def wait_until(condition: Callable[[], object], timeout: float = 30.0, what: str = "") -> None:
    """Poll until the condition holds; fails with `what` (default: its name) at the deadline, in seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {what or condition}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Ran:
    """A process that ended. out and err are text; bytes that are no UTF-8 are kept as surrogates."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.out}{self.err}\n-> {self.code} after {self.seconds:.1f} s"


def imported(ran: Ran) -> set[str]:
    """The modules that a process started with PYTHONPROFILEIMPORTTIME loaded."""
    return {line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time:")}


def run(
    argv: Sequence[str | Path],
    *,
    code: int | None = 0,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    input: str | None = None,
) -> Ran:
    """Run a command in a process group of its own, to its end or to the deadline, when all of the group is killed.

    code: the exit code that it must have; None for any.
    """
    words = tuple(str(word) for word in argv)
    began = time.monotonic()
    child = subprocess.Popen(
        words,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,
    )
    try:
        out, err = child.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_group(child)
        out, err = child.communicate()
        pytest.fail(f"did not end within {timeout} s: {' '.join(words)}\n{out}{err}")
    except BaseException:
        kill_group(child)
        raise
    ran = Ran(words, child.returncode, out, err, time.monotonic() - began)
    assert code is None or ran.code == code, f"expected exit code {code}:\n{ran}"
    return ran


def kill_group(child: subprocess.Popen[str]) -> None:
    """End a process that `run` or `Stackbuild.start` made, and all that it started in its session."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
