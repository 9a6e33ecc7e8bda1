"""A wave whose changes do not fit into memory is done again on the disk, the same way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stackbuild.build.do import configure
from stackbuild.host.sandbox.protocol import NoRoom


def test_what_does_not_fit_is_done_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[tuple[str, bool]] = []

    def fast(wave: Any, room: Any, shipped: Any, name: str, *, small: bool) -> str:
        tries.append((name, small))
        if small:
            raise NoRoom("what commands changed did not fit into memory")
        return "done"

    monkeypatch.setattr(configure, "_fast", fast)
    wave: Any = SimpleNamespace(way="auto", own=(), packages=())
    room: Any = None
    done: Any = configure._run(wave, room)
    assert done == ("fast", "", "done")
    assert [small for _, small in tries] == [True, False] and len({name for name, _ in tries}) == 2
