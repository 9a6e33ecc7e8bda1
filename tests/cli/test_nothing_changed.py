"""`build` and `up` with nothing changed: what the process opens, lists and starts, as Python's audit events tell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root, run, wait_until
from tests.projects import write_tiny

pytestmark = pytest.mark.root
WATCHED = """
import json, os, sys
seen = []
words = ("open", "os.listdir", "os.scandir", "os.fork", "os.exec", "os.posix_spawn", "subprocess.Popen")
sys.addaudithook(lambda event, args: seen.append([event, str(args[0]) if args else ""]) if event in words else None)
from stackbuild.cli.main import main
code = main()
text = json.dumps([code, seen, sorted(sys.modules)])
open(os.environ["SEEN"], "w").write(text)
"""
HEAVY = {"pydantic", "networkx", "jinja2", "tomllib", "stackbuild.plan", "stackbuild.stack", "stackbuild.lock"}


def touched(command: Stackbuild, *words: str) -> set[tuple[str, str]]:
    """(event, name) of each file of the project and the store that a command opens or lists, and all that it starts."""
    told = command.folder.with_name("seen")
    environ = {**command.environment(), "SEEN": str(told)}
    run([sys.executable, "-c", WATCHED, *words], cwd=command.folder, env=environ)
    code, seen, modules = json.loads(told.read_text())
    assert code == 0 and not HEAVY & set(modules)
    places = (str(command.folder), str(command.store))
    starts = ("os.fork", "os.exec", "os.posix_spawn", "subprocess.Popen")
    return {(event, Path(path).name) for event, path in seen if event in starts or path.startswith(places)}


def test_build_and_up_open_their_stamp_and_the_state_of_the_container_alone(stackbuild: Stackbuild) -> None:
    need_root()
    write_tiny(stackbuild.folder)
    stackbuild("up", "-d", "--wait")
    try:
        # files as young as the command that read them make no stamp: the next one does
        wait_until(lambda: "=> build" not in stackbuild("up", "-d").err, 20)
        stamps = {("open", path.name) for path in (stackbuild.store / "stamps.v1").iterdir() if path.is_file()}
        by_build = touched(stackbuild, "build")
        assert len(by_build) == 1 and by_build <= stamps
        state = {("open", name) for name in ("spec.json", "launch.json", "state.json", "live")}
        assert touched(stackbuild, "up", "-d") == by_build | state
        (stackbuild.folder / "site/index.html").write_text("changed\n")
        assert "=> build" in stackbuild("build").err
    finally:
        stackbuild("down")
