"""bubblewrap keeps the contract; what it cannot do is refused."""

from __future__ import annotations

import pytest

from stackbuild.core.errors import HostError
from stackbuild.host import cgroups
from stackbuild.run.spec import Limits
from tests.run.boxes import Boxes
from tests.run.runtimes.contract import RuntimeContract


class TestBubblewrap(RuntimeContract):
    name = "bwrap"

    def test_a_command_as_process_one_is_refused_and_another_runtime_named(self, boxes: Boxes) -> None:
        with pytest.raises(HostError, match=r"bwrap cannot honour container\.init") as refused:
            boxes.start(["true"], init=False)
        assert any("runc" in hint.text for hint in refused.value.hints)

    def test_limits_where_no_control_group_can_be_made(self, boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cgroups, "lacking", lambda **wanted: tuple(n for n, on in wanted.items() if on))
        with pytest.raises(HostError, match=r"bwrap cannot honour container\.resources\.memory") as refused:
            boxes.start(["true"], limits=Limits(memory=1 << 26))
        assert any("runc" in hint.text for hint in refused.value.hints)
        container = boxes.start(["true"], limits=Limits(pids=100), soft=("resources.pids",))
        assert container.state().notes == ("resources.pids is not set: no control group `pids` can be made here",)
