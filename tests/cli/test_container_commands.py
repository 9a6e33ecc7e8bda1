"""ps, logs, exec, stop, restart, wait, down: each as a whole process on a real container."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.paths import StorePaths
from tests.conftest import Stackbuild
from tests.machine import kill_group, need, need_root, once, run, wait_until
from tests.projects import busybox
from tests.run.boxes import Boxes, make_tree
from tests.terminal import Terminal

SCRIPT = "trap 'echo bye; exit 5' TERM; echo one; echo two; while :; do sleep 0.05; done"


@pytest.fixture
def boxes(shared: Path, stackbuild: Stackbuild) -> Iterator[Boxes]:
    need_root()
    folder = once(shared / "busybox-tree", make_tree)
    made = Boxes(StorePaths(stackbuild.store), (folder / "base", folder / "own"), "bwrap")
    yield made
    made.close()


def test_the_life_of_a_container_from_the_command_line(boxes: Boxes, stackbuild: Stackbuild) -> None:
    name = boxes.start(("sh", "-c", SCRIPT)).name
    lines = stackbuild("ps").out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SINCE", "RUNTIME", "PORTS", "COMMAND"]
    assert lines[1].split()[:2] == [name, "running"]
    [shown] = json.loads(stackbuild("ps", "--format", "json").out)
    assert (shown["name"], shown["status"], shown["runtime"]) == (name, "running", "bwrap")
    wait_until(lambda: stackbuild("logs", name).out == "one\ntwo\n")
    assert stackbuild("logs", "-n", "1", name).out == "two\n"
    script = "echo $A $PWD; echo no >&2; exit 3"
    ran = stackbuild("exec", "-c", name, "-e", "A=b", "-w", "/srv", "sh", "-c", script, code=3)
    assert (ran.out, ran.err) == ("b /srv\n", "no\n")
    stackbuild("stop", name)
    assert stackbuild("logs", "-f", name).out == "one\ntwo\nbye\n"
    assert "exited (5)" in stackbuild("ps").out
    stackbuild("restart", name)
    assert "running" in stackbuild("ps").out
    stackbuild("stop", name)
    stackbuild("wait", name, code=5)
    stackbuild("down", name)
    assert json.loads(stackbuild("ps", "--format", "json").out) == []


def test_a_container_that_is_not_there(stackbuild: Stackbuild) -> None:
    for command in ("logs", "stop", "down", "wait", "restart"):
        assert "there is no container `nothing`" in stackbuild(command, "nothing", code=2).err
    assert "there is no stack.toml" in stackbuild("logs", code=2).err
    assert "no command is given" in stackbuild("exec", "-c", "nothing", code=2).err


def test_exec_with_a_terminal_is_a_session_in_the_container(boxes: Boxes, stackbuild: Stackbuild) -> None:
    container = boxes.start(("sh", "-c", SCRIPT))
    with Terminal(stackbuild, "exec", "-it", "-c", container.name, "sh") as terminal:
        terminal.type(b"echo pre$((1+1))post; tty\n")
        said = terminal.until(b"pre2post") + terminal.until(b"/dev/pts/0")
        terminal.type(b"sleep 100\n")
        wait_until(lambda: "sleep 100" in boxes.exec(container, "ps -o args")[1])
        terminal.type(b"\x03")  # Ctrl-C is for what runs in there
        terminal.type(b"echo $? after; exit 4\n")
        said += terminal.until(b"130 after")
        assert terminal.code() == 4
    assert not re.search(rb"job control turned off", said)


def test_ctrl_c_is_how_one_leaves_a_log_that_is_followed(boxes: Boxes, stackbuild: Stackbuild) -> None:
    container = boxes.start(("sh", "-c", SCRIPT))
    with Terminal(stackbuild, "logs", "-f", container.name) as terminal:
        terminal.until(b"two\r\n")
        terminal.type(b"\x03")
        assert terminal.code() == 130
        assert b"error" not in terminal.said
    assert container.state().status == "running"


def make_layout(boxes: Boxes, layout: Path) -> None:
    """An image of one layer, the busybox tree, written without stackbuild."""
    tar = run([need("tar"), "-C", boxes.lowers[0], "--numeric-owner", "-cf", layout.with_suffix(".tar"), "."])
    assert tar.code == 0
    run([need("umoci"), "init", "--layout", layout])
    name = f"{layout}:small"
    run([need("umoci"), "new", "--image", name])
    run([need("umoci"), "raw", "add-layer", "--image", name, layout.with_suffix(".tar")])
    words = (
        "--config.cmd",
        "sh",
        "--config.cmd",
        "-c",
        "--config.cmd",
        "echo from $A; exit 3",
        "--config.env",
        "A=image",
    )
    run([need("umoci"), "config", "--image", name, *words])


def test_run_starts_a_container_of_any_image(boxes: Boxes, stackbuild: Stackbuild, tmp_path: Path) -> None:
    make_layout(boxes, tmp_path / "layout")
    reference = f"oci:{tmp_path / 'layout'}:small"
    assert stackbuild("run", "--rm", "--network", "none", reference, code=3).out == "from image\n"
    assert stackbuild("run", "--rm", "--network", "none", "-e", "A=me", reference, code=3).out == "from me\n"
    child = subprocess.run(
        [*stackbuild.argv, "run", "--rm", "-i", "--network", "none", reference, "cat"],
        input=b"through\n",
        capture_output=True,
        timeout=60,
        cwd=stackbuild.folder,
        env=stackbuild.environment(),
    )
    assert (child.returncode, child.stdout) == (0, b"through\n"), child.stderr
    name = stackbuild("run", "-d", "--name", "kept", "--network", "none", reference, "sleep", "60").out.strip()
    assert name == "kept" and [one["name"] for one in json.loads(stackbuild("ps", "--format", "json").out)] == ["kept"]
    assert "container.network" in stackbuild("run", "--network", "bridge", reference, code=2).err
    stackbuild("down", "-t", "0", "kept")
    stackbuild("tag", reference, "moved")
    for _ in range(2):  # the second time it is known
        assert stackbuild("run", "--rm", "--network", "none", "moved", code=3).out == "from image\n"
    run(
        [
            need("umoci"),
            "config",
            "--image",
            f"{tmp_path / 'layout'}:small",
            "--tag",
            "other",
            "--config.env",
            "A=other",
        ]
    )
    other = f"oci:{tmp_path / 'layout'}:other"
    assert stackbuild("run", "--rm", "--network", "none", other, code=3).out == "from other\n"
    stackbuild("tag", other, "moved")
    assert stackbuild("run", "--rm", "--network", "none", "moved", code=3).out == "from other\n"
    (stackbuild.folder / "stack.toml").write_text("broken = [")  # an image that is here needs nothing of the project
    assert stackbuild("run", "--rm", "--network", "none", reference, code=3).out == "from image\n"


def test_ctrl_c_while_a_container_starts_leaves_none_behind(boxes: Boxes, stackbuild: Stackbuild) -> None:
    (stackbuild.folder / "stack.toml").write_text(
        '[stack]\nname = "quick"\n[base]\nscratch = true\n[image]\ncmd = ["/sleep", "60"]\n'
        '[[layer]]\nname = "sleep"\ncopy = [{ from = "sleep", to = "/sleep", mode = "0755" }]\n'
    )
    shutil.copy(busybox(), stackbuild.folder / "sleep")
    stackbuild("build")
    child = stackbuild.start("run", "--rm", "--name", "quick", "--network", "none", "quick")
    folder = stackbuild.store / "containers.v1/quick"
    try:
        wait_until(lambda: (folder / "spec.json").exists(), 60, "the container")
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    finally:
        kill_group(child)
    assert child.returncode == 143 and not folder.exists()
