"""What a terminal may be shown of text that came from outside."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbuild.core.text import harmless, harmless_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Setting up libc6 (2.36)", "Setting up libc6 (2.36)"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]52;c;Y2F0\x1b\\clipboard", "clipboard"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1bcreset", "reset"),
        ("bell\x07 back\x08", "bell\\x07 back\\x08"),
        ("10%\r50%\r100%\r\n", "100%"),
        ("a\tb", "a       b"),
        ("\x9b31mC1", "\\x9b31mC1"),
        ("moc\u202egnp.exe", "moc\\u202egnp.exe"),
        ("Ünïcödé ✔", "Ünïcödé ✔"),
        ("cut off \x1b[", "cut off \\x1b["),
        (b"caf\xe9", "caf\\xe9"),
    ],
)
def test_control_characters_are_dropped_or_spelled_out(text: str | bytes, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text() | st.binary())
def test_nothing_that_a_terminal_obeys_is_left(text: str | bytes) -> None:
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in harmless(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_words_are_left_alone(text: str) -> None:
    assert harmless(text) == text


def test_the_lines_of_a_text_stay_lines() -> None:
    assert harmless_lines("one\n\x1b[2Jtwo\n") == "one\ntwo\n"
