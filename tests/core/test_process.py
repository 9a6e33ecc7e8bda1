"""core/process.py: a child is bounded in time and output, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stackbuild.core.errors import HostError
from stackbuild.core.process import Child, TimeIsUp, TooMuchOutput, run

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_output_exit_code_environment_and_folder(tmp_path: Path) -> None:
    ended = run(["sh", "-c", "pwd; env | grep ^X; echo bad >&2; exit 7"], env=ENV | {"X": "1"}, cwd=tmp_path)
    assert (ended.code, ended.stdout, ended.stderr) == (7, f"{tmp_path}\nX=1\n".encode(), b"bad\n")


def test_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKBUILD_TEST_SECRET", "1")
    assert b"STACKBUILD_TEST_SECRET" not in run(["env"], env=ENV).stdout


def test_a_large_stdin_comes_back_whole() -> None:
    data = bytes(range(256)) * 4096
    assert run(["cat"], env=ENV, stdin=data).stdout == data


def test_a_child_that_reads_nothing_is_no_error() -> None:
    assert run(["true"], env=ENV, stdin=b"x" * 1_000_000).code == 0


def test_output_comes_while_it_runs() -> None:
    reader, writer = os.pipe()
    answered: list[bytes] = []

    def answer(data: bytes) -> None:  # the child goes on only when its first line has arrived
        if not answered:
            os.write(writer, b"go\n")
        answered.append(data)

    with Child(["sh", "-c", "echo up; read line; echo got $line"], env=ENV, stdin=reader) as child:
        assert child.wait(answer, timeout=10) == 0
    os.close(reader)
    os.close(writer)
    assert b"".join(answered) == b"up\ngot go\n"


def test_a_signal_is_128_plus_its_number() -> None:
    assert run(["sh", "-c", "kill -TERM $$"], env=ENV).code == 128 + signal.SIGTERM


def test_the_deadline_kills_what_ignores_sigterm() -> None:
    start = time.monotonic()
    with Child(["sh", "-c", "trap '' TERM; sleep 60 & wait"], env=ENV) as child, pytest.raises(TimeIsUp):
        child.wait(timeout=0.2)
    assert time.monotonic() - start < 5
    assert gone(child.pid)


def test_too_much_output_is_stopped() -> None:
    with Child(["yes"], env=ENV) as child, pytest.raises(TooMuchOutput):
        child.wait(limit=100_000)
    with pytest.raises(HostError, match="wrote too much"):
        run(["yes"], env=ENV, limit=1000)


def test_what_the_leader_left_behind_is_killed_and_not_waited_for() -> None:
    start = time.monotonic()
    ended = run(["sh", "-c", "sleep 60 & echo $!"], env=ENV)
    assert time.monotonic() - start < 5 and ended.code == 0
    assert gone(int(ended.stdout))


def test_the_last_bytes_are_not_lost() -> None:
    data = b"z" * 60_000
    for _ in range(20):
        assert run(["cat"], env=ENV, stdin=data).stdout == data


def test_kill_from_another_thread() -> None:
    with Child(["sleep", "60"], env=ENV) as child:
        threading.Timer(0.1, child.kill).start()
        assert child.wait(timeout=10) == 137
    child.kill()  # nothing left: no effect, no error


def test_a_missing_program_is_an_error_with_its_cause() -> None:
    with pytest.raises(HostError, match=r"cannot start no-such-program: No such file") as caught:
        run(["no-such-program"], env=ENV)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_child_dies_with_its_parent() -> None:
    code = (
        "import os, signal\n"
        "from stackbuild.core.process import Child\n"
        "child = Child(['sleep', '60'], env={'PATH': '/usr/bin:/bin'})\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert gone(int(done.stdout))
