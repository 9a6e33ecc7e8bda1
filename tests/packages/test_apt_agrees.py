"""apt is the oracle: on an empty system, the same indexes and the same requests give the same packages and versions."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.stack.request import parse_request
from tests.machine import once, run
from tests.packages.agreement import Apt, Pairs, compare, essential, requests_in_list

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


@pytest.fixture(scope="module")
def apt(shared: Path) -> Apt:
    return Apt(once(shared / "apt", lambda folder: Apt(folder).make()))


@pytest.fixture(scope="module")
def pairs(apt: Apt) -> Pairs:
    return apt.pairs()


@pytest.mark.parametrize("request_set", [*SETS, *(pytest.param(s, marks=pytest.mark.whole) for s in WHOLE)])
def test_the_answer_is_apts(apt: Apt, pairs: Pairs, request_set: str) -> None:
    words = request_set.split()
    found = resolve_indexes(Question(tuple(map(parse_request, words)), "amd64", "apt"), pairs)
    ours = {(p.package.name, p.package.version) for p in found.packages}
    assert ours == apt.answer([*essential(pairs), *words])
    assert not found.notes


@pytest.mark.parametrize(
    "words", ["awk", "exim4 postfix", "curl=1.2.3", "nonexistent-name", "openjdk-17-jdk java16-sdk"]
)
def test_what_apt_refuses_is_refused(apt: Apt, pairs: Pairs, words: str) -> None:
    from stackbuild.core.errors import ResolutionError

    assert run(["apt-get", *apt.options, "--print-uris", "-y", "install", *words.split()], code=None).code == 100
    with pytest.raises(ResolutionError):
        resolve_indexes(Question(tuple(map(parse_request, words.split())), "amd64", "apt"), pairs)


@pytest.mark.whole
@pytest.mark.parametrize("recommends", [False, True])
def test_apts_answer_to_nearly_all_of_hundreds_of_requests(apt: Apt, recommends: bool) -> None:
    requests = requests_in_list()
    assert len(requests) >= 300
    report = compare(apt, requests, recommends)
    print(report)
    assert report.rate >= 0.98, str(report)


def test_apts_answer_with_recommends(apt: Apt) -> None:
    report = compare(apt, requests_in_list()[::41], recommends=True)
    assert report.count >= 7 and report.rate == 1, str(report)


@pytest.mark.parametrize(
    "step", [pytest.param(20_000, id="some"), pytest.param(150, id="many", marks=pytest.mark.whole)]
)
def test_versions_of_the_archive_sort_as_dpkg_sorts_them(pairs: Pairs, step: int) -> None:
    """Neighbours in our order, which are the hardest, and random pairs: `step` versions of all to one of the sample."""
    from stackbuild.packages.deb.version import order

    dice = random.Random(9)
    versions = sorted({p.version for index, _ in pairs for p in index.all(None)}, key=order)
    count = max(40, len(versions) * 20 // step)
    places = dice.sample(range(len(versions) - 1), count)
    pairs_of = [(versions[n], versions[n + 1]) for n in places]
    pairs_of += [(dice.choice(versions), dice.choice(versions)) for _ in range(count)]
    for a, b in pairs_of:
        relation = "lt" if order(a) < order(b) else "eq" if order(a) == order(b) else "gt"
        assert subprocess.run(["dpkg", "--compare-versions", a, relation, b]).returncode == 0, (a, relation, b)
