"""Small archives as text: requests, alternatives, virtual names, base images, and errors in the user's words."""

from __future__ import annotations

from typing import Any

import pytest

from stackbuild.core.errors import ResolutionError, UsageError
from stackbuild.packages.pin import Pin
from tests.packages.debian import answer, names, stanza, versions

ESSENTIAL = [
    stanza("base-files", essential="yes", pre_depends="awk"),
    stanza("mawk", provides="awk", priority="required"),
    stanza("gawk", provides="awk", depends="libc6"),
    stanza("libc6", "2.36"),
    stanza("apt", "2.6", depends="libc6 (>= 2.30)"),
    stanza("tzdata", priority="required"),
    stanza("less", priority="important"),
]


def refusal(*args: Any, **kwargs: Any) -> ResolutionError:
    with pytest.raises(ResolutionError) as found:
        answer(*args, **kwargs)
    return found.value


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("custom", set()),
        ("essential", {"base-files", "mawk"}),
        ("apt", {"base-files", "mawk", "apt", "libc6"}),
        ("required", {"base-files", "mawk", "apt", "libc6", "tzdata"}),
        ("important", {"base-files", "mawk", "apt", "libc6", "tzdata", "less"}),
    ],
)
def test_a_variant_is_what_mmdebstrap_calls_so(variant: str, wanted: set[str]) -> None:
    found = answer(ESSENTIAL, variant=variant)
    assert set(names(found)) == wanted
    assert all(p.wave == 0 for p in found.packages)


def test_a_variant_without_an_essential_package_is_an_error() -> None:
    error = refusal([stanza("a")], variant="apt")
    assert "no source has an essential package" in error.what


def test_what_is_asked_for_decides_alternatives_of_the_base() -> None:
    assert set(names(answer(ESSENTIAL, "gawk", variant="essential"))) == {"base-files", "gawk", "libc6"}
    assert set(names(answer(ESSENTIAL, "mawk-", variant="essential"))) == {"base-files", "gawk", "libc6"}


def test_the_first_alternative_is_taken_unless_another_is_there() -> None:
    packages = [stanza("app", depends="a | b"), stanza("a"), stanza("b")]
    assert set(names(answer(packages, "app"))) == {"app", "a"}
    assert set(names(answer(packages, "app", "b"))) == {"app", "b"}
    assert set(names(answer(packages, "app", "a-"))) == {"app", "b"}


def test_an_unversioned_provides_meets_no_versioned_need() -> None:
    packages = [
        stanza("app", depends="virtual (>= 1)"),
        stanza("loose", provides="virtual"),
        stanza("exact", provides="virtual (= 2)"),
    ]
    assert set(names(answer(packages, "app"))) == {"app", "exact"}


def test_a_package_may_conflict_with_what_it_provides_itself() -> None:
    mta = {"provides": "mta", "conflicts": "mta"}
    packages = [stanza("postfix", **mta), stanza("exim", **mta), stanza("mailx", depends="exim | mta")]
    assert set(names(answer(packages, "mailx", "postfix"))) == {"mailx", "postfix"}
    assert "postfix 1 conflicts with mta, which exim 1 is" in refusal(packages, "exim", "postfix").why


def test_who_asks_for_a_package_gets_it_and_not_one_that_provides_its_name() -> None:
    packages = [stanza("sudo"), stanza("sudo-ldap", provides="sudo", conflicts="sudo")]
    error = refusal(packages, "sudo-ldap", "sudo")
    assert "sudo-ldap 1 conflicts with sudo 1" in error.why
    assert error.hints[-1].text == "leave out one of sudo-ldap, sudo"


def test_a_package_that_a_versioned_provides_makes_needless_stays_as_with_apt() -> None:
    packages = [
        stanza("dev", depends="pkg-config"),
        stanza("pkg-config", "1.8", depends="pkgconf"),
        stanza("pkgconf", "1.8", provides="pkg-config (= 1.8)"),
    ]
    found = answer(packages, "dev")
    assert set(names(found)) == {"dev", "pkg-config", "pkgconf"} and not found.notes


def test_a_virtual_name_stands_for_its_only_provider() -> None:
    packages = [stanza("one", provides="single, several"), stanza("two", provides="several")]
    assert names(answer(packages, "single")) == ["one"]
    error = refusal(packages, "several")
    assert "several packages" in error.what and "one 1, two 1" in error.why


def test_a_request_for_a_version_takes_it_and_what_it_needs() -> None:
    packages = [
        *(stanza("lib", v) for v in ("1.0", "2.0")),
        *(stanza("app", v, depends=f"lib (= {v})") for v in ("1.0", "2.0")),
    ]
    assert versions(answer(packages, "app")) == {"app": "2.0", "lib": "2.0"}
    for request in ("app=1.0", "app=1.*", "app (<< 2)", "app (<= 1.0)"):
        found = answer(packages, request)
        assert versions(found) == {"app": "1.0", "lib": "1.0"}, request
    # apt refuses this one: it never moves a companion
    assert "libsolv" in answer(packages, "app=1.0").notes[0]


