"""Edits of a small stack, and for each exactly the steps that run; the same plan explained, drawn and forbidden."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archive import archive, stack_of
from tests.conftest import Stackbuild
from tests.machine import need_root, once
from tests.projects import write_tiny

LAYERS = """\
[[layer]]
name = "config"
files = [{ path = "/etc/app.conf", template = "app.conf.j2" }, { path = "/etc/who", content = "{{ stack.name }}\\n" }]
[[layer]]
name = "count"
run = ["wc -c < /srv/index.html > /count"]
[[layer]]
name = "shout"
run = ["tr a-z A-Z < /src/words.txt > /shout"]
inputs = ["words.txt"]
[[layer]]
name = "last"
remove = ["/srv/old.html"]
"""
IMAGE = 'cmd = ["/bin/sh"]\nenv = { A = "1" }\nlabels = { l = "1" }'


def project(folder: Path) -> None:
    write_tiny(folder, image=IMAGE, container='network = "none"', layers=LAYERS)
    (folder / "app.conf.j2").write_text("name = {{ stack.name }}\n")
    (folder / "site/old.html").write_text("old\n")
    (folder / "site/notes.tmp").write_text("tmp\n")
    (folder / "words.txt").write_text("words\n")


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return edit


def written(file: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)

    return edit


def aged(folder: Path) -> None:
    for one in folder.rglob("*"):
        os.utime(one, (1, 1))


STACK = "stack.toml"
PUSH = '[push]\nto = ["registry.example.com/x:1"]\n'
NOTHING = ', exclude = ["*.x"] }]'
SITE = 'copy = [{ from = "site/", to = "/srv/" }]'
SHOUT = '[[layer]]\nname = "shout"'
ABOVE_CONFIG = {"run/count", "run/shout", "facet/last", "image"}
"""What reads the tree that `config` is in, and so runs when that is another: `last` is the same, as its facet is."""
ABOVE_SITE = {"facet/config", *ABOVE_CONFIG}

EDITS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "nothing": (lambda folder: None, set()),
    "a comment in the stack file": (replaced(STACK, "[image]", "# a comment\n[image]"), set()),
    "blank lines": (replaced(STACK, '[stack]\n', '\n\n[stack]\n\n'), set()),
    "all times": (aged, set()),
    "a file that nothing reads": (written("README.md", "new\n"), set()),
    "a setting of the container": (replaced(STACK, 'network = "none"', 'network = "none"\nread-only = true'), set()),
    "a setting of the build": (replaced(STACK, "[container]", "[build]\njobs = 1\n[container]"), set()),
    "where it is pushed": (replaced(STACK, "[container]", f"{PUSH}[container]"), set()),
    "a variable of the image": (replaced(STACK, 'A = "1"', 'A = "2"'), {"image"}),
    "a label": (replaced(STACK, 'l = "1"', 'l = "2"'), {"image"}),
    "the command": (replaced(STACK, 'cmd = ["/bin/sh"]', 'cmd = ["/bin/sh", "-l"]'), {"image"}),
    "the input of the last script": (written("words.txt", "other\n"), {"run/shout", "facet/last", "image"}),
    "an input that gives the same bytes": (written("words.txt", "WORDS\n"), {"run/shout"}),
    "a script": (replaced(STACK, "tr a-z A-Z <", "tr a-z B-ZA <"), {"run/shout", "facet/last", "image"}),
    # it stands in the image's history, so that is another image although its layers are the same
    "a script that gives the same bytes": (
        replaced(STACK, "tr a-z A-Z <", "tr '[a-z]' '[A-Z]' <"),
        {"run/shout", "facet/last", "image"},
    ),
    "a script's variables": (replaced(STACK, 'inputs = ["words', 'env = { X = "1" }\ninputs = ["words'), {"run/shout"}),
    "a page": (written("site/index.html", "longer page\n"), {"copy/site", *ABOVE_SITE}),
    "a new page": (written("site/new.html", "new\n"), {"copy/site", *ABOVE_SITE}),
    "a page's mode": (lambda folder: os.chmod(folder / "site/index.html", 0o755), {"copy/site", *ABOVE_SITE}),
    "a file that is excluded, with the pattern": (
        replaced(STACK, SITE, SITE.replace(" }]", ', exclude = ["*.tmp"] }]')),
        {"copy/site", *ABOVE_SITE},
    ),
    "a pattern that matches nothing": (replaced(STACK, SITE, SITE.replace(" }]", NOTHING)), {"copy/site"}),
    "the template of a file": (written("app.conf.j2", "is = {{ stack.name }}\n"), {"files/config", *ABOVE_CONFIG}),
    "a template that renders the same": (written("app.conf.j2", "name = {{ 'tiny' }}\n"), set()),
    "the name of a layer": (replaced(STACK, 'name = "shout"', 'name = "loud"'), {"facet/last", "image"}),
    "a layer more": (
        replaced(STACK, SHOUT, f'[[layer]]\nname = "more"\nfiles = [{{ path = "/more", content = "" }}]\n{SHOUT}'),
        {"facet/more", "files/more", "run/shout", "facet/last", "image"},
    ),
    "a layer less": (replaced(STACK, 'name = "last"\nremove = ["/srv/old.html"]\n', 'name = "!last"\n'), {"image"}),
    "compression": (
        replaced(STACK, "[image]", '[image]\ncompression = "zstd"'),
        {"copy/busybox", "facet/links", "files/links", "facet/site", "copy/site", "files/config", "remove/last"}
        | ABOVE_SITE,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(shared: Path) -> Stackbuild:
    """The project, built once."""
    need_root()

    def make(folder: Path) -> None:
        project(folder / "project")
        Stackbuild(folder / "project", folder / "store")("build", timeout=120)

    folder = once(shared / "edits", make)
    return Stackbuild(folder / "project", folder / "store")


def ran(command: Stackbuild, *words: str) -> set[str]:
    """The steps that a build runs."""
    found = command("--progress", "json", "build", *words)
    events = [json.loads(line) for line in found.err.splitlines()]
    return {one["step"] for one in events if one.get("type") == "step_started"}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_these_steps_and_no_other(built: Stackbuild, tmp_path: Path, name: str) -> None:
    edit, expected = EDITS[name]
    folder = tmp_path / "project"
    project(folder)
    edit(folder)
    assert ran(built.at(folder=folder)) == expected


def test_explained_drawn_and_forbidden(stackbuild: Stackbuild) -> None:
    """`explain` against the last build and one before, `plan --graph`, `--fail-if-run`, and times in the plan."""
    need_root()
    project(stackbuild.folder)
    assert "there is no earlier build" in stackbuild("explain", "site").out
    plan = stackbuild("plan")
    assert "about 2.0 s" in plan.out and "run: never built" in plan.out
    forbidden = stackbuild("build", "--fail-if-run", code=1)
    assert "--fail-if-run forbids it" in forbidden.err and "copy/busybox run: never built" in forbidden.err
    first = stackbuild("build").out
    stackbuild("build", "--fail-if-run")

    EDITS["a script"][0](stackbuild.folder)
    plan = stackbuild("plan")
    assert "run/shout" in plan.out and "stack.toml:" in plan.out and "last time" in plan.out
    told = stackbuild("explain", "shout")
    assert "~ script.0: tr a-z A-Z < /src/words.txt" in told.out and "now: tr a-z B-ZA <" in told.out
    assert stackbuild("build").out != first
    assert "the same as in the last build" in stackbuild("explain", "shout").out
    before = json.loads(stackbuild("explain", "shout", "--against", "2", "--format", "json").out)
    assert [one["name"] for one in before["differs"]] == ["script.0"]
    assert "is no build" in stackbuild("explain", "shout", "--against", "9", code=2).err
    assert "there is no step or layer `shuot`" in stackbuild("explain", "shuot", code=2).err

    assert stackbuild("plan", "--graph", "svg").out.startswith("<svg ")
    assert json.loads(stackbuild("plan", "--graph", "dot", "--format", "json").out)["form"] == "dot"
    replaced(STACK, "tr a-z B-ZA <", "/bin/busybox sleep 0.6; tr a-z A-Z <")(stackbuild.folder)
    told = stackbuild("build")
    assert "steps ran; critical path" in told.err


def test_each_view_says_state_reason_place_last_and_expected_time(stackbuild: Stackbuild) -> None:
    write_tiny(stackbuild.folder, layers='[[layer]]\nname = "slow"\nrun = ["sleep 0.3"]\n')
    stackbuild("build")
    file = stackbuild.folder / "stack.toml"
    file.write_text(file.read_text().replace("sleep 0.3", "sleep 0.2").replace('to = "/srv/"', 'to = "/srv2/"'))
    lines = {line.split()[0]: line for line in stackbuild("plan").out.splitlines()}
    assert stackbuild("build", "-n").out == stackbuild("plan").out
    number = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if "sleep 0.2" in line)
    assert re.search(
        rf"run/slow +depends: .*sleep 0\.2.* \(stack\.toml:{number}\)  \[about [\d.]+ s, as last", lines["run/slow"]
    )
    assert "files/links" in lines and "  cached" in lines["files/links"]
    assert re.search(r"about [\d.]+ s$", stackbuild("plan").out.strip())
    steps = {one["id"]: one for one in json.loads(stackbuild("plan", "--format", "json").out)["steps"]}
    slow = steps["run/slow"]
    assert slow["last_seconds"] >= 0.3 and slow["expected_seconds"] == slow["last_seconds"]
    assert slow["places"] == [f"stack.toml:{number}"]
    told = [json.loads(line) for line in stackbuild("build", "--progress", "json").err.splitlines()]
    [made] = [one for one in told if one["type"] == "plan_made"]
    assert made["expected"] >= slow["expected_seconds"]
    [started] = [one for one in told if one["type"] == "step_started" and one["step"] == "run/slow"]
    assert started["expected"] == slow["expected_seconds"] and f"(stack.toml:{number})" in started["reason"]


def test_a_newer_package_is_the_reason_of_what_it_runs(stackbuild: Stackbuild, tmp_path: Path) -> None:
    need_root()
    layer = '[[layer]]\nname = "config"\nfiles = [{ path = "/etc/app.conf", content = "app" }]\n'
    with archive(tmp_path / "archive") as made:
        made.package("app", depends="lib")
        made.package("lib")
        made.package("other")
        made.publish()
        stack_of(made, stackbuild.folder, ["app", "other"], more=layer)
        replaced(STACK, "[packages]\n", '[packages]\nscripts = "skip"\n')(stackbuild.folder)
        stackbuild("build")
        made.package("lib", "2.0")
        made.publish()
        stackbuild("build", "--fail-if-run")  # the lock says what is in the image, not the day
        stackbuild("lock", "--update")
        told = {id: line for id, line in lines(stackbuild).items() if ": package lib 1.0 → 2.0  [" in line}
        assert [id.partition("/")[0] for id in told] == ["unpack"], lines(stackbuild)
        # not the group of `other`, and not `config`, whose facet is the same
        assert ran(stackbuild) == {"fetch/lib", *told, "effects", "facet/config", "image"}


def test_another_base_is_the_reason_of_what_it_runs(stackbuild: Stackbuild, tmp_path: Path) -> None:
    need_root()
    base = stackbuild.at(write_tiny(tmp_path / "base", name="base"))
    image = f"oci:{tmp_path / 'image'}:1"
    base("build", "--to", image)
    (stackbuild.folder / STACK).write_text(
        f'[stack]\nname = "app"\n[base]\nimage = "{image}"\n'
        '[[layer]]\nname = "more"\nfiles = [{ path = "/srv/more.html", content = "more" }]\n'
        '[[layer]]\nname = "made"\nrun = ["cat /srv/index.html > /made"]\n'
    )
    stackbuild("build")
    replaced("site/index.html", "tiny", "large")(base.folder)
    base("build", "--to", image)
    stackbuild("build", "--fail-if-run")
    stackbuild("lock", "--update")
    told = lines(stackbuild)
    assert told["base"].startswith("run: base image sha256:") and "(stack.toml:4)" in told["base"]
    assert told["run/made"].startswith("depends: the tree below (base) changed")
    assert ran(stackbuild) == {"base", "facet/more", "run/made", "image"}  # the facet is the same: `more` is kept


def lines(command: Stackbuild) -> dict[str, str]:
    """The lines of the plan by step."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in command("plan").out.splitlines()}
