"""Where packages come from, as the command sees it: by a proxy, with a login, from mirrors, from a snapshot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import Archive, archive, served, stack_of
from tests.conftest import Hello, Stackbuild
from tests.doors import Proxy, authority
from tests.machine import free_port, need, run
from tests.projects import busybox


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Archive]:
    with archive(tmp_path / "archive") as found:
        found.package("app", files={"bin/sh": Path(busybox()), "usr/bin/app": "#!/bin/sh\necho app 1.0\n"})
        found.publish()
        yield found


def project(made: Archive, command: Stackbuild, url: str = "", more: str = "") -> Path:
    """A stack with `app` that needs no dpkg."""
    file = stack_of(made, command.folder, ["app"], more) / "stack.toml"
    text = file.read_text().replace("[packages]", '[packages]\nscripts = "skip"')
    file.write_text(text.replace(made.url, url) if url else text)
    return file.parent


def test_the_proxy_of_the_environment(made: Archive, stackbuild: Stackbuild) -> None:
    project(made, stackbuild, "http://archive.example.com")
    with Proxy(made, "me:hidden") as proxy:
        stackbuild("build", env={"http_proxy": proxy.url, "no_proxy": "other.example.com"})
        assert set(proxy.asked) == {"archive.example.com"} and len(proxy.asked) == 3
        assert "hidden" not in (stackbuild.folder / "stack.lock").read_text()
        proxy.asked.clear()
        environ = {"HTTP_PROXY": proxy.url, "NO_PROXY": ".example.com"}
        said = stackbuild("lock", "--update", code=4, env=environ).err
        assert "archive.example.com" in said and "hidden" not in said and proxy.asked == []


def test_a_login_and_a_certificate_authority_of_ones_own(made: Archive, stackbuild: Stackbuild, tmp_path: Path) -> None:
    """The login is in netrc, the authority in the user's config: neither is in the project or its lock."""
    ca, tls = authority(tmp_path)
    with served(made, tls=tls) as url:
        project(made, stackbuild, url)
        config = tmp_path / "config/stackbuild/config.toml"
        config.parent.mkdir(parents=True)
        environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "NETRC": str(tmp_path / "netrc")}
        assert "certificate is not trusted" in stackbuild("lock", code=4, env=environ).err
        config.write_text(f'[registries."localhost"]\nca = "{ca}"\n')
        made.login = "me:hidden"
        assert "401" in stackbuild("lock", code=4, env=environ).err
        (tmp_path / "netrc").write_text(f"machine {url.partition('//')[2]} login me password hidden\n")
        told = stackbuild("build", env=environ)
        assert "hidden" not in told.out + told.err + (stackbuild.folder / "stack.lock").read_text()
        assert stackbuild("run", "small", "app").out == "app 1.0\n"


def test_a_mirror_list_with_a_mirror_that_is_down(made: Archive, stackbuild: Stackbuild) -> None:
    project(made, stackbuild, f"mirror+{made.url}/mirrors.txt")
    silent = f"http://127.0.0.1:{free_port()}"
    (made.folder / "mirrors.txt").write_text(f"{silent}/debian\tpriority:1\n{made.url}\tpriority:2\n")
    told = stackbuild("build").err
    assert f"a mirror of mirror+{made.url}/mirrors.txt does not do: no answer from {silent}" in told
    assert stackbuild("run", "small", "app").out == "app 1.0\n"
    assert "127.0.0.1" not in (stackbuild.folder / "stack.lock").read_text()  # a mirror is in no lock
    (made.folder / "mirrors.txt").write_text(f"{made.url}/one\n{made.url}/two\n")
    said = stackbuild("lock", "--update", code=4).err
    assert "no mirror of" in said and f"there is no archive at {made.url}/two/dists/bookworm" in said


def test_a_snapshot_is_locked_and_built_after_the_archive_has_moved_on(made: Archive, stackbuild: Stackbuild) -> None:
    keeps = f"Snapshots: {made.url}/snapshot/@SNAPSHOTID@/\n"
    made.publish(valid_for=-3600, fields=keeps)  # a snapshot's index is old by its nature
    for folder in ("dists", "pool"):
        shutil.copytree(made.folder / folder, made.folder / "snapshot/20260101T000000Z" / folder)
    shutil.rmtree(made.folder / "pool")
    made.package("app", "2.0", files={"bin/sh": Path(busybox()), "usr/bin/app": "#!/bin/sh\necho app 2.0\n"})
    made.publish(fields=keeps)
    project(made, stackbuild, more='snapshot = "20260101T000000Z"\n')
    stackbuild("lock")
    assert 'version = "1.0"' in (stackbuild.folder / "stack.lock").read_text()
    elsewhere = stackbuild.at(store=stackbuild.folder.parent / "other")  # the files, too, come from the snapshot
    elsewhere("build", "--locked")
    assert elsewhere("run", "small", "app").out == "app 1.0\n"
    file = stackbuild.folder / "stack.toml"
    file.write_text(file.read_text().replace("20260101T000000Z", "20260202T000000Z"))
    assert "there is no archive at" in stackbuild("lock", code=4).err
    file.write_text(file.read_text().replace('snapshot = "20260202T000000Z"\n', ""))
    stackbuild("lock", "--update")
    assert 'version = "2.0"' in (stackbuild.folder / "stack.lock").read_text()
    file.write_text(file.read_text() + 'snapshot = "20260101T000000Z"\n')
    made.publish()
    assert "keeps no snapshots" in stackbuild("lock", code=4).err


def test_a_filled_store_needs_no_network(made: Archive, stackbuild: Stackbuild) -> None:
    (made.folder / "mirrors.txt").write_text(f"{made.url}\n")
    project(made, stackbuild, f"mirror+{made.url}/mirrors.txt")
    first = stackbuild("build").out
    made.asked.clear()
    assert "up to date" in stackbuild("--offline", "lock", "--update").out
    assert stackbuild("--offline", "build", "-B").out == first and made.asked == []
    empty = stackbuild.at(store=stackbuild.folder.parent / "empty")
    assert "--offline forbids to fetch it" in empty("--offline", "lock", "--update", code=4).err


@pytest.mark.whole
def test_a_whole_image_from_vendored_files_without_any_network(hello: Hello, tmp_path: Path) -> None:
    """Bootstrapped, with scripts and real packages: an empty store, in a network namespace that reaches nobody."""
    folder = hello.copy_project(tmp_path / "project")
    Stackbuild(folder, hello.copy_store(tmp_path / "first"))("lock", "--vendor", "vendor")
    assert len(list((folder / "vendor").glob("*.deb"))) > 100
    clean = Stackbuild(folder, tmp_path / "store")
    argv = [need("unshare"), "--net", *clean.argv, "build", "--locked"]
    assert run(argv, cwd=folder, env=clean.environment(), timeout=600).out.strip() == hello.digest
