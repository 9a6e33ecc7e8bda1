"""Pins, priorities and holds: the candidate and the answer are those of the real apt over the same root."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.errors import ResolutionError
from stackbuild.packages.pin import Pin
from tests.packages.debian import stanza
from tests.packages.oracle import Change, Root, there

SUITES = {
    ("stable", "main"): [
        stanza("tool", "1.0", depends="lib"), stanza("lib", "1.0"), stanza("web", "1.2.3", source="webs"),
        stanza("web-modules", "1.2.3", source="webs"), stanza("base", "1.0"), stanza("app", "1.0", depends="lib"),
        stanza("old", "5.0"),
    ],
    ("stable", "contrib"): [stanza("web", "1.2.9"), stanza("extra", "1.0")],
    ("stable-backports", "main"): [
        stanza("tool", "2.0~bpo", depends="lib (>= 2)"), stanza("lib", "2.0~bpo"), stanza("web", "1.4~bpo"),
        stanza("base", "3.0~bpo"), stanza("only", "1~bpo"),
    ],
    ("experimental", "main"): [stanza("web", "2.0"), stanza("base", "4.0"), stanza("lib", "3.0"), stanza("rare", "1")],
}  # fmt: skip
STATUS = there("base", "2.0") + "\n" + there("old", "6.0") + "\n" + there("lib", "1.0", "hold ok installed") + "\n"


def pin(package: str, what: str, priority: int) -> str:
    return f"Package: {package}\nPin: {what}\nPin-Priority: {priority}\n\n"


FIRST, D = "preferences", "preferences.d"
PINS = {
    "nothing": {},
    "backports of one": {FIRST: pin("web", "release n=stable-backports", 900)},
    "pattern and suite": {f"{D}/a": pin("web* to?l", "release a=suite-experimental", 600)},
    "never": {f"{D}/a.pref": pin("web", "release *", -1)},
    "version": {FIRST: pin("web", "version 1.2.3*", 501)},
    "regex": {FIRST: pin("/^we/", "version /^1\\.4/", 990)},
    "source": {FIRST: pin("src:webs", "version 1.2.3", 990)},
    "component": {FIRST: pin("*", "release c=contrib,o=Example", 50)},
    "all of a suite": {FIRST: pin("*", "release n=experimental", 1001)},
    "label and version": {FIRST: pin("*", "release l=Test, v=12*, n=stable-backports", 700)},
    "bare word": {FIRST: pin("base", "release experimental", 999)},
    "downgrade": {FIRST: "Explanation: x\n" + pin("old", "release n=stable", 1001)},
    "no downgrade": {FIRST: pin("old", "release n=stable", 999)},
    "local": {FIRST: pin("web", 'origin ""', 3) + pin("*", "origin a.example.com", 1)},
    "first wins": {
        FIRST: "# c\n" + pin("web", "release n=stable-backports", 900) + pin("web", "release n=stable-backports", 3),
        f"{D}/b": pin("base", "release n=experimental", 950),
        f"{D}/c": pin("base", "version 4.0", 1),
        f"{D}/not.read": pin("*", "release *", -1),
    },
    "file or folder": {FIRST: pin("web", "version 2.0", 900), f"{D}/a": pin("web", "version 2.0", 2)},
    "default release": {"apt.conf.d/10": 'APT::Default-Release "stable-backports";'},
    "default release by a key": {"apt.conf.d/10": 'APT { Default-Release "a=suite-experimental"; };'},
    "default release before pins": {
        "apt.conf.d/10": 'APT::Default-Release "stable*";',
        FIRST: pin("*", "release n=stable-backports", 1)
        + pin("*", "release n=experimental", 995)
        + pin("web-modules", "release *", 3),
    },
    "named or pattern": {FIRST: pin("w*", "release *", 10) + pin("web", "version 2.0", 900)},
}
NAMES = ["tool", "web", "web-modules", "base", "only", "rare", "old", "extra", "app"]
REQUESTS = ["tool", "app", "web", "web=1*", "web=1.2.*", "web/stable-backports", "tool/stable-backports",
            "web/suite-experimental", "only", "rare", "web=1.2.3", "extra", "web-modules", "base=3.0~bpo", "old=5.0",
            "lib=2.0~bpo"]  # fmt: skip


@pytest.mark.parametrize("pins", PINS)
def test_candidate_and_answer_are_apts(tmp_path: Path, pins: str) -> None:
    root = Root(tmp_path / "root", SUITES, STATUS, PINS[pins]).make()
    # lib is held: for us that is its only version, for apt's policy a mark beside it
    assert {n: root.our_candidate(n) for n in NAMES} == {n: root.apts_candidate(n) for n in NAMES}
    for request in REQUESTS if pins in ("nothing", "first wins") else ["web", "web=1*"]:
        plain = "=" not in request and "/" not in request  # what is there stays, unless it is asked to change
        expected = root.apt("install", "--no-upgrade" if plain else "--allow-downgrades", request)
        try:
            found: Change | None = root.ours(request)
        except ResolutionError:
            found = None
        assert found == expected, request


def test_the_stacks_pins_come_before_the_bases(tmp_path: Path) -> None:
    base = {"preferences": "Package: web\nPin: version 2.0\nPin-Priority: 900\n"}
    root = Root(tmp_path / "root", SUITES, STATUS, base).make()
    assert root.ours("web").comes == {"web": "2.0"}
    mine = Pin(("web",), "release", "stable-backports", 950)
    assert root.ours("web", pins=[mine]).comes == {"web": "1.4~bpo"}


def test_what_a_pin_forbids_is_told_with_the_pin(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", SUITES, STATUS, PINS["never"]).make()
    with pytest.raises(ResolutionError) as caught:
        root.ours("web")
    assert "pinned to -1" in caught.value.why and "/etc/apt/preferences.d/a.pref:1" in caught.value.why
    first, second = (hint.text for hint in caught.value.hints)
    assert "`web=" in first and '[packages.pin] "web"' in second and "priority = 500" in second
    assert root.ours(first.partition("`")[2].rstrip("`")).comes, "what the hint says mends it"
    suites = {("stable", "main"): [stanza("site", depends="web (>= 1)"), stanza("web", "1.2")]}
    deep = Root(tmp_path / "deep", suites, STATUS, PINS["never"]).make()
    with pytest.raises(ResolutionError) as caught:
        deep.ours("site")
    texts = [hint.text for hint in caught.value.hints]
    assert texts[:2] == ["of web there is 1.2 (pinned to -1)", "ask for the version itself: `web=1.2`"]
    assert deep.ours("site", "web=1.2").comes == {"site": "1", "web": "1.2"}


def test_a_hold_is_named_where_it_is_in_the_way(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", SUITES, STATUS).make()
    with pytest.raises(ResolutionError, match=r"lib is held at 1.0 by the base image") as caught:
        root.ours("lib=2.0~bpo")
    assert any("apt-mark unhold lib" in hint.command for hint in caught.value.hints)
    with pytest.raises(ResolutionError) as caught:
        root.ours("tool=2.0~bpo")
    assert "lib" in caught.value.why and any("held by the base image" in hint.text for hint in caught.value.hints)
