"""Package files of the project as requests: found, checked, resolved with what they need, locked by their content."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import NetworkError, ResolutionError, StackError, UsageError
from stackbuild.core.paths import StorePaths
from stackbuild.lock.changes import LockChanges
from stackbuild.lock.local import read_by, take
from stackbuild.lock.lock import Lock, LockedPackage, parse, render
from stackbuild.lock.requests import answers, digest
from stackbuild.lock.resolve import resolve, stale
from stackbuild.lock.tree import tree
from stackbuild.lock.why import why
from stackbuild.net.client import Client, Policy
from stackbuild.packages.fetch import Fetcher
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from tests.archive import Archive, archive, stack_of
from tests.packages.test_deb_fragment import ar, entry, tar

PLATFORM = "linux/amd64"
BOTH = '[image]\nplatforms = ["linux/amd64", "linux/arm64"]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with lib and tool 1.0 and 3.0, and files: of tool 1.0 and 2.0, one for each architecture, broken."""
    with archive(tmp_path_factory.mktemp("archive")) as found:
        found.architectures = ("amd64", "arm64")
        found.package("lib")
        found.package("tool", "1.0")
        found.package("tool", "3.0")
        found.publish()
        files = found.folder.parent / "files"
        found.package("tool", "1.0", depends="lib", to=files / "debs")
        found.package("tool", "2.0", depends="lib", to=files / "debs")
        found.package("native", architecture="amd64", depends="tool (= 2.0)", to=files / "debs")
        found.package("native", architecture="arm64", to=files / "debs")
        found.package("broken", depends="lib (>= 9)", to=files)
        found.package("tool", "1.0", files={"other": "other\n"}, to=files / "other")
        (files / "text.deb").write_text("no package\n")
        yield found


@pytest.fixture
def project(made: Archive, tmp_path: Path) -> Path:
    shutil.copytree(made.folder.parent / "files", tmp_path / "p")
    return tmp_path / "p"


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)))


def stack(made: Archive, folder: Path, *install: str, more: str = "") -> Stack:
    return settle(Question(stack_of(made, folder, list(install), more) / "stack.toml"))


def packages(lock: Lock, platform: str = PLATFORM) -> dict[str, LockedPackage]:
    return {p.name: p for p in lock.platforms[platform].packages}


def test_a_file_is_locked_with_what_it_needs(made: Archive, project: Path, fetcher: Fetcher) -> None:
    lock = resolve(stack(made, project, "./debs/tool_2.0_all.deb"), None, fetcher)
    tool, lib = packages(lock)["tool"], packages(lock)["lib"]
    data = (project / "debs/tool_2.0_all.deb").read_bytes()
    assert (tool.path, tool.sha256, tool.size) == ("debs/tool_2.0_all.deb", digest_of(data), len(data))
    assert tool.local and tool.manual and tool.depends == ("lib",) and tool.wave == lib.wave == 1
    assert not lib.local and lib.archive == "Test/bookworm"
    text = render(lock)
    assert parse(text, "stack.lock") == lock and b"version = 3" in text and str(project).encode() not in text
    assert fetcher.path(tool.sha256).read_bytes() == data
    assert why(lock, "lib").to_text().startswith("tool 2.0 (asked for as ./debs/tool_2.0_all.deb)\n")
    assert why(lock, "./debs/tool_2.0_all.deb") == why(lock, "debs/tool_2.0_all.deb") != why(lock, "lib")
    assert tree(lock).to_text() == "tool 2.0 (./debs/tool_2.0_all.deb)\n└─ lib 1.0"


def test_a_folder_is_the_newest_of_each_for_each_platform(made: Archive, project: Path, fetcher: Fetcher) -> None:
    lock = resolve(stack(made, project, "lib", "./debs/", more=BOTH), None, fetcher)
    amd64, arm64 = packages(lock), packages(lock, "linux/arm64")
    assert {p.path for p in amd64.values() if p.local} == {"debs/native_1.0_amd64.deb", "debs/tool_2.0_all.deb"}
    assert {p.path for p in arm64.values() if p.local} == {"debs/native_1.0_arm64.deb", "debs/tool_2.0_all.deb"}
    assert (amd64["lib"].wave, amd64["native"].wave, amd64["tool"].wave) == (1, 2, 2)  # one request, one wave
    assert amd64["native"].depends == ("tool",)


