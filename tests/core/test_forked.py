"""Work in forked children: the same results, whatever becomes of a child."""

from __future__ import annotations

import os
import signal

import pytest

from stackbuild.core.forked import Forked, each

HERE = os.getpid()


def square(number: int) -> tuple[int, bool]:
    return number * number, os.getpid() == HERE


def dies_elsewhere(number: int) -> int:
    if os.getpid() != HERE and number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.getpid() != HERE:
        raise RuntimeError("only in the child")
    return number


def test_each_item_but_the_first_is_done_in_a_child() -> None:
    assert each(square, []) == []
    assert each(square, [2]) == [(4, True)]
    assert each(square, [1, 2, 3]) == [(1, True), (4, False), (9, False)]


def test_what_a_child_does_not_bring_is_done_here() -> None:
    assert each(dies_elsewhere, [1, 2, 3]) == [1, 2, 3]


def test_where_no_child_can_be_made_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    assert each(square, [1, 2]) == [(1, True), (4, True)]


def test_what_fails_here_is_raised() -> None:
    def fails(number: int) -> int:
        raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        each(fails, [1, 2, 3])


def test_a_child_that_nobody_waits_for_ends() -> None:
    with Forked(lambda: bytes(10_000_000)):  # more than a pipe holds
        pass
    with Forked(lambda: b"done") as child:
        assert child.result() == b"done"
