"""What an ordinary user may ask, for a stack whose base image has files of other users."""

from __future__ import annotations

from tests.conftest import Person, Stackbuild
from tests.machine import need, run

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
