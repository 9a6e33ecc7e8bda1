"""Where the command is among the words of a command line. Imports nothing: it is asked before anything else is."""

from __future__ import annotations

VALUED = ("-C", "-f", "--file", "--profile", "--set", "--store", "--progress")
"""Options before the command that take the next word as their value."""


def command_at(words: list[str]) -> int:
    """The index of the command; the number of words if there is none."""
    skip = False
    for number, word in enumerate(words):
        if skip:
            skip = False
        elif word in VALUED:
            skip = True
        elif not word.startswith("-"):
            return number
    return len(words)
