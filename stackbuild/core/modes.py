"""File modes as chmod(1) writes them, octal or symbolic; knows no files."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)\Z")
_ACTION = re.compile(r"([-+=])([ugo](?![rwxXst])|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def check_mode(text: str) -> str:
    """The mode, if it is one: "0644", "755", "a+rX", "u=rwx,go=rx". Raises ValueError."""
    if re.fullmatch(r"[0-7]{3,5}", text) and int(text, 8) <= 0o7777:
        return text
    if text and all(_CLAUSE.match(clause) for clause in text.split(",")):
        return text
    raise ValueError(f'not a mode: "{text}"; write "0644" or, as for chmod, "u=rwX,go=rX"')


def apply_mode(mode: str, is_dir: bool, old: int) -> int:
    """The permission bits that a file of mode `old` (bits 07777) has afterwards.

    mode: what `check_mode` accepts. Without a letter of ugoa, all three are meant (the umask plays no part).
    An octal mode is meant for files: a directory gets x wherever it gives r, as everybody means it.
    """
    if mode[0].isdigit():
        bits = int(mode, 8)
        return bits | ((bits & 0o444) >> 2) if is_dir else bits
    bits = old & 0o7777
    for clause in mode.split(","):
        found = _CLAUSE.match(clause)
        if found is None:
            raise ValueError(f"not a mode: {mode!r}")
        who = "ugo" if not found[1] or "a" in found[1] else found[1]
        for sign, what in _ACTION.findall(found[2]):
            bits = _change(bits, who, sign, what, is_dir, bool(bits & 0o111))
    return bits


def _change(bits: int, who: str, sign: str, what: str, is_dir: bool, executable: bool) -> int:
    given = everyone = 0
    for letter in who:
        if what in _SHIFT and what:
            triple = bits >> _SHIFT[what] & 7
        else:
            triple = sum(_BITS[bit] for bit in set(what) & set(_BITS))
            if "X" in what and (is_dir or executable):
                triple |= 1
        given |= triple << _SHIFT[letter]
        everyone |= 7 << _SHIFT[letter]
    if "s" in what:
        given |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if "t" in what and "o" in who:
        given |= 0o1000
    if sign == "+":
        return bits | given
    if sign == "-":
        return bits & ~given
    special = (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0) | (0o1000 if "o" in who else 0)
    if is_dir:  # a folder keeps these bits unless they are named, as GNU chmod has it
        special &= ~(0o6000 & ~given)
    return bits & ~(everyone | special) | given
