"""The container's life as the README tells it: up, up again, look, stop, start, down."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root, wait_until
from tests.projects import port_of, write_tiny

Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


@pytest.fixture
def world(stackbuild: Stackbuild) -> Iterator[Stackbuild]:
    """A project whose container is taken down at the end, whatever happened."""
    need_root()
    yield stackbuild
    if (stackbuild.folder / "stack.toml").exists():
        stackbuild("down", code=None, timeout=60)


def page(port: int, path: str = "") -> str:
    """What the container serves; "" if it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def test_from_a_stack_file_to_a_healthy_container_and_back(world: Stackbuild) -> None:
    port = port_of(write_tiny(world.folder))
    first = world("up", "-d", "--wait")
    assert f"http://127.0.0.1:{port}" in first.out + first.err
    assert page(port) == "tiny\n"

    again = world("up", "-d", "--wait")
    assert again.seconds < 2 and ("running" in again.out + again.err), again
    assert page(port) == "tiny\n"

    [container] = json.loads(world("ps", "--format", "json").out)
    assert container["health"] == "healthy" and container["name"].startswith("tiny-")
    assert "healthy" in world("ps").out
    assert "8080" in world("ps").out
    page(port, "no-such-page")
    wait_until(lambda: "response:404" in world("logs").err, 20, "the request in the log, where httpd wrote it")
    assert world("exec", "/bin/sh", "-c", "echo from inside; exit 3", code=3).out == "from inside\n"

    world("stop", timeout=60)
    assert page(port) == ""
    assert "exited" in world("ps").out or "stopped" in world("ps").out
    started = world("up", "-d", "--wait")
    assert page(port) == "tiny\n" and started.seconds < 5

    (world.folder / "site/index.html").write_text("changed\n")
    world("up", "-d", "--wait")
    assert page(port) == "changed\n"
    assert len(json.loads(world("ps", "--format", "json").out)) == 1

    world("down", timeout=60)
    assert page(port) == "" and json.loads(world("ps", "--format", "json").out) == []
    world("down", code=None, timeout=60)


def test_ctrl_c_stops_the_foreground_cleanly(world: Stackbuild, running: Keep) -> None:
    port = port_of(write_tiny(world.folder))
    child = running(world.start("up"))
    wait_until(lambda: page(port, "no-such-page") == "" and page(port) == "tiny\n", 60, "the page")
    seen: list[str] = []
    assert child.stderr is not None
    while not seen or "is healthy" not in seen[-1]:
        seen.append(child.stderr.readline())
        assert seen[-1], "it ended: " + "".join(seen)
    page(port, "no-such-page")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=40)
    err = "".join(seen) + err
    assert "Traceback" not in err and "response:404" in out + err
    assert child.returncode in (0, 130, 143)  # the container's own: busybox httpd ends by the signal
    assert page(port) == ""


def test_the_foreground_exits_with_the_containers_own_code(world: Stackbuild) -> None:
    write_tiny(
        world.folder, image='cmd = ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]', container='network = "none"'
    )
    ran = world("up", code=7, timeout=60)
    assert "out" in ran.out and "err" in ran.err + ran.out


def test_two_ups_at_once_make_one_container(world: Stackbuild, running: Keep) -> None:
    port = port_of(write_tiny(world.folder))
    children = [running(world.start("up", "-d", "--wait")) for _ in range(2)]
    ends = [(child.communicate(timeout=90), child.returncode) for child in children]
    assert [code for _, code in ends] == [0, 0], ends
    assert page(port) == "tiny\n"
    assert len(json.loads(world("ps", "--format", "json").out)) == 1


def test_a_container_that_never_gets_healthy_is_a_failure_with_its_log(world: Stackbuild) -> None:
    check = 'healthcheck = { tcp = "127.0.0.1:9", interval = "100ms", retries = 3 }'
    write_tiny(world.folder, image='cmd = ["/bin/sh", "-c", "echo I am up; sleep 100"]', container=check)
    failed = world("up", "-d", "--wait", code=1, timeout=90)
    assert "healthy" in failed.err and "I am up" in failed.err


def test_a_port_that_is_taken_is_named(world: Stackbuild) -> None:
    import socket

    port = port_of(write_tiny(world.folder))
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        failed = world("up", "-d", "--wait", code=5, timeout=90)
    assert str(port) in failed.err and "in use" in failed.err


def test_a_killed_up_leaves_a_store_that_the_next_one_uses(world: Stackbuild, running: Keep) -> None:
    port = port_of(write_tiny(world.folder))
    child = running(world.start("up", "-d", "--wait"))
    time.sleep(0.7)  # any instant will do; there is no sign to wait for
    child.kill()
    child.communicate(timeout=30)
    world("up", "-d", "--wait")
    assert page(port) == "tiny\n"


def test_run_starts_any_image_of_the_store(world: Stackbuild) -> None:
    write_tiny(world.folder)
    world("build")
    ran = world("run", "tiny", "/bin/sh", "-c", "echo $((6*7)); exit 4", code=4, timeout=60)
    assert ran.out == "42\n"


def test_logs_follow(world: Stackbuild, running: Keep) -> None:
    write_tiny(
        world.folder,
        image='cmd = ["/bin/sh", "-c", "echo one; sleep 2; echo two; sleep 100"]',
        container='network = "none"',
    )
    world("up", "-d")
    child = running(world.start("logs", "-f"))
    assert child.stdout is not None
    seen = [child.stdout.readline(), child.stdout.readline()]
    assert "one" in seen[0] and "two" in seen[1]
    world("down", timeout=60)
    child.communicate(timeout=20)  # it ends with the container
