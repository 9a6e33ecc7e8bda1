"""Requests in apt's words and in Debian's."""

from __future__ import annotations

import pytest

from stackbuild.stack.request import Term, parse_request


@pytest.mark.parametrize(
    ("text", "terms", "name"),
    [
        ("nginx", (Term("nginx"),), "nginx"),
        ("g++", (Term("g++"),), "g++"),
        ("curl=7.88*", (Term("curl", relation="=", version="7.88*"),), "curl"),
        ("curl=1:2.3-4+deb12u1~bpo1", (Term("curl", relation="=", version="1:2.3-4+deb12u1~bpo1"),), "curl"),
        ("vim/bookworm-backports", (Term("vim", suite="bookworm-backports"),), "vim"),
        ("libc6:i386", (Term("libc6", "i386"),), "libc6:i386"),
        ("libc6:i386=2.36", (Term("libc6", "i386", "=", "2.36"),), "libc6:i386"),
        ("python3 (>= 3.11)", (Term("python3", relation=">=", version="3.11"),), "python3"),
        ("python3(<<4)", (Term("python3", relation="<<", version="4"),), "python3"),
        ("a | b (>= 2)", (Term("a"), Term("b", relation=">=", version="2")), "a | b (>= 2)"),
        ("a|b", (Term("a"), Term("b")), "a | b"),
    ],
)
def test_forms(text: str, terms: tuple[Term, ...], name: str) -> None:
    request = parse_request(text)
    assert (request.terms, request.name, request.forbid) == (terms, name, False)


def test_a_minus_forbids_and_patterns_are_known() -> None:
    assert parse_request("mawk-").forbid
    assert parse_request("mawk-").name == "mawk"
    assert parse_request("curl=7.88*").terms[0].is_pattern
    assert not parse_request("curl=7.88").terms[0].is_pattern


@pytest.mark.parametrize(
    "text", ["", " ", "-x", "a b", "a (> 1)", "a (1)", "a | ", "a=", "a/", "^curl$", "a (>= 1*)", "é", "a\nb", "a;b"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"request|version|Debian"):
        parse_request(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [("./debs/a_1_all.deb", "debs/a_1_all.deb"), ("debs/a.deb", "debs/a.deb"), ("./debs/", "debs"), ("./a", "a"),
     (".//x/../debs", "debs"), ("./", ".")],
)  # fmt: skip
def test_a_path_has_a_slash_and_is_below_the_project(text: str, path: str) -> None:
    request = parse_request(text)
    assert (request.path, request.terms, request.name, request.forbid) == (path, (), f"./{path}", False)


@pytest.mark.parametrize(
    ("text", "says"),
    [("/root/a.deb", "not in the project"), ("../a.deb", "not in the project"), ("./a/../../b.deb", "not in the"),
     ("..", "not in the project"), ("a.deb", r'by its path: "\./a\.deb"'), ("debs/", r'by its path: "\./debs/"'),
     ("./dist/*.deb", "unusual"), ("./a b.deb", "unusual")],
)  # fmt: skip
def test_a_path_that_is_none_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_request(text)
