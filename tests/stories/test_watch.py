"""--watch: a saved file builds again what depends on it and replaces the container; a mistake ends nothing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root, wait_until
from tests.projects import port_of, write_tiny
from tests.stories.test_up import page

Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


@pytest.fixture
def world(stackbuild: Stackbuild) -> Iterator[Stackbuild]:
    need_root()
    yield stackbuild
    stackbuild("down", code=None, timeout=60)


class Said:
    """The standard error of a command that goes on, in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "err"

    def __call__(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.path.read_text().count(text) >= times, 60, f"`{text}`, {times} times")


def start(world: Stackbuild, said: Said, *words: str) -> subprocess.Popen[str]:
    with open(said.path, "w") as err:
        return subprocess.Popen(
            [*world.argv, *words], cwd=world.folder, env=world.environment(), stdout=err, stderr=err, text=True
        )


def test_a_saved_file_reaches_the_running_container(world: Stackbuild, tmp_path: Path) -> None:
    port = port_of(write_tiny(world.folder))
    said = Said(tmp_path)
    child = start(world, said, "up", "--watch")
    try:
        wait_until(lambda: page(port) == "tiny\n", 60, "the page")
        (world.folder / "site/index.html").write_text("saved\n")
        wait_until(lambda: page(port) == "saved\n", 60, "the saved page")
        assert said.path.read_text().count("site/index.html has changed") == 1

        stack = world.folder / "stack.toml"
        good = stack.read_text()
        stack.write_text(good + "\n[imgae]\n")
        said("goes on as it was")
        assert "unknown key `imgae`" in said.path.read_text() and page(port) == "saved\n"
        stack.write_text(good + "\n# mended\n")
        said("stack.toml has changed", 2)
        (world.folder / "site/new.html").write_text("new\n")  # a file that was not there
        wait_until(lambda: page(port, "new.html") == "new\n", 60, "the new page")
        page(port, "no-such-page")
        said("response:404")
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(timeout=40)
    assert code in (0, 130, 143) and page(port) == ""
    assert "Traceback" not in said.path.read_text()


def test_build_goes_on_after_a_mistake_and_ends_with_ctrl_c(world: Stackbuild, tmp_path: Path) -> None:
    write_tiny(world.folder)
    said = Said(tmp_path)
    child = start(world, said, "build", "--watch")
    try:
        said("watching ")
        (world.folder / "site/index.html").unlink()
        (world.folder / "site").rmdir()
        said("error: ")
        (world.folder / "site").mkdir()
        (world.folder / "site/index.html").write_text("again\n")
        said("=> image tiny", 2)
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(timeout=40)
    assert code == 130 and "Traceback" not in said.path.read_text()


def test_several_stacks_are_watched_together(world: Stackbuild, tmp_path: Path) -> None:
    write_tiny(world.folder / "base", "base")
    write_tiny(world.folder / "other", "other")
    (world.folder / "app").mkdir()
    (world.folder / "app/stack.toml").write_text('[stack]\nname = "app"\n[base]\nstack = "../base"\n')
    said = Said(tmp_path)
    child = start(world, said, "build", "--watch", "app", "other")
    try:
        said("watching ")
        (world.folder / "base/site/index.html").write_text("saved\n")  # of a stack that only another one names
        said("base/site/index.html has changed")
        said("=> image app", 2)
        good = (world.folder / "other/stack.toml").read_text()
        (world.folder / "other/stack.toml").write_text(good + "\n[imgae]\n")
        said("unknown key `imgae`")
        (world.folder / "other/stack.toml").write_text(good)
        said("=> image other", 3)
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(timeout=40)
    assert code == 130 and "Traceback" not in said.path.read_text()


def test_what_cannot_be_watched_is_refused(world: Stackbuild) -> None:
    write_tiny(world.folder)
    assert "--watch stays in the foreground" in world("up", "-d", "--watch", code=2).err
