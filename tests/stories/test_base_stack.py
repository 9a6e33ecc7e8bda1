"""`base.stack`: a stack that starts from another one's image: settings, lock, one plan, early cut-off, errors."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.archive import archive, stack_of
from tests.conftest import Hello, Stackbuild
from tests.machine import REPOSITORY, free_port, need, need_root, run
from tests.projects import busybox, write_tiny

pytestmark = pytest.mark.root

RUN = '[[layer]]\nname = "made"\nrun = ["echo made > /made"]\n'
APP = """\
[stack]
name = "app"
[base]
stack = "../base"
[[layer]]
name = "page"
copy = [{ from = "page/", to = "/srv/page/" }]
[[layer]]
name = "seen"
run = ["cat /made > /seen"]
[image]
env = { WHO = "app" }
"""
BASE_IMAGE = (
    'env = { WHO = "base", TZ = "UTC" }\ncmd = ["/bin/httpd", "-f", "-p", "8080", "-h", "/srv"]\nworkdir = "/srv"\n'
)


@pytest.fixture
def stacks(stackbuild: Stackbuild) -> Stackbuild:
    """base/: a busybox with a layer of each kind; app/: on top of it."""
    need_root()
    busybox()
    write_tiny(stackbuild.folder / "base", "base", BASE_IMAGE, layers=RUN)
    page = stackbuild.folder / "app/page"
    page.mkdir(parents=True)
    (page / "index.html").write_text("page\n")
    (stackbuild.folder / "app/stack.toml").write_text(APP)
    return stackbuild.at(stackbuild.folder / "app")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def ran(project: Stackbuild) -> set[str]:
    """Build; the steps that really ran."""
    lines = project("--progress", "json", "build").err.splitlines()
    events = [json.loads(line) for line in lines]
    return {event["step"] for event in events if event["type"] == "step_started"}


def config_of(project: Stackbuild) -> tuple[dict[str, Any], dict[str, str]]:
    """Config and annotations of the image app."""
    layout = f"oci:{project.store}/images:app:latest"
    config = json.loads(run([need("skopeo"), "inspect", "--config", layout]).out)["config"]
    manifest = json.loads(run([need("skopeo"), "inspect", "--raw", layout]).out)
    return config, manifest["annotations"]


def test_the_base_says_what_an_image_would_say_and_each_value_where_it_stands(stacks: Stackbuild) -> None:
    said = stacks("config", "--origins").out
    at_base = f"{stacks.folder.parent}/base/stack.toml"
    assert 'WHO = "app"' in said and "stack.toml:12 (project)" in said
    for line in ('TZ = "UTC"', 'workdir = "/srv"', 'cmd = ["/bin/httpd"'):
        [found] = [one for one in said.splitlines() if one.startswith(line)]
        assert f"{at_base}:" in found and "(image)" in found
    overrode = stacks("config", "image.env.WHO").out
    assert "app" in overrode and "base" in overrode and at_base in overrode
    edit(stacks.folder / "stack.toml", "[image]\n", '[image]\nentrypoint = ["/bin/sh"]\n')
    assert stacks("config", "image.cmd").out.startswith("# image.cmd"), "another program's arguments: overridden"
    assert "base" not in stacks("config", "container").out, "how it runs is not in an image"


def test_its_steps_join_the_plan_and_make_the_same_image_however_it_is_built(
    stacks: Stackbuild, tmp_path: Path
) -> None:
    plan = stacks("plan").out
    assert "base:copy/site" in plan and "base:run/made" in plan and "\ncopy/page" in plan
    together = stacks.at(stacks.folder.parent)("build", "app", "base").out
    [app, base] = [line.split() for line in sorted(together.splitlines())]
    assert stacks("build").out.strip() == app[1], "one stack with its base is the same plan"
    assert "0 run, 0 depends" in stacks.at(stacks.folder.parent)("plan", "base", "app").out
    other = stacks.at(store=tmp_path / "other")
    assert other("build").out.strip() == app[1]
    assert "0 run, 0 depends" in other.at(stacks.folder.parent / "base")("plan").out, "its steps are those of the base"
    config, annotations = config_of(stacks)
    assert {"TZ=UTC", "WHO=app"} <= set(config["Env"])
    assert config["Cmd"] == ["/bin/httpd", "-f", "-p", "8080", "-h", "/srv"] and config["WorkingDir"] == "/srv"
    assert annotations["org.opencontainers.image.base.digest"] == base[1]
    stacks("build", "--to", f"rootfs:{tmp_path}/root")
    assert (tmp_path / "root/seen").read_text() == "made\n" and (tmp_path / "root/srv/page/index.html").exists()


def test_an_edit_of_the_base_runs_what_it_must_and_stops_where_the_bytes_are_the_same(stacks: Stackbuild) -> None:
    base = stacks.folder.parent / "base"
    first = stacks("build").out
    assert "is up to date" in stacks("build").err, "by stat alone"
    for path in base.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert ran(stacks) == set(), "times are no content"
    edit(base / "stack.toml", '"echo made > /made"', '"echo   made > /made"')
    assert "base/stack.toml" in stacks("plan").out
    assert ran(stacks) == {"base:run/made"}, "the same bytes: nothing on top runs"
    assert stacks("build").out == first
    (base / "site/index.html").write_text("changed\n")
    found = ran(stacks)
    assert {"base:copy/site", "base:image", "run/seen", "image"} <= found
    assert "copy/page" not in found, "a copy depends on the folders above its target alone"
    edit(base / "stack.toml", 'TZ = "UTC"', 'TZ = "CET"')
    assert ran(stacks) == {"base:image", "image"}
    assert config_of(stacks)[0]["Env"] != [] and "is up to date" in stacks("build").err
    edit(base / "stack.toml", "[stack]", "# only a comment\n[stack]")
    assert ran(stacks) == set()
    assert "base:copy/site" in stacks("explain", "base:site").out


def test_bases_stand_on_bases_and_stages_have_their_own(stacks: Stackbuild, tmp_path: Path) -> None:
    top = stacks.folder.parent / "top"
    top.mkdir()
    (top / "stack.toml").write_text(
        '[stack]\nname = "top"\n[base]\nstack = "../app/stack.toml"\n'
        '[[layer]]\nname = "got"\ncopy = [{ stage = "own", from = "/out", to = "/own" },'
        ' { stage = "same", from = "/out", to = "/same" }]\n'
        '[stages.own.base]\nstack = "../base"\n'
        '[[stages.own.layer]]\nname = "out"\nrun = ["ls /srv > /out"]\n'
        '[[stages.same.layer]]\nname = "out"\nrun = ["ls /srv > /out"]\n'
    )
    project = stacks.at(top)
    digest = project("build", "--to", f"rootfs:{tmp_path}/root").out.strip()
    assert (tmp_path / "root/own").read_text() == "index.html\n"
    assert (tmp_path / "root/same").read_text() == "index.html\npage\n" and (tmp_path / "root/seen").exists()
    assert "0 run, 0 depends" in stacks("plan").out, "the one in the middle was built on the way"
    assert f"top {digest}" in stacks.at(top.parent)("build", "top", "base", "app").out
    edit(stacks.folder.parent / "base/stack.toml", 'TZ = "UTC"', 'TZ = "CET"')
    assert ran(project) == {"base:image", "app:image", "image"}, "what stands on what: settings go all the way up"


def test_outdated_writes_no_lock_of_a_base_either(stacks: Stackbuild) -> None:
    stacks("lock")
    lock = stacks.folder.parent / "base/stack.lock"
    lock.unlink()
    assert "is stale" in stacks("outdated", code=2).err and not lock.exists()


def test_up_starts_it(stacks: Stackbuild) -> None:
    port = free_port()
    with open(stacks.folder / "stack.toml", "a") as file:
        file.write(
            f'[container]\nports = ["127.0.0.1:{port}:8080"]\nhealthcheck = {{ http = '
            '"http://127.0.0.1:8080/page/", interval = "200ms" }\n'
        )
    try:
        assert f":{port}" in stacks("up", "-d", "--wait").out
        assert "nothing has changed" in stacks("up", "-d").err
        (stacks.folder.parent / "base/site/index.html").write_text("changed\n")
        stacks("up", "-d", "--wait")
        assert stacks("exec", "/bin/busybox", "cat", "/srv/index.html").out == "changed\n"
    finally:
        stacks("down", code=None)


def test_what_cannot_be_a_base(stacks: Stackbuild) -> None:
    base = stacks.folder.parent / "base/stack.toml"
    whole = base.read_text()
    base.write_text(whole.replace("scratch = true", 'stack = "../app"'))
    circle = stacks("plan", code=2).err
    assert "in a circle" in circle and "stack.toml → ../base/stack.toml → stack.toml" in circle
    base.write_text(whole.replace('name = "base"', 'name = "app"'))
    assert "two stacks are called `app`" in stacks("plan", code=2).err
    base.write_text(whole.replace("[image]", '[image]\nplatforms = ["linux/arm64"]'))
    wrong = stacks("plan", code=2).err
    assert "the base stack has no image for linux/amd64" in wrong and "stack.toml:4" in wrong
    base.write_text(whole.replace('name = "site"', 'nmae = "site"'))
    assert "base/stack.toml" in stacks("plan", code=2).err, "a mistake is told where it stands"
    base.write_text(whole)
    edit(stacks.folder / "stack.toml", '"../base"', '"../bsae"')
    assert "there is no stack ../bsae" in stacks("plan", code=2).err
    edit(stacks.folder / "stack.toml", '"../bsae"', '"../base/stack.toml"')
    both = ("--set", "image.user=1", "plan", "../base", ".")
    assert "built as a stack of its own" in stacks(*both, code=2).err
    assert "base:image" in stacks("--set", "image.user=1", "plan").out
    assert (
        "packages cannot be installed on this base stack"
        in stacks("--set", 'packages.install=["x"]', "plan", code=2).err
    )


def test_packages_are_solved_on_what_the_base_has_locked(stackbuild: Stackbuild, tmp_path: Path) -> None:
    with archive(tmp_path / "made") as made:
        made.package("lib", "1.0")
        made.package("tool", depends="lib")
        made.package("jq", depends="tool, other")
        made.package("other")
        made.publish()
        base = stack_of(made, stackbuild.folder / "base", ["tool"])
        edit(base / "stack.toml", 'name = "small"', 'name = "base"')
        top = stackbuild.folder / "top"
        top.mkdir()
        [example] = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs/howto/base-stack.md").read_text(), re.S)
        (top / "stack.toml").write_text(example)
        command = stackbuild.at(top)
        assert "is stale" in command("plan", "--locked", code=2).err
        command("lock")
        lock = (top / "stack.lock").read_text()
        assert [line for line in lock.splitlines() if line.startswith("name =")] == ['name = "other"', 'name = "jq"']
        assert 'base-image = "stack:../base"' in lock and (base / "stack.lock").exists(), "the base got its lock"
        assert "base base" in command("why", "lib").out and "depends lib" in command("why", "lib").out
        assert command("lock", "--check").out.startswith("stack.lock is up to date")
        made.package("lib", "2.0")
        made.publish()
        stackbuild.at(base)("lock", "--update")
        stale = command("lock", "--check", code=2).err
        assert "the packages of the base stack ../base have changed" in stale
        assert "lib 1.0" not in command("lock").out and "up to date" in command("lock", "--check").out
        plan = {step["id"]: step for step in json.loads(command("plan", "--format", "json").out)["steps"]}
        assert {"base:fetch/lib", "base:configure/1", "fetch/jq"} <= set(plan) and "fetch/lib" not in plan
        assert "base:configure/1" in plan["configure/1"]["needs"]
        edit(base / "stack.toml", '"tool"', '"tool", "other"')
        stale = command("lock", "--check", code=2).err
        assert "stack.lock is stale" in stale and f"where: {base}/stack.lock" in stale


def test_real_packages_on_a_real_base(hello: Hello, stackbuild: Stackbuild, tmp_path: Path) -> None:
    """The tree is the same as on the image of the base, and dpkg is content with it."""
    hello.copy_store(stackbuild.store)
    hello.copy_project(stackbuild.folder / "base")
    text = '[stack]\nname = "{0}"\n[base]\n{0} = "{1}"\n[packages]\ninstall = ["jq"]\n'
    for kind, place in (("stack", "../base"), ("image", f"oci:{hello.layout}:hello:latest")):
        (stackbuild.folder / kind).mkdir()
        (stackbuild.folder / kind / "stack.toml").write_text(text.format(kind, place))
    on_stack, on_image = stackbuild.at(stackbuild.folder / "stack"), stackbuild.at(stackbuild.folder / "image")
    assert not {step for step in ran(on_stack) if step.startswith("hello:")}, "the base is built already"
    on_image("build")
    trees = {}
    for project in (on_stack, on_image):
        root = tmp_path / project.folder.name
        project("build", "--to", f"rootfs:{root}")
        trees[root.name] = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert trees["stack"] == trees["image"]
    status = [(tmp_path / name / "var/lib/dpkg/status").read_bytes() for name in trees]
    assert status[0] == status[1] and b"Package: jq\n" in status[0]
    root = tmp_path / "stack"
    assert run([need("chroot"), root, "jq", "-n", "1+1"]).out == "2\n"
    assert run([need("chroot"), root, "dpkg", "--audit"]).out == ""
    assert "jq" in run([need("chroot"), root, "apt-mark", "showmanual"]).out.split()
    shutil.rmtree(root)
