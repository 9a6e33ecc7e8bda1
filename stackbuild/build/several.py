"""The tools of several stacks as those of one build: each step is described and remembered by its own stack's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from stackbuild.build.cache import StepCache
from stackbuild.build.scheduler import Tools
from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import ActionKind, Inputs, LocalKind, Step, StepKind, stack_of


def several_tools(tools: Mapping[str, Tools], names: Mapping[str, str] | None = None) -> Tools:
    """Tools for a plan of `plan.several.joined`, from those of each stack by its name; "": steps that name none.

    names: for each stack's own step the step that does its work, so that it is remembered as the step of each."""
    first = next(iter(tools.values()))
    kinds: dict[str, StepKind] = {}
    for name, kind in first.kinds.items():
        by_stack = {stack: one.kinds[name] for stack, one in tools.items()}
        kinds[name] = cast(StepKind, _Local(by_stack) if isinstance(kind, LocalKind) else _Action(by_stack))
    cache = _Caches({stack: one.cache for stack, one in tools.items()}, names or {})
    return replace(first, kinds=kinds, cache=cache, why=lambda o: tools[stack_of(o.step.id)[0]].why(o))


class _Kind:
    def __init__(self, by_stack: Mapping[str, Any]) -> None:
        kind = next(iter(by_stack.values()))
        self.name, self.version = kind.name, kind.version
        self._by_stack = by_stack

    def _of(self, step: Step) -> Any:
        return self._by_stack[stack_of(step.id)[0]]

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        found: Inputs = self._of(step).inputs(step, done)
        return found


class _Action(_Kind):
    """As `plan.step.ActionKind`."""

    def __init__(self, by_stack: Mapping[str, Any]) -> None:
        super().__init__(by_stack)
        kind: ActionKind = next(iter(by_stack.values()))
        self.in_process = kind.in_process

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        found: Action = self._of(step).action(step, inputs, results)
        return found

    def places(self, step: Step) -> Mapping[str, Path]:
        found: Mapping[str, Path] = self._of(step).places(step)
        return found


class _Local(_Kind):
    """As `plan.step.LocalKind`."""

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        found: ActionResult = self._of(step).perform(step, results)
        return found

    def known(self, step: Step) -> ActionResult | None:
        found: ActionResult | None = self._of(step).known(step)
        return found


class _Caches(StepCache):
    """Each step's history is its own stack's, under the id that it has there."""

    def __init__(self, by_stack: Mapping[str, StepCache], names: Mapping[str, str]) -> None:
        self._by_stack = by_stack
        self._others: dict[str, list[str]] = {}
        for id, done in names.items():
            if id != done:
                self._others.setdefault(done, []).append(id)

    def _of(self, step: Step, id: str = "") -> tuple[StepCache, Step]:
        stack, own = stack_of(id or step.id)
        return self._by_stack[stack], replace(step, id=own)

    def lookup(self, step: Step, key: Digest) -> ActionResult | None:
        cache, own = self._of(step)
        return cache.lookup(own, key)

    def keep(self, step: Step, plan_key: Digest, content_key: Digest, inputs: Inputs, result: ActionResult) -> None:
        cache, own = self._of(step)
        cache.keep(own, plan_key, content_key, inputs, result)
        for id in self._others.get(step.id, ()):
            cache, own = self._of(step, id)
            cache.note(own, inputs, result.seconds)

    def last(self, step: Step) -> Inputs | None:
        cache, own = self._of(step)
        return cache.last(own)

    def last_seconds(self, step: Step) -> float | None:
        cache, own = self._of(step)
        return cache.last_seconds(own)

    def send(self, goals: Iterable[tuple[Digest, ActionResult]]) -> None:
        for cache in self._by_stack.values():
            cache.send(goals)
