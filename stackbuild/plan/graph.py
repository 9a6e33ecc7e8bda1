"""The plan: a directed acyclic graph of steps. Values only; what is cached is forecast.py's question."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from stackbuild.core.errors import Hint, UsageError
from stackbuild.plan.step import STAGE, Step, stack_of

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Plan:
    """Steps by id, and the steps whose results are wanted. goals: ids, in order."""

    steps: Mapping[str, Step]
    goals: tuple[str, ...]

    @classmethod
    def of(cls, steps: Iterable[Step], goals: Iterable[str]) -> Plan:
        """Raises ValueError if an id is unknown or the steps need each other in a circle (a planner's bug)."""
        plan = cls({step.id: step for step in steps}, tuple(goals))
        unknown = {before for step in plan.steps.values() for before in step.after} - plan.steps.keys()
        if unknown:
            raise ValueError(f"not a plan: {unknown}")
        if len(plan.order()) < len(plan.steps):
            import networkx as nx

            raise ValueError(f"not a plan: {nx.find_cycle(plan.graph)}")
        return plan

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """An edge from each step to every step that reads its result. For drawing and asking: it costs an import."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.steps)
        graph.add_edges_from((before, step.id) for step in self.steps.values() for before in step.after)
        return graph

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """For each step the ids of those that read its result: the edges of `graph`, without networkx."""
        found: dict[str, list[str]] = {id: [] for id in self.steps}
        for step in self.steps.values():
            for before in step.after:
                found[before].append(step.id)
        return {id: tuple(after) for id, after in found.items()}

    def order(self) -> tuple[Step, ...]:
        """All steps, each after all that it needs; always the same order for the same plan: as they were planned."""
        return self._order

    @cached_property
    def _order(self) -> tuple[Step, ...]:
        ids = list(self.steps)
        place = {id: number for number, id in enumerate(ids)}
        left = {step.id: len(step.after) for step in self.steps.values()}
        ready = [place[id] for id, count in left.items() if not count]
        heapq.heapify(ready)
        found: list[Step] = []
        while ready:
            id = ids[heapq.heappop(ready)]
            found.append(self.steps[id])
            for after in self.readers[id]:
                left[after] -= 1
                if not left[after]:
                    heapq.heappush(ready, place[after])
        return tuple(found)

    def needed_by(self, goals: Iterable[str]) -> set[str]:
        """These steps and all that they need."""
        found: set[str] = set()
        queue = list(goals)
        while queue:
            id = queue.pop()
            if id not in found:
                found.add(id)
                queue += self.steps[id].after
        return found

    def towards(self, targets: Iterable[str]) -> Plan:
        """The part of the plan that these targets need. A target is a step id or a layer's name;
        `stages.STAGE/NAME` is a layer of a stage, `stages.STAGE` the whole of it, `STACK:NAME` a layer of a base stack.

        Raises UsageError that names near ones.
        """
        goals: list[str] = []
        for target in targets:
            found = [id for id in self.steps if target in (id, id.rpartition("/")[2]) and "fetch/" not in id]
            found = found or [id for id in self.steps if target == ":".join((stack_of(id)[0], id.rpartition("/")[2]))]
            found = [id for id in found if STAGE not in id] or found  # the image's own layer of that name first
            stage, _, layer = target.rpartition("/")
            if not found and STAGE in stage:
                found = [id for id in self.steps if id.startswith(f"{stage}/") and id.rpartition("/")[2] == layer]
            found = found or [id for id in self.steps if id == target or id.startswith(f"{target}/")]
            if not found:
                names = [*self.steps, *(id.rpartition("/")[2] for id in self.steps)]
                near = difflib.get_close_matches(target, names, 3)
                raise UsageError(
                    f"there is no step or layer `{target}`",
                    hints=[Hint(f"did you mean `{name}`?") for name in dict.fromkeys(near)]
                    or [Hint("list the steps", "stackbuild plan")],
                )
            goals += found if found[0].startswith(f"{target}/") else found[-1:]
        wanted = self.needed_by(goals)
        return Plan.of((step for step in self.steps.values() if step.id in wanted), dict.fromkeys(goals))
