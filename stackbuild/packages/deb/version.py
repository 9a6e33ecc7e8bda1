"""Debian versions: dpkg's order, and the RPM version of the same order that libsolv wants; no relations."""

from __future__ import annotations

import re
from functools import cache

_FORM = re.compile(r"(?:(\d+):)?([A-Za-z0-9.+~:-]+?)(?:-([A-Za-z0-9.+~]*))?\Z")
_END = 2  # of a run of non-digits: after "~", before all else

Order = tuple[int, tuple[int, ...], tuple[int, ...]]


def valid(version: str) -> bool:
    """Whether dpkg would read it (a version need not start with a digit: old packages have such)."""
    return bool(_FORM.match(version))


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


@cache
def _numbers(part: str) -> tuple[int, ...]:
    """A part of a version as numbers whose order as a sequence is dpkg's order of the part.

    deb-version(7): runs of non-digits and of digits take turns; in the former "~" sorts before
    the end of the run, that before letters, letters before the rest.
    """
    numbers: list[int] = []
    for text, digits in re.findall(r"([^0-9]*)([0-9]*)", part):
        if not text and not digits:
            break
        for char in text:
            numbers.append(1 if char == "~" else ord(char) + (3 if char.isalpha() else 259))
        numbers += (_END, int(digits or 0))
    numbers.append(_END)
    # "1a" and "1a0" are equal, and so are "" and "0": a digit run that is not there is 0
    return tuple(numbers) if numbers != [_END] else (_END, 0, _END)


@cache
def order(version: str) -> Order:
    """A sort key: order(a) < order(b) exactly if `dpkg --compare-versions a lt b`. Never raises."""
    epoch, upstream, revision = _split(version)
    return int(epoch) if epoch.isdecimal() and len(epoch) < 20 else 0, _numbers(upstream), _numbers(revision)


@cache
def evr(version: str) -> str:
    """An RPM epoch:version-release of the same order, for libsolv."""
    epoch, upstream, revision = order(version)
    return f"{epoch}:{'.'.join(map(str, upstream))}-{'.'.join(map(str, revision))}"


def satisfies(version: str, op: str, wanted: str) -> bool:
    """Whether `version OP wanted` holds (policy 7.1; "<" and ">" are the old forms of "<=" and ">=")."""
    if not op:
        return True
    a, b = order(version), order(wanted)
    if op == "=":
        return a == b
    if op in (">=", ">"):
        return a >= b
    if op in ("<=", "<"):
        return a <= b
    if op == ">>":
        return a > b
    return op == "<<" and a < b
