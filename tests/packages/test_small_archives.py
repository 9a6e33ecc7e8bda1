"""Archives of a few packages, made by dpkg-deb and apt-ftparchive and served on loopback: both apt and we resolve."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import ResolutionError
from stackbuild.core.paths import StorePaths
from stackbuild.net.client import Client
from stackbuild.packages.deb.repository import Repository, open_repositories
from stackbuild.packages.deb.resolver import resolve
from stackbuild.packages.ecosystem import Question, Resolution
from stackbuild.packages.fetch import Fetcher
from stackbuild.packages.source import Keys, Source
from stackbuild.stack.request import parse_request
from tests.archive import Archive, archive
from tests.machine import need, run
from tests.packages.debian import stanza
from tests.packages.oracle import Root, names

pytestmark = pytest.mark.peer

PACKAGES: dict[str, dict[str, Any]] = {
    # a desktop: `script` is content with the core without windows, until somebody recommends the one with them
    "desktop": {"recommends": "translation"},
    "translation": {"depends": "common", "recommends": "core"},
    "common": {"recommends": "script"},
    "script": {"depends": "core-nogui | core"},
    "core": {"depends": "windows", "conflicts": "core-nogui"},
    "core-nogui": {"depends": "print-only, shared", "conflicts": "core"},
    "windows": {"depends": "shared | drawing"},
    "print-only": {}, "shared": {}, "drawing": {},
    "server": {"depends": "core-nogui"},
    # the walk leaves `tool` without its driver: apt mends that, and so does libsolv
    "tool": {"depends": "drv-a | drv-b"},
    "drv-a": {"depends": "lib-a"},
    "kernel": {"depends": "firmware"},
    "firmware": {"conflicts": "lib-a"},
    "drv-b": {}, "lib-a": {},
    # a choice that fails leaves behind what was marked for it: that meets a later need, else it goes
    "late": {"depends": "first | second, x | helper"},
    "alone": {"depends": "first | second"},
    "first": {"depends": "helper, enemy"},
    "enemy": {"conflicts": "late, alone"},
    "second": {}, "helper": {}, "x": {},
    # what is needed without a choice rules out what it conflicts with, before anything is chosen
    "strict": {"depends": "guard, way"},
    "way": {"depends": "easy | hard"},
    "guard": {"conflicts": "easy"},
    "easy": {}, "hard": {},
    "mta-light": {"provides": "mta, default-mta"},
    "mta-heavy": {"provides": "mta"},
    # where going forward only finds no answer: a choice would have to be taken back for a later one
    "suite": {"depends": "editor, viewer"},
    "editor": {"depends": "kit-a | kit-b"},
    "viewer": {"depends": "plug-b | plug-a"},
    "kit-a": {}, "kit-b": {}, "plug-a": {}, "plug-b": {"breaks": "kit-a"},
    "retired": {"depends": "not-in-the-archive"},
    "old-style": {"depends": "sysv | shim, desktop-session | retired"},
    "sysv": {"depends": "sysv-core"},
    "sysv-core": {"conflicts": "session-bus"},
    "shim": {},
    "desktop-session": {"depends": "session-bus"},
    "session-bus": {},
    "printing": {"depends": "spool-a | spool-b, driver | retired"},
    "spool-a": {"depends": "queue-a"},
    "queue-a": {}, "spool-b": {},
    "driver": {"depends": "daemon"},
    "daemon": {"conflicts": "queue-a"},
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archive(tmp_path_factory.mktemp("small")) as made:
        for name, fields in PACKAGES.items():
            made.package(name, **fields)
        for version in ("1.0", "2.0"):  # a library that moves in step with its headers
            made.package("libexp", version)
            made.package("libexp-dev", version, depends=f"libexp (= {version})")
        made.publish()
        yield made


@pytest.fixture(scope="module")
def repositories(small: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Repository]:
    fetcher = Fetcher(StorePaths(tmp_path_factory.mktemp("store")), Client())
    source = Source(small.url, "bookworm", ("main",), keys=Keys(files=(small.key,)))
    return open_repositories([source], "amd64", fetcher)


@pytest.fixture(scope="module")
def apt(small: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of an apt-get that knows this archive only, on an empty system."""
    root = tmp_path_factory.mktemp("apt")
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial",
                 "var/cache/apt/archives/partial", "var/lib/dpkg"):  # fmt: skip
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [signed-by={small.key}] {small.url} bookworm main\n")
    says = {"Dir": root, "Dir::State::status": root / "var/lib/dpkg/status", "APT::Architecture": "amd64",
            "APT::Architectures": "amd64", "APT::Sandbox::User": "root", "Debug::NoLocking": "1"}  # fmt: skip
    words = [need("apt-get"), *(word for key, value in says.items() for word in ("-o", f"{key}={value}"))]
    run([*words, "update"], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APT_CONFIG": "/dev/null", "LC_ALL": "C"})
    return words


def installs(apt: list[str], requests: str, recommends: bool = False) -> dict[str, str] | None:
    """What apt would install; None if it refuses."""
    option = f"APT::Install-Recommends={str(recommends).lower()}"
    ran = run([*apt, "-o", option, "-s", "-y", "install", *requests.split()], code=None,
              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APT_CONFIG": "/dev/null", "LC_ALL": "C"})  # fmt: skip
    lines = [line.split() for line in ran.out.splitlines() if line.startswith("Inst ")]
    return None if ran.code else {words[1]: words[2].strip("(") for words in lines}


def ours(repositories: list[Repository], requests: str, recommends: bool = False) -> Resolution:
    return resolve(Question(tuple(map(parse_request, requests.split())), "amd64", "custom", recommends), repositories)


def versions(found: Resolution) -> dict[str, str]:
    return {p.package.name: p.package.version for p in found.packages}


@pytest.mark.parametrize(
    ("requests", "recommends", "among", "not_among"),
    [
        ("desktop", True, "script core windows shared", "core-nogui print-only drawing"),
        ("desktop", False, "desktop", "translation"),
        ("translation script", False, "core-nogui print-only", "core"),
        ("desktop server", True, "core-nogui print-only", "core windows"),
        ("desktop core", True, "script core", "core-nogui"),
        ("tool kernel", False, "drv-b", "drv-a lib-a"),
        ("kernel tool", False, "drv-b", "drv-a lib-a"),
        ("suite kit-a", False, "kit-a plug-a", "kit-b plug-b"),
        ("alone late", False, "second helper", "first x enemy"),
        ("late", False, "second helper", "first x enemy"),
        ("alone", False, "second", "first helper enemy"),
        ("strict", False, "hard guard", "easy"),
        ("libexp-dev", False, "libexp", ""),
        ("libexp-dev=1.0 libexp=1.0", False, "libexp-dev libexp", ""),
    ],
)
def test_choices_are_apts(
    apt: list[str], repositories: list[Repository], requests: str, recommends: bool, among: str, not_among: str
) -> None:
    found = ours(repositories, requests, recommends)
    assert versions(found) == installs(apt, requests, recommends)
    assert set(among.split()) <= versions(found).keys()
    assert not set(not_among.split()) & versions(found).keys()
    assert bool(found.notes) == (requests == "tool kernel")


@pytest.mark.parametrize(
    ("requests", "why"),
    [
        ("libexp-dev=1.0", "libexp-dev 1.0 needs libexp (= 1.0)"),
        ("old-style", "sysv-core 1.0 conflicts with session-bus 1.0"),
        ("suite", "editor 1.0 needs kit-a | kit-b"),
        ("printing", "spool-a 1.0 needs queue-a"),
    ],
)
def test_where_apts_greedy_search_finds_no_answer_and_one_exists_we_find_it(
    apt: list[str], repositories: list[Repository], requests: str, why: str
) -> None:
    assert installs(apt, requests) is None
    found = ours(repositories, requests)
    assert why in found.notes[0] and "apt may find another or none" in found.notes[0]
    every = " ".join(f"{name}={version}" for name, version in versions(found).items())
    assert installs(apt, every) == versions(found)  # told every version, apt takes it as it is and adds nothing


def test_what_has_no_answer_is_refused_by_both(apt: list[str], repositories: list[Repository]) -> None:
    assert installs(apt, "strict easy") is None
    with pytest.raises(ResolutionError, match="the requests have no solution together") as caught:
        ours(repositories, "strict easy")
    assert "guard 1.0 conflicts with easy 1.0" in caught.value.why


def test_a_virtual_name_lists_its_providers_unless_there_is_one_only(
    apt: list[str], repositories: list[Repository]
) -> None:
    ran = run([*apt, "-s", "-y", "install", "mta"], code=100)
    listed = re.findall(r"^  (\S+ \S+)", ran.out + ran.err, re.M)
    with pytest.raises(ResolutionError, match="mta is provided by several packages") as caught:
        ours(repositories, "mta")
    assert caught.value.why == f"it is a virtual package; {', '.join(sorted(listed))} provide it" and len(listed) == 2
    assert caught.value.hints[0].text == "the usual one is mta-light: ask for default-mta"
    assert versions(ours(repositories, "default-mta")) == installs(apt, "default-mta") == {"mta-light": "1.0"}


# ---- archives drawn by lot ---------------------------------------------------------------------------------


def world(dice: random.Random, name: str) -> dict[str, str]:
    """Ten packages that need, recommend, provide and conflict with each other by lot, as stanzas by name."""
    members, virtual = [f"{name}-{letter}" for letter in "abcdefghij"], [f"{name}-v", f"{name}-u"]

    def some(besides: str, most: int) -> str:
        return " | ".join(dice.sample([n for n in [*members, *virtual] if n != besides], dice.randint(1, most)))

    drawn = {}
    for member in members:
        fields = {"depends": ", ".join(some(member, 3) for _ in range(dice.choice([0, 0, 1, 1, 2])))}
        fields["recommends"] = some(member, 3) if dice.random() < 0.3 else ""
        fields["conflicts"] = some(member, 1) if dice.random() < 0.15 else ""
        fields["provides"] = dice.choice(virtual) if dice.random() < 0.25 else ""
        fields["priority"] = dice.choice(["required", "important", "optional", "optional", "extra"])
        drawn[member] = stanza(member, **{key: value for key, value in fields.items() if value})
    return drawn


@pytest.mark.parametrize(
    ("seed", "worlds"), [(1, 12), *(pytest.param(seed, 100, marks=pytest.mark.whole) for seed in range(2, 6))]
)
def test_answers_over_archives_drawn_by_lot_are_apts_or_say_why_not(tmp_path: Path, seed: int, worlds: int) -> None:
    dice = random.Random(seed)
    drawn = [world(dice, f"w{number}") for number in range(worlds)]
    root = Root(tmp_path / "root", {("stable", "main"): [s for one in drawn for s in one.values()]}).make()
    same, explained = 0, []
    for one in drawn:
        for recommends in (False, True):
            words = dice.sample(sorted(one), dice.choice([1, 1, 2]))
            theirs = root.apt("-o", f"APT::Install-Recommends={str(recommends).lower()}", "install", *words)
            try:
                found = root.resolution(*words, recommends=recommends)
            except ResolutionError:
                assert theirs is None, f"refused: {words}"
                same += 1
                continue
            our = names(p.package for p in found.packages)
            if theirs is not None and our == theirs.comes.keys():
                same += 1
                continue
            assert found.notes, f"{words}: another answer than apt's, and no reason"
            exactly = root.apt("-o", "APT::Install-Recommends=false", "install", *sorted(our))
            assert exactly is not None and exactly.comes.keys() == our, f"{words}: not whole"
            explained.append((words, found.notes))
    assert same >= 0.95 * 2 * worlds, explained
    shutil.rmtree(tmp_path / "root")
