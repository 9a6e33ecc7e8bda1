"""`recipe list|show|test|push` and `init`, as commands: what they print and write, and their mistakes."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from stackbuild.cli.commands import init
from stackbuild.cli.commands import recipe as command
from stackbuild.cli.options import parse
from stackbuild.cli.wiring import App
from stackbuild.core.errors import UsageError
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

RECIPE = """\
[recipe]
name = "web"
description = "Pages"
[recipe.params.port]
type = "integer"
help = "where it listens"
[recipe.params.words]
type = "list"
default = ["a"]
[base]
distro = "debian/bookworm"
[[layer]]
name = "l"
run = ["echo {{ params.words | sh }}"]
[image]
expose = ["{{ params.port }}"]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "My App"
    (folder / "recipes" / "web").mkdir(parents=True)
    (folder / "recipes" / "web" / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(folder)
    return folder


def run(*words: str) -> list[str]:
    """Runs a command; what it noted."""
    args = parse(words)
    assert isinstance(args, Namespace)
    notes: list[Any] = []
    app = App(args, dict(os.environ), notes.append)
    module = command if args.command == "recipe" else init
    module.run(app, args)
    return [note.text for note in notes]


def test_list_and_show(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("recipe", "list")
    assert "web" in capsys.readouterr().out
    run("recipe", "show", "web")
    out = capsys.readouterr().out
    for words in (
        "web: Pages",
        "port  integer, required",
        "where it listens",
        'default ["a"]',
        "layer.l",
        "image.expose",
    ):
        assert words in out
    run("recipe", "show", "web", "--format", "json")
    shown = json.loads(capsys.readouterr().out)
    assert shown["v"] == 1 and shown["params"]["port"] == {"type": "integer", "help": "where it listens"}
    assert shown["params"]["words"]["default"] == ["a"]
    with pytest.raises(UsageError, match="recipe show takes NAME"):
        run("recipe", "show")
    (here / "recipes" / "both.toml").write_text('[recipe]\nname = "both"\n[stack]\nrecipes = [{ use = "web" }]\n')
    run("recipe", "show", "both")
    assert capsys.readouterr().out == "both\n  recipes/both.toml\n\nuses:\n  web\n"


def test_test_settles_every_example(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match='parameter `port` of recipe "web" is missing'):
        run("recipe", "test", "recipes/web")
    examples = here / "recipes" / "web" / "examples"
    examples.mkdir()
    use = '[stack]\nname = "x"\nrecipes = [{{ use = "web", with = {{ port = {} }} }}]\n'
    (examples / "good.toml").write_text(use.format(80))
    run("recipe", "test", "recipes/web")
    assert "ok recipes/web/examples/good.toml: 1 layers" in capsys.readouterr().out
    (examples / "bad.toml").write_text(use.format("'x'"))
    with pytest.raises(UsageError) as found:
        run("recipe", "test", "recipes/web")
    assert "while trying recipes/web/examples/bad.toml" in [hint.text for hint in found.value.hints]
    assert str(found.value.where) == "recipes/web/examples/bad.toml:3: stack.recipes.0.with.port"
    (examples / "bad.toml").write_text(use.format(80000))
    with pytest.raises(UsageError) as found:
        run("recipe", "test", "recipes/web")
    assert str(found.value.where) == "recipes/web/recipe.toml:16: image.expose.0"
    made = "it is made of the parameter `port`: recipes/web/examples/bad.toml:3: stack.recipes.0.with.port"
    assert made in [hint.text for hint in found.value.hints]
    with pytest.raises(UsageError, match="is not the folder of a recipe"):
        run("recipe", "test", ".")
    with pytest.raises(UsageError, match="is not a place for recipes"):
        run("recipe", "push", "recipes/web", "example.com/x")


def test_init_writes_a_commented_file_that_works(here: Path) -> None:
    for words, says in (
        ([], 'parameter `port` of recipe "web" is missing'),
        (["--with", "port=x"], "must be a whole number"),
        (["--with", "prt=1", "--with", "port=1"], "has no parameter `prt`"),
        (["--with", "port"], "is not KEY=VALUE"),
    ):
        with pytest.raises(UsageError) as found:
            run("init", "web", *words)
        assert says in str(found.value)
        assert not (here / "stack.toml").exists()
    run("init", "web", "--with", "port=8080")
    text = (here / "stack.toml").read_text()
    assert 'words = ["a"]' in text and "# Pages" in text
    stack = settle(Question(here / "stack.toml"))
    assert (stack.name, stack.image.expose) == ("my-app", ("8080/tcp",))
    with pytest.raises(UsageError, match="is there already"):
        run("init", "web", "--with", "port=8080")


@pytest.mark.parametrize(
    ("files", "says", "values"),
    [
        ({"index.html": ""}, "index.html is there: web-static fits", {"folder": "./"}),
        ({"public/index.html": ""}, "public/index.html is there: web-static fits", {"folder": "public/"}),
        (
            {"go.mod": "module example.com/shop/v2\n", "index.html": ""},
            "go.mod is there: web-service fits",
            {"folder": "bin/", "entrypoint": ("./shop",), "todo": "go build -o bin/shop ."},
        ),
        (
            {"requirements.txt": "x\n", "app.py": "", "pyproject.toml": "[tool.ruff]\n"},
            "requirements.txt is there: python-app fits",
            {"folder": "./", "entrypoint": ("python3", "app.py"), "todo": "which is in $PORT"},
        ),
        (
            {"pyproject.toml": '[project]\nname = "My-App"\n[project.scripts]\nserve = "a:b"\n', "README.md": ""},
            "pyproject.toml is there: python-app fits",
            {"entrypoint": ("serve",), "inputs": ("pyproject.toml", "README.md")},
        ),
        (
            {"package.json": '{"scripts": {"start": "node src/server.js --x=1"}}'},
            "package.json is there: node-app fits",
            {"folder": "./", "entrypoint": ("node", "src/server.js", "--x=1"), "todo": "needs package-lock.json"},
        ),
        (
            {
                "package.json": '{"main": "a.js", "scripts": {"start": "x && y", "build": "tsc"}}',
                "package-lock.json": "",
            },
            "package.json is there: node-app fits",
            {"entrypoint": ("node", "a.js"), "lines": ("npm run build", "npm prune --omit=dev --offline")},
        ),
        ({"index.html": "", "Dockerfile": ""}, "there is a Dockerfile: `stackbuild init --from", {"folder": "./"}),
    ],
)
def test_init_proposes_a_shipped_recipe_and_says_why(
    here: Path, files: dict[str, str], says: str, values: dict[str, Any]
) -> None:
    for name, text in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    notes = " / ".join(run("init"))
    assert says in notes and values.get("todo", "") in notes and "next: stackbuild up" in notes
    stack = settle(Question(here / "stack.toml"))
    copied = [item.from_ for layer in stack.layers for item in layer.copy_ if item.stage is None]
    assert copied == ([values["folder"]] if "folder" in values else [])
    staged = [layer for stage in stack.stages.values() for layer in stage.layers if layer.run]
    if "inputs" in values or "lines" in values:
        assert values.get("inputs", staged[0].inputs) == staged[0].inputs
        assert values.get("lines", staged[-1].run) == staged[-1].run
    assert stack.image.entrypoint == values.get("entrypoint", ("nginx", "-g", "daemon off;"))


def test_init_says_what_it_cannot_guess_and_writes_nothing(here: Path) -> None:
    (here / "requirements.txt").write_text("x\n")
    with pytest.raises(UsageError) as found:
        run("init")
    assert "parameter `command` of recipe" in str(found.value)
    assert "stackbuild init python-app --with command=…" in [hint.command for hint in found.value.hints]
    assert not (here / "stack.toml").exists()


def test_init_translates_a_dockerfile_where_nothing_else_fits(here: Path) -> None:
    (here / "Dockerfile").write_text("FROM debian:12\nRUN apt-get install -y --no-install-recommends curl\nCMD curl\n")
    notes = " / ".join(run("init"))
    assert "Dockerfile is there: it is translated" in notes and "stack.toml is written" in notes
    stack = settle(Question(here / "stack.toml"))
    assert [request.text for request in stack.packages.install] == ["curl"]
    with pytest.raises(UsageError, match="is there already"):
        run("init", "--from", "Dockerfile")
    run("-f", "other.toml", "init", "--from", "Dockerfile")
    text = (here / "other.toml").read_text()
    assert text == (here / "stack.toml").read_text() and "stackbuild init --from Dockerfile" in text


def test_init_of_an_empty_folder_is_a_stack_by_itself(here: Path) -> None:
    run("init")
    assert settle(Question(here / "stack.toml")).base.distro == "debian/bookworm"
