"""What would run: for each step of a plan cached, run with its reasons, or depends. Nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stackbuild.core.action import ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.graph import Plan
from stackbuild.plan.reasons import Reason, reasons
from stackbuild.plan.step import Inputs, Step, StepKind

Lookup = Callable[[Step, Digest], ActionResult | None]
"""(step, key) -> the result kept under the key, whose blobs are all there, or None."""
LastInputs = Callable[[Step], Inputs | None]
"""What was hashed when this step of this stack was last done, under plan keys; None: never."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of one step before anything runs.

    state: "cached" (result is set), "run" (reasons say why), "depends" (a step before it must run first;
    if that gives the same bytes as last time, this one is cached), "unneeded" (all that reads it is cached).
    """

    step: Step
    plan_key: Digest
    inputs: Inputs
    state: str
    result: ActionResult | None = None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook of each step, in an order in which they can be done."""

    outlooks: Mapping[str, Outlook] = field(default_factory=dict)

    def count(self, state: str) -> int:
        return sum(outlook.state == state for outlook in self.outlooks.values())


def forecast(
    plan: Plan, kinds: Mapping[str, StepKind], lookup: Lookup, last: LastInputs, *, again: bool = False
) -> Forecast:
    """Ask of every step that is needed, from the goals down. `again`: as if nothing were cached (-B).

    Cost: one `inputs` for each step, one or two look-ups for each needed one.
    """
    described: dict[str, tuple[Inputs, Digest]] = {}
    order = plan.order()
    for step in order:
        inputs = kinds[step.kind].inputs(step, {id: described[id][1] for id in step.after})
        described[step.id] = inputs, inputs.key

    results: dict[str, ActionResult] = {}
    needed = set(plan.goals)
    for step in reversed(order):
        if step.id not in needed:
            continue
        found = None if again else lookup(step, described[step.id][1])
        if found is not None:
            results[step.id] = found
        else:
            needed.update(step.after)

    outlooks: dict[str, Outlook] = {}
    for step in order:
        inputs, key = described[step.id]
        if step.id in results:
            outlooks[step.id] = Outlook(step, key, inputs, "cached", results[step.id])
        elif step.id not in needed:
            outlooks[step.id] = Outlook(step, key, inputs, "unneeded")
        elif all(id in results for id in step.after) and not again:
            content = kinds[step.kind].inputs(step, {id: results[id].digest for id in step.after})
            found = lookup(step, content.key) if step.after else None
            if found is not None:
                results[step.id] = found
                outlooks[step.id] = Outlook(step, key, inputs, "cached", found)
            else:
                outlooks[step.id] = Outlook(step, key, inputs, "run", None, reasons(last(step), inputs))
        else:
            before = last(step)
            state = "depends" if before is not None and not again else "run"
            why = (Reason("asked to build again", None, None),) if again else reasons(before, inputs)
            outlooks[step.id] = Outlook(step, key, inputs, state, None, why)
    return Forecast(outlooks)
