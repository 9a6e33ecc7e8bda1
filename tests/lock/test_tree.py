"""Locks read as a tree and beside each other, in words; as values and through the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import UsageError
from stackbuild.lock.changes import Differences, changes, differences
from stackbuild.lock.lock import Lock, LockedArchive, LockedPackage, LockedRemoval, LockFile, PlatformLock
from stackbuild.lock.tree import tree
from tests.archive import Archive, archive, stack_of
from tests.conftest import Stackbuild
from tests.lock.test_lock import ARCHIVE, CURL, DASH, LIBC, LOCK

SECURITY = LockedArchive(
    *("Example/stable-security", "Example", "stable-security", "stable-security"),
    date="2026-01-02T00:00:00Z",
    release=digest_of(b"security"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("archive")) as found:
        found.package("lib", "1.0")
        found.package("lib", "2.0")
        found.package("app", "1.0", depends="lib")
        found.publish()
        yield found


def moved() -> Lock:
    """LOCK after a security update of curl, without dash."""
    newer = replace(CURL, version="7.88.1-10+deb12u2", archive=SECURITY.id)
    platform = PlatformLock(None, (ARCHIVE, SECURITY), (LIBC, newer))
    return replace(LOCK, platforms={"linux/amd64": platform})


def test_a_diff_is_said_in_words() -> None:
    before = replace(LOCK, platforms={"linux/amd64": LOCK.platforms["linux/amd64"]})
    found = Differences(tuple(changes(before, moved())), "")
    assert found.to_text().splitlines() == [
        "curl 7.88.1-10+deb12u1 → 7.88.1-10+deb12u2, security",
        "- dash 0.5.12-2",
    ]
    assert found.to_json()["changes"][0]["security"] is True


def test_what_becomes_of_the_base_images_packages_is_said() -> None:
    base = digest_of(b"base")
    openssl = replace(CURL, name="openssl", version="3.0.17", replaces="3.0.16", depends=())
    fixed = replace(openssl, version="3.0.18", archive=SECURITY.id)
    mta = LockedRemoval("exim4", "4.96", "amd64")

    def lock(*packages: LockedPackage, removed: tuple[LockedRemoval, ...] = (), digest: Digest = base) -> Lock:
        return replace(
            LOCK,
            recipes={},
            platforms={"linux/amd64": PlatformLock(digest, (ARCHIVE, SECURITY), packages, "oci:base", removed=removed)},
        )

    def said(old: Lock, new: Lock) -> list[str]:
        return differences(old, new, "nothing").to_text().splitlines()

    assert said(lock(), lock(openssl, removed=(mta,))) == [
        "- exim4 4.96 (of the base image)",
        "openssl 3.0.16 → 3.0.17 (of the base image)",
    ]
    assert said(lock(openssl, removed=(mta,)), lock(fixed)) == [
        "+ exim4 4.96 (of the base image)",
        "openssl 3.0.17 → 3.0.18 (of the base image), security",
    ]
    assert said(lock(openssl), lock()) == ["openssl 3.0.17 → 3.0.16 (of the base image)"]
    assert said(lock(openssl, removed=(mta,)), lock(openssl, removed=(mta,))) == ["nothing"]
    (moved,) = said(lock(), lock(digest=digest_of(b"newer")))
    assert moved.startswith("base oci:base (linux/amd64) ") and "→" in moved
    json = differences(lock(), lock(openssl, removed=(mta,)), "").to_json()["changes"]
    assert json[0] == {"platform": "linux/amd64", "name": "exim4", "before": "4.96", "after": None, "security": False,
                       "base": True}  # fmt: skip
    shown = tree(lock(openssl, removed=(mta,)))
    assert shown.to_text().splitlines() == [
        "openssl 3.0.17 (the base image has 3.0.16)",
        "- exim4 4.96 (of the base image)",
    ]
    along = replace(openssl, name="companion", manual=False, depends=("other",))
    other = replace(along, name="other", depends=())
    assert tree(lock(openssl, other, along)).to_text().splitlines() == [
        "openssl 3.0.17 (the base image has 3.0.16)",
        "companion 3.0.17 (the base image has 3.0.16)",
        "└─ other 3.0.17 (the base image has 3.0.16)",
    ]
    assert shown.to_json()["removed"]["linux/amd64"][0]["name"] == "exim4"


def test_each_package_of_a_tree_is_opened_once() -> None:
    base = replace(LIBC, depends=("libgcc",))
    gcc = replace(LIBC, name="libgcc", depends=("libc6",))  # a ring, as libc6 and libgcc-s1 are one
    locked = PlatformLock(None, (ARCHIVE,), (base, gcc, replace(DASH, manual=True), CURL))
    found = tree(replace(LOCK, platforms={"linux/amd64": locked}))
    assert found.to_text().splitlines() == [
        "dash 0.5.12-2",
        "└─ libc6 2.36-9",
        "   └─ libgcc 2.36-9",
        "      └─ libc6 2.36-9 (*)",
        "curl 7.88.1-10+deb12u1",
        "└─ libc6 2.36-9 (*)",
        "(*) what it needs is shown above",
    ]
    assert tree(replace(LOCK, platforms={"linux/amd64": locked}), "curl", 0).to_text() == "curl 7.88.1-10+deb12u1 …"
    with pytest.raises(UsageError, match="no nothing in the lock"):
        tree(LOCK, "nothing")


def test_strokes_lead_from_each_package_to_all_that_it_needs() -> None:
    inner = replace(DASH, depends=("libc6", "libgcc"))
    top = replace(CURL, depends=("dash", "libgcc"), manual=True)
    gcc = replace(LIBC, name="libgcc")
    locked = PlatformLock(None, (ARCHIVE,), (LIBC, gcc, inner, top))
    assert tree(replace(LOCK, platforms={"linux/amd64": locked})).to_text().splitlines() == [
        "curl 7.88.1-10+deb12u1",
        "├─ dash 0.5.12-2",
        "│  ├─ libc6 2.36-9",
        "│  └─ libgcc 2.36-9",
        "└─ libgcc 2.36-9",
    ]


def test_tree_outdated_and_diff_as_commands(made: Archive, stackbuild: Stackbuild) -> None:
    stack_of(made, stackbuild.folder, ["app", "lib"])
    stackbuild("lock")
    assert stackbuild("tree", "app").out.splitlines() == ["app 1.0", "└─ lib 2.0"]
    assert stackbuild("outdated").out == "nothing is outdated\n"
    file = LockFile(Path(stackbuild.folder / "stack.lock"))
    lock = file.read()
    assert lock is not None
    platform = lock.platforms["linux/amd64"]
    older = tuple(replace(p, version="1.0") if p.name == "lib" else p for p in platform.packages)
    before = file.path.rename(stackbuild.folder / "new.lock")
    file.write(replace(lock, platforms={"linux/amd64": replace(platform, packages=older)}))
    bytes_before = file.path.read_bytes()
    assert stackbuild("outdated").out == "lib 1.0 → 2.0\n"
    assert stackbuild("outdated", "--security").out == "nothing is outdated by security updates\n"
    assert file.path.read_bytes() == bytes_before
    assert stackbuild("diff", "stack.lock", before).out == "lib 1.0 → 2.0\n"
    said = json.loads(stackbuild("diff", before, "stack.lock", "--format", "json").out)
    assert said["changes"][0]["before"] == "2.0" and said["changes"][0]["after"] == "1.0"
    assert "there is no absent.lock" in stackbuild("diff", "absent.lock", before, code=2).err
