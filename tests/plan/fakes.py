"""Step kinds for tests of planning and scheduling: real keys, no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from stackbuild.build.scheduler import Tools
from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import StepError
from stackbuild.core.events import Listener, nobody
from stackbuild.plan.step import Inputs, Step, basic_reads


class Say:
    """A kind whose result is `params["says"]`, or what was said before if it has none."""

    name: ClassVar[str] = "say"
    version: ClassVar[int] = 1

    def __init__(self) -> None:
        self.ran: list[str] = []

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs("say/1", step.params, basic_reads(step, done))

    def known(self, step: Step) -> ActionResult | None:
        return None

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        self.ran.append(step.id)
        if step.params.get("fails"):
            raise StepError(f"{step.id} failed")
        said = step.params.get("says") or "".join(sorted(r.facts["said"] for r in results.values()))
        return ActionResult({}, {"said": said})


class Memory:
    """Look-up, record and history in memory: the forecast's and the scheduler's cache."""

    def __init__(self) -> None:
        self.results: dict[Digest, ActionResult] = {}
        self.history: dict[str, Inputs] = {}

    def lookup(self, step: Step, key: Digest) -> ActionResult | None:
        return self.results.get(key)

    def keep(self, step: Step, plan_key: Digest, content_key: Digest, inputs: Inputs, result: ActionResult) -> None:
        self.results[plan_key] = self.results[content_key] = result
        self.history[step.id] = inputs

    def last_seconds(self, step: Step) -> float | None:
        return None

    def last(self, step: Step) -> Inputs | None:
        return self.history.get(step.id)


class Idle:
    """An executor that has nothing to cancel: these kinds run in the scheduler's own threads."""

    def cancel(self) -> None: ...


def tools(kind: Any, memory: Memory, listener: Listener = nobody) -> Tools:
    """What a scheduler of one such kind works with."""
    idle: Any = Idle()
    cache: Any = memory
    folders: Any = None
    return Tools({kind.name: kind}, cache, idle, folders, listener)


def step(id: str, *needs: str, **params: Any) -> Step:
    return Step(id, "say", params, {f"need {n}": n for n in needs})


def blob(text: str) -> Blob:
    return Blob(digest_of(text.encode()), len(text))
