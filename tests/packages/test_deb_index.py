"""The index reader: any form of control data, anything hostile, nothing raised; what is kept is what is read back."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.core.errors import ResolutionError
from stackbuild.packages.deb import packages_index
from stackbuild.packages.deb.control import relations, stanzas
from stackbuild.packages.deb.packages_index import build_index, installed
from stackbuild.packages.deb.resolver import resolve_indexes
from stackbuild.packages.ecosystem import Question
from stackbuild.packages.index import Index, Records, keep
from stackbuild.packages.package import Package
from stackbuild.stack.request import parse_request
from tests.packages.debian import MAIN, index, stanza
from tests.packages.plain_index import plain_index

GOOD = stanza("curl", "7.88", depends="libc6 (>= 2.34)", provides="fetcher (= 1), loader")


def packages(text: str | bytes) -> list[Package]:
    data = text.encode() if isinstance(text, str) else text
    return list(Index(build_index(data)).all(None))


def test_fields_may_be_folded_cased_and_doubled() -> None:
    text = (
        "PACKAGE: curl\nversion: 7.88\nArchitecture: amd64\nSize: 9\nFilename: ./pool/c.deb\nDepends: libc6\n"
        f" (>= 2.34),\n\tzlib1g\nSHA256: {'AB' * 32}\nDepends: evil\nDescription: a\n long\n .\n text\n"
    )
    (found,) = packages(text.replace("\n", "\r\n"))
    assert found.name == "curl" and found.path == "pool/c.deb" and found.sha256 == "ab" * 32
    assert [str(r) for group in relations(found.depends) for r in group] == ["libc6 (>= 2.34)", "zlib1g"]


def test_what_is_not_utf_8_is_kept_out_of_the_way() -> None:
    (found,) = packages(GOOD.encode() + b"Section: caf\xe9\nMaintainer: \xff\xfe\n")
    assert found.name == "curl" and found.section.encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pool/", "../pool/"), ("pool/", "/pool/"), ("pool/", "pool//"), ("package: curl", "package: ../curl"),
        ("package: curl", "package: curl evil"), ("version: 7.88", "version: 7.88\x1b"), ("size: 9", "size: -9"),
        ("size: 9", "size: " + "9" * 40), ("size: 9", "size: \u0669"), ("sha256: ", "sha256: zz"),
        ("architecture: amd64", "architecture: ../amd64"), ("version: 7.88\n", ""),
    ],
)  # fmt: skip
def test_a_hostile_stanza_is_left_out_and_counted(old: str, new: str) -> None:
    assert old in GOOD
    read = Index(build_index(f"{GOOD.replace(old, new)}\n{stanza('good')}".encode()))
    assert [p.name for p in read.all(None)] == ["good"] and read.skipped == 1


def test_names_and_providers_are_found_without_parsing(tmp_path: Path) -> None:
    read = keep(
        tmp_path / "index", build_index(f"{GOOD}\n{stanza('curl', '7.89')}\n{stanza('x', essential='yes')}".encode())
    )
    assert [p.version for p in read.packages("curl", None)] == ["7.88", "7.89"]
    assert [p.name for p in read.providers("loader", None)] == ["curl"]
    assert [p.name for p in read.base(None)] == ["x"]
    assert read.names() == ["curl", "x"]
    assert list(read.rank) == ["curl", "libc6", "fetcher", "loader", "x"]
    assert read.packages("absent", None) == read.packages("libc6", None) == []


def test_a_damaged_index_file_is_an_error_not_a_wrong_answer(tmp_path: Path) -> None:
    data = build_index(GOOD.encode())
    for bad in (data[:-1], data + b"x", data[:100], b"", b"x" * 400, data.replace(b"little", b"middle")):
        (tmp_path / "index").write_bytes(bad)
        with pytest.raises(ValueError):
            Index.open(tmp_path / "index")


def equal_to_plain(data: bytes) -> None:
    """The fast reader, in one part and in two, answers all that can be asked as the plain one does."""
    plain = plain_index(data)
    for part in (len(data) + 1, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packages_index, "PART", part)
            read = Index(build_index(data))
        assert list(read.all(None)) == plain.packages and read.skipped == plain.skipped
        assert list(read.rank) == plain.mentioned
        assert {n: read.providers(n, None) for n in plain.mentioned} == plain.providers
        own = {n: [p for p in plain.packages if p.name == n] for n in plain.mentioned}
        assert {n: read.packages(n, None) for n in plain.mentioned} == own
        base = [p for p in plain.packages if p.flags or p.priority in ("required", "important", "standard")]
        assert read.base(None) == base


LINES = [
    "Package: a", "Package: b", "PACKAGE: c", "Package: ../d", "Version: 1", "Version: 2:1~", "version: x y",
    "Architecture: amd64", "Architecture: all", "Size: 9", "Size: 9 ", "Size: -1", f"SHA256: {'a' * 64}",
    f"SHA256: {'B' * 64}", "Filename: pool/a", "Filename: ./a", "Filename: pool/../a", "Filename: pool//a",
    "Filename: a/", "Essential: yes", "Essential: no", "Protected: yes", "Priority: required", "Priority: optional",
    "Source: s (1)", "Source: ???", "Source:", "Depends: b, c (>= 1) | d:any", "Depends: a,", " e, f", "\tg | h ",
    "depends: i", "Provides: v (= 1), a, w", "Provides: v ", "Suggests: x", " ", "", "", "# x", "Tag: role::a,",
    "Replaces: y [amd64] <!z>", "Section: caf\udce9", "Multi-Arch:\tsame", "Description: t",
]  # fmt: skip
WHOLE = ["Package: a", "Version: 1", "Architecture: amd64", "Size: 9", f"SHA256: {'a' * 64}", "Filename: pool/a"]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(LINES), max_size=8)), max_size=6), st.booleans())
def test_the_fast_reader_equals_the_plain_one(stanzas: list[tuple[bool, list[str]]], returns: bool) -> None:
    text = "\n\n".join("\n".join([*(WHOLE if whole else ()), *lines]) for whole, lines in stanzas)
    equal_to_plain(text.replace("\n", "\r\n" if returns else "\n").encode("utf-8", "surrogateescape"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_the_fast_reader_equals_the_plain_one_on_any_bytes(data: bytes) -> None:
    equal_to_plain(GOOD.encode() + data + b"\n\n" + GOOD.encode())


@pytest.mark.whole
def test_the_fast_reader_equals_the_plain_one_on_a_whole_distribution(tmp_path: Path) -> None:
    from tests.packages.agreement import Apt, plain_lists

    apt = Apt(tmp_path / "apt")
    apt.make()
    for data in plain_lists(apt):
        equal_to_plain(data)


def test_a_child_that_dies_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    data = f"{GOOD}\n{stanza('x', essential='yes')}".encode()
    expected = build_index(data)

    def dies(part: memoryview) -> Records:
        if os.getpid() != here:
            os._exit(9)
        return read_part(part)

    read_part = packages_index._read_part
    monkeypatch.setattr(packages_index, "PART", 1)
    assert build_index(data) == expected
    monkeypatch.setattr(packages_index, "_read_part", dies)
    assert build_index(data) == expected


def test_an_empty_index_has_nothing() -> None:
    assert list(index().all(None)) == [] and index().names() == []


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    list(Index(build_index(data)).all(None))
    list(Index(build_index(GOOD.encode() + data)).all(None))
    installed(data)


def test_an_index_that_is_cut_anywhere_has_what_came_whole() -> None:
    data = f"{GOOD}\n{stanza('app', depends='curl (>= 7) | wget, libc6')}".encode()
    for end in range(len(data)):
        equal_to_plain(data[:end])
        assert [p.name for p in packages(data[:end])] in ([], ["curl"], ["curl", "app"])


MISHAPS = st.sampled_from(["cut", "double", "fold", "drop", "byte", "swap", "join"])
SMALL = "\n".join(
    [
        GOOD, stanza("app", depends="curl (>= 7) | wget, loader", recommends="wget"), stanza("wget", conflicts="curl"),
        stanza("libc6", "2.36", essential="yes", pre_depends="fetcher (= 1)"), stanza("old", breaks="app (<< 1:0~)"),
    ]
)  # fmt: skip


def mishap(data: bytes, what: str, dice: random.Random) -> bytes:
    """Control data after one accident, or one malicious hand."""
    lines = data.split(b"\n")
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    place = dice.randrange(len(data) + 1)
    if what == "cut":
        return data[:place]
    if what == "byte":
        return data[:place] + dice.choice([b"\xff", b"\x00", b"\x1b", b"\r", b":", b"|", b",", b"("]) + data[place:]
    if what == "double":
        lines.insert(other, lines[at])
    elif what == "fold":
        lines[at] = lines[at].replace(b" ", b"\n ", 1)
    elif what == "drop":
        del lines[at]
    elif what == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] += b"," + lines[other].partition(b":")[2]
    return b"\n".join(lines)


@settings(max_examples=80, deadline=None)
@given(st.lists(MISHAPS, min_size=1, max_size=6), st.integers(0, 2**32))
def test_over_a_broken_index_every_question_has_an_answer_or_a_refusal(mishaps: list[str], seed: int) -> None:
    data, dice = SMALL.encode(), random.Random(seed)
    for what in mishaps:
        data = mishap(data, what, dice)
    equal_to_plain(data)
    read = Index(build_index(data))
    for request in ("app", "libc6", "loader", "old app=1", "wget curl-"):
        with suppress(ResolutionError):
            resolve_indexes(Question((*map(parse_request, request.split()),), "amd64", "custom", True), [(read, MAIN)])


@settings(max_examples=150, deadline=None)
@given(st.text("ab ,|():<>[]=~.-\t\n1", max_size=60))
def test_no_text_makes_a_relation_raise(text: str) -> None:
    for group in relations(text):
        assert all(r.name and not r.name[0].isspace() for r in group)
    list(stanzas(text))


def test_relations_are_read_as_policy_writes_them() -> None:
    (group,) = relations("a:any(>=1~) |b ( << 2 ) [amd64] <!nocheck> | c")
    assert [str(r) for r in group] == ["a:any (>= 1~)", "b (<< 2)", "c"]


def test_the_database_of_a_base_image() -> None:
    states = {
        "there": "install ok installed", "held": "hold ok installed", "half": "install reinstreq half-installed",
        "gone": "deinstall ok config-files", "never": "unknown ok not-installed", "distroless": "",
    }  # fmt: skip
    text = "\n\n".join(
        f"Package: {name}\n{'Status: ' + state + chr(10) if state else ''}Version: 1\nArchitecture: all"
        for name, state in states.items()
    )
    _, found = installed(text.encode())
    assert {p.name for p in found} == {"there", "held", "half", "distroless"}
    assert all(p.installed for p in found)


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """But for the count of what was left out, which decides nothing."""
    file = tmp_path / "index"
    good = build_index(f"{GOOD}\n{stanza('curl', '7.89')}\n".encode())
    before = list(Index(good).all(None))
    unseen = 0
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << place % 8
        file.write_bytes(data)
        try:
            assert list(Index.open(file).all(None)) == before
        except ValueError:
            continue
        unseen += 1
    assert unseen <= 2 + 255 - len(good[:256].rstrip())  # the count's digits, and blanks behind the head
