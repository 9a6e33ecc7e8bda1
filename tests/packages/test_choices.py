"""Over what a package was chosen, and why: each reason on a small archive, for the answer that the resolver gives."""

from __future__ import annotations

from stackbuild.packages.deb.choices import choices
from stackbuild.packages.deb.resolver import catalogue_of, resolve_indexes
from stackbuild.packages.ecosystem import Choice, Question
from stackbuild.stack.request import parse_request
from tests.packages.debian import MAIN, index, stanza

MTAS = [stanza(name, provides="agent", conflicts="agent") for name in ("exim", "postfix", "msmtp")]


def chosen(name: str, stanzas: list[str], *requests: str, recommends: bool = False) -> list[Choice]:
    question = Question(tuple(map(parse_request, requests)), "amd64", "custom", recommends)
    pairs = [(index(*stanzas), MAIN)]
    found = resolve_indexes(question, pairs).packages
    locked = {p.package.name: p.package.version for p in found}
    parents = [p.package.name for p in found if name in (*p.depends, *p.pre_depends)]
    return list(choices(name, locked, parents, catalogue_of(question, pairs)[0], question))


def test_the_order_of_alternatives_and_of_providers() -> None:
    packages = [*MTAS, stanza("mailx", depends="exim | agent"), stanza("default-mta-user", depends="main-mta | agent"),
                stanza("dragonfly", provides="main-mta"), stanza("any", depends="agent")]  # fmt: skip
    (one,) = chosen("exim", packages, "mailx")
    assert one == Choice("mailx", "exim | agent", ("msmtp", "postfix"), "it is the first alternative")
    (one,) = chosen("dragonfly", packages, "default-mta-user")
    assert one.why == "it provides main-mta, the first alternative" and set(one.over) == {"exim", "msmtp", "postfix"}
    (one,) = chosen("msmtp", packages, "any")
    assert one.why == "of those that provide agent apt takes the one that the archive mentions last"
    awks = [stanza("mawk", provides="awk", priority="required"), stanza("gawk", provides="awk")]
    (one,) = chosen("mawk", [*awks, stanza("b", depends="awk")], "b")
    assert one.over == ("gawk",) and one.why == "of those that provide awk it has the highest priority (required)"


def test_what_else_is_there_decides() -> None:
    packages = [*MTAS, stanza("mailx", depends="exim | agent"), stanza("clock", depends="postfix"),
                stanza("enemy", conflicts="exim")]  # fmt: skip
    assert [c.why for c in chosen("postfix", packages, "postfix", "mailx")] == ["`postfix` was asked for"]
    assert [c.why for c in chosen("postfix", packages, "mailx", "clock")] == ["clock needs it anyway (postfix)"]
    assert [c.why for c in chosen("msmtp", packages, "enemy", "mailx")] == ["exim conflicts with enemy"]
    assert [c.why for c in chosen("msmtp", packages, "mailx", "exim-")] == ["`exim-` keeps exim out"]


def test_alternatives_that_the_user_wrote_and_needs_without_a_choice() -> None:
    packages = [stanza("app", depends="lib"), stanza("lib"), stanza("a"), stanza("b")]
    assert chosen("a", packages, "a | b") == [Choice("", "a | b", ("b",), "`a | b` was asked for")]
    assert chosen("lib", packages, "app") == []
    assert chosen("a", packages, "a | b", "b") == [] == chosen("absent", packages, "app")