def test_a_file_goes_before_what_the_archive_has(made: Archive, project: Path, fetcher: Fetcher) -> None:
    older = packages(resolve(stack(made, project, "tool", "./debs/tool_2.0_all.deb"), None, fetcher))
    assert older["tool"].local and older["tool"].version == "2.0"
    same = packages(resolve(stack(made, project, "./debs/tool_1.0_all.deb"), None, fetcher))
    assert same["tool"].local and "lib" in same  # the archive's tool 1.0 needs nothing
    needed = packages(resolve(stack(made, project, "./debs/tool_2.0_all.deb", "./debs/"), None, fetcher))
    assert needed["native"].depends == ("tool",) and needed["tool"].local
    last = packages(resolve(stack(made, project, "./debs/tool_2.0_all.deb", "tool=3.0"), None, fetcher))
    assert not last["tool"].local and last["tool"].version == "3.0"  # the last word on a version counts


def test_the_content_counts_not_the_time(made: Archive, project: Path, fetcher: Fetcher, tmp_path: Path) -> None:
    request = "./debs/tool_2.0_all.deb"
    lock = resolve(stack(made, project, request), None, fetcher)
    file = project / request
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert answers(lock, stack(made, project, request))
    assert digest(stack(made, Path(shutil.copytree(project, tmp_path / "elsewhere")), request)) == lock.requests
    shutil.copy(project / "other/tool_1.0_all.deb", file)  # other bytes under the same name
    changed = stack(made, project, request)
    assert not answers(lock, changed)
    assert stale(changed, lock).why == "./debs/tool_2.0_all.deb has changed"
    anew = resolve(changed, lock, fetcher)
    assert LockChanges(lock, anew).to_text().splitlines() == [
        "- lib 1.0", "tool 2.0 → 1.0 (./debs/tool_2.0_all.deb)", "stack.lock: 1 package, 2 changed",
    ]  # fmt: skip


def test_other_content_of_one_version_is_a_difference(made: Archive, project: Path, fetcher: Fetcher) -> None:
    one = resolve(stack(made, project, "./debs/tool_1.0_all.deb", "lib"), None, fetcher)
    shutil.copy(project / "other/tool_1.0_all.deb", project / "debs/tool_1.0_all.deb")
    two = resolve(stack(made, project, "./debs/tool_1.0_all.deb", "lib"), one, fetcher)
    assert LockChanges(one, two).to_text().splitlines()[0] == "tool 1.0 with other content (./debs/tool_1.0_all.deb)"
    assert LockChanges(one, two).to_json()["changes"][0] == {
        "platform": PLATFORM, "name": "tool", "before": "1.0", "after": "1.0", "security": False,
        "file": "debs/tool_1.0_all.deb",
    }  # fmt: skip


def test_a_new_file_in_a_folder_makes_the_lock_stale(made: Archive, project: Path, fetcher: Fetcher) -> None:
    lock = resolve(stack(made, project, "./debs"), None, fetcher)
    assert answers(lock, stack(made, project, "./debs"))
    (project / "debs/notes.txt").write_text("no package, not looked at\n")
    assert answers(lock, stack(made, project, "./debs"))
    shutil.copy(project / "other/tool_1.0_all.deb", project / "debs/tool_1.0_copy.deb")
    assert not answers(lock, stack(made, project, "./debs"))
    watched = read_by(stack(made, project, "./debs"))
    assert {project / "debs", project / "debs/tool_1.0_copy.deb"} <= set(watched)


@pytest.mark.parametrize(
    ("request_", "says", "code"),
    [
        ("./absent.deb", "there is no ./absent.deb", 2),
        ("./text.deb/", "there is no ./text.deb/", 2),
        ("./text.deb", "./text.deb is not a sound Debian package", 2),
        ("./empty", "there is no .deb in ./empty", 2),
        ("./out.deb", "./out.deb leaves the project", 2),
        ("./pipe.deb", "./pipe.deb cannot be used", 2),
        ("./debs/native_1.0_arm64.deb", "is for another architecture", 3),
        ("./arm", "has no package for amd64", 3),
        ("./twice", "are both tool 1.0 for all, and differ", 2),
    ],
)
def test_what_cannot_be_used_is_an_error_at_its_line(
    made: Archive, project: Path, fetcher: Fetcher, tmp_path: Path, request_: str, says: str, code: int
) -> None:
    for folder in ("empty", "arm", "twice"):
        (project / folder).mkdir()
    os.mkfifo(project / "pipe.deb")
    shutil.copy(project / "debs/tool_1.0_all.deb", tmp_path / "out.deb")
    (project / "out.deb").symlink_to(tmp_path / "out.deb")
    shutil.copy(project / "debs/native_1.0_arm64.deb", project / "arm")
    shutil.copy(project / "debs/tool_1.0_all.deb", project / "twice/a.deb")
    shutil.copy(project / "other/tool_1.0_all.deb", project / "twice/b.deb")
    with pytest.raises(StackError) as found:
        resolve(stack(made, project, request_), None, fetcher)
    where = found.value.where
    assert says in found.value.what and found.value.exit_code == code
    assert where is not None and where.file.endswith("stack.toml") and where.line == 7, where