def test_backports_come_only_when_they_are_asked_for() -> None:
    packages = [stanza("vim", "9.0", depends="vim-common"), stanza("vim-common", "9.0")]
    newer = [stanza("vim", "9.1", depends="vim-common (>= 9.1)"), stanza("vim-common", "9.1")]
    assert versions(answer(packages, "vim", backports=newer)) == {"vim": "9.0", "vim-common": "9.0"}
    assert versions(answer(packages, "vim/backports", backports=newer)) == {"vim": "9.1", "vim-common": "9.1"}
    error = refusal(packages, "vim/sid", backports=newer)
    assert "sid" in error.what and "stable-backports" in error.why


def test_recommended_packages_come_only_when_asked_for() -> None:
    packages = [stanza("app", recommends="nice, absent, clash"), stanza("nice"), stanza("clash", conflicts="app")]
    assert names(answer(packages, "app")) == ["app"]
    assert set(names(answer(packages, "app", recommends=True))) == {"app", "nice"}


def test_architecture_words() -> None:
    packages = [
        stanza("app", depends="python:any"),
        stanza("python", multi_arch="allowed"),
        stanza("c", depends="app:any"),
    ]
    assert set(names(answer(packages, "app:amd64"))) == {"app", "python"}
    assert "another architecture" in refusal(packages, "app:i386").what
    assert "c 1 needs app:any" in refusal(packages, "c").why  # app is not Multi-Arch: allowed


# ---- errors ----------------------------------------------------------------------------------------------


def test_an_unknown_name_comes_with_near_ones() -> None:
    error = refusal([stanza("nginx"), stanza("nginx-light"), stanza("python3")], "ngnix")
    assert error.what == "there is no package ngnix"
    assert error.hints[0].text == "did you mean nginx?"
    assert error.where is not None and error.where.key == ("packages", "install", "ngnix")


def test_an_unknown_version_comes_with_those_that_exist() -> None:
    error = refusal([stanza("curl", "7.88"), stanza("curl", "7.87")], "curl=9.*")
    assert error.what == "no version of curl is `curl=9.*`" and error.why == "there are 7.88, 7.87"
    assert error.hints[0].text == "ask for a version that exists, or for none"


def test_all_wrong_names_are_told_at_once() -> None:
    error = refusal([stanza("curl")], "crul", "curl=2", "nothing-at-all-")
    assert [e.what for e in error.errors] == [
        "there is no package crul", "no version of curl is `curl=2`", "there is no package nothing-at-all",
    ]  # fmt: skip


def test_a_conflict_between_two_requests_is_told_as_a_chain() -> None:
    packages = [
        stanza("a", depends="deep"),
        stanza("deep", depends="deeper"),
        stanza("deeper", conflicts="b"),
        stanza("b"),
    ]
    error = refusal(packages, "a", "b")
    assert error.exit_code == 3
    assert error.what == "the requests have no solution together"
    assert error.why.split("; ") == [
        "a was asked for", "b was asked for", "a 1 needs deep", "deep 1 needs deeper", "deeper 1 conflicts with b 1",
    ]  # fmt: skip
    assert error.hints[-1].text == "leave out one of a, b"


def test_a_need_that_nothing_meets_is_told_with_the_versions_there_are() -> None:
    error = refusal([stanza("app", depends="lib (>= 5)"), stanza("lib", "4")], "app")
    assert error.what == "app cannot be installed"
    assert error.why.endswith("app 1 needs lib (>= 5), and nothing can provide it")
    assert error.hints[0].text == "of lib there is 4"


def test_a_version_that_another_request_rules_out_is_a_conflict_of_the_two() -> None:
    packages = [
        stanza("lib", "1"),
        stanza("lib", "2"),
        stanza("mid", depends="lib (>= 2)"),
        stanza("web", depends="mid"),
    ]
    error = refusal(packages, "lib=1", "web")
    assert error.what == "the requests have no solution together"
    assert error.why.split("; ") == [
        "web was asked for", "lib=1 was asked for", "web 1 needs mid", "mid 1 needs lib (>= 2), which `lib=1` is not",
    ]  # fmt: skip
    assert [hint.text for hint in error.hints] == ["of lib there are 2, 1", "leave out one of lib=1, web"]
    error = refusal([*packages, stanza("old", depends="lib (<< 2)")], "old", "web")
    assert error.why.endswith("mid 1 needs lib (>= 2); lib 1 and lib 2 cannot both be there")


