"""Numbers as people read them: sizes and ages. Never for keys or JSON, which have the numbers themselves."""

from __future__ import annotations


def size(value: int) -> str:
    """A number of bytes in decimal units: "51.2 MB"."""
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= bytes_in_it:
            return f"{value / bytes_in_it:.1f} {unit}"
    return f"{value} B"


def count(number: int, noun: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """A time span in the largest unit of which there are two: "3 d", "90 min"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
