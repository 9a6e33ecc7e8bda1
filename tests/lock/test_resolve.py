"""From a stack and an archive to a lock: a no-op while it answers, small moves when asked, nothing unverified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import NetworkError, ResolutionError, UsageError
from stackbuild.core.events import Event, Note
from stackbuild.core.paths import StorePaths
from stackbuild.lock.changes import LockChanges
from stackbuild.lock.lock import Lock, parse, render
from stackbuild.lock.requests import answers, digest
from stackbuild.lock.resolve import BaseTree, resolve, stale
from stackbuild.lock.sources import find_sources, locate, wanted
from stackbuild.net.client import Client, Policy
from stackbuild.packages.fetch import Fetcher
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from stackbuild.stack.stack import Stack
from tests.archive import Archive, archive, stack_of

PLATFORM = "linux/amd64"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("archive")) as found:
        for version in ("1.0", "2.0"):
            found.package("lib", version)
            found.package("app", version, depends="lib")
        found.package("other", depends="lib (>= 2.0)")
        found.publish()
        yield found


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def fetcher(tmp_path: Path, events: list[Event]) -> Fetcher:
    return Fetcher(StorePaths(tmp_path / "store"), Client(policy=Policy(retries=0)), events.append)


def stack(made: Archive, folder: Path, *install: str, more: str = "") -> Stack:
    return settle(Question(stack_of(made, folder, list(install), more) / "stack.toml"))


def versions(lock: Lock) -> dict[str, str]:
    return {p.name: p.version for p in lock.platforms[PLATFORM].packages}


def test_a_lock_names_every_file_by_its_digest(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    found = resolve(stack(made, tmp_path / "p", "app"), None, fetcher)
    locked = found.platforms[PLATFORM]
    assert [p.name for p in locked.packages] == ["lib", "app"]
    lib, app = locked.packages
    assert app.depends == ("lib",) and app.manual and not lib.manual and (lib.wave, app.wave) == (1, 1)
    assert app.sha256 == digest_of((made.folder / app.path).read_bytes()) and app.path == "pool/app_2.0_all.deb"
    assert app.archive == locked.archives[0].id == "Test/bookworm"
    text = render(found).decode()
    assert made.url not in text and "127.0.0.1" not in text
    assert parse(text.encode(), "stack.lock") == found


def test_a_lock_that_answers_is_left_alone_and_asks_nobody(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app")
    found = resolve(project, None, fetcher)
    made.asked.clear()
    assert resolve(project, found, fetcher) is found and made.asked == []
    assert answers(found, project) and not answers(None, project)


def test_what_the_requests_are_and_what_they_are_not(made: Archive, tmp_path: Path) -> None:
    plain = digest(stack(made, tmp_path / "a", "app", "lib"))
    assert plain == digest(stack(made, tmp_path / "elsewhere", "app", "lib"))
    assert plain != digest(stack(made, tmp_path / "b", "lib", "app"))  # the order makes the waves
    assert plain != digest(stack(made, tmp_path / "c", "app", "lib=1.0"))
    layers = '[[layer]]\nname = "x"\nremove = ["/x"]\n[image]\nenv = { A = "b" }\n[container]\ninit = true\n'
    assert plain == digest(stack(made, tmp_path / "d", "app", "lib", more=layers))
    assert plain != digest(stack(made, tmp_path / "e", "app", "lib", more='[image]\nplatforms = ["linux/arm64"]\n'))
    moved = replace(made, url="http://other.example.com")
    assert plain == digest(stack(moved, tmp_path / "f", "app", "lib"))  # a mirror is no request


def test_new_requests_move_no_more_than_they_must(
    made: Archive, tmp_path: Path, fetcher: Fetcher, events: list[Event]
) -> None:
    old = resolve(stack(made, tmp_path / "p", "app=1.0", "lib=1.0"), None, fetcher)
    assert versions(old) == {"app": "1.0", "lib": "1.0"}
    kept = resolve(stack(made, tmp_path / "p", "app", "lib"), old, fetcher)
    assert versions(kept) == {"app": "1.0", "lib": "1.0"}
    moved = resolve(stack(made, tmp_path / "p", "app", "other"), kept, fetcher)
    assert versions(moved) == {"app": "1.0", "lib": "2.0", "other": "1.0"}
    assert not any(isinstance(e, Note) for e in events)
    gone = replace(kept.platforms[PLATFORM].packages[0], version="1.5")  # the archive has no such version now
    first = kept.platforms[PLATFORM]
    edited = replace(kept, platforms={PLATFORM: replace(first, packages=(gone, *first.packages[1:]))})
    assert versions(resolve(stack(made, tmp_path / "p", "app", "other"), edited, fetcher))["lib"] == "2.0"


def test_update_moves_all_or_the_named_ones(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app", "lib")
    old = resolve(stack(made, tmp_path / "p", "app=1.0", "lib=1.0"), None, fetcher)
    old = replace(old, requests=digest(project), format=1)
    assert versions(resolve(project, old, fetcher, move=["lib"])) == {"app": "1.0", "lib": "2.0"}
    new = resolve(project, old, fetcher, move=[])
    assert versions(new) == {"app": "2.0", "lib": "2.0"}
    assert LockChanges(old, new).to_text().splitlines() == [
        "app 1.0 → 2.0", "lib 1.0 → 2.0", "stack.lock: 2 packages, 2 changed",
    ]  # fmt: skip
    assert LockChanges(new, new).to_text() == "stack.lock is up to date: 2 packages"
    assert LockChanges(None, new).to_json()["changes"][0] == {
        "platform": PLATFORM, "name": "app", "before": None, "after": "2.0", "security": False,
    }  # fmt: skip
    with pytest.raises(UsageError, match="no lbi in the lock") as found:
        resolve(project, old, fetcher, move=["lbi"])
    assert found.value.exit_code == 2


def test_what_a_lock_says_of_recipes_that_moved() -> None:
    one, two = (Digest("sha256:" + letter * 64) for letter in "ab")
    old = Lock(
        digest_of(b""), {}, recipes={"oci://registry.example.com/web:1": one, "git+https://example.com/x@v1": one}
    )
    new = Lock(
        digest_of(b""), {}, recipes={"oci://registry.example.com/web:1": two, "oci://registry.example.com/db:1": one}
    )
    assert LockChanges(old, new).to_text().splitlines() == [
        f"- recipe git+https://example.com/x@v1 {'a' * 12}",
        f"+ recipe oci://registry.example.com/db:1 {'a' * 12}",
        f"recipe oci://registry.example.com/web:1 {'a' * 12} → {'b' * 12}",
        "stack.lock: 0 packages, 0 changed, 3 recipes changed",
    ]
    assert LockChanges(old, new).to_json()["recipes"][2] == {
        "name": "oci://registry.example.com/web:1", "before": one, "after": two,
    }  # fmt: skip
    assert LockChanges(new, new).to_json()["recipes"] == []


def test_a_stale_lock_says_in_what(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app")
    old = resolve(project, None, fetcher)
    assert "there is no lock" in stale(project, None).why
    assert "have changed" in stale(stack(made, tmp_path / "p", "lib"), old).why
    arm = stack(made, tmp_path / "p", "app", more='[image]\nplatforms = ["linux/arm64"]\n')
    assert stale(arm, old).why == "it has nothing for linux/arm64" and stale(arm, old).hints[0].command


def test_a_request_without_an_answer_is_shown_at_its_line(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app", "lbi", "other=9.*")
    with pytest.raises(ResolutionError) as found:
        resolve(project, None, fetcher)
    lines = (tmp_path / "p/stack.toml").read_text().splitlines()
    first, second = found.value.errors
    for error, name in ((first, "lbi"), (second, "other=9.*")):
        assert error.where is not None and name in lines[error.where.line - 1], error
        assert error.where.file.endswith("stack.toml")
    assert "did you mean lib?" in first.hints[0].text and second.why == "there is 1.0"


def test_offline_resolves_from_the_store(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    found = resolve(stack(made, tmp_path / "p", "app"), None, fetcher)
    offline = Fetcher(fetcher.paths, fetcher.downloader, offline=True)
    assert resolve(stack(made, tmp_path / "p", "app"), None, offline) == found
    with pytest.raises(NetworkError, match="--offline"):
        resolve(stack(made, tmp_path / "p", "app"), None, Fetcher(StorePaths(tmp_path / "new"), Client(), offline=True))


def test_locked_packages_are_found_fetched_and_missed(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app=1.0")
    locked = resolve(project, None, fetcher).platforms[PLATFORM]
    sources = find_sources(project)
    app = locked.package("app")
    assert app is not None
    assert locate(app, locked.archives[0], sources) == [(f"{made.url}/pool/app_1.0_all.deb", None)]
    files = [wanted(p, locked, sources, fetcher) for p in locked.packages]
    fetcher.fetch(files)
    assert all(fetcher.has(f) for f in files)
    fetcher.path(app.sha256).unlink()
    made.faults["app_1.0"] = "missing"
    with pytest.raises(NetworkError) as found:
        fetcher.fetch([wanted(app, locked, sources, fetcher)])
    made.faults.clear()
    assert "app 1.0 is no longer on" in found.value.what
    assert found.value.hints[0].text == "the archive has app 2.0 now: lock that"
    assert found.value.hints[0].command == "stackbuild lock --update app"


def test_several_platforms_in_one_lock(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    project = stack(made, tmp_path / "p", "app", more='[image]\nplatforms = ["linux/amd64", "linux/s390x"]\n')
    with pytest.raises(NetworkError, match="has no packages of main for s390x") as found:
        resolve(project, None, fetcher)
    assert found.value.why == "it has the architectures amd64" and "image.platforms" in found.value.hints[0].text


def test_two_architectures_side_by_side(tmp_path: Path, fetcher: Fetcher) -> None:
    with archive(tmp_path / "archive") as made:
        made.architectures = ("amd64", "arm64")
        made.package("data")
        for architecture in made.architectures:
            made.package("tool", "1.0" if architecture == "arm64" else "2.0", "data", architecture=architecture)
        made.package("app", depends="tool")
        made.publish()
        project = stack(made, tmp_path / "p", "app", more='[image]\nplatforms = ["linux/amd64", "linux/arm64"]\n')
        lock = resolve(project, None, fetcher)
        made.package("boot", architecture="amd64")
        made.publish()
        lacks = stack(made, tmp_path / "q", "boot", more='[image]\nplatforms = ["linux/amd64", "linux/arm64"]\n')
        with pytest.raises(ResolutionError, match="there is no package boot for linux/arm64") as caught:
            resolve(lacks, None, fetcher)
        mend = "leave linux/arm64 out of image.platforms, or the request: linux/amd64 has an answer"
        assert caught.value.hints[-1].text == mend
    found = {
        platform: {(p.name, p.version, p.architecture) for p in locked.packages}
        for platform, locked in parse(render(lock), "stack.lock").platforms.items()
    }
    shared = {("app", "1.0", "all"), ("data", "1.0", "all")}
    assert found == {
        "linux/amd64": shared | {("tool", "2.0", "amd64")},
        "linux/arm64": shared | {("tool", "1.0", "arm64")},
    }


def base_project(folder: Path, made: Archive, install: str, source: bool = True) -> Stack:
    stack_of(made, folder, [])
    own = made.source() if source else ""
    (folder / "stack.toml").write_text(
        f'[stack]\nname = "x"\n[base]\nimage = "oci:base"\n[packages]\ninstall = [{install}]\n{own}'
    )
    return settle(Question(folder / "stack.toml"))


def test_on_a_base_image_only_what_it_lacks_is_locked(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    tree = tmp_path / "tree"
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(
        "Package: lib\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\n"
    )
    base = BaseTree(digest_of(b"base"), tree)
    found = resolve(base_project(tmp_path / "p", made, '"app"'), None, fetcher, bases=lambda platform, newest: base)
    locked = found.platforms[PLATFORM]
    assert locked.base_digest == base.digest and [(p.name, p.wave) for p in locked.packages] == [("app", 1)]
    assert locked.packages[0].depends == ()
    empty = resolve(base_project(tmp_path / "q", made, ""), None, fetcher, bases=lambda platform, newest: base)
    assert empty.platforms[PLATFORM].packages == ()


def test_a_base_image_brings_its_own_sources_and_keys(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    tree = tmp_path / "tree"
    for folder in ("var/lib/dpkg", "etc/apt/trusted.gpg.d"):
        (tree / folder).mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(
        "Package: x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    )
    (tree / "etc/apt/sources.list").write_text(f"deb {made.url} bookworm main\n")
    (tree / "etc/apt/trusted.gpg.d/key.gpg").write_bytes(made.key.read_bytes())
    base = BaseTree(digest_of(b"base"), tree)
    project = base_project(tmp_path / "p", made, '"app"', source=False)
    found = resolve(project, None, fetcher, bases=lambda platform, newest: base)
    assert versions(found) == {"lib": "2.0", "app": "2.0"}


def test_a_base_image_without_dpkg_is_refused(made: Archive, tmp_path: Path, fetcher: Fetcher) -> None:
    base = BaseTree(digest_of(b"base"), tmp_path)
    with pytest.raises(UsageError, match="no database of dpkg"):
        resolve(base_project(tmp_path / "p", made, '"app"'), None, fetcher, bases=lambda platform, newest: base)


def test_where_a_bootstrapped_base_gets_its_sources(made: Archive, tmp_path: Path) -> None:
    folder = stack_of(made, tmp_path / "p", [])
    (folder / "stack.toml").write_text('[stack]\nname = "x"\n[base]\ndistro = "debian/bookworm"\n')
    (tmp_path / "config.toml").write_text(
        '[[sources."debian/bookworm"]]\nurl = "http://mine.example.com/debian"\nsuites = ["bookworm"]\n'
        'components = ["main"]\nsigned-by = "keys/a.gpg"\n'
    )
    nothing = tmp_path / "another-machine"
    nothing.mkdir()
    with pytest.raises(UsageError, match="no package sources for debian/bookworm"):
        find_sources(settle(Question(folder / "stack.toml")), root=nothing)
    (source,) = find_sources(
        settle(Question(folder / "stack.toml", user_config=tmp_path / "config.toml")), root=nothing
    )
    assert source.url == "http://mine.example.com/debian" and source.keys.files == (tmp_path / "keys/a.gpg",)
    assert str(source.origin).startswith(f"{tmp_path}/config.toml:2: ")
    own = settle(Question(stack_of(made, tmp_path / "q", []) / "stack.toml"))
    said = (own.project / "stack.toml").read_text().splitlines()[find_sources(own)[0].origin.line - 1]
    assert said == f'url = "{made.url}"'


def test_pins_and_a_sources_priority_decide_and_make_the_lock_stale(
    made: Archive, tmp_path: Path, fetcher: Fetcher
) -> None:
    plain = stack(made, tmp_path / "p", "app")
    before = resolve(plain, None, fetcher)
    pinned = stack(made, tmp_path / "q", "app", more='[packages.pin]\nlib = { version = "1.*", priority = 600 }\n')
    assert not answers(before, pinned)
    assert versions(resolve(pinned, None, fetcher)) == {"app": "2.0", "lib": "1.0"}
    low = stack(made, tmp_path / "r", "app")
    text = (low.project / "stack.toml").read_text().replace("[[packages.source]]", "[[packages.source]]\npriority = -1")
    (low.project / "stack.toml").write_text(text)
    never = settle(Question(low.project / "stack.toml"))
    assert not answers(before, never)
    with pytest.raises(ResolutionError, match="no version of app may be installed"):
        resolve(never, None, fetcher)
    wrong = stack(made, tmp_path / "s", "app", more='[packages.pin]\n"*" = { version = "1.*", priority = 600 }\n')
    with pytest.raises(UsageError, match="cannot be pinned for all packages"):
        resolve(wrong, None, fetcher)


def test_upgrades_and_removals_of_a_base_image_are_locked(
    made: Archive, tmp_path: Path, fetcher: Fetcher, events: list[Event]
) -> None:
    tree = tmp_path / "tree"
    (tree / "var/lib/dpkg").mkdir(parents=True)
    line = "Status: install ok installed\nVersion: 1.0\nArchitecture: all\n"
    (tree / "var/lib/dpkg/status").write_text(f"Package: lib\n{line}\nPackage: user\n{line}Depends: lib (<< 2)\n")
    base = BaseTree(digest_of(b"base"), tree)

    def locked(name: str, install: str) -> Lock:
        project = base_project(tmp_path / name, made, install)
        return resolve(project, None, fetcher, bases=lambda platform, newest: base)

    with pytest.raises(ResolutionError, match="user of the base image would have to be removed") as caught:
        locked("p", '"other"')
    assert 'allow-remove = ["user"]' in caught.value.hints[0].text and caught.value.where is not None
    found = locked("q", '"other"]\nallow-remove = ["user"')
    platform = found.platforms[PLATFORM]
    assert [(p.name, p.replaces) for p in platform.packages] == [("lib", "1.0"), ("other", "")]
    assert [(p.name, p.version) for p in platform.removed] == [("user", "1.0")]
    assert parse(render(found), "stack.lock") == found
    kept = locked("r", ']\nupgrade = true\nallow-remove = ["nobody"').platforms[PLATFORM]
    assert kept.packages == () and kept.removed == (), "an upgrade removes nothing"
    assert any(isinstance(e, Note) and "not upgraded" in e.text and "lib" in e.text for e in events)
    (tree / "var/lib/dpkg/status").write_text(f"Package: lib\n{line}")
    moved = locked("s", "]\nupgrade = true\nallow-remove = [").platforms[PLATFORM]
    facts = [(p.name, p.version, p.replaces, p.manual, p.wave) for p in moved.packages]
    assert facts == [("lib", "2.0", "1.0", False, 1)]
