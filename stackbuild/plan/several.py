"""The plans of several stacks as one, in which what they share is done once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stackbuild.plan.graph import Plan
from stackbuild.plan.sharing import shared
from stackbuild.plan.step import Step, stack_of


def joined(plans: Mapping[str, Plan]) -> tuple[Plan, dict[str, str]]:
    """One plan of all, ids "STACK:ID", and for the id of each stack's step the id of the step that does its work.

    plans: by the name of the stack."""
    steps: dict[str, Step] = {}
    for name, plan in plans.items():
        for step in of_stack(name, plan).order():
            steps.setdefault(step.id, step)  # a base stack's steps are in the plan of each stack on it
    kept, names = shared([*steps.values()])
    goals = dict.fromkeys(names[within(name, goal)] for name, plan in plans.items() for goal in plan.goals)
    return Plan.of(kept, goals), names


def of_stack(name: str, plan: Plan) -> Plan:
    """The plan with the stack's name in the ids of all steps that do not name another stack, its base."""
    steps = (
        replace(
            step,
            id=within(name, step.id),
            needs={role: within(name, id) for role, id in step.needs.items()},
            tree=tuple(within(name, id) for id in step.tree),
        )
        for step in plan.order()
    )
    return Plan.of(steps, (within(name, goal) for goal in plan.goals))


def within(name: str, id: str) -> str:
    """The id with the stack's name, unless it has one."""
    return id if stack_of(id)[0] else f"{name}:{id}"
