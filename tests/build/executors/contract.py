"""What every `Executor` promises (core/action.py); a subclass makes one over a given folder."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stackbuild.core.action import Action, ActionResult, Blob, Blobs, Executor, Places, Room
from stackbuild.core.digest import digest_of
from stackbuild.core.errors import Interrupted, StackError, StepError

IMAGE = {"config": {"Env": ["A=b"]}, "annotations": {}, "epoch": 315532801}
ASSEMBLE = Action(
    "assemble",
    {"image": IMAGE, "layers": [], "base_history": [], "base_layers": 0},
    {},
    (),
    ("manifest", "config"),
    "linux/amd64",
)
FACET = b'{"groups":{},"paths":{},"users":{}}'
FILES = Action(
    "files",
    {
        "files": [{"path": "/motd", "content": "hello\n", "mode": "0640"}],
        "epoch": 315532801,
        "compression": "gzip",
        "created_by": "files motd",
    },
    {"facet": Blob(digest_of(FACET), len(FACET))},
    (),
    ("layer",),
    "linux/amd64",
)
GOLDEN = {
    "assemble": "sha256:32862c3309814c562f9a6f2e5447f29e426daeb6b04b5070474733ffde91a4a4",
    "files": "sha256:9a548a4050ecfd20778e4e12397aa71482cf0d83c36359ee5ad8d314b3a20e93",
}
"""Digests of the results: the same from every executor, on every machine."""


@dataclass(frozen=True)
class Made:
    """An executor, where it keeps outputs, and the folder that must be empty between actions."""

    executor: Executor
    blobs: Blobs
    scratch: Path


class ExecutorContract(ABC):
    in_process: ClassVar[bool]

    @abstractmethod
    def make(self, folder: Path) -> Made:
        """An executor over an empty folder."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> Made:
        return self.make(tmp_path)

    def run(self, made: Made, action: Action, **more: Any) -> ActionResult:
        output: list[bytes] = []
        result = made.executor.run(
            action,
            Places(),
            in_process=self.in_process,
            output=output.append,
            **more,
        )
        assert not b"".join(output)
        return result

    def test_outputs_are_kept_and_are_what_the_result_says(self, made: Made) -> None:
        result = self.run(made, ASSEMBLE)
        assert sorted(result.outputs) == ["config", "manifest"] and result.seconds > 0
        assert made.blobs.missing(list(result.outputs.values())) == []
        with made.blobs.open(result.outputs["config"]) as stream:
            config = json.load(stream)
        assert config["config"] == {"Env": ["A=b"]} and config["created"] == "1980-01-01T00:00:01Z"
        assert list(made.scratch.iterdir()) == []

    def test_inputs_come_from_the_blobs(self, made: Made) -> None:
        made.blobs.put(io.BytesIO(FACET))
        result = self.run(made, FILES)
        assert made.blobs.missing([result.outputs["layer"]]) == [] and not result.facts["empty"]

    def test_every_executor_gives_the_same(self, made: Made) -> None:
        made.blobs.put(io.BytesIO(FACET))
        assert {action.kind: self.run(made, action).digest for action in (ASSEMBLE, FILES)} == GOLDEN

    def test_an_input_that_is_nowhere_is_one_error(self, made: Made) -> None:
        with pytest.raises(StackError, match="the store lost"):
            self.run(made, FILES)
        assert list(made.scratch.iterdir()) == []

    def test_a_declared_output_that_is_not_left_is_a_failure(self, made: Made) -> None:
        with pytest.raises(StepError, match="left no `more`"):
            self.run(made, replace(ASSEMBLE, outputs=("manifest", "more")))
        assert list(made.scratch.iterdir()) == []

    def test_who_asked_sees_the_room_of_a_failure_before_it_goes(self, made: Made) -> None:
        seen: list[tuple[str, bool]] = []

        def look(action: Action, room: Room) -> None:
            seen.append((action.kind, room.out.is_dir() and room.scratch.is_dir()))

        with pytest.raises(StepError):
            self.run(made, replace(ASSEMBLE, outputs=("more",)), failed=look)
        assert seen == [("assemble", True)]

    def test_several_run_at_once(self, made: Made) -> None:
        with ThreadPoolExecutor(3) as pool:
            digests = set(pool.map(lambda _: self.run(made, ASSEMBLE).digest, range(3)))
        assert len(digests) == 1 and list(made.scratch.iterdir()) == []

    def test_after_cancel_nothing_runs(self, made: Made) -> None:
        made.executor.cancel()
        with pytest.raises(Interrupted):
            self.run(made, ASSEMBLE)
        assert not made.scratch.exists() or list(made.scratch.iterdir()) == []
