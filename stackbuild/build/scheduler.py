"""Runs what a forecast says must run: ready steps in parallel, downloads beside them, results into the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stackbuild.build.cache import StepCache
from stackbuild.build.head_start import HeadStart
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
        self._ahead = HeadStart()
        self._new: dict[str, bool] = {}
        self._to_keep: dict[str, tuple[Outlook, ActionResult]] = {}
        self.ran: dict[str, float] = {}
        """Seconds of each step that ran (was not found by its content), to when its tree was there."""

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
        threads = limits.jobs + len(waiting)  # the slots say how many work; steps that rest keep their threads
        with ThreadPoolExecutor(threads) as work, ThreadPoolExecutor(limits.downloads) as downloads:
            try:
                while waiting or running:
                    refused = self._start_ready(waiting, running, work, downloads) or self._wake()
                    if not running:
                        break  # the rest needs what failed
                    watched: list[Future[Any]] = [*running, self._ahead.bell]
                    done, _ = wait(watched, slots.poll if refused else None, FIRST_COMPLETED)
                    for _ in self._ahead.hear():
                        slots.give()
                    for future in done & running.keys():
                        id = running.pop(future)
                        if self._plan.steps[id].kind != "fetch":
                            slots.give()
                        self._collect(id, future)
                    self._keep_late()
                    if self._errors and not self._keep_going:
                        self._pack(running)
                        raise next(iter(self._errors.values()))
            except BaseException:
                for future in running:
                    future.cancel()
                self._tools.executor.cancel()
                raise
            finally:
                for _ in self._ahead.hear():
                    slots.give()
                resting = self._ahead.resting
                self._ahead.end()
                for id in running.values():
                    if self._plan.steps[id].kind != "fetch" and id not in resting:
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
        ready = [outlook for outlook in waiting.values() if self._is_ready(outlook.step)]
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

    def _is_ready(self, step: Step) -> bool:
        """Whether all that it needs is there; of a tree that is not yet packed, nobody knows the digest: it is enough
        for a step that reads nothing but trees, and was never done before, so that no earlier result can be found."""
        late = [before for before in step.after if before not in self._results]
        if not late:
            return True
        if step.kind not in SANDBOXED or any(id not in self._ahead.trees or id in step.needs.values() for id in late):
            return False
        if step.id not in self._new:
            self._new[step.id] = self._again or self._tools.cache.last(step) is None
        return self._new[step.id]

    def _wake(self) -> bool:
        """Give processors that are free to steps that rest. Returns whether one was refused."""
        for id in sorted(self._ahead.resting, key=lambda id: -self._weight[id]):
            if not self._resources.slots.take():
                return True
            self._ahead.go_on(id)
        return False

    def _pack(self, running: dict[Future[ActionResult], str]) -> None:
        """Let steps whose tree is there finish: the next build would have to unpack it again."""
        for _ in self._ahead.hear():
            self._resources.slots.give()
        resting = self._ahead.resting
        self._ahead.end()
        late = {future for future, id in running.items() if id in self._ahead.trees}
        wait(late)
        for future in late:
            id = running.pop(future)
            if id not in resting:
                self._resources.slots.give()
            self._collect(id, future)
        self._keep_late()

    def _keep_late(self) -> None:
        """Keep the results whose keys can be told now: all that their steps read is packed."""
        for id, (outlook, result) in list(self._to_keep.items()):
            if all(before in self._results for before in outlook.step.after):
                del self._to_keep[id]
                self._keep(outlook, result)

    def _keep(self, outlook: Outlook, result: ActionResult) -> None:
        step, kind = outlook.step, self._tools.kinds[outlook.step.kind]
        inputs = kind.inputs(step, {id: self._results[id].digest for id in step.after})
        self._tools.cache.keep(step, outlook.plan_key, inputs.key, outlook.inputs, result)

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
        late = [id for id in step.after if id not in self._results]
        before = {id: self._ahead.trees[id] if id in late else self._results[id] for id in step.after}
        started, result = time.monotonic(), None
        if not late and not self._again and step.after:
            inputs = kind.inputs(step, {id: result.digest for id, result in before.items()})
            result = tools.cache.lookup(step, inputs.key)
        cached = result is not None
        if result is None:
            tools.listener(StepStarted(step.id, tools.why(outlook), self._expected.get(step.id)))
            result = self._do(step, kind, before)
            result = replace(result, seconds=result.seconds - self._ahead.rested(step.id))
            self.ran.setdefault(step.id, time.monotonic() - started)
        if late:
            self._to_keep[step.id] = (outlook, result)
        else:
            self._keep(outlook, result)
        tools.listener(StepFinished(step.id, cached, time.monotonic() - started))
        return result

    def _do(self, step: Step, kind: StepKind, before: Mapping[str, ActionResult]) -> ActionResult:
        tools, started = self._tools, time.monotonic()
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

        def ahead(facts: Mapping[str, Any]) -> None:
            self.ran[step.id] = time.monotonic() - started
            self._ahead.rest(step.id, facts)

        lines = Lines(step.id, tools.listener)
        failed = tools.failed
        try:
            return tools.executor.run(
                action,
                places,
                in_process=kind.in_process,
                output=lines.write,
                failed=None if failed is None else lambda act, room: failed(step, act, room),
                ahead=ahead,
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
