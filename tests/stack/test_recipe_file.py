"""`copy = [{ recipe-file = … }]`: a recipe's own files, found beside it and nowhere else, known by their content."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.report.settings import SettledStack
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from tests.conftest import Stackbuild

STACK = '[stack]\nname = "x"\nrecipes = [{ use = "web" }]\n[base]\nscratch = true\n'
LAYER = '[[layer]]\nname = "conf"\ncopy = [{{ recipe-file = "{}", to = "/etc/web/" }}]\n'


def project(folder: Path, layers: str = LAYER.format("web.conf")) -> Path:
    recipe = folder / "recipes/web"
    (recipe / "parts/deep").mkdir(parents=True)
    (recipe / "recipe.toml").write_text(f'[recipe]\nname = "web"\n{layers}')
    (recipe / "web.conf").write_bytes(b"\x00\xff of the recipe\n")
    (recipe / "parts/deep/a").write_text("a\n")
    (folder / "web.conf").write_text("of the project\n")
    (folder / "stack.toml").write_text(STACK)
    return folder


def settled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.chdir(folder)
    return settle(Question(folder / "stack.toml"))


def test_it_is_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = settled(project(tmp_path), monkeypatch)
    assert stack.layers[0].copy_[0].recipe_file == str(tmp_path / "recipes/web/web.conf")
    assert tmp_path / "recipes/web/web.conf" in stack.read
    (tmp_path / "stack.toml").write_text(STACK + LAYER.format("web.conf").replace("conf", "own", 1))
    named = {layer.name: layer.copy_[0].recipe_file for layer in settled(tmp_path, monkeypatch).layers}
    assert named["own"] == str(tmp_path / "web.conf")


def test_what_config_prints_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = settled(project(tmp_path), monkeypatch)
    (tmp_path / "stack.toml").write_text(SettledStack(first).to_text())
    assert settled(tmp_path, monkeypatch).tree == first.tree


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../web.conf", "leaves the folder of the file that names it"),
        ("/etc/passwd", "leaves the folder of the file that names it"),
        ("out", "leaves the folder of the file that names it"),
        ("parts/out/passwd", "leaves the folder of the file that names it"),
        ("no.conf", "there is no recipes/web/no.conf"),
        ("no/a.conf", "no such folder"),
        ("", ""),
    ],
)
def test_no_path_leaves_the_recipe(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = project(tmp_path, LAYER.format(name)) / "recipes/web"
    (recipe / "out").symlink_to("/etc/passwd")
    (recipe / "parts/out").symlink_to("/etc")
    if not name:  # the recipe's whole folder: it does not leave it
        assert settled(tmp_path, monkeypatch).layers[0].copy_[0].recipe_file == str(recipe)
        return
    with pytest.raises(UsageError) as found:
        settled(tmp_path, monkeypatch)
    assert says in f"{found.value} {found.value.why}"
    assert "recipes/web/recipe.toml:5: layer.0.copy.0.recipe-file" in str(found.value.where)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ('{ to = "/a" }', "needs `from` or `recipe-file`"),
        ('{ from = "web.conf", recipe-file = "web.conf", to = "/a" }', "has both `from` and `recipe-file`"),
        ('{ stage = "s", recipe-file = "web.conf", to = "/a" }', "`stage` goes with `from`"),
        ('{ recipe-file = "web.conf", ignore = "web.conf", to = "/a" }', "`ignore` is for files of the project"),
        ("{ recipe-file = 7, to = 7 }", "must be text"),
    ],
)
def test_items_that_make_no_sense(item: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, f'[[layer]]\nname = "conf"\ncopy = [{item}]\n')
    with pytest.raises(UsageError) as found:
        settled(tmp_path, monkeypatch)
    assert says in "\n".join(str(one) for one in (found.value, *found.value.errors))


TWO = """\
[[layer]]
name = "conf"
copy = [
    { recipe-file = "web.conf", to = "/etc/web.conf" },
    { from = "web.conf", to = "/etc/project.conf" },
    { recipe-file = "parts", to = "/etc/parts" },
    { recipe-file = "parts/deep/../../web.conf", to = "/etc/again/", mode = "0600" },
]
"""


@pytest.mark.root
def test_the_image_has_them_wherever_the_recipe_lies(stackbuild: Stackbuild, tmp_path: Path) -> None:
    project(stackbuild.folder, TWO)
    first = stackbuild("build", "--to", f"rootfs:{tmp_path}/tree").out.strip()
    tree = tmp_path / "tree/etc"
    assert (tree / "web.conf").read_bytes() == b"\x00\xff of the recipe\n"
    assert (tree / "project.conf").read_text() == "of the project\n"
    assert (tree / "parts/deep/a").read_text() == "a\n"
    assert (tree / "again/web.conf").stat().st_mode & 0o777 == 0o600
    keys = [step["key"] for step in json.loads(stackbuild("plan", "--format", "json").out)["steps"]]
    elsewhere = stackbuild.folder / "site"
    (elsewhere).mkdir()
    os.rename(stackbuild.folder / "recipes", elsewhere / "recipes")
    config = stackbuild.folder / "config/stackbuild"
    config.mkdir(parents=True)
    os.rename(elsewhere / "recipes", config / "recipes")
    environ = {"XDG_CONFIG_HOME": str(config.parent)}
    moved = stackbuild("plan", "--format", "json", env=environ)
    assert [step["key"] for step in json.loads(moved.out)["steps"]] == keys
    assert stackbuild("build", "--fail-if-run", env=environ).out.strip() == first


@pytest.mark.root
def test_an_edit_of_the_recipes_file_runs_the_copy_and_says_so(stackbuild: Stackbuild) -> None:
    project(stackbuild.folder)
    first = stackbuild("build").out
    (stackbuild.folder / "recipes/web/web.conf").write_text("edited\n")
    plan = stackbuild("plan").out
    assert "recipe-file:web.conf changed" in plan
    assert stackbuild("build").out != first
