"""apt is the oracle: on an empty system, the same indexes and the same requests give the same packages and versions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.errors import ResolutionError
from stackbuild.packages.deb.control import relations
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.deb.version import order
from stackbuild.packages.ecosystem import Question
from stackbuild.stack.request import parse_request
from tests.machine import once, run
from tests.packages.agreement import LEAST, Answer, Apt, Pairs, Report, compare, essential, judge, requests_in_list

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
    ours = frozenset((p.package.name, p.package.version) for p in found.packages)
    assert ours == apt.answer([*essential(pairs), *words])
    assert not found.notes


@pytest.mark.parametrize(
    "words",
    ["awk", "mail-transport-agent", "exim4 postfix", "curl=1.2.3", "nonexistent-name", "openjdk-17-jdk java16-sdk"],
)
def test_what_apt_refuses_is_refused(apt: Apt, pairs: Pairs, words: str) -> None:
    ran = run(["apt-get", *apt.options, "--print-uris", "-y", "install", *words.split()], code=100)
    with pytest.raises(ResolutionError) as caught:
        resolve_indexes(Question(tuple(map(parse_request, words.split())), "amd64", "apt"), pairs)
    providers = re.findall(r"^  (\S+ \S+)", ran.out + ran.err, re.M)
    assert providers or words not in ("awk", "mail-transport-agent"), ran
    assert all(provider in caught.value.why for provider in providers), caught.value.why


GREEDY = ["policykit-1 finit-sysv", "okular finit-sysv", "libkf5kipi32.0.0 finit-sysv"]
"""apt takes libpam-systemd for `default-logind | logind` and is left with systemd-sysv beside another init; elogind
would do."""


@pytest.mark.parametrize("most", [2, pytest.param(99, marks=pytest.mark.whole)])
def test_where_apts_search_finds_no_answer_and_one_exists_we_find_it(apt: Apt, pairs: Pairs, most: int) -> None:
    """Real packages: a choice that had to be taken back; an older version whose companion must be as old (bind9…)."""
    report = compare(apt, [*GREEDY[: most // 2], *itertools.islice(old_versions_with_companions(pairs), most)])
    found = report.of("only ours")
    assert len(found) >= 3 and not report.of("differs", "explained", "subset"), str(report)
    for verdict in found:
        assert "apt's way of choosing fails here" in verdict.why


def old_versions_with_companions(pairs: Pairs) -> Iterator[str]:
    """`name=OLD` for packages that need another in exactly their own version, where a newer version exists."""
    newest: dict[str, str] = {}
    for package in (p for index, _ in pairs[1:] for p in index.all(None)):
        newest[package.name] = max(newest.get(package.name, "0~"), package.version, key=order)
    sources: set[str] = set()
    for name in sorted(newest):
        for package in pairs[0][0].packages(name, None):
            needs = [r for group in relations(package.depends) for r in group]
            moved = [r for r in needs if r.name in newest and order(newest[r.name]) > order(package.version)]
            if package.source not in sources and any(r.op == "=" and r.version == package.version for r in moved):
                sources.add(package.source)
                yield f"{name}={package.version}"


@pytest.mark.whole
@pytest.mark.parametrize("recommends", [False, True])
def test_apts_answer_to_nearly_all_of_hundreds_of_requests(apt: Apt, recommends: bool) -> None:
    requests = requests_in_list()
    assert len(requests) >= 300
    report = compare(apt, requests, recommends)
    print(report)
    assert report.rate >= LEAST and not report.of("differs"), str(report)


def test_apts_answer_with_recommends_to_a_sample_of_them(apt: Apt) -> None:
    report = compare(apt, [*requests_in_list()[::41], "task-esperanto-desktop"], recommends=True)
    assert len(report.verdicts) >= 8 and report.rate == 1, str(report)


def test_the_judge_of_answers_is_strict(apt: Apt) -> None:
    theirs = apt.answer(["curl"])
    assert theirs is not None
    parts = {name: (name, version) for name, version in theirs}
    more = theirs | (apt.answer(["wget"]) or frozenset())

    def kind(theirs: Answer | None, our: Answer | None, says: str = "") -> str:
        return judge(apt, "curl", theirs, our, says).kind

    assert kind(theirs, theirs) == "equal" and kind(None, None) == "refused"
    assert kind(theirs, None, "there is no package curl") == "differs"
    assert kind(more, theirs) == "subset"  # whole, but less than apt takes: not agreement
    assert kind(theirs, theirs - {parts["libc6"]}) == "differs"  # less, and not whole
    assert kind(theirs, more) == "differs" and kind(theirs, more, "a reason") == "explained"
    assert kind(None, theirs) == "differs" and kind(None, theirs, "a reason") == "only ours"
    extra = judge(apt, "curl", theirs, more, "a reason")
    assert "; a reason; ours alone: " in str(extra) and any(p.startswith("wget=") for p in extra.ours_alone)
    three = ((theirs, theirs), (None, None), (more, theirs))
    report = Report([judge(apt, "curl", one, other, "") for one, other in three])
    assert report.rate == 2 / 3 and "66.7 %" in str(report) and "1 subset" in str(report)
