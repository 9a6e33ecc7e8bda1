"""Templates in values: what they may name, what type comes out, and what they cannot do."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.stack.bounded import Failed, render_file
from stackbuild.stack.context import NAMES
from stackbuild.stack.question import Question
from stackbuild.stack.render import Distro, environment, platform_names, render, render_tree
from stackbuild.stack.settle import settle

CONTEXT = {
    "stack": {"name": "x", "words": ["a", "b c"]},
    "platform": platform_names("linux/arm/v7"),
    "distro": Distro("debian/bookworm"),
    "env": {"A": "v"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ stack.name }}", "x"),
        ("a {{ stack.name | upper }} b", "a X b"),
        ("{{ stack.words }}", ["a", "b c"]),
        ("{{- stack.words | length -}}", 2),
        (" {{ 1 + 2 }}\n", 3),
        ("{{ true }}", True),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("echo {{ stack.words | sh }}", "echo a 'b c'"),
        ('echo {{ "it\'s" | sh }}', "echo 'it'\"'\"'s'"),
        ("{{ distro }}, {{ distro.name }}, {{ distro.release }}", "debian/bookworm, debian, bookworm"),
        ("{{ platform.os }}/{{ platform.arch }} {{ platform['debian-arch'] }}", "linux/arm/v7 armhf"),
        ("{{ env.B | default('z') }}", "z"),
        ("{% if stack.name == 'x' %}yes{% else %}no{% endif %}", "yes"),
        ("{{ 'big' if stack.words | length > 1 else 'small' }}", "big"),
        ("{{ '{{' }} literally", "{{ literally"),
    ],
)
def test_values(text: str, value: Any) -> None:
    made = render(environment(), text, CONTEXT)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ stack.nope }}", "there is no 'nope'"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ stack['__class__'] }}", "no|unsafe"),
        ("{{ stack.words.append(1) }}", "a call"),
        ("{{ range(10) }}", "a call"),
        ("{% for a in stack.words %}{% endfor %}", "`for`"),
        ("{% set a = 'x' %}{{ a }}", "`set`"),
        ("{% include '/etc/passwd' %}", "`include`"),
        ("{% macro a() %}{% endmacro %}", "`macro`"),
        ("{{ 'x' * 1000000000 }}", r"`\*`"),
        ("{{ 9 ** 9 ** 9 }}", r"`\*\*`"),
        ("{{ '%1000000000d' % 1 }}", "`%`"),
        ("{{ stack | attr('name') }}", "No filter named 'attr'"),
        ("{{ 'x' | center(1000000000) }}", "No filter named 'center'"),
        ("{{ none }}", "nothing"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ unclosed", "unexpected end"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "recursion|complicated|nested"),
        ("{{ " + " ~ ".join(["stack.name"] * 3000) + " }}", "too complicated|recursion"),
        ("{{ 1 }}" + "x" * 70000, "64 KiB"),
    ],
)
def test_what_cannot_be_done(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        render(environment(), text, CONTEXT)


def test_the_page_names_all_that_there_is(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/howto/settings.md").read_text()
    table, rest = text.partition("| name | what it is |")[2].split("Filters:")
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {*NAMES, "params"}
    named = set(re.findall(r"`(\w+)`", rest.partition(" Braces")[0]))
    assert named == environment().filters.keys()
    more = rest.partition("More filters than in values:")[2].partition(";")[0]
    for name in {*named, *re.findall(r"`(\w+)`", more)}:
        template = {"t": f"{{{{ ['a'] | {name} }}}}"}
        try:
            render_file("t", template.__getitem__, {})
        except Failed as error:  # not all are for lists
            assert "No filter" not in str(error)
    with pytest.raises(Failed, match="No filter named 'center'"):
        render_file("t", {"t": "{{ 'a' | center }}"}.__getitem__, {})


def test_repeated_replacing_does_not_grow_without_end() -> None:
    text = "{{ 'a'" + "|replace('', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 12 + " }}"
    start = time.monotonic()
    with pytest.raises(ValueError, match="too large"):
        render(environment(), text, CONTEXT)
    assert time.monotonic() - start < 5


def test_a_list_in_a_list_is_spliced_and_structure_cannot_be_broken() -> None:
    tree = {"cmd": ["first", "{{ stack.words }}", '{{ env.A ~ "\\"] \\n[stack]" }}'], "keep": "{ x }"}
    made = render_tree(tree, CONTEXT, lambda key, why: pytest.fail(f"{key}: {why}"))
    assert made == {"cmd": ["first", "a", "b c", 'v"] \n[stack]'], "keep": "{ x }"}


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_git_is_asked_only_when_it_is_named_and_its_files_are_among_those_read(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    text = '[stack]\nname = "x"\n[base]\nscratch = true\n[image]\nlabels = { rev = "REV" }\n'
    file.write_text(text)
    assert settle(Question(file)).read == (file,)
    file.write_text(text.replace("REV", "{{ git.short }} {{ git.branch }} {{ git.describe }}"))
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with pytest.raises(UsageError, match="not a git repository"):
        settle(Question(file, environ=environ))
    git(tmp_path, "init", "-q", "-b", "main")
    with pytest.raises(UsageError, match=r"cannot be rendered.*fatal"):
        settle(Question(file, environ=environ))
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    git(tmp_path, "tag", "v1")
    stack = settle(Question(file, environ=environ))
    sha = git(tmp_path, "rev-parse", "HEAD")
    assert stack.image.labels == {"rev": f"{sha[:12]} main v1"}
    assert {tmp_path / ".git/HEAD", tmp_path / ".git/refs/heads/main"} <= set(stack.read)


def test_only_declared_variables_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(
        '[stack]\nname = "x"\nenv = ["RELEASE"]\n[base]\nscratch = true\n[image]\nenv = { R = "{{ env.RELEASE }}" }\n'
    )
    stack = settle(Question(file, environ={"RELEASE": "7", "SECRET": "s"}))
    assert stack.image.env["R"] == "7"
    assert stack.variables == ("RELEASE",)
    file.write_text(file.read_text().replace("{{ env.RELEASE", "{{ env.SECRET"))
    with pytest.raises(UsageError) as found:
        settle(Question(file, environ={"RELEASE": "7", "SECRET": "s"}))
    assert "there is no 'SECRET'" in str(found.value)
    assert "[stack] env" in found.value.hints[0].text
