"""The plan's own order and edges are those that networkx finds in its graph."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbuild.plan.graph import Plan
from tests.machine import run
from tests.plan.fakes import step


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    steps = [
        step(f"s{n}", *(f"s{m}" for m in draw(st.sets(st.integers(0, n - 1))) if n)) if n else step("s0")
        for n in range(count)
    ]
    return Plan.of(draw(st.permutations(steps)), [f"s{draw(st.integers(0, count - 1))}"])


@given(plans())
def test_order_and_edges_are_networkx_own(plan: Plan) -> None:
    place = {id: number for number, id in enumerate(plan.steps)}
    wanted = nx.lexicographical_topological_sort(plan.graph, key=place.__getitem__)
    assert [one.id for one in plan.order()] == list(wanted)
    assert {(a, b) for a, after in plan.readers.items() for b in after} == set(plan.graph.edges)
    [goal] = plan.goals
    assert plan.needed_by([goal]) == nx.ancestors(plan.graph, goal) | {goal}


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Plan.of([step("a", "nobody")], ["a"])
    with pytest.raises(ValueError, match="not a plan"):
        Plan.of([step("a", "b"), step("b", "a")], ["a"])


def test_planning_does_not_import_networkx() -> None:
    code = "import sys, stackbuild.plan.planner, stackbuild.build.scheduler; print('networkx' in sys.modules)"
    import sys

    assert run([sys.executable, "-c", code]).out == "False\n"
