"""The plans of several stacks as one, in which what they share is done once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stackbuild.plan.graph import Plan
from stackbuild.plan.sharing import shared
from stackbuild.plan.step import Step


def joined(plans: Mapping[str, Plan]) -> tuple[Plan, dict[str, tuple[str, ...]]]:
    """One plan of all, ids "STACK:ID", and for each stack the ids of its goals. plans: by the name of the stack."""
    steps: list[Step] = []
    for name, plan in plans.items():
        steps += (
            replace(
                step,
                id=f"{name}:{step.id}",
                needs={role: f"{name}:{id}" for role, id in step.needs.items()},
                tree=tuple(f"{name}:{id}" for id in step.tree),
            )
            for step in plan.order()
        )
    kept, names = shared(steps)
    goals = {name: tuple(names[f"{name}:{goal}"] for goal in plan.goals) for name, plan in plans.items()}
    return Plan.of(kept, dict.fromkeys(goal for wanted in goals.values() for goal in wanted)), goals


def stack_of(id: str) -> tuple[str, str]:
    """The stack's name and the step's own id, of an id in a joined plan."""
    name, _, own = id.partition(":")
    return name, own
