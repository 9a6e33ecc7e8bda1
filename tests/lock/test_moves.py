"""What moves in a lock and what stays: a real archive with a security suite goes on under a lock that was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.lock.lock import LockFile
from tests.archive import Archive, archive, stack_of
from tests.conftest import Stackbuild

SECURITY = "pool-security"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Archive]:
    """app needs lib, web needs lib and ssl, tool stands alone; all in version 1."""
    with archive(tmp_path / "made") as found:
        for name, needs in (("lib", ""), ("ssl", ""), ("app", "lib"), ("web", "lib, ssl"), ("tool", "")):
            found.package(name, "1.0", depends=needs)
        found.publish()
        (found.folder / SECURITY).mkdir()
        found.publish(suite="bookworm-security", pool=SECURITY)
        yield found


def versions(folder: Path) -> dict[str, str]:
    lock = LockFile(folder / "stack.lock").read()
    assert lock is not None
    return {p.name: p.version for p in lock.platforms["linux/amd64"].packages}


def go_on(made: Archive) -> None:
    """Everything but web gets a version 2, and the new app needs the new lib; ssl's is a security update."""
    for name, needs in (("lib", ""), ("app", "lib (>= 2)"), ("tool", "")):
        made.package(name, "2.0", depends=needs)
    made.publish()
    made.package("ssl", "1.0+deb12u1", to=made.folder / SECURITY)
    made.publish(suite="bookworm-security", pool=SECURITY)


def test_outdated_tells_security_updates_from_others(made: Archive, stackbuild: Stackbuild) -> None:
    folder = stack_of(made, stackbuild.folder, ["app", "web", "tool"])
    stackbuild("lock")
    assert stackbuild("outdated").out == "nothing is outdated\n"
    go_on(made)
    before = (folder / "stack.lock").read_bytes()
    assert stackbuild("outdated", "--security").out == "ssl 1.0 → 1.0+deb12u1, security\n"
    assert stackbuild("outdated").out.splitlines() == [
        "app 1.0 → 2.0", "lib 1.0 → 2.0", "ssl 1.0 → 1.0+deb12u1, security", "tool 1.0 → 2.0",
    ]  # fmt: skip
    found = json.loads(stackbuild("outdated", "--security", "--format", "json").out)["changes"]
    assert [(c["name"], c["security"]) for c in found] == [("ssl", True)]
    assert (folder / "stack.lock").read_bytes() == before
    old = folder / "old.lock"
    old.write_bytes(before)
    stackbuild("lock", "--update")
    assert "ssl 1.0 → 1.0+deb12u1, security" in stackbuild("diff", "old.lock", "stack.lock").out.splitlines()


def test_an_update_of_one_name_moves_it_and_what_it_needs(made: Archive, stackbuild: Stackbuild) -> None:
    folder = stack_of(made, stackbuild.folder, ["app", "web", "tool"])
    stackbuild("lock")
    before, text = versions(folder), (folder / "stack.lock").read_bytes()
    go_on(made)
    for name, moved in {
        "tool": {"tool": "2.0"},
        "lib": {"lib": "2.0"},
        "app": {"app": "2.0", "lib": "2.0"},  # it needs the new lib; nothing needs a new tool or ssl
        "ssl": {"ssl": "1.0+deb12u1"},
        "web": {},
    }.items():
        (folder / "stack.lock").write_bytes(text)
        said = stackbuild("lock", "--update", name).out
        assert versions(folder) == before | moved, said
        assert all(f"{n} 1.0 → {version}" in said for n, version in moved.items())


def test_why_tells_over_what_a_package_was_chosen(made: Archive, stackbuild: Stackbuild) -> None:
    for name in ("exim", "postfix", "msmtp"):
        made.package(name, provides="agent")
    made.package("mailx", depends="exim | agent")
    made.package("clock", depends="postfix")
    made.publish()
    stack_of(made, stackbuild.folder, ["mailx"])
    stackbuild("lock")
    made.asked.clear()
    first = "exim | agent of mailx: exim chosen over msmtp, postfix, because it is the first alternative"
    assert stackbuild("why", "exim").out.splitlines() == ["mailx 1.0 (asked for)", "└─ depends exim 1.0", first]
    assert made.asked == []
    assert stackbuild("why", "mailx").out == "mailx 1.0 (asked for)\n"
    stack_of(made, stackbuild.folder, ["mailx", "exim-"])
    stackbuild("lock")
    last = "exim | agent of mailx: msmtp chosen over exim, postfix, because `exim-` keeps exim out"
    assert stackbuild("why", "msmtp").out.splitlines()[-1] == last
    stack_of(made, stackbuild.folder, ["clock", "mailx"])
    stackbuild("lock")
    last = "exim | agent of mailx: postfix chosen over exim, msmtp, because clock needs it anyway (postfix)"
    found = stackbuild("why", "postfix")
    assert found.out.splitlines()[-1] == last
    (choice,) = json.loads(stackbuild("why", "postfix", "--format", "json").out)["chains"][0]["choices"]
    assert choice["over"] == ["exim", "msmtp"] and choice["by"] == "mailx"
    away = stackbuild("--store", stackbuild.folder / "empty", "why", "postfix")
    assert "over what it was chosen cannot be told" in away.err and away.out.startswith("clock 1.0 (asked for)")