def test_a_conflict_deep_in_the_graph_shows_both_ways_to_it() -> None:
    packages = [
        stanza("web", depends="framework"), stanza("framework", depends="driver (>= 2)"),
        stanza("driver", "2", depends="ssl3"), stanza("ssl3", conflicts="ssl1"),
        stanza("old", depends="legacy"), stanza("legacy", depends="ssl1"), stanza("ssl1"), stanza("other"),
    ]  # fmt: skip
    error = refusal(packages, "other", "web", "old")
    assert error.why.split("; ") == [
        "web was asked for", "old was asked for", "web 1 needs framework", "old 1 needs legacy",
        "framework 1 needs driver (>= 2)", "legacy 1 needs ssl1", "driver 2 needs ssl3",
        "ssl3 1 conflicts with ssl1 1",
    ]  # fmt: skip
    assert [hint.text for hint in error.hints] == ["leave out one of web, old"]


def test_a_need_that_only_backports_meet_says_what_to_ask_for() -> None:
    packages, newer = [stanza("app", depends="lib (>= 2~)"), stanza("lib", "1")], [stanza("lib", "2~bpo")]
    with pytest.raises(ResolutionError) as found:
        answer(packages, "app", backports=newer)
    assert found.value.why.endswith("app 1 needs lib (>= 2~), and nothing can provide it")
    assert found.value.hints[0].text == "of lib there are 1, 2~bpo (only on demand: ask for `lib/backports`)"
    assert versions(answer(packages, "app", "lib/backports", backports=newer)) == {"app": "1", "lib": "2~bpo"}


def test_an_architecture_and_a_suite_that_are_missing_say_where_they_are_named() -> None:
    error = refusal([stanza("app")], "app:arm64")
    assert error.why == "this image has amd64 and no foreign architecture" and "image.platforms" in error.hints[0].text
    error = refusal([stanza("app", architecture="arm64")], "app")  # a flat archive lists all of them
    assert error.what == "there is no package app for amd64" and error.why.endswith("it is there for arm64")
    assert "image.platforms" in error.hints[0].text
    error = refusal([stanza("app")], "app/sid")
    assert error.what == "no source has the suite sid of `app/sid`" and error.why == "there are stable"
    assert "[[packages.source]]" in error.hints[0].text


def test_a_suite_without_the_package_says_which_has_it() -> None:
    error = refusal([stanza("app")], "app/backports", backports=[stanza("other")])
    assert error.what == "backports has no package app" and error.why == "it is in stable"
    assert error.hints[0].text == "ask for `app`, or for another suite that has it"


def test_a_held_package_deep_in_the_graph_says_how_to_let_it_go() -> None:
    packages = [stanza("libc6", "2.36"), stanza("mid", depends="libc6 (>= 2.36)"), stanza("app", depends="mid")]
    error = refusal(packages, "app", variant="", status=STATUS.replace("install ok", "hold ok", 1))
    assert "mid 1 needs libc6 (>= 2.36), and nothing can provide it" in error.why
    assert error.hints[0].text == "of libc6 there are 2.36 (forbidden by that hold), 2.30 (held by the base image)"
    assert error.hints[1].command == "apt-mark unhold libc6"


def test_several_providers_of_a_virtual_name_are_listed_and_the_usual_one_is_named() -> None:
    packages = [stanza("exim4", "4.96", provides="mta, default-mta"), stanza("postfix", provides="mta (= 3)")]
    error = refusal(packages, "mta")
    assert error.why == "it is a virtual package; exim4 4.96, postfix 1 provide it"
    assert [h.text for h in error.hints] == [
        "the usual one is exim4: ask for default-mta", "ask for one of them, or for `a | b`",
    ]  # fmt: skip
    assert names(answer(packages, "default-mta")) == ["exim4"]
    assert names(answer(packages, "mta (>= 2)")) == ["postfix"]
    assert "nothing provides it so" in refusal(packages, "mta (>= 4)").why


def test_what_is_needed_cannot_be_forbidden() -> None:
    error = refusal([stanza("app", depends="lib"), stanza("lib")], "app", "lib-")
    assert error.what == "the requests have no solution together"
    assert error.why.endswith("app 1 needs lib, and nothing can provide it; `lib-` keeps lib out")
    assert [h.text for h in error.hints] == ["of lib there is 1 (kept out by `lib-`)", "leave out one of app, lib-"]
    assert names(answer([stanza("app")], "app", "app-")) == ["app"]


def test_an_unknown_variant_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no variant `tiny`"):
        answer(ESSENTIAL, variant="tiny")


# ---- on a base image --------------------------------------------------------------------------------------

STATUS = "\n\n".join(
    f"Package: {name}\nStatus: {state}\nVersion: {version}\nArchitecture: amd64\n{more}"
    for name, version, state, more in [
        ("libc6", "2.30", "install ok installed", ""),
        ("curl", "7.0", "install ok installed", "Depends: libc6 (>= 2.0), gone-from-everywhere\n"),
        ("wget", "1.0", "deinstall ok config-files", ""),
    ]
)


