"""`[stages.NAME]` settled: what a stage takes over, what recipes bring, and what is refused, each at its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from tests.machine import REPOSITORY

HEAD = '[stack]\nname = "staged"\n[base]\ndistro = "debian/bookworm"\n'
COPY = '[[layer]]\nname = "out"\ncopy = [{ stage = "a", from = "/made", to = "/made" }]\n'


def settled(folder: Path, text: str) -> Stack:
    (folder / "stack.toml").write_text(text)
    return settle(Question(folder / "stack.toml"))


def refused(folder: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as found:
        settled(folder, text)
    return found.value


def test_a_stage_takes_over_the_base_and_all_of_packages_but_requests(tmp_path: Path) -> None:
    text = HEAD + (
        'variant = "essential"\n[packages]\ninstall = ["hello"]\nrecommends = true\ndebconf = { "a/b" = "c" }\n'
        '[stages.a]\npackages.install = ["gcc"]\npackages.debconf = { "d/e" = "f" }\n'
    )
    stack = settled(tmp_path, text)
    stage = stack.stages["a"]
    assert stage.base == stack.base and stage.packages.recommends and stage.packages.scripts == "run"
    assert [request.text for request in stage.packages.install] == ["gcc"]
    assert dict(stage.packages.debconf) == {"a/b": "c", "d/e": "f"}
    where = stage.origin("packages", "install", "gcc")
    assert (where.line, where.key[:2]) == (11, ("stages", "a")), where
    assert stage.origin("packages", "recommends").line == 8


def test_a_stage_with_a_base_of_its_own_has_the_usual_variant(tmp_path: Path) -> None:
    stage = '[stages.a]\nbase.distro = "debian/trixie"\n[stages.b]\nbase.scratch = true\n'
    stack = settled(tmp_path, HEAD + 'variant = "essential"\n' + stage)
    assert stack.stages["a"].base.variant == "apt"
    assert stack.stages["b"].base.kind == "scratch"


def test_a_recipe_brings_a_stage_and_the_project_adds_to_it(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/made.toml").write_text(
        '[recipe]\nname = "made"\n[stages.a]\npackages.install = ["gcc"]\n'
        '[[stages.a.layer]]\nname = "make"\nrun = ["make"]\n' + COPY
    )
    text = HEAD.replace('"staged"', '"staged"\nrecipes = ["made"]') + (
        '[stages.a]\npackages.install = ["make"]\n[[stages.a.layer]]\nname = "more"\nrun = ["true"]\n'
    )
    stack = settled(tmp_path, text.replace('["made"]', '[{ use = "made" }]'))
    stage = stack.stages["a"]
    assert [request.text for request in stage.packages.install] == ["gcc", "make"]
    assert [layer.name for layer in stage.layers] == ["make", "more"]
    assert "made.toml" in str(stage.origin("layer", "make", "run"))
    assert "stack.toml" in str(stage.origin("packages", "install", "make"))


def test_stages_come_after_those_that_they_copy_from(tmp_path: Path) -> None:
    text = HEAD + (
        '[[stages.z.layer]]\nname = "x"\ncopy = [{ stage = "a", from = "/x", to = "/x" }]\n'
        '[[stages.b.layer]]\nname = "x"\ncopy = [{ stage = "z", from = "/x", to = "/x" }]\n'
        '[stages.a]\npackages.install = ["hello"]\n'
    )
    assert list(settled(tmp_path, text).stages) == ["a", "z", "b"]


def test_an_unknown_stage_names_the_nearest(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + COPY.replace('"a"', '"bilder"') + '[stages.builder]\npackages.install = ["gcc"]\n')
    assert "bilder" in error.what and error.where and error.where.line == 7
    assert "builder" in error.hints[0].text
    assert "there is no stage" in refused(tmp_path, HEAD + COPY).what


def test_a_circle_is_refused_with_the_way_round(tmp_path: Path) -> None:
    layer = '[[stages.{}.layer]]\nname = "x"\ncopy = [{{ stage = "{}", from = "/x", to = "/x" }}]\n'
    error = refused(tmp_path, HEAD + layer.format("a", "b") + layer.format("b", "c") + layer.format("c", "b"))
    assert error.why == "b → c → b" and error.where and error.where.line == 13


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (COPY.replace('"/made", to', '"made", to'), "not an absolute path of the stage"),
        (COPY.replace('"/made", to', '"/../made", to'), "not an absolute path of the stage"),
        (COPY.replace(" }]", ', ignore = ".gitignore" }]'), "use `exclude`"),
        ('[[layer]]\nname = "out"\ncopy = [{ from = "/etc/passwd", to = "/x" }]\n', "leaves the project"),
        ('[[stages.a.layer]]\nname = "x"\nremove = ["/x"]\nworkdir = "/"\n', "for layers that run something"),
        ('[[stages.a.layer]]\nname = "x"\n', "does nothing"),
        ('[[stages.a.layer]]\nname = "x"\nremove = ["/x"]\n' * 2, "stands twice"),
        ('[stages.a.image]\nuser = "x"\n', "image"),
    ],
)
def test_mistakes_in_stages(tmp_path: Path, text: str, words: str) -> None:
    error = refused(tmp_path, HEAD + text)
    said = f"{error.what} {error.why} {[(one.what, one.why) for one in error.errors]}"
    assert words in said and error.where is not None, said


def test_the_example_of_the_page_settles(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs/howto/stages.md").read_text(), re.S)
    stack = settled(tmp_path, example)
    assert [layer.name for layer in stack.stages["builder"].layers] == ["deps"]
