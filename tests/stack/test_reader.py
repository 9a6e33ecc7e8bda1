"""The line of each key: what errors and origins point at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbuild.core.errors import UsageError
from stackbuild.stack.reader import lines_of, parse, read_text

TEXT = '''\
# a comment with = and [brackets]
[stack]
name = "x" # hi

[packages]
install = [
  "a", # one
  "b", "c",
  "d | e",
]
debconf."tz/Area" = "x"
[[layer]]
name = "l1"
run = ["""
[not a header]
x = 1
""", "b"]
[[layer]]
name = "l2"
copy = [{ from = "a", to = "b" },
   { from = "c", to = "d" }]
[sources]
[[sources."debian/bookworm"]]
url = "a"
[[layer.deep]]
x = 1
[layer.deep.er]
y = 2
[a.b.c]
d.e = [
]
'''


def test_lines() -> None:
    lines = lines_of(TEXT)
    want = {
        ("stack",): 2,
        ("stack", "name"): 3,
        ("packages", "install"): 6,
        ("packages", "install", 0): 7,
        ("packages", "install", 2): 8,
        ("packages", "install", 3): 9,
        ("packages", "debconf", "tz/Area"): 11,
        ("layer", 0): 12,
        ("layer", 0, "run"): 14,
        ("layer", 0, "run", 1): 17,
        ("layer", 1, "name"): 19,
        ("layer", 1, "copy", 0, "from"): 20,
        ("layer", 1, "copy", 1, "to"): 21,
        ("sources", "debian/bookworm", 0, "url"): 24,
        ("layer", 1, "deep", 0, "x"): 26,
        ("layer", 1, "deep", 0, "er", "y"): 28,
        ("a", "b", "c", "d", "e"): 30,
    }
    assert {key: lines.get(key) for key in want} == want
    assert lines[()] == 1
    assert lines_of(TEXT.replace("\n", "\r\n")) == lines


def test_a_thousand_lines_of_text_in_a_value_cost_no_second() -> None:
    body = "\n".join(f"line {n} with = and [brackets]" for n in range(1000))
    text = f'a = 1\nx = """\n{body}\n"""\ninstall = [\n' + '"p",\n' * 2000 + "]\nb = 2\n"
    lines = lines_of(text)
    assert lines[("b",)] == text.count("\n")
    assert lines[("install", 1999)] == text.count("\n") - 2


@given(st.lists(st.text(alphabet='ab=[]{}"#.\n 1,', max_size=12), max_size=6).map("\n".join))
def test_no_text_makes_it_fail(text: str) -> None:
    try:
        parse(text, "x", "project")
    except UsageError:
        return
    assert lines_of(text)[()] == 1


def test_what_is_no_readable_file_is_an_error(tmp_path: Path) -> None:
    assert read_text(tmp_path / "none", "none", "project") is None
    (tmp_path / "latin").write_bytes(b"a = 1\nb = '\xe9'\n")
    with pytest.raises(UsageError, match="latin:2: the file is not UTF-8") as found:
        read_text(tmp_path / "latin", "latin", "project")
    assert found.value.hints
    with pytest.raises(UsageError, match="is not a file"):
        read_text(tmp_path, "folder", "project")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file"):
        read_text(tmp_path / "pipe", "pipe", "project")
    with pytest.raises(UsageError, match="is not a file"):
        read_text(Path("/dev/zero"), "zero", "project")
    (tmp_path / "big").write_bytes(b"#" * (5 << 20))
    with pytest.raises(UsageError, match="too large"):
        read_text(tmp_path / "big", "big", "project")
    with pytest.raises(UsageError, match="nested too deeply"):
        parse("a = " + "[" * 20000, "x", "project")