def test_what_a_base_image_holds_stays_unless_it_is_needed() -> None:
    packages = [
        stanza("libc6", "2.36"), stanza("curl", "7.88"), stanza("wget", "1.1"),
        stanza("old", depends="libc6 (>= 2.20)"), stanza("new", depends="libc6 (>= 2.31)"),
    ]  # fmt: skip
    assert names(answer(packages, "curl", variant="", status=STATUS)) == []
    assert names(answer(packages, "old", variant="", status=STATUS)) == ["old"]
    assert versions(answer(packages, "new", variant="", status=STATUS)) == {"new": "1", "libc6": "2.36"}
    assert versions(answer(packages, "wget", variant="", status=STATUS)) == {"wget": "1.1"}
    assert versions(answer(packages, "curl (>= 7.80)", variant="", status=STATUS)) == {"curl": "7.88"}


def test_waves_of_a_base_image_begin_with_1() -> None:
    found = answer([stanza("a"), stanza("b")], "a", "b", variant="", status=STATUS)
    assert [(p.package.name, p.wave) for p in found.packages] == [("a", 1), ("b", 2)]


def test_what_the_base_image_holds_is_not_broken_by_an_upgrade() -> None:
    strict = "Package: strict\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
    status = f"{STATUS}\n\n{strict}Depends: libc6 (<< 2.33)\n"
    packages = [stanza("libc6", "2.36"), stanza("strict", "1"), stanza("new", depends="libc6 (>= 2.34)")]
    error = refusal(packages, "new", variant="", status=status)
    assert "strict" in error.why and "libc6" in error.why


def test_locked_versions_stay_where_they_fit() -> None:
    packages = [stanza("a", "1"), stanza("a", "2"), stanza("b", depends="a")]
    assert versions(answer(packages, "b", keep={"a": "1"}))["a"] == "1"
    assert versions(answer(packages, "b", keep={"a": "0"}))["a"] == "2"
    assert versions(answer(packages, "b", "a=2", keep={"a": "1"}))["a"] == "2"


def test_a_pin_moves_what_was_locked_before_it_was_written() -> None:
    packages = [stanza("a", "1"), stanza("a", "2"), stanza("b", depends="a")]
    keep = {"a": "1", "b": "1"}

    def version(priority: int, kind: str, data: str, name: str = "a") -> str:
        pin = Pin((name,) if name != "*" else (), kind, data, priority)
        return versions(answer(packages, "b", keep=keep, pins=(pin,)))["a"]

    assert version(900, "version", "2") == "2" and version(-1, "version", "1") == "2"
    assert version(900, "version", "1") == version(900, "release", "stable") == "1"  # nothing to move for
    assert version(900, "version", "2", "other") == "1"
    with pytest.raises(ResolutionError) as found:
        version(-1, "version", "*")
    assert "of a there are 2 (pinned to -1), 1 (pinned to -1)" in [hint.text for hint in found.value.hints]
    newer = [stanza("a", "3~bpo")]
    locked = {"a": "3~bpo", "b": "1"}  # asked for when it was locked, and by nobody's pin now
    assert versions(answer(packages, "b", backports=newer, keep=locked))["a"] == "3~bpo"
    below = Pin((), "release", "backports", 50)
    assert versions(answer(packages, "b", backports=newer, keep=locked, pins=(below,)))["a"] == "2"


def test_what_stays_lets_go_of_no_more_than_what_is_wanted_needs() -> None:
    old = [stanza("lib"), stanza("app", depends="lib (= 1)"), stanza("web", depends="lib"), stanza("mta"),
           stanza("plugin", depends="app (<< 2)"), stanza("tool")]  # fmt: skip
    new = [stanza("lib", "2", breaks="mta (<< 2)"), stanza("app", "2", depends="lib (>= 2)"), stanza("web", "2"),
           stanza("mta", "2"), stanza("plugin", "2", depends="app (>= 2) | other"), stanza("tool", "2")]  # fmt: skip
    keep = dict.fromkeys(("lib", "app", "web", "mta", "plugin", "tool"), "1")
    words = ("plugin", "app", "web", "mta", "tool")

    def moved(*names: str) -> set[str]:
        stays = {name: version for name, version in keep.items() if name not in names}
        found = versions(answer([*old, *new], *words, keep=stays))
        return {name for name, version in found.items() if version == "2"}

    assert moved() == set()
    assert moved("tool") == {"tool"} and moved("web") == {"web"} and moved("mta") == {"mta"}
    # app needs the new lib, which breaks the old mta; the old plugin does not want the new app
    assert moved("app") == moved("lib") == moved("plugin") == {"app", "lib", "mta", "plugin"}
