"""What a builder is asked and what it leaves is the same in another folder, as another user, in another store."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.do import KINDS
from stackbuild.cli.building import prepare
from stackbuild.cli.options import parse
from stackbuild.cli.wiring import App
from stackbuild.core.action import ActionResult
from stackbuild.core.digest import digest_of
from stackbuild.plan.step import ActionKind
from tests.archive import archive, stack_of
from tests.conftest import Hello, Person, Stackbuild
from tests.machine import need, run
from tests.projects import other_times, write_tiny

pytestmark = pytest.mark.root

LAYERS = """\
[[stages.tools.layer]]
name = "sh"
copy = [{{ from = "bin/busybox", to = "/bin/busybox", mode = "0755" }}]
[[stages.tools.layer]]
name = "make"
files = [{{ path = "/bin/sh", link = "busybox" }}]
[[stages.tools.layer]]
name = "built"
run = ["/bin/busybox mkdir /made", "/bin/busybox id -u > /made/uid"]
[[layer]]
name = "picked"
copy = [{{ stage = "tools", from = "/made", to = "/made" }}]
[[layer]]
name = "fetched"
fetch = [{{ url = "{url}/file.txt", sha256 = "{sha}", to = "/opt/file.txt" }}]
[[layer]]
name = "made"
run = ["/bin/busybox env > /env", "umask > /umask", "/bin/busybox stat -c '%n %a %u %g %Y %s' /bin/* /srv/* > /listing"]
[[layer]]
name = "less"
remove = ["/opt/file.txt"]
[users.app]
uid = 10001
"""


def actions(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, bytes, ActionResult]]:
    """Of a project that is built: for each step that is an action its kind, canonical bytes and result."""
    monkeypatch.chdir(folder)
    args = parse(["--store", str(store), "--offline", "--progress", "json", "--quiet", "plan", "--locked"])
    found = {}
    with App.of(args, {}) as app:
        work = prepare(app, locked=True)
        results: dict[str, ActionResult] = {}
        for id, outlook in work.forecast.outlooks.items():
            step, kind = outlook.step, work.tools.kinds[outlook.step.kind]
            result = outlook.result or work.tools.cache.lookup(step, outlook.plan_key)
            assert result is not None, id
            results[id] = result
            if isinstance(kind, ActionKind):
                inputs = kind.inputs(step, {before: results[before].digest for before in step.after})
                found[id] = step.kind, kind.action(step, inputs, results).canonical(), result
    return found


def leaves(value: Any) -> Iterator[Any]:
    """All keys and values of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def leaks(document: bytes, *places: Path) -> list[Any]:
    """What of this machine, its users or the time stands in canonical bytes."""
    names = [getpass.getuser() + "@", os.environ["HOME"], *map(str, places)]
    host = rf"(?<!\w){re.escape(socket.gethostname())}(?!\w)"  # as a word: a host may be called `vm` or `a1`
    words = re.compile("|".join([host, *map(re.escape, names)]))
    day = 86400 * 400  # package files are older than that, or say so in a digest alone
    now = time.time()
    return [
        leaf
        for leaf in leaves(json.loads(document))
        if (isinstance(leaf, str) and (words.search(leaf) or time.strftime("%Y-%m-%d") in leaf))
        or (isinstance(leaf, int | float) and not isinstance(leaf, bool) and abs(leaf - now) < day)
    ]


def test_the_search_for_leaks_finds_them(tmp_path: Path) -> None:
    document = {"a": [f"x{tmp_path}/y", int(time.time())], socket.gethostname(): True, "fine": [1, "/srv", 315532801]}
    assert len(leaks(json.dumps(document).encode(), tmp_path)) == 3


def test_no_action_holds_a_path_an_id_or_a_clock_of_the_host(
    hello: Hello, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actions of real packages and of a layer of each kind, as they were carried out."""
    store = hello.copy_store(tmp_path / "store")
    folder = hello.copy_project(tmp_path / "project")
    Stackbuild(folder, store)("--offline", "build", "--locked", timeout=600)
    found = actions(folder, store, monkeypatch)
    assert {kind for kind, _, _ in found.values()} == set(KINDS) - {"pick", "effects"}
    bad = {
        id: leak for id, (_, document, _) in found.items() if (leak := leaks(document, tmp_path, hello.store.parent))
    }
    assert not bad


def same_for_two_users(
    first: Path, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[str, bytes, ActionResult]]:
    """Build a project as root, and a copy of it as an ordinary user; each action and result is the same to the byte."""
    second, other = person.home / "Ünd two" / first.name, person.home / f"store of {first.name}"
    mine = Stackbuild(first, tmp_path / "store", environ={"TZ": "Pacific/Auckland"})
    digest = mine("build").out.strip()
    shutil.copytree(first, second)
    other_times(second)
    run([need("chown"), "-R", f"{person.name}:", second])
    theirs = person.stackbuild(second)
    assert theirs("--store", other, "build", "--locked").out.strip() == digest
    one = actions(first, tmp_path / "store", monkeypatch)
    two = actions(second, other, monkeypatch)  # from here on root's files are in that store, too
    assert one.keys() == two.keys()
    for id, (_, document, result) in one.items():
        assert document == two[id][1], id
        assert (result.outputs, result.facts) == (two[id][2].outputs, two[id][2].facts), id
        assert not leaks(document, tmp_path, person.home), id
    return one


def test_every_builder_twice_in_two_folders_as_two_users_from_two_stores(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_reproducible` has `configure`: packages whose scripts run, as root, as an ordinary user, in a container."""
    with archive(tmp_path / "files") as server:
        (server.folder / "file.txt").write_text("fetched\n")
        layers = LAYERS.format(url=server.url, sha=digest_of(b"fetched\n")[7:])
        write_tiny(tmp_path / "one", layers=layers, container='network = "none"')
        done = same_for_two_users(tmp_path / "one", person, tmp_path, monkeypatch)
    kinds = {kind for kind, _, _ in done.values()}
    with archive(tmp_path / "archive") as made:
        made.package("lib")
        made.package("app", depends="lib")
        made.publish()
        file = stack_of(made, tmp_path / "packages", ["app"]) / "stack.toml"
        file.write_text(file.read_text().replace("[packages]", '[packages]\nscripts = "skip"'))
        done = same_for_two_users(tmp_path / "packages", person, tmp_path, monkeypatch)
    assert kinds | {kind for kind, _, _ in done.values()} == set(KINDS) - {"configure"}
