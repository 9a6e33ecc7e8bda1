"""Settling in a fork: the same stack, nothing heavy imported here, and every failure met again where it can be said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stackbuild.cli import beside
from stackbuild.cli.building import prepare
from stackbuild.cli.options import parse
from stackbuild.cli.wiring import App
from stackbuild.packages.index import Index
from tests.archive import archive, stack_of

CODE = """
import os, sys
from pathlib import Path
from stackbuild.cli.beside import settled_beside

def settle():
    from stackbuild.stack.question import Question
    from stackbuild.stack.settle import settle
    return settle(Question(Path("stack.toml").absolute()))

os.sched_getaffinity = lambda pid: {0, 1}
found = settled_beside(settle, lambda: None)
print(found is not None, {"pydantic", "jinja2"} & set(sys.modules), "stackbuild.plan.planner" in sys.modules)
made = settle()
print(found is not None and (found.tree, found.layers, found.image) == (made.tree, made.layers, made.image))
print(settled_beside(settle, lambda: None))
"""
STACK = """\
[stack]
name = "{name}"
[base]
scratch = true
[[layer]]
name = "a"
files = [{{ path = "/a", content = "1" }}]
"""


def answers(folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).splitlines()


def test_the_fork_settles_the_same_and_only_it_imports_what_settles(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text(STACK.format(name="web"))
    assert answers(tmp_path) == ["True set() True", "True", "None"]  # then pydantic is here: no fork


def test_a_mistake_is_said_here_and_once(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text(STACK.format(name="NOT A NAME"))
    said = answers(tmp_path)
    assert said[0] == "False set() True"
    assert sum("NOT A NAME" in line for line in said) == 1


def test_a_command_says_each_mistake_once(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text(STACK.format(name="NOT A NAME"))
    argv = [sys.executable, "-m", "stackbuild", "--store", str(tmp_path / "store"), "plan"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("NOT A NAME") == 1
    assert "Traceback" not in done.stderr


def test_what_is_imported_meanwhile_is_what_a_build_imports() -> None:
    code = f"import sys\nfor m in {beside.AFTER}: __import__(m)\nprint({{'pydantic', 'urllib3'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_what_a_changed_stack_will_need_is_read_before_without_a_word_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened: list[Path] = []
    real = Index.open

    def counted(path: Path) -> Index:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(Index, "open", counted)
    with archive(tmp_path / "archive") as made:
        made.package("lib")
        made.package("app")
        made.publish()
        args = parse(["--store", str(tmp_path / "store"), "--quiet", "plan"])
        monkeypatch.chdir(stack_of(made, tmp_path / "project", ["app"]))
        with App.of(args, {}) as app:
            prepare(app)
            before = app.stack()
        stack_of(made, tmp_path / "project", ["app", "lib"])
        capfd.readouterr()
        made.asked.clear()
        opened.clear()
        with App.of(args, {}) as app:
            beside.be_ready(app, tmp_path / "project/stack.lock", before)
            assert len(opened) == 1 and not made.asked and capfd.readouterr() == ("", "")
            assert len(prepare(app).lock.platforms["linux/amd64"].packages) == 2
            assert len(opened) == 1 and not made.asked


def test_nothing_to_be_ready_for_is_no_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with App.of(parse(["--store", str(tmp_path / "store"), "plan"]), {}) as app:
        (tmp_path / "stack.lock").write_text("no lock")
        beside.be_ready(app, tmp_path / "stack.lock", None)
        beside.be_ready(app, tmp_path / "nothing.lock", None)
    assert capfd.readouterr() == ("", "")
