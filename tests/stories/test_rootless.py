"""An ordinary user: what they may ask, for a base image with files of other users too; and from stack file to page."""

from __future__ import annotations

import json

from tests.conftest import Person, Stackbuild
from tests.machine import need, run, wait_until
from tests.projects import port_of, write_tiny

BASE = """
[stack]
name = "base"
[base]
scratch = true
[[layer]]
name = "files"
files = [{ path = "/x", content = "x", owner = "33:33" }, { path = "/var/lib/dpkg/status", content = "" }]
"""
STACK = """
[stack]
name = "own"
[base]
image = "oci:%s"
[[layer]]
name = "more"
files = [{ path = "/y", content = "y" }]
"""


def test_every_question_before_and_after_a_build(stackbuild: Stackbuild, person: Person) -> None:
    (stackbuild.folder / "stack.toml").write_text(BASE)
    project = person.home / "on-a-base"
    project.mkdir()
    stackbuild("build", "--to", f"oci:{project / 'image'}:1")
    (project / "stack.toml").write_text(STACK % "image:1")
    run([need("chown"), "-R", f"{person.name}:", project])
    mine = person.stackbuild(project)
    assert "0 packages locked" in mine("lock").out
    assert "nothing is outdated" in mine("outdated").out
    assert "hello is not in the lock" in mine("why", "hello", code=2).err
    assert "files/more  run: never built" in mine("plan").out
    mine("build", "--locked")
    (project / "stack.toml").write_text((STACK % "image:1").replace('"y"', '"z"'))
    assert "y → z" in mine("plan").out and "y → z" in mine("explain", "files/more").out
    assert "stack.lock is up to date" in mine("lock", "--check").out


def test_up_from_a_stack_file_to_a_page_and_back(person: Person) -> None:
    project = person.home / "web"
    port = port_of(write_tiny(project))
    run([need("chown"), "-R", f"{person.name}:", project])
    mine = person.stackbuild(project)
    try:
        assert f"http://127.0.0.1:{port}/" in mine("up", "-d", "--wait").out
        assert run([need("curl"), "-sS", f"http://127.0.0.1:{port}/"]).out == "tiny\n"
        assert "nothing has changed" in mine("up", "-d", "--wait").err
        assert "healthy" in mine("ps").out and mine("exec", "/bin/sh", "-c", "echo $HOME; exit 3", code=3).out == "/\n"
        mine("stop")
        assert "exited" in mine("ps").out
        mine("up", "-d", "--wait")
        run([need("curl"), "-sS", f"http://127.0.0.1:{port}/none"])
        wait_until(lambda: "response:404" in mine("logs").err, what="the request in the log")
    finally:
        mine("down")
    assert json.loads(mine("ps", "--format", "json").out) == []
