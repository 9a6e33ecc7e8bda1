"""Runs what a forecast says must run: ready steps in parallel, downloads beside them, results into the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from stackbuild.build.cache import StepCache
from stackbuild.build.images import LayerFolders
from stackbuild.build.output import Lines
from stackbuild.build.slots import Resources
from stackbuild.core.action import Action, ActionResult, Executor, Places, Room
from stackbuild.core.errors import Hint, Interrupted, StackError, StepError
from stackbuild.core.events import Listener, PlanMade, StepFailed, StepFinished, StepStarted
from stackbuild.plan.estimate import guesses, longest_ways, span
from stackbuild.plan.forecast import Forecast, Outlook
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import ActionKind, LocalKind, Step, StepKind

SHELL = Hint("look at the tree as it was", "stackbuild build --shell-on-failure")
SANDBOXED = frozenset(("configure", "run"))  # kinds whose commands run in a sandbox


@dataclass(frozen=True)
class Tools:
    """What a build works with; made by cli/wiring.py."""

    kinds: Mapping[str, StepKind]
    cache: StepCache
    executor: Executor
    folders: LayerFolders
    listener: Listener
    secrets: Mapping[str, Path] = field(default_factory=dict)
    cache_folder: Callable[[str], Path] = Path
    why: Callable[[Outlook], str] = lambda outlook: ""
    failed: Callable[[Step, Action, Room], None] | None = None


class Scheduler:
    """One build. resources: what it may use at once. keep_going: -k. again: -B."""

    def __init__(
        self, plan: Plan, tools: Tools, *, resources: Resources, keep_going: bool = False, again: bool = False
    ) -> None:
        self._plan, self._tools = plan, tools
        self._resources, self._keep_going, self._again = resources, keep_going, again
        self._results: dict[str, ActionResult] = {}
        self._errors: dict[str, StackError] = {}
        self._expected: dict[str, float] = {}
        self.ran: dict[str, float] = {}
        """Seconds of each step that ran (was not found by its content)."""

    def build(self, forecast: Forecast, failed: dict[str, StackError] | None = None) -> Mapping[str, ActionResult]:
        """Do all that is needed; returns the results of all steps that are needed or cached.

        Raises the first StackError; with keep_going after all that does not need the failed step, or, if `failed` is
        given, not at all: it gets them by step id.
        """
        self._expected = guesses(self._plan, forecast, self._tools.cache.last_seconds)
        total = span(self._plan, self._expected, self._resources.jobs) if self._expected else 0.0
        needed = len(forecast.outlooks) - forecast.count("unneeded")
        self._tools.listener(PlanMade(needed, forecast.count("cached"), total))
        waiting: dict[str, Outlook] = {}
        for id, outlook in forecast.outlooks.items():
            if outlook.result is not None:
                self._results[id] = outlook.result
                if outlook.step.kind != "fetch":
                    self._tools.listener(StepFinished(id, True, 0.0))
            elif outlook.state != "unneeded":
                waiting[id] = outlook
        if waiting:
            self._run(waiting)
        if self._errors and failed is not None:
            failed.update(self._errors)
        elif self._errors:
            first, *others = self._errors.values()
            if others:
                first.why += f" ({len(others)} more failed: {', '.join(list(self._errors)[1:])})"
            raise first
        return self._results

    def _run(self, waiting: dict[str, Outlook]) -> None:
        running: dict[Future[ActionResult], str] = {}
        limits, slots = self._resources, self._resources.slots
        self._weight = longest_ways(self._plan, lambda step: self._expected.get(step.id, 0.0))
        with ThreadPoolExecutor(limits.jobs) as work, ThreadPoolExecutor(limits.downloads) as downloads:
            try:
                while waiting or running:
                    refused = self._start_ready(waiting, running, work, downloads)
                    if not running:
                        break  # the rest needs what failed
                    done, _ = wait(running, slots.poll if refused else None, FIRST_COMPLETED)
                    for future in done:
                        id = running.pop(future)
                        if self._plan.steps[id].kind != "fetch":
                            slots.give()
                        self._collect(id, future)
                    if self._errors and not self._keep_going:
                        raise next(iter(self._errors.values()))
            except BaseException:
                for future in running:
                    future.cancel()
                self._tools.executor.cancel()
                raise
            finally:
                for id in running.values():
                    if self._plan.steps[id].kind != "fetch":
                        slots.give()

    def _start_ready(
        self,
        waiting: dict[str, Outlook],
        running: dict[Future[ActionResult], str],
        work: ThreadPoolExecutor,
        downloads: ThreadPoolExecutor,
    ) -> bool:
        """Downloads start at once; of the rest what the resources allow, the longest way to the goal first.

        Returns whether a processor was refused to a step that is ready."""
        ready = [o for o in waiting.values() if all(before in self._results for before in o.step.after)]
        sandboxes = self._resources.sandboxes - sum(self._plan.steps[id].kind in SANDBOXED for id in running.values())
        for outlook in sorted(ready, key=lambda o: -self._weight[o.step.id]):
            id, kind = outlook.step.id, outlook.step.kind
            if kind == "fetch":
                running[downloads.submit(self._one, outlook)] = id
            elif kind in SANDBOXED and sandboxes < 1:
                continue
            elif self._resources.slots.take():
                running[work.submit(self._one, outlook)] = id
                sandboxes -= kind in SANDBOXED
            else:
                return True
            del waiting[id]
        return False

    def _collect(self, id: str, future: Future[ActionResult]) -> None:
        try:
            self._results[id] = future.result()
        except Interrupted:
            raise
        except StackError as error:
            self._errors[id] = error
            self._tools.listener(StepFailed(id, error.what))

    def _one(self, outlook: Outlook) -> ActionResult:
        """Look up by content, else do it; keep the result. Runs in a pool's thread."""
        step, tools = outlook.step, self._tools
        kind = tools.kinds[step.kind]
        before = {id: self._results[id] for id in step.after}
        inputs = kind.inputs(step, {id: result.digest for id, result in before.items()})
        started = time.monotonic()
        result = None if self._again or not step.after else tools.cache.lookup(step, inputs.key)
        cached = result is not None
        if result is None:
            tools.listener(StepStarted(step.id, tools.why(outlook), self._expected.get(step.id)))
            result = self._do(step, kind, before)
        if not cached:
            self.ran[step.id] = time.monotonic() - started
        tools.cache.keep(step, outlook.plan_key, inputs.key, outlook.inputs, result)
        tools.listener(StepFinished(step.id, cached, time.monotonic() - started))
        return result

    def _do(self, step: Step, kind: StepKind, before: Mapping[str, ActionResult]) -> ActionResult:
        tools = self._tools
        if isinstance(kind, LocalKind):
            return kind.perform(step, before)
        assert isinstance(kind, ActionKind), kind.name
        inputs = kind.inputs(step, {id: result.digest for id, result in before.items()})
        action = kind.action(step, inputs, before)
        missing = [name for name in action.needs.secrets if name not in tools.secrets]
        if missing:
            raise StepError(
                f"`{step.id}` needs the secret `{missing[0]}`", why="no --secret gives it", where=step.origin
            )
        places = Places(
            inputs=kind.places(step),
            lowers=tuple(folder for _, folder in tools.folders.of([before[id] for id in step.tree])),
            secrets={name: tools.secrets[name] for name in action.needs.secrets},
            caches={target: tools.cache_folder(target) for target in action.needs.caches},
        )
        lines = Lines(step.id, tools.listener)
        failed = tools.failed
        try:
            return tools.executor.run(
                action,
                places,
                in_process=kind.in_process,
                output=lines.write,
                failed=None if failed is None else lambda act, room: failed(step, act, room),
            )
        except StackError as error:
            if error.where is None:
                error.where = step.origin
            error.what = error.what if step.id in error.what else f"{step.id}: {error.what}"
            if action.needs.sandbox and failed is None and SHELL not in error.hints and isinstance(error, StepError):
                error.hints += (SHELL,)
            raise
        finally:
            lines.close()
