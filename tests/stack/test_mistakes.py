"""What a user reads who made a mistake: every one of a file, each with file, line and key, and the nearest key."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stackbuild.cli.output import render_error
from stackbuild.core.errors import UsageError
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

DATA = Path(__file__).parent.parent / "data" / "stack-mistakes"


@pytest.mark.parametrize("name", sorted(file.stem for file in DATA.glob("*.toml")))
def test_mistakes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[Path, str], None]
) -> None:
    shutil.copy(DATA / f"{name}.toml", tmp_path / "stack.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as found:
        settle(Question(Path("stack.toml"), environ={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}))
    assert found.value.exit_code == 2
    golden(DATA / f"{name}.txt", render_error(found.value) + "\n")
