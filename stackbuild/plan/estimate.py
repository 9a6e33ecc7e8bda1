"""How long a plan will take: from earlier times where there are some, else from what such steps usually take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stackbuild.plan.forecast import Forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import Step

USUAL_SECONDS = {"configure": 2.0, "run": 2.0, "unpack": 0.1}  # of a step that was never built
BYTES_PER_SECOND = 10 << 20  # of packages, unpacked


def guess(plan: Plan, step: Step, last: float | None) -> float:
    """Seconds that a step will take. last: what it took when it was done last; None: it never was."""
    if last is not None:
        return last
    sizes = [plan.steps[id].params.get("size", 0) for id in step.needs.values()] if step.kind == "unpack" else []
    return float(USUAL_SECONDS.get(step.kind, 0.1) + sum(sizes) / BYTES_PER_SECOND)


def guesses(plan: Plan, forecast: Forecast, last: Callable[[Step], float | None]) -> dict[str, float]:
    """Seconds that each step which runs, or may run, will take. last: what a step took when it was done last."""
    going = (o.step for o in forecast.outlooks.values() if o.state in ("run", "depends"))
    return {step.id: guess(plan, step, last(step)) for step in going}


def longest_ways(plan: Plan, seconds: Callable[[Step], float]) -> dict[str, float]:
    """For each step the seconds from its start to the end of the plan, were there processors without end."""
    ways: dict[str, float] = {}
    for step in reversed(plan.order()):
        ways[step.id] = seconds(step) + max((ways[after] for after in plan.readers[step.id]), default=0.0)
    return ways


def critical_path(plan: Plan, seconds: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """The chain of steps, first to last, that took longest; steps that are not in `seconds` took no time."""
    ways = longest_ways(plan, lambda step: seconds.get(step.id, 0.0))
    path: list[tuple[str, float]] = []
    ready = [id for id, step in plan.steps.items() if not step.after]
    while ready:
        id = max(ready, key=ways.__getitem__)
        if ways[id] <= 0:
            break
        if id in seconds:
            path.append((id, seconds[id]))
        ready = list(plan.readers[id])
    return tuple(path)


def span(plan: Plan, seconds: Mapping[str, float], jobs: int) -> float:
    """Seconds that these steps take with so many processors: at least the longest way, at least their share of all."""
    ways = longest_ways(plan, lambda step: seconds.get(step.id, 0.0))
    return max(max(ways.values(), default=0.0), sum(seconds.values()) / jobs)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a build did. seconds: of each step that ran; total: of the whole; jobs: how many could run at once."""

    seconds: Mapping[str, float]
    total: float
    jobs: int


def advice(plan: Plan, ran: Ran) -> str:
    """What would have made it faster, as a sentence; "" if there is nothing worth saying."""
    if ran.total < 1 or not ran.seconds:
        return ""
    path = critical_path(plan, ran.seconds)
    length, work = sum(took for _, took in path), sum(ran.seconds.values())
    if length < 0.6 * ran.total and work > 0.8 * ran.jobs * ran.total:
        return f"more processors: all {ran.jobs} were busy, and the longest chain is {length:.1f} s"
    step, took = max(path, key=lambda one: one[1])
    if took > 0.4 * ran.total:
        return f"{step} alone: it is {took / ran.total:.0%} of the time, and what waits for it cannot start earlier"
    if length > 0.8 * ran.total:
        return f"a shorter chain: {len(path)} steps wait for each other, so more processors would not help"
    return ""
