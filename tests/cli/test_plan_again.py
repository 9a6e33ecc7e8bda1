"""`plan` with nothing changed says what it said, by `stat` alone: of one stack and of several, never a stale answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Stackbuild
from tests.machine import imported, wait_until

PROFILED = {"PYTHONPROFILEIMPORTTIME": "1"}
LONG_WAY = "stackbuild.plan.forecast"


def write(folder: Path, name: str) -> str:
    folder.mkdir()
    (folder / "file").write_text(f"{name}\n")
    (folder / "stack.toml").write_text(
        f'[stack]\nname = "{name}"\n[base]\nscratch = true\n'
        '[[layer]]\nname = "copied"\ncopy = [{ from = "file", to = "/srv/file" }]\n'
    )
    return f"{name}/stack.toml"


@pytest.mark.parametrize("names", [["one"], ["one", "two"]], ids=["one", "several"])
def test_plan_again_is_the_same_by_stat_alone(stackbuild: Stackbuild, names: list[str]) -> None:
    files = [write(stackbuild.folder / name, name) for name in names]
    stackbuild("build", *files)
    said = stackbuild("plan", *files).out
    data = json.loads(stackbuild("plan", "--format", "json", *files).out)
    assert said.endswith(f"{len(names)} cached, 0 run, 0 depends\n")

    def from_the_stamp() -> bool:  # files as young as the command before make no stamp: the next one does
        return LONG_WAY not in imported(stackbuild("plan", *files, env=PROFILED))

    wait_until(from_the_stamp, 20)
    assert stackbuild("plan", *files).out == said
    assert json.loads(stackbuild("plan", "--format", "json", *files).out) == data
    for words in (["build", "-n"], ["plan", "-B"], ["plan", "--graph", "dot"]):
        assert LONG_WAY in imported(stackbuild(*words, *files, env=PROFILED))
    assert stackbuild("build", *files).out  # no stamp of a plan is taken for one of a build

    changed = stackbuild.folder / names[-1] / "file"
    changed.write_text("changed\n")
    assert "file changed" in stackbuild("plan", *files).out
    changed.write_text(f"{names[-1]}\n")
    assert stackbuild("plan", *files).out == said
    for blob in (stackbuild.store / "images/blobs/sha256").iterdir():
        blob.unlink()
    assert "0 cached" in stackbuild("plan", *files).out
