"""Solving on top of a base image: upgrades and removals are those of the real apt over the same root."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.errors import ResolutionError
from tests.packages.debian import stanza
from tests.packages.oracle import Root, there

BASE = "\n".join(
    [
        there("libc", "1", Essential="yes"), there("lib", "1", depends="libc"), there("tool", "1", depends="lib (= 1)"),
        there("mta", "1", provides="agent", conflicts="agent"), there("needs-mta", "1", depends="mta"),
        there("wants-agent", "1", depends="mta | agent"), there("part", "1"), there("whole", "1", depends="part"),
        there("fixed", "1", "hold ok installed"), there("uses-fixed", "1", depends="fixed (<< 2)"),
        there("gone", "1", "deinstall ok config-files"), there("split", "1"), there("local", "9", depends="libc"),
    ]
)  # fmt: skip
MAIN = [
    stanza("libc", "2", essential="yes"), stanza("lib", "2", depends="libc (>= 2)"),
    stanza("tool", "2", depends="lib (= 2)"), stanza("mta", "1", provides="agent", conflicts="agent"),
    stanza("other-mta", "1", provides="agent", conflicts="agent"), stanza("needs-mta", "1", depends="mta"),
    stanza("wants-agent", "1", depends="mta | agent"), stanza("part", "2", breaks="whole (<< 2)"),
    stanza("whole", "2", depends="part (>= 2)"), stanza("fixed", "2"),
    stanza("uses-fixed", "2", depends="fixed (>= 2)"), stanza("gone", "2"),
    stanza("split", "2", depends="split-data (= 2)"), stanza("split-data", "2", breaks="split (<< 2)"),
    stanza("old-enough", depends="lib (>= 1)"), stanza("newer", depends="lib (>= 2)"),
    stanza("strict", depends="lib (= 2), tool"), stanza("after-split", depends="split-data"),
    stanza("hates-part", conflicts="part (<< 2)"), stanza("hates-libc", conflicts="libc"),
    stanza("needs-held", depends="fixed (>= 2)"), stanza("enemy", conflicts="tool"),
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(tmp_path_factory.mktemp("base") / "root", {("stable", "main"): MAIN}, BASE).make()


@pytest.mark.parametrize(
    "words",
    ["old-enough", "newer", "tool", "strict", "after-split", "hates-part", "gone", "old-enough newer",
     "tool=2", "lib=2", "part=2", "whole/stable", "split=2", "local newer", "lib"],
)  # fmt: skip
def test_what_is_there_moves_only_when_it_must_as_with_apt(root: Root, words: str) -> None:
    requests = words.split()
    plain = not any("=" in word or "/" in word for word in requests)
    expected = root.apt("install", *(["--no-upgrade"] if plain else []), *requests)
    assert expected is not None and root.ours(*requests) == expected


def test_upgrade_is_apts_upgrade_with_new_packages(root: Root) -> None:
    expected = root.apt("upgrade", "--with-new-pkgs")
    assert expected is not None and {"tool", "lib", "libc", "split-data", "whole"} <= set(expected.comes)
    assert root.ours(upgrade=True) == expected


@pytest.mark.parametrize("words", ["tool", "lib gone", "whole newer", "tool=1"])
def test_a_request_for_what_is_there_does_not_hold_it_back_from_an_upgrade(root: Root, words: str) -> None:
    expected = root.apt("upgrade", "--with-new-pkgs", *words.split())
    assert expected is not None and root.ours(*words.split(), upgrade=True) == expected


def test_an_upgrade_never_removes_and_names_what_it_leaves(root: Root, tmp_path: Path) -> None:
    packages = [stanza("lib", "2"), stanza("free", "2"), stanza("rival", "2", conflicts="lib"), stanza("lone", "2")]
    status = "\n".join([there("lib", "1"), there("strict", "1", depends="lib (= 1)"), there("free", "1"),
                        there("rival", "1")])  # fmt: skip
    other = Root(tmp_path / "root", {("stable", "main"): packages}, status).make()
    expected = other.apt("upgrade", "--with-new-pkgs")
    assert other.ours(upgrade=True) == expected
    assert expected is not None and set(expected.comes) == {"free"} and not expected.goes


@pytest.mark.parametrize(
    ("words", "allowed"),
    [("other-mta", ("mta", "needs-mta")), ("mta- wants-agent other-mta", ("needs-mta",)), ("whole-", ()),
     ("part- old-enough", ("whole",)), ("enemy", ("tool",))],
)  # fmt: skip
def test_removals_that_are_allowed_are_those_of_apt(root: Root, words: str, allowed: tuple[str, ...]) -> None:
    expected = root.apt("install", "--no-upgrade", *words.split())
    assert expected is not None and expected.goes
    assert root.ours(*words.split(), allow_remove=allowed) == expected


def test_a_removal_that_nobody_allowed_is_an_error_with_the_key(root: Root) -> None:
    with pytest.raises(ResolutionError, match="mta, needs-mta of the base image would have to be removed") as caught:
        root.ours("other-mta")
    error = caught.value
    assert "conflicts with agent" in error.why and "needs-mta 1: it needs mta, and mta goes" in error.why
    assert any('allow-remove = ["mta", "needs-mta"]' in hint.text for hint in error.hints)
    with pytest.raises(ResolutionError, match="needs-mta of the base image") as caught:
        root.ours("other-mta", allow_remove=("mta",))
    assert error.hints[-1].text == "or leave out other-mta"
    with pytest.raises(ResolutionError, match="whole of the base image would have to be removed") as caught:
        root.ours("part-")
    assert caught.value.hints[-1].text == "or leave out part-"


def test_what_is_essential_or_held_stays_whatever_is_allowed(root: Root) -> None:
    with pytest.raises(ResolutionError, match="essential"):
        root.ours("hates-libc", allow_remove=("libc", "lib", "tool", "local"))
    with pytest.raises(ResolutionError, match="of the base image would have to be removed") as caught:
        root.ours("libc-")
    assert "of them dpkg never removes libc" in caught.value.hints[0].text
    assert root.apt("install", "needs-held") is None
    with pytest.raises(ResolutionError) as caught:
        root.ours("needs-held")
    assert "fixed (>= 2)" in caught.value.why and any("held" in hint.text for hint in caught.value.hints)


def test_an_upgrade_that_makes_room_comes_first(root: Root) -> None:
    found = [(p.package.name, p.wave, p.replaces) for p in root.resolution("hates-part").packages]
    assert found == [("whole", 1, "1"), ("part", 1, "1"), ("hates-part", 1, "")] or found == [
        ("part", 1, "1"), ("whole", 1, "1"), ("hates-part", 1, "")]  # fmt: skip


def test_a_package_of_another_architecture_is_not_torn_from_its_twin(tmp_path: Path) -> None:
    status = there("lib", "1", multi_arch="same") + "\n" + there("lib", "1", multi_arch="same").replace("amd64", "i386")
    packages = [stanza("lib", "2", multi_arch="same"), stanza("app", depends="lib (>= 2)"), stanza("other")]
    other = Root(tmp_path / "root", {("stable", "main"): packages}, status).make()
    assert other.ours("other").comes == {"other": "1"}
    with pytest.raises(ResolutionError, match="lib:i386 of the base image would have to be removed") as caught:
        other.ours("app")
    assert "lib:i386 1" in caught.value.why
