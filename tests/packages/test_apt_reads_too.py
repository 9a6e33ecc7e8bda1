"""Archives as they are in the world, read by apt and by us: the same files at the same digests, or both refuse."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import NetworkError
from stackbuild.core.paths import StorePaths
from stackbuild.net.client import Client, Policy
from stackbuild.net.credentials import Credentials
from stackbuild.net.pools import HostSettings
from stackbuild.packages.deb.repository import open_repositories
from stackbuild.packages.deb.resolver import resolve
from stackbuild.packages.deb.sources_list import base_sources, host_sources
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.fetch import Fetcher
from stackbuild.stack.request import parse_request
from tests.archive import Archive, anew, archive, served
from tests.doors import Proxy, authority
from tests.machine import free_port, need, run

Answer = set[tuple[str, str]] | None  # path and digest of each file; None: refused


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("archive")) as made:
        made.package("lib")
        made.package("app", depends="lib")
        yield made


@pytest.fixture
def made(every: Archive) -> Iterator[Archive]:
    """The archive as new; a test changes what it publishes."""
    with anew(every) as made:
        yield made


@dataclass
class Root:
    """A root file system with sources, of which apt and we are asked the same. asked: by us, of the archive."""

    folder: Path
    made: Archive
    client: Client
    host: bool = False  # the sources are this machine's, not a base image's
    apt_says: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def write(self, file: str, text: str) -> None:
        place = self.folder / "etc/apt" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def one_line(self, url: str, rest: str = "bookworm main", options: str = "") -> None:
        self.write("sources.list", f"deb [{options or f'signed-by={self.key}'}] {url} {rest}\n")

    def deb822(self, url: str, more: str = "Suites: bookworm\nComponents: main\n", signed_by: str = "") -> None:
        text = f"Types: deb\nURIs: {url}\n{more}Signed-By:{signed_by or f' {self.key}'}\n"
        self.write("sources.list.d/test.sources", text)

    @property
    def store(self) -> Path:
        return self.folder.parent / "store"

    @property
    def key(self) -> Path:
        """Below the root."""
        place = self.folder / "keys/archive.gpg"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            shutil.copy(self.made.key, place)
        return Path("/keys/archive.gpg")

    def apt(self) -> Answer:
        """What apt would install for `app`, with its own update first."""
        top = self.folder.parent / "apt"
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(self.folder / "etc/apt", top / "etc/apt", symlinks=True)
        for name in ("etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (top / name).mkdir(parents=True)
        (top / "status").touch()
        for file in filter(Path.is_file, (top / "etc/apt").rglob("*sources*")):
            # a path in Signed-By is below our root, but not below apt's Dir
            file.write_text(file.read_text().replace(str(self.key), f"{self.folder}{self.key}"))
        says = {"Dir": top, "Dir::State::status": top / "status", "Dir::Bin::methods": "/usr/lib/apt/methods",
                "APT::Architecture": "amd64", "APT::Architectures": "amd64", "APT::Install-Recommends": "false",
                "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any", "Debug::NoLocking": "1",
                "Acquire::Languages": "none", "Acquire::Retries": "0", "Acquire::ForceHash": "SHA256"}  # fmt: skip
        config = top / "config"  # read before any other, so none of this machine's is
        config.write_text("".join(f'{name} "{value}";\n' for name, value in {**says, **self.apt_says}.items()))
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "APT_CONFIG": str(config)}

        def ask(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [need("apt-get"), *words], capture_output=True, text=True, timeout=60, check=False, env=environ
            )

        updated = ask("update")
        if updated.returncode:
            self.apt_error = updated.stderr
            return None
        found = ask("--print-uris", "-y", "install", "app")
        assert found.returncode == 0, found.stderr
        return {(Path(u).name, d) for u, d in re.findall(r"^'(\S+)' \S+ \d+ SHA256:(\S+)$", found.stdout, re.M)}

    def ours(self, *, again: bool = False, offline: bool = False) -> Answer:
        """What we would install for `app`; again: with the store of the last time, else with an empty one."""
        if not again:
            shutil.rmtree(self.store, ignore_errors=True)
        fetcher = Fetcher(StorePaths(self.store), self.client, offline=offline)
        (self.folder / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
        find: Any = host_sources if self.host else lambda distro, root: base_sources(root)
        self.made.asked.clear()
        try:
            repositories = open_repositories(find("debian/bookworm", root=self.folder), "amd64", fetcher)
        except NetworkError as error:
            self.error = error
            return None
        finally:
            self.asked = list(self.made.asked)
        found = resolve(Question((parse_request("app"),), "amd64"), repositories)
        return {(Path(p.package.path).name, p.package.sha256) for p in found.packages}

    def agree(self) -> None:
        """Both find the two packages."""
        ours = self.ours()
        assert ours is not None, self.error
        assert {name for name, _ in ours} == {"app_1.0_all.deb", "lib_1.0_all.deb"}
        assert self.apt() == ours

    def refuse(self) -> NetworkError:
        """Both refuse; the error is ours."""
        assert (self.ours(), self.apt()) == (None, None)
        return self.error


@pytest.fixture
def root(made: Archive, tmp_path: Path) -> Root:
    (tmp_path / "root/etc/apt").mkdir(parents=True)
    return Root(tmp_path / "root", made, Client(policy=Policy(retries=0)))


@pytest.mark.parametrize("form", ["one-line", "deb822"])
def test_both_forms_of_a_source(root: Root, made: Archive, form: str) -> None:
    root.one_line(made.url) if form == "one-line" else root.deb822(made.url)
    root.agree()


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst", ".lz4", ".bz2", ".lzma"])
def test_every_compression_of_an_index(root: Root, made: Archive, suffix: str) -> None:
    made.publish(compression=(suffix,))
    root.one_line(made.url)
    root.agree()
    assert root.asked.count(f"/dists/bookworm/main/binary-amd64/Packages{suffix}") == 1


@pytest.mark.parametrize("form", ["one-line", "deb822"])
@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_a_flat_archive(root: Root, made: Archive, form: str, suffix: str) -> None:
    made.publish_flat(suffix)
    root.one_line(made.url, "./") if form == "one-line" else root.deb822(made.url, "Suites: ./\n")
    root.agree()
    assert root.asked[-1] == f"/Packages{suffix}"


def test_indexes_that_are_there_by_their_hash_alone(root: Root, made: Archive) -> None:
    made.publish(by_hash=True)
    root.one_line(made.url)
    root.agree()
    assert "/by-hash/SHA256/" in root.asked[-1]


def test_a_file_url(root: Root, made: Archive) -> None:
    root.host = True
    root.one_line(f"file://{made.folder}")
    root.agree()


def test_signed_by_an_inline_key(root: Root, made: Archive) -> None:
    block = run([*made.gpg, "--armor", "--export"]).out
    root.deb822(made.url, signed_by="\n" + "".join(f" {line or '.'}\n" for line in block.splitlines()))
    root.agree()


def test_signed_by_a_fingerprint(root: Root, made: Archive) -> None:
    root.write("trusted.gpg.d/.keep", "")
    shutil.copy(made.key, root.folder / "etc/apt/trusted.gpg.d/test.gpg")
    listed = run([*made.gpg, "--with-colons", "--list-keys"]).out
    print_ = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    root.one_line(made.url, options=f"signed-by={print_}")
    root.agree()
    root.one_line(made.url, options=f"signed-by={'0' * 40}")
    assert "not signed by the key that its source names" in root.refuse().what


def test_a_key_that_was_rotated(root: Root, made: Archive, tmp_path: Path) -> None:
    """A keyring that holds the next key already reads the archive before and after; an older one does not."""
    root.one_line(made.url)
    root.agree()
    next_ = made.new_home(tmp_path / "next")
    made.sign(made.folder / "dists/bookworm", next_)
    assert "signed by no key that is trusted" in root.refuse().what
    both = made.key.read_bytes() + next_.key.read_bytes()
    (root.folder / "keys/archive.gpg").write_bytes(both)
    root.agree()


def test_a_key_that_has_expired(root: Root, made: Archive, tmp_path: Path) -> None:
    old = made.new_home(tmp_path / "old", "--faked-system-time", "20200101T000000", until="1y")
    made.sign(made.folder / "dists/bookworm", old, "--faked-system-time", "20200102T000000")
    (root.folder / "keys").mkdir()
    shutil.copy(old.key, root.folder / "keys/archive.gpg")
    root.one_line(made.url)
    assert "signed by a key that has expired" in root.refuse().what


@pytest.mark.parametrize(
    ("how", "says"),
    [("expired", "has expired: it may be an old copy"), ("unsigned", "is not signed"), ("changed", "bad signature"),
     ("swapped", "wrong digest"), ("other suite", "that of another suite")],
)  # fmt: skip
def test_what_both_refuse(root: Root, made: Archive, how: str, says: str) -> None:
    top = made.folder / "dists/bookworm"
    suite = "bookworm"
    if how in ("expired", "unsigned"):
        made.publish(valid_for=-3600 if how == "expired" else 86400, signed=how != "unsigned")
    elif how == "changed":
        data = (top / "InRelease").read_bytes()
        (top / "InRelease").write_bytes(data.replace(b"Origin: Test", b"Origin: Evil"))
    elif how == "swapped":  # the signed Release, and an index that another one lists
        index = top / "main/binary-amd64/Packages.xz"
        index.write_bytes(index.read_bytes()[:-1] + b"\0")
    else:
        (made.folder / "dists/bookworm-security").symlink_to("bookworm")
        suite = "bookworm-security"
    root.one_line(made.url, f"{suite} main")
    error = root.refuse() if how != "other suite" else (root.ours(), root.error)[1]  # apt only warns here
    assert says in f"{error.what}: {error.why}" and error.exit_code == 4 and made.url in f"{error.what}: {error.why}"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_apts_proxy(root: Root, made: Archive, tmp_path: Path, scheme: str) -> None:
    ca, tls = authority(tmp_path)
    with served(made, tls=tls) as https, Proxy(made, password="me:secret") as proxy:
        root.client = Client(policy=Policy(retries=0), settings={"localhost": HostSettings(ca=str(ca))})
        root.host = True
        root.write("apt.conf.d/10proxy", f'Acquire::{scheme}::Proxy "{proxy.url}";\nAcquire::https::CAInfo "{ca}";\n')
        root.one_line("http://archive.example.com" if scheme == "http" else https)
        root.agree()
        host = "archive.example.com" if scheme == "http" else https.partition("//")[2]
        assert set(proxy.asked) == {host}
        proxy.asked.clear()
        proxy.login = "me:other"
        root.client.close()
        assert "407" in str(root.refuse()) and proxy.asked == []


def test_a_private_certificate_authority(root: Root, made: Archive, tmp_path: Path) -> None:
    ca, tls = authority(tmp_path)
    with served(made, tls=tls) as url:
        root.one_line(url)
        assert "certificate is not trusted" in root.refuse().why
        root.client = Client(policy=Policy(retries=0), settings={"localhost": HostSettings(ca=str(ca))})
        root.apt_says = {"Acquire::https::CAInfo": str(ca)}
        root.agree()


@pytest.mark.parametrize("where", ["auth.conf.d", "netrc"])
def test_a_login_for_the_archive(root: Root, made: Archive, tmp_path: Path, where: str) -> None:
    """It goes to the host and path that it is for, and to no place that these lead to."""
    made.login = "me:secret"
    root.one_line(f"{made.url}")
    root.client = Client(policy=Policy(retries=0), credentials=Credentials({}, apt=root.folder / "etc/apt"))
    error = root.refuse()
    assert "401" in error.why and "/etc/apt/auth.conf.d" in error.hints[0].text
    text = f"machine {made.url}/dists login me password secret\nmachine {made.url}/pool login me password secret\n"
    if where == "auth.conf.d":
        root.write("auth.conf.d/test.conf", text)
    else:
        (tmp_path / "netrc").write_text(text)
        root.apt_says = {"Dir::Etc::netrc": f"{tmp_path}/netrc"}
        found = Credentials({"NETRC": str(tmp_path / "netrc")}, apt=tmp_path)
        root.client = Client(policy=Policy(retries=0), credentials=found)
    root.agree()
    with archive(tmp_path / "other") as other:  # a host that these files are not for
        shutil.copytree(made.folder, other.folder, dirs_exist_ok=True)
        made.moved = other.url
        made.logins.clear()
        assert root.ours() is not None
        made.moved = ""
        assert other.asked and set(other.logins) == {""} and set(made.logins) == {"me:secret"}


@pytest.mark.parametrize("form", ["file", "http"])
def test_a_mirror_list(root: Root, made: Archive, tmp_path: Path, form: str) -> None:
    root.host = True
    silent = f"http://127.0.0.1:{free_port()}"
    lines = ["# mine", f"{silent}/x", f"{made.url}/absent/\tpriority:1 arch:amd64", "", f"{made.url}/\tpriority:2"]
    (made.folder / "mirrors.txt").write_text("\n".join(lines))
    url = f"mirror+file:{made.folder}/mirrors.txt" if form == "file" else f"mirror+{made.url}/mirrors.txt"
    root.one_line(url)
    root.agree()
    asked = [path for path in root.asked if path.endswith("/InRelease")]
    assert asked == ["/absent/dists/bookworm/InRelease", "/dists/bookworm/InRelease"]
    assert root.ours(again=True, offline=True) is not None and root.asked == []
    local = f"file:{made.folder}\n"  # a list of this machine may lead to files of it, one from elsewhere may not
    (made.folder / "mirrors.txt").write_text(local)
    root.agree() if form == "file" else root.refuse()
    (made.folder / "mirrors.txt").write_text(f"# none\nftp://a.example.com/\n{local if form == 'http' else ''}")
    assert "names no mirror that can be used" in root.refuse().what
