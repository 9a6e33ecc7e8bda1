"""apt is the oracle: on an empty system, the same indexes and the same requests give the same packages and versions."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from stackbuild.packages.deb.packages_index import build_index
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.index import Index, keep
from stackbuild.packages.package import Archive
from stackbuild.stack.request import parse_request
from tests.machine import need, once, run

pytestmark = pytest.mark.peer

SETS = [
    "nginx-light", "python3 curl nginx-light", "gawk", "mawk- gawk", "bsd-mailx postfix", "postfix bsd-mailx",
    "postgresql libpq-dev", "mariadb-server", "apache2 php", "openssh-server systemd-sysv", "build-essential",
    "git vim", "default-jre-headless", "tex-common", "ruby", "emacs-nox", "molly-guard", "default-mta", "redis",
    "usr-is-merged nginx", "python3.11:any", "curl curl-", "ca-certificates-java", "mawk-", "exim4-daemon-light mutt",
]  # fmt: skip
WHOLE = [
    "gnome-core", "kde-plasma-desktop", "texlive", "libreoffice-writer", "docker.io", "openjdk-17-jdk", "nodejs npm",
    "squid", "bind9", "samba", "dovecot-imapd", "prometheus", "golang", "rustc cargo", "gcc-arm-none-eabi",
    "qemu-system-x86", "r-base", "octave", "slapd", "network-manager",
]  # fmt: skip


class Apt:
    """apt over lists of its own, with an empty status file and none of the host's preferences."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        says = {
            "Dir::State::lists": folder / "lists", "Dir::State::status": "/dev/null", "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin", "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": folder / "none",
            "APT::Install-Recommends": "false",
        }  # fmt: skip
        self.options = [word for key, value in says.items() for word in ("-o", f"{key}={value}")]

    def make(self) -> None:
        """Fetch lists, and let our index be built from the very same files."""
        for name in ("lists/partial", "cache/archives/partial", "none"):
            (self.folder / name).mkdir(parents=True)
        run([need("apt-get"), *self.options, "update"], timeout=300)
        listed = run(["apt-get", *self.options, "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"])
        for number, name in enumerate(listed.out.split()):
            found = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", name], capture_output=True, check=True)
            keep(self.folder / f"index-{number}", build_index(found.stdout))

    def answer(self, words: list[str]) -> set[tuple[str, str]]:
        """(name, version) of what would be installed."""
        ran = run(
            ["apt-get", *self.options, "--print-uris", "-qq", "-y", "--allow-change-held-packages", "install", *words]
        )
        files = [line.split()[1] for line in ran.out.splitlines() if line.startswith("'")]
        return {(name, unquote(version)) for name, version, *_ in (file.split("_") for file in files)}


@pytest.fixture(scope="module")
def apt(shared: Path) -> Apt:
    return Apt(once(shared / "apt", lambda folder: Apt(folder).make()))


@pytest.fixture(scope="module")
def pairs(apt: Apt) -> list[tuple[Index, Archive]]:
    files = sorted(apt.folder.glob("index-*"))
    assert files
    return [(Index.open(file), Archive(file.name)) for file in files]


@pytest.mark.parametrize("request_set", [*SETS, *(pytest.param(s, marks=pytest.mark.whole) for s in WHOLE)])
def test_the_answer_is_apts(apt: Apt, pairs: list[tuple[Index, Archive]], request_set: str) -> None:
    words = request_set.split()
    found = resolve_indexes(Question(tuple(map(parse_request, words)), "amd64", "apt"), pairs)
    base = [p.name for index, archive in pairs[:1] for p in index.base(archive) if p.essential]
    ours = {(p.package.name, p.package.version) for p in found.packages}
    assert ours == apt.answer([*base, "apt", *words])
    assert not found.notes


@pytest.mark.parametrize(
    "words", ["awk", "exim4 postfix", "curl=1.2.3", "nonexistent-name", "openjdk-17-jdk java16-sdk"]
)
def test_what_apt_refuses_is_refused(apt: Apt, pairs: list[tuple[Index, Archive]], words: str) -> None:
    from stackbuild.core.errors import ResolutionError

    assert run(["apt-get", *apt.options, "--print-uris", "-y", "install", *words.split()], code=None).code == 100
    with pytest.raises(ResolutionError):
        resolve_indexes(Question(tuple(map(parse_request, words.split())), "amd64", "apt"), pairs)


def test_versions_of_the_archive_sort_as_dpkg_sorts_them(pairs: list[tuple[Index, Archive]]) -> None:
    from stackbuild.packages.deb.version import order

    versions = [p.version for p in pairs[0][0].all(None)][::1009]
    pairs_of = list(itertools.pairwise(versions))
    assert len(pairs_of) > 50
    for a, b in pairs_of:
        relation = "lt" if order(a) < order(b) else "eq" if order(a) == order(b) else "gt"
        assert subprocess.run(["dpkg", "--compare-versions", a, relation, b]).returncode == 0, (a, b)
