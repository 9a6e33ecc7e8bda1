"""Several stacks in one command: one plan, what they share once, a failure of one that stops no other."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root
from tests.projects import busybox, write_tiny

pytestmark = pytest.mark.root

STAGE = (
    "[stages.{0}.base]\nscratch = true\n"
    '[[stages.{0}.layer]]\nname = "gen"\nfiles = [{{ path = "/g", content = "same" }}]\n'
)
COPY = '[[layer]]\nname = "got"\ncopy = [{{ stage = "{0}", from = "/g", to = "/g" }}]\n'
FAILS = '[[layer]]\nname = "broken"\nrun = ["exit 3"]\n'


@pytest.fixture
def stacks(stackbuild: Stackbuild) -> Stackbuild:
    need_root()
    busybox()
    write_tiny(stackbuild.folder / "one", "one", layers=STAGE.format("a") + COPY.format("a"))
    write_tiny(stackbuild.folder / "two", "two", layers=STAGE.format("b") + COPY.format("b"))
    (stackbuild.folder / "two/site/index.html").write_text("another\n")
    return stackbuild


def test_one_plan_with_the_same_images_as_one_at_a_time(stacks: Stackbuild) -> None:
    plan = {step["id"] for step in json.loads(stacks("plan", "--format", "json", "one", "two").out)["steps"]}
    assert {"one:copy/site", "two:copy/site", "two:copy/got"} <= plan
    assert "one:stages.a/files/gen" in plan and "two:stages.b/files/gen" not in plan, "the same work is one step"
    both = stacks("build", "one/stack.toml", "two", "--format", "json", "--metadata-file", "facts.json")
    built = {one["name"]: one["digest"] for one in json.loads(both.out)["stacks"]}
    assert set(built) == {"one", "two"} and built["one"] != built["two"]
    for name, digest in built.items():
        alone = stacks("build", name)
        assert alone.out.strip() == digest and "0 run" in stacks("plan", name).out
    fresh = stacks.at(store=stacks.store.parent / "other")
    assert fresh("-f", "two/stack.toml", "build").out.strip() == built["two"], "keys and bytes know no neighbour"
    facts = json.loads((stacks.folder / "facts.json").read_text())
    assert facts["one"]["containerimage.digest"] == built["one"]
    assert stacks("lock", "--check", "one", "two").out.count("up to date") == 2


def test_a_failure_stops_no_other_stack_with_k(stacks: Stackbuild) -> None:
    text = (stacks.folder / "one/stack.toml").read_text()
    (stacks.folder / "one/stack.toml").write_text(text.replace("\n[image]\n", f"\n{FAILS}\n[image]\n"))
    ran = stacks("-f", "one/stack.toml", "-f", "two/stack.toml", "build", "-k", "--format", "json", code=1)
    [one, two] = json.loads(ran.out)["stacks"]
    assert "run/broken" in one["error"]["what"] and two["digest"].startswith("sha256:")
    assert "one:run/broken" in ran.err
    assert "two sha256:" in stacks("build", "-k", "one", "two", code=1).out


def test_a_step_of_one_of_them(stacks: Stackbuild) -> None:
    out = stacks("plan", "one", "two", "two:site").out
    assert "two:copy/site" in out and "two:image" not in out and "one:image" in out
    assert "copy/site" in stacks("plan", "two:site").out
    wrong = stacks("plan", "one", "two", "site", code=2)
    assert "one:site" in wrong.err
    assert "for one stack" in stacks("-f", "one/stack.toml", "-f", "two/stack.toml", "up", code=2).err
    (stacks.folder / "two/stack.toml").write_text((stacks.folder / "one/stack.toml").read_text())
    assert "two stacks are called `one`" in stacks("plan", "one", "two", code=2).err


def test_nothing_changed_returns_by_stat_alone_and_each_stack_has_its_history(stacks: Stackbuild) -> None:
    first = stacks("build", "one", "two", "--format", "json")
    again = stacks("build", "two/stack.toml", "one", "--format", "json")
    assert "=> build" in again.err, "another command line"
    same = stacks("build", "one", "two", "--format", "json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert same.out == first.out and "note: one:latest is up to date" in same.err
    heavy = ("pydantic", "networkx", "jinja2", "tomllib", "stackbuild.plan", "stackbuild.stack")
    assert not [line for line in same.err.splitlines() if line.rpartition("|")[2].strip().startswith(heavy)]
    assert "the last build" in stacks("-f", "two/stack.toml", "explain", "copy/site").out
    shared = stacks("-f", "two/stack.toml", "explain", "stages.b/files/gen").out
    assert "the last build" in shared, shared
    edit = stacks.folder / "two/stack.toml"
    edit.write_text(edit.read_text().replace('content = "same"', 'content = "other"'))
    assert "never built" not in stacks("plan", "two").out, "what another stack's step did for it is remembered"
    assert "=> build" in stacks("build", "one", "two").err


def test_a_damaged_blob_is_found_on_use_and_made_again(stacks: Stackbuild) -> None:
    digests = stacks("build", "one", "two").out
    blobs = [path for path in (stacks.store / "images/blobs/sha256").iterdir() if path.stat().st_size > 100_000]
    assert blobs, "busybox is in one"
    for path in blobs:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    for trees in stacks.store.glob("rootfs.v*"):
        shutil.rmtree(trees)
    for name in ("one", "two"):
        file = stacks.folder / name / "stack.toml"
        more = '\n[[layer]]\nname = "more"\nrun = ["cat /bin/busybox > /copy"]\n[image]\n'
        file.write_text(file.read_text().replace("\n[image]\n", more, 1))
    mended = stacks("build", "-k", "one", "two")
    assert "is dropped" in mended.err and mended.out.count("sha256:") == 2 and mended.out != digests
    fresh = stacks.at(store=stacks.store.parent / "other")
    assert fresh("build", "one", "two").out == mended.out


def test_the_store_is_kept_to_the_largest_size_that_is_said(stacks: Stackbuild) -> None:
    stacks("build", "one", "two")
    for name, size in (("one", "1MiB"), ("two", "2GiB")):
        file = stacks.folder / name / "stack.toml"
        file.write_text(file.read_text() + f'\n[build]\nmax-cache-size = "{size}"\n')
    (stacks.folder / "one/site/index.html").write_text("changed\n")
    assert "freed" not in stacks("build", "one", "two").err
    (stacks.folder / "two/stack.toml").write_text(
        (stacks.folder / "two/stack.toml").read_text().replace('"2GiB"', '"1MiB"')
    )
    (stacks.folder / "one/site/index.html").write_text("changed again\n")
    assert "as build.max-cache-size asks" in stacks("build", "one", "two").err
