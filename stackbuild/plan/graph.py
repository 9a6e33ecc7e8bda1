"""The plan: a directed acyclic graph of steps. Values only; what is cached is forecast.py's question."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from stackbuild.core.errors import Hint, UsageError
from stackbuild.plan.step import Step


@dataclass(frozen=True)
class Plan:
    """Steps by id, the edges between them, and the steps whose results are wanted.

    graph: an edge from each step to every step that reads its result. goals: ids, in order.
    """

    steps: Mapping[str, Step]
    graph: nx.DiGraph[str]
    goals: tuple[str, ...]

    @classmethod
    def of(cls, steps: Iterable[Step], goals: Iterable[str]) -> Plan:
        """Raises ValueError if an id is unknown or the steps need each other in a circle (a planner's bug)."""
        by_id = {step.id: step for step in steps}
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(by_id)
        for step in by_id.values():
            graph.add_edges_from((before, step.id) for before in step.after)
        unknown = set(graph) - set(by_id)
        if unknown or not nx.is_directed_acyclic_graph(graph):
            raise ValueError(f"not a plan: {unknown or nx.find_cycle(graph)}")
        return cls(by_id, graph, tuple(goals))

    def order(self) -> tuple[Step, ...]:
        """All steps, each after all that it needs; always the same order for the same plan."""
        place = {id: number for number, id in enumerate(self.steps)}
        return tuple(self.steps[id] for id in nx.lexicographical_topological_sort(self.graph, key=place.__getitem__))

    def towards(self, targets: Iterable[str]) -> Plan:
        """The part of the plan that these targets need. A target is a step id or a layer's name.

        Raises UsageError that names near ones.
        """
        goals: list[str] = []
        for target in targets:
            found = [id for id in self.steps if target in (id, id.rpartition("/")[2]) and not id.startswith("fetch/")]
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
        wanted = set(goals).union(*(nx.ancestors(self.graph, goal) for goal in goals))
        return Plan.of((step for step in self.steps.values() if step.id in wanted), dict.fromkeys(goals))
