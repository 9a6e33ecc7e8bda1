"""Untrusted text made harmless for a terminal. Not for keys or bytes: what it returns is for eyes only."""

from __future__ import annotations

import re
import unicodedata

# What a program writes to colour its output or to move about: dropped whole, it carries no words.
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links, clipboard
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-Z\\^-~]"  # two-character escapes
)
# Cc: control, Cf: invisible, right-to-left overrides, Cs: lone surrogates, Zl, Zp: line breaks of Unicode
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def harmless(text: str | bytes) -> str:
    """One line of any text as a terminal may show it: escape sequences dropped, other control characters spelled out.

    Of a line that redraws itself by carriage returns the last state is kept; tabs become spaces.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable():  # nearly every line
        return text
    text = _SEQUENCE.sub("", text).rstrip("\r\n")
    text = text.rpartition("\r")[2].expandtabs()
    return "".join(_spelled(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def harmless_lines(text: str) -> str:
    """Text of several lines, each made harmless."""
    return "\n".join(harmless(line) for line in text.split("\n"))


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
