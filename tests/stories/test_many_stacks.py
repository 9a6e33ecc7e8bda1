"""What many stacks cost grows with their number, and not faster: counted in calls, which no other load changes."""

from __future__ import annotations

import cProfile
from pathlib import Path

import pytest

from stackbuild.cli.main import main
from tests.conftest import Stackbuild
from tests.machine import need_root

pytestmark = pytest.mark.root
COUNTS = (16, 48)


def calls(*words: str) -> int:
    """How many functions a command calls. It runs in this process."""
    profile = cProfile.Profile()
    assert profile.runcall(main, list(words)) == 0
    return sum(function.callcount for function in profile.getstats())


def test_planning_and_naming_cost_the_same_for_each(
    stackbuild: Stackbuild, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    need_root()
    monkeypatch.chdir(stackbuild.folder)
    files = []
    for number in range(COUNTS[-1]):
        file = stackbuild.folder / f"{number:03}/stack.toml"
        file.parent.mkdir()
        file.write_text(
            f'[stack]\nname = "s{number}"\n[base]\nscratch = true\n'
            f'[[layer]]\nname = "note"\nfiles = [{{ path = "/note", content = "{number}" }}]\n'
        )
        files.append(str(file))
    found: dict[str, list[int]] = {"-n": [], "--metadata-file": []}
    for count in COUNTS:
        build = ["--store", str(tmp_path / str(count)), "-q", "build"]
        calls(*build, *files[:count])
        for option, more in (("-n", []), ("--metadata-file", [str(tmp_path / "facts")])):  # neither asks a stamp
            calls(*build, option, *more, files[0])  # what is imported, and found out once, counts for none
            found[option].append(calls(*build, option, *more, *files[:count]))
    for few, many in found.values():
        assert many / few < 3.2, found  # thrice as many: at most thrice the calls, where squares would be nine times