@pytest.mark.parametrize(
    "control",
    [b"Package: ../evil\nVersion: 1\nArchitecture: all\n", b"Package: a\nVersion: 1\x1b[2J\nArchitecture: all\n",
     b"Package: a\nVersion: 1\n", b"\n\nPackage\n", b"Package: a\nVersion: 1\nArchitecture: al/l\n"],
)  # fmt: skip
def test_control_data_that_lies_is_refused(made: Archive, project: Path, fetcher: Fetcher, control: bytes) -> None:
    packed = gzip.compress(tar([entry("./control", control)]))
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", packed), ("data.tar", tar([]))]
    (project / "evil.deb").write_bytes(ar(members))
    with pytest.raises(UsageError, match=r"\./evil\.deb is not a sound Debian package") as found:
        resolve(stack(made, project, "./evil.deb"), None, fetcher)
    assert "no valid Package, Version and Architecture" in found.value.why


def test_a_need_that_nothing_meets_is_explained_from_the_file(made: Archive, project: Path, fetcher: Fetcher) -> None:
    with pytest.raises(ResolutionError) as found:
        resolve(stack(made, project, "./broken_1.0_all.deb"), None, fetcher)
    assert "./broken_1.0_all.deb" in str(found.value) and "lib (>= 9)" in str(found.value)


def test_a_link_inside_the_project_is_followed(made: Archive, project: Path, fetcher: Fetcher) -> None:
    (project / "latest.deb").symlink_to("debs/tool_2.0_all.deb")
    asked = stack(made, project, "./latest.deb")
    lock = resolve(asked, None, fetcher)
    assert packages(lock)["tool"].path == "latest.deb"
    assert {project / "latest.deb", project / "debs/tool_2.0_all.deb"} <= set(read_by(asked))


def test_a_build_takes_no_other_file_than_the_locked_one(
    made: Archive, project: Path, fetcher: Fetcher, tmp_path: Path
) -> None:
    tool = packages(resolve(stack(made, project, "./debs/tool_1.0_all.deb"), None, fetcher))["tool"]
    other = Fetcher(StorePaths(tmp_path / "other"), Client())
    shutil.copy(project / "other/tool_1.0_all.deb", project / "debs/tool_1.0_all.deb")
    with pytest.raises(NetworkError, match=r"\./debs/tool_1\.0_all\.deb is not what the lock says"):
        take(project, tool, other)
    (project / "debs/tool_1.0_all.deb").unlink()
    with pytest.raises(NetworkError, match="cannot be read"):
        take(project, tool, other)
    with pytest.raises(NetworkError, match="cannot be read"):
        take(project, replace(tool, path="../files"), other)
    assert not other.path(tool.sha256).exists()
    take(project, tool, fetcher)  # the store has it


def test_a_held_package_is_not_replaced(made: Archive, project: Path, fetcher: Fetcher, tmp_path: Path) -> None:
    from stackbuild.lock.resolve import BaseTree

    status = "Package: tool\nStatus: hold ok installed\nVersion: 0.5\nArchitecture: all\n"
    (tmp_path / "base/var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "base/var/lib/dpkg/status").write_text(status)
    base = BaseTree(digest_of(b""), tmp_path / "base")
    file = stack_of(made, project, ["./debs/tool_1.0_all.deb"]) / "stack.toml"
    text = file.read_text().replace('distro = "debian/bookworm"\nvariant = "custom"', 'image = "example.com/a:1"')
    file.write_text(text)
    with pytest.raises((ResolutionError, UsageError), match=r"hold|held"):
        resolve(settle(Question(file)), None, fetcher, bases=lambda platform, newest: base)
    (tmp_path / "base/var/lib/dpkg/status").write_text(status.replace("hold", "install").replace("0.5", "1.0"))
    tool = packages(resolve(settle(Question(file)), None, fetcher, bases=lambda platform, newest: base))["tool"]
    assert tool.local and tool.replaces == "1.0"  # the very version that is there, but the file was asked for
