"""Recipes: what they set, with which parameters, in which order, from where, and every way to get one wrong."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.report.settings import OneSetting, SettledStack
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack

DATA = Path(__file__).parent.parent / "data" / "recipes"
BASE = '[base]\ndistro = "debian/bookworm"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.toml").write_text('[stack]\nname = "x"\nrecipes = [{ use = "a" }]\n' + BASE)
    return tmp_path


def recipe(folder: Path, name: str, text: str = "", params: str = "", **files: str) -> Path:
    place = folder / "recipes" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "recipe.toml").write_text(f'[recipe]\nname = "{name}"\n{params}\n{text}')
    for file, content in files.items():
        (place / f"{file}.j2").write_text(content)
    return place


def settled(**more: Any) -> Stack:
    return settle(Question(Path("stack.toml"), **more))


def mistakes(**more: Any) -> list[str]:
    with pytest.raises(UsageError) as found:
        settled(**more)
    errors = found.value.errors or (found.value,)
    return [f"{one} | {'; '.join(hint.text for hint in one.hints)}" for one in errors]


def test_origins_through_three_levels_of_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[Path, str], None]
) -> None:
    shutil.copytree(DATA / "golden", tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    stack = settled()
    golden(DATA / "origins.txt", SettledStack(stack, origins=True).to_text() + "\n")
    golden(DATA / "level.txt", OneSetting(stack, ("container", "env", "LEVEL")).to_text() + "\n")


def test_what_config_prints_of_a_stack_with_recipes_gives_the_same_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DATA / "golden", tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    first = settled()
    shutil.rmtree(tmp_path / "p" / "recipes")
    (tmp_path / "p" / "stack.toml").write_text(SettledStack(first).to_text())
    again = settled()
    assert again.tree == first.tree
    assert [layer.name for layer in again.layers] == ["config"]
    assert tomllib.loads(SettledStack(again, origins=True).to_text()) == first.tree


def test_parameters_keep_their_types_and_cannot_break_structure(here: Path) -> None:
    params = '[recipe.params.port]\ntype = "integer"\n[recipe.params.words]\ntype = "list"\n'
    params += '[recipe.params.text]\ntype = "string"\ndefault = "\'\\"] x = 1"\n'
    text = (
        '[image]\ncmd = ["{{ params.words }}", "{{ params.text }}"]\nexpose = ["{{ params.port }}"]\n'
        '[[layer]]\nname = "l"\nrun = ["echo {{ params.text | sh }} {{ params.words | sh }}"]\n'
    )
    recipe(here, "a", text, params)
    stack = settled(sets=['stack.recipes=[{ use = "a", with = { port = 80, words = ["a b", "c"] } }]'])
    assert stack.image.cmd == ("a b", "c", "'\"] x = 1")
    assert stack.image.expose == ("80/tcp",)
    assert stack.layers[0].run == ("echo ''\"'\"'\"] x = 1' 'a b' c",)


@pytest.mark.parametrize(
    ("with_", "words"),
    [
        ("{ port = 'x' }", ["must be a whole number", "stack.toml:3: stack.recipes.0.with.port", "where it listens"]),
        ("{ port = true }", ["must be a whole number, and is true"]),
        ("{ port = 0 }", ["at least 1"]),
        ("{ port = 70000 }", ["at most 65535"]),
        ("{}", ['parameter `port` of recipe "a" is missing', "where it listens"]),
        ("{ port = 1, size = 'huge' }", ["it is one of small, big"]),
        ("{ port = 1, name = 'A B' }", ["does not have the form [a-z]+"]),
        ("{ port = 1, list = [[1]] }", ["its items are text or numbers"]),
        ("{ prt = 1, port = 2 }", ["has no parameter `prt`", "did you mean `port`?"]),
        ("{ port = '{{ env.PORT }}' }", ["there is no 'PORT'", "stack.toml:3: stack.recipes.0.with.port"]),
    ],
)
def test_a_parameter_that_is_wrong_points_at_who_gave_it(here: Path, with_: str, words: list[str]) -> None:
    params = (
        '[recipe.params.port]\ntype = "integer"\nmin = 1\nmax = 65535\nhelp = "where it listens"\n'
        '[recipe.params.size]\ntype = "choice"\nchoices = ["small", "big"]\ndefault = "small"\n'
        '[recipe.params.name]\ntype = "string"\npattern = "[a-z]+"\ndefault = "n"\n'
        '[recipe.params.list]\ntype = "list"\ndefault = []\n'
    )
    recipe(here, "a", "", params)
    (here / "stack.toml").write_text(f'[stack]\nname = "x"\nrecipes = [{{ use = "a", with = {with_} }}]\n' + BASE)
    found = " ".join(mistakes())
    for word in words:
        assert word in found


def test_a_value_made_of_parameters_points_at_who_gave_them_too(here: Path) -> None:
    params = '[recipe.params.a-port]\ntype = "string"\n[recipe.params.size]\ntype = "string"\ndefault = "lots"\n'
    text = (
        '[image]\nexpose = [80, "{{ params.a_port }}"]\n[container]\n'
        'resources = { memory = "{{ params[\'size\'] }}", cpus = "x" }\n'
    )
    recipe(here, "a", text, params)
    use = 'recipes = [{ use = "a", with = { a-port = "http" } }]'
    (here / "stack.toml").write_text(f'[stack]\nname = "x"\n{use}\n{BASE}')
    port, memory, cpus = mistakes()
    assert "recipes/a/recipe.toml:10: image.expose.1" in port
    assert "made of the parameter `a_port`: stack.toml:3: stack.recipes.0.with.a-port" in port
    assert "made of the parameter `size`: recipes/a/recipe.toml:7: recipe.params.size.default" in memory
    assert "recipes/a/recipe.toml:12" in cpus and "made of" not in cpus
    inner = '[stack]\nrecipes = [{ use = "a", with = { a-port = "{{ params.p }}" } }]\n'
    recipe(here, "b", inner, '[recipe.params.p]\ntype = "string"\ndefault = "http"\n')
    (here / "stack.toml").write_text(f'[stack]\nname = "x"\nrecipes = [{{ use = "b" }}]\n{BASE}')
    assert "made of the parameter `a_port`: recipes/b/recipe.toml:8: stack.recipes.0.with.a-port" in mistakes()[0]


def test_recipes_of_recipes_and_the_cycle_with_its_path(here: Path) -> None:
    recipe(here, "a", '[stack]\nrecipes = [{ use = "b" }]\n')
    recipe(here, "b", '[stack]\nrecipes = [{ use = "c" }]\n')
    recipe(here, "c", '[stack]\nrecipes = [{ use = "b" }]\n')
    [found] = mistakes()
    assert "recipes/c/recipe.toml:5" in found and "b → c → b" in found


def test_later_recipes_win_over_earlier_ones_and_the_project_over_all(here: Path) -> None:
    recipe(here, "a", '[image]\nlabels = { x = "a", y = "a", z = "a" }\n')
    recipe(here, "b", '[image]\nlabels = { y = "b", z = "b" }\n')
    (here / "stack.toml").write_text(
        '[stack]\nname = "x"\nrecipes = [{ use = "a" }, { use = "b" }]\n' + BASE + '[image]\nlabels = { z = "p" }\n'
    )
    assert dict(settled().image.labels) == {"x": "a", "y": "b", "z": "p"}


def test_places_and_near_names(here: Path) -> None:
    for place in ("user", "site"):
        (here / place / "recipes").mkdir(parents=True)
        (here / place / "recipes" / "a.toml").write_text(
            f'[recipe]\nname = "a"\n[image]\nlabels = {{ of = "{place}" }}\n'
        )
    more = {"user_config": here / "user" / "config.toml", "site_config": here / "site" / "config.toml"}
    assert settled(**more).image.labels["of"] == "user"
    shutil.rmtree(here / "user")
    assert settled(**more).image.labels["of"] == "site"
    recipe(here, "a", '[image]\nlabels = { of = "project" }\n')
    assert settled(**more).image.labels["of"] == "project"
    assert here / "recipes" / "a" / "recipe.toml" in {here / path for path in settled(**more).read}
    [found] = mistakes(sets=['stack.recipes=[{ use = "aa" }]'], **more)
    assert "recipes (project), user/recipes (user), site/recipes (site)" in found
    assert "did you mean `a`?" in found


def test_conditions_drop_entries_and_lines_stay_right(here: Path) -> None:
    text = (
        '[[layer]]\nname = "no"\nwhen = "{{ params.x }}"\nrun = ["x"]\n'
        '[[layer]]\nname = "yes"\nwhen = "{{ not params.x }}"\n'
        'files = [{ when = false, path = "/no", content = "" }, { path = "/yes", content = "" }]\n'
        '[[layer]]\nname = "Bad name"\nrun = ["x"]\n'
    )
    recipe(here, "a", text, '[recipe.params.x]\ntype = "boolean"\ndefault = false\n')
    [found] = mistakes()
    assert "recipes/a/recipe.toml:16: layer.2.name" in found
    recipe(here, "a", text.replace("Bad name", "good"), '[recipe.params.x]\ntype = "boolean"\ndefault = false\n')
    stack = settled()
    assert [layer.name for layer in stack.layers] == ["yes", "good"]
    assert [item.path for item in stack.layers[0].files] == ["/yes"]
    recipe(here, "a", '[[layer]]\nname = "l"\nwhen = "{{ stack.name }}"\nrun = ["x"]\n')
    [found] = mistakes()
    assert "neither true nor false" in found and "layer.0.when" in found


def test_two_recipes_that_define_a_layer_differently(here: Path) -> None:
    recipe(here, "a", '[[layer]]\nname = "l"\nrun = ["one"]\n')
    recipe(here, "b", '[[layer]]\nname = "l"\nrun = ["two"]\n')
    (here / "stack.toml").write_text('[stack]\nname = "x"\nrecipes = [{ use = "a" }, { use = "b" }]\n' + BASE)
    [found] = mistakes()
    assert 'two recipes define layer "l" differently' in found
    assert "recipes/b/recipe.toml:6" in found and "recipes/a/recipe.toml:6" in found
    with (here / "stack.toml").open("a") as file:
        file.write('[[layer]]\nname = "l"\nrun = ["mine"]\n')
    assert settled().layers[0].run == ("mine",)
    recipe(here, "b", '[stack]\nrecipes = [{ use = "a" }]\n[[layer]]\nname = "l"\nrun = ["two"]\n')
    (here / "stack.toml").write_text('[stack]\nname = "x"\nrecipes = [{ use = "b" }]\n' + BASE)
    assert settled().layers[0].run == ("two",)


def test_mistakes_in_a_recipe_point_into_it(here: Path) -> None:
    recipe(
        here,
        "a",
        '[image]\ncmd = ["{{ params.nope }}"]\n',
        '[recipe.params.x]\ntype = "string"\ndefault = "1"\n',
    )
    [found] = mistakes()
    assert "image.cmd.0" in found and "recipes/a/recipe.toml:" in found and "parameters here: x" in found
    recipe(here, "a", '[image]\nusr = "x"\n')
    [found] = mistakes()
    assert "recipes/a/recipe.toml:5: image.usr" in found and "did you mean `user`?" in found
    recipe(here, "a", "", '[recipe.params.x]\ntyp = "string"\n')
    found = " ".join(mistakes())
    assert "recipes/a/recipe.toml:4: recipe.params.x.typ" in found and "did you mean `type`?" in found
    (here / "recipes" / "a" / "recipe.toml").write_text("[image]\n")
    assert "has no [recipe] table" in mistakes()[0]


# ---- file templates ----


def test_a_template_stays_in_its_folder_through_links_neither(here: Path) -> None:
    (here / "secret.j2").write_text("secret")
    for name in ("../../secret.j2", "/etc/passwd", "l.j2"):
        place = recipe(here, "a", f'[[layer]]\nname = "l"\nfiles = [{{ path = "/x", template = "{name}" }}]\n')
        (place / "l.j2").unlink(missing_ok=True)
        (place / "l.j2").symlink_to("../../secret.j2")
        [found] = mistakes()
        assert "the folder of the file that names it" in found and "recipes/a/recipe.toml:6" in found
    recipe(
        here, "a", '[[layer]]\nname = "l"\nfiles = [{ path = "/x", template = "t.j2" }]\n', t='\n{% include "../b" %}'
    )
    [found] = mistakes()
    assert "recipes/a/t.j2:2" in found and "leaves the folder" in found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{{ env.HOME }}", "there is no 'HOME'; name the variable in `[stack] env = […]`"),
        ("{{ nope }}", "'nope' is undefined; known here: stack, platform, distro, git, env, params"),
        ("{{ params.prt }}", "there is no 'prt'; parameters here: port"),
        ("{{ params.port | sh( }}", "unexpected '}'; braces that are meant literally"),
    ],
)
def test_a_template_that_fails_says_at_its_line_what_may_help(here: Path, line: str, words: str) -> None:
    text = '[[layer]]\nname = "l"\nfiles = [{ path = "/x", template = "t.j2" }]\n'
    recipe(here, "a", text, '[recipe.params.port]\ntype = "integer"\ndefault = 1', t=f"first\n{line}\n")
    [found] = mistakes(environ={"HOME": "/root"})
    why, hint = words.split("; ")
    assert "recipes/a/t.j2:2: layer.0.files.0.template" in found and why in found and hint in found, found


def test_what_a_template_includes_is_read_and_decides(here: Path) -> None:
    text = '[[layer]]\nname = "l"\nfiles = [{ path = "/x", template = "t.j2" }]\n'
    place = recipe(
        here,
        "a",
        text,
        t='{% import "m.j2" as m %}{{ m.f("x") }}{% for k, v in stack|items %}{{ k }}{% endfor %}',
        m="{% macro f(a) %}<{{ a }}>{% endmacro %}",
    )
    stack = settled()
    assert stack.layers[0].files[0].content == "<x>namerecipes"
    assert {place / "t.j2", place / "m.j2"} <= {here / path for path in stack.read}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "more than 200000 steps"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "it goes too deep|more than"),
        ("{% include 't.j2' %}{% include 't.j2' %}", "too deep|more than 200000 steps"),
        ("{% set n = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MiB of text"),  # noqa: E501
        ("{% set n = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "MiB of text"),  # noqa: E501
        ("{% set n = namespace(x='a') %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}", "more than 200000"),  # noqa: E501
        ("{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}", "MiB of text"),  # noqa: E501
        ("{{ 'a' * 1000000000 }}", "`*` cannot be used"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "`**` cannot be used"),
        ("{{ '%1000000000d' % 1 }}", "`%` cannot be used"),
        ("{{ 'a'.ljust(1000000000) }}", "cannot be called"),
        ("{{ '{:>1000000000}'.format(1) }}", "cannot be called"),
        ("{{ 'a' | indent(1000000000, true) }}", "1000 at most"),
        ("{% for a in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "result has more"),  # noqa: E501
        ("{{ [1] }}", "a list or table cannot be written"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("a\nb {{ params.nope }}", "t.j2:2"),
        ("a\n{% if %}", "t.j2:2"),
    ],
)  # fmt: skip
def test_a_template_without_end_or_bounds_is_stopped(here: Path, template: str, words: str) -> None:
    recipe(here, "a", '[[layer]]\nname = "l"\nfiles = [{ path = "/x", template = "t.j2" }]\n', t=template)
    [found] = mistakes()
    assert any(word in found for word in words.split("|")), found


# ---- env files ----


def test_env_files_follow_dockers_rules(here: Path) -> None:
    (here / ".env").write_bytes(b'# no\n\n  A=1 # yes\nB="q"\nC=\nHOME\nABSENT\nA=2\r\nD=a=b \n')
    (here / "stack.toml").write_text(
        '[stack]\nname = "x"\n' + BASE + '[container]\nenv-file = [".env"]\nenv = { D = "mine" }\n'
    )
    stack = settled(environ={"HOME": "/h"})
    assert dict(stack.container.env) == {"B": '"q"', "C": "", "HOME": "/h", "A": "2", "D": "mine"}
    assert str(stack.origin("container", "env", "B")).startswith(".env:4")
    assert here / ".env" in {here / path for path in stack.read} and {"HOME", "ABSENT"} <= set(stack.variables)
    (here / ".env").write_text("ok=1\n=x\nA B=1\n")
    found = mistakes()
    assert ".env:2" in found[0] and "no name before" in found[0] and ".env:3" in found[1]
    (here / ".env").unlink()
    assert "there is no .env" in mistakes()[0] and "stack.toml:6" in mistakes()[0]
