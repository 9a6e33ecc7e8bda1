"""Settled stacks that are kept: equal to what settling gives, and only as long as it would give the same."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core import stamps
from stackbuild.settings.setting import Settings
from stackbuild.stack import kept
from stackbuild.stack.kept import KeptStacks, dump, load, words_of
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.settled import as_tree, settled
from stackbuild.stack.stack import Stack
from tests.stack.test_settle import PROJECT

RICH = (
    PROJECT.replace('name = "web"', 'name = "web"\nenv = ["RELEASE"]')
    + """\
tmpfs = ["/run:size=64m"]
ulimits = { nofile = "1024:4096" }
env-file = ["run.env"]
[stages.made]
base = { scratch = true }
[[stages.made.layer]]
name = "out"
files = [{ path = "/out", content = "{{ env.RELEASE }}" }]
[[layer]]
name = "from-made"
copy = [{ stage = "made", from = "/out", to = "/out" }]
[registries."example.com"]
insecure = true
[image.labels]
"!reset" = true
"""
)
ENVIRON = {"RELEASE": "7", "STACKBUILD__CONTAINER__NETWORK": "none"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stamps, "MARGIN_NS", 0)  # these tests do not outrun the clock
    Path("run.env").write_text("WORD=secret\n")
    Path("stack.toml").write_text(RICH)
    return tmp_path


def said(settings: Settings) -> Mapping[Any, Any]:
    return {path: [(one.value, one.origin, one.order) for one in setting.history] for path, setting in settings.items()}


def same(one: Stack, other: Stack) -> None:
    """Field by field: what counts, what was said, and where each value came from."""
    for field in fields(Stack):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("settings", "everything"):
            assert said(mine) == said(theirs)
        elif field.name == "stages":
            assert list(mine) == list(theirs)
            for name in mine:
                same(mine[name], theirs[name])
        else:
            assert mine == theirs, field.name


def question(**more: Any) -> Question:
    return Question(Path("stack.toml").absolute(), environ=ENVIRON, user_config=Path("user.toml").absolute(), **more)


def test_what_is_loaded_equals_what_was_settled(project: Path) -> None:
    made = settle(question(sets=("container.user=nobody", "image.user=app")))
    again = load(dump(made))
    assert again is not None
    same(made, again)
    assert again.origin("container", "user").level == "command line"
    assert again.origin("layer", "tool", "run").line == made.origin("layer", "tool", "run").line > 0
    assert again.overrides() == made.overrides() != ()


def test_a_settled_table_has_all_of_its_model() -> None:
    from stackbuild.stack.image_tables import Layer

    model = Layer.model_validate({"name": "a", "copy": [{"from": "b", "to": "/c"}], "env": {}})
    value = settled(model)
    assert value.action == model.action == "copy"
    assert as_tree(value, absent=True) == model.model_dump(mode="json", by_alias=True)
    assert as_tree(value) == model.model_dump(mode="json", by_alias=True, exclude_none=True)
    with pytest.raises(AttributeError, match=r"Layer.name: a settled value never changes"):
        value.name = "b"


def test_it_is_kept_until_something_changes_that_it_read(project: Path) -> None:
    stacks = KeptStacks(project / "kept")
    asked = question()
    words = words_of(asked, {}, None)

    def keep() -> Stack:
        started = time.time_ns()
        made = settle(asked)
        stacks.put(words, ENVIRON, made, started)
        found = stacks.get(words, ENVIRON)
        assert found is not None
        same(made, found)
        return made

    read = keep().read
    assert {Path("run.env").absolute(), asked.file, asked.user_config} <= set(read)
    assert stacks.get(words, {**ENVIRON, "RELEASE": "8"}) is None
    assert stacks.get(words, {**ENVIRON, "OTHER": "8"}) is not None
    for name, text in (("run.env", "WORD=other\n"), ("stack.toml", RICH + "\n# a word more\n"), ("user.toml", "")):
        Path(name).write_text(text)
        assert stacks.get(words, ENVIRON) is None, name
        keep()
    (file,) = (project / "kept").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600  # an env-file's words are in it


def test_other_words_are_another_stack(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question()
    seen = [words_of(asked, {}, None), words_of(asked, {"git+x": "sha256:1"}, None), words_of(asked, {}, {"User": "a"})]
    seen += [words_of(question(sets=("a=b",)), {}, None), words_of(question(profiles=("ci",)), {}, None)]
    monkeypatch.chdir("/")
    seen.append(words_of(asked, {}, None))
    assert len({tuple(words) for words in seen}) == len(seen)


def test_a_file_that_changes_while_it_is_settled_is_not_kept(project: Path) -> None:
    stacks = KeptStacks(project / "kept")
    words = words_of(question(), {}, None)
    started = time.time_ns()
    os.utime("run.env", ns=(started + 1, started + 1))
    stacks.put(words, ENVIRON, settle(question()), started)
    assert stacks.get(words, ENVIRON) is None


def test_other_code_settles_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = KeptStacks(project / "kept")
    words = words_of(question(), {}, None)
    code = project / "settle.py"
    code.write_text("1")
    monkeypatch.setattr(kept, "_own_files", lambda: [str(code)])
    started = time.time_ns()
    stacks.put(words, ENVIRON, settle(question()), started)
    assert stacks.get(words, ENVIRON) is not None
    code.write_text("22")  # of another size: a clock that ticks slowly may give both the same time
    assert stacks.get(words, ENVIRON) is None


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(7), pickle.dumps(Evil()), pickle.dumps([Evil()])])
def test_nothing_but_a_stack_is_ever_loaded(data: bytes, project: Path) -> None:
    assert load(data) is None
    assert not Path("made-by-a-pickle").exists()


def test_a_damaged_one_is_settled_anew(project: Path) -> None:
    stacks = KeptStacks(project / "kept")
    words = words_of(question(), {}, None)
    for result in ({}, {"stack": 7}, {"stack": "*"}, {"stack": base64.b64encode(b"x").decode()}):
        stamps.write(stamps.place(project / "kept", words), stamps.Stamp({}, {}, result))
        assert stacks.get(words, ENVIRON) is None


def test_a_command_on_a_kept_stack_imports_no_pydantic_and_says_the_same(project: Path) -> None:
    code = (
        "import sys; from stackbuild.cli.main import main; code = main(sys.argv[1:]);"
        "print({'pydantic', 'jinja2'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    Path("stack.toml").write_text(
        '[stack]\nname = "x"\n[base]\nscratch = true\n'
        '[[layer]]\nname = "a"\nfiles = [{ path = "/a", content = "{{ stack.name }}" }]\n'
    )
    time.sleep(0.1)  # no file may be as new as the command

    def plan() -> tuple[str, str]:
        argv = [sys.executable, "-c", code, "--store", str(project / "store"), "-q", "plan"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout, done.stderr

    first, second = plan(), plan()
    assert first[0] == second[0] != ""
    assert second[1] == "set()\n"
