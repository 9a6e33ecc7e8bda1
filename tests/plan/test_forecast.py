"""cached, run with its reason, depends; keys, early cut-off, the scheduler's obedience to the forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.build.scheduler import Scheduler
from stackbuild.build.slots import Count, Resources
from stackbuild.core.errors import StepError, UsageError
from stackbuild.core.events import Event, StepFailed
from stackbuild.plan.forecast import Forecast, forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.reasons import NEVER, Reason
from tests.plan.fakes import Memory, Say, step, tools


class World:
    """One store, one kind; plans are built over and over."""

    def __init__(self) -> None:
        self.memory, self.kind = Memory(), Say()
        self.events: list[Event] = []

    def look(self, plan: Plan, *, again: bool = False) -> Forecast:
        return forecast(plan, {"say": self.kind}, self.memory.lookup, self.memory.last, again=again)

    def build(self, plan: Plan, *, again: bool = False, keep_going: bool = False, jobs: int = 2) -> list[str]:
        """The steps that ran, sorted."""
        self.kind.ran.clear()
        made = tools(self.kind, self.memory, self.events.append)
        Scheduler(plan, made, resources=Resources(Count(jobs), jobs, jobs), again=again, keep_going=keep_going).build(
            self.look(plan, again=again)
        )
        return sorted(self.kind.ran)


@pytest.fixture
def world() -> World:
    return World()


def diamond(says: str = "one", extra: str = "x") -> Plan:
    """a -> b, c -> d; b repeats a, c says its own."""
    return Plan.of([step("a", says=says), step("b", "a"), step("c", "a", says=extra), step("d", "b", "c")], ["d"])


def states(found: Forecast) -> dict[str, str]:
    return {id: outlook.state for id, outlook in found.outlooks.items()}


def test_nothing_is_cached_at_first_and_everything_after(world: World) -> None:
    assert states(world.look(diamond())) == dict.fromkeys("abcd", "run")
    assert world.look(diamond()).outlooks["a"].reasons == (Reason(NEVER, None, None),)
    assert world.build(diamond()) == ["a", "b", "c", "d"]
    assert states(world.look(diamond())) == {"a": "unneeded", "b": "unneeded", "c": "unneeded", "d": "cached"}
    assert world.build(diamond()) == []


def test_an_edit_says_what_changed_and_what_depends_on_it(world: World) -> None:
    world.build(diamond())
    found = world.look(diamond(says="two"))
    assert states(found) == {"a": "run", "b": "depends", "c": "depends", "d": "depends"}
    assert found.outlooks["a"].reasons == (Reason("says", "one", "two"),)


def test_the_same_bytes_stop_a_rebuild(world: World) -> None:
    """Early cut-off: c says "x" whatever a says, so what reads only c does not run."""
    plan = [step("c", "a", says="x"), step("e", "c")]
    world.build(Plan.of([step("a", says="one"), *plan], ["e"]))
    assert world.build(Plan.of([step("a", says="two"), *plan], ["e"])) == ["a", "c"]
    assert world.build(Plan.of([step("a", says="two"), *plan], ["e"])) == []


def test_a_result_is_found_again_when_an_edit_is_undone(world: World) -> None:
    world.build(diamond("one"))
    world.build(diamond("two"))
    assert world.build(diamond("one")) == []


def test_always_make_runs_all(world: World) -> None:
    world.build(diamond())
    assert states(world.look(diamond(), again=True)) == dict.fromkeys("abcd", "run")
    assert world.build(diamond(), again=True) == ["a", "b", "c", "d"]


def failing() -> Plan:
    return Plan.of([step("a", says="1"), step("bad", "a", fails=True), step("c", "bad"), step("d", "a")], ["c", "d"])


def test_keep_going_does_all_that_does_not_need_the_failed_step(world: World) -> None:
    with pytest.raises(StepError, match="bad failed"):
        world.build(failing(), keep_going=True)
    assert sorted(world.kind.ran) == ["a", "bad", "d"]
    assert StepFailed("bad", "bad failed") in world.events
    assert world.look(failing()).outlooks["d"].state == "cached"


def test_without_keep_going_a_failure_ends_the_build(world: World) -> None:
    plan = Plan.of([step("bad", fails=True), step("z1", "bad"), step("z2", "z1")], ["z2"])
    with pytest.raises(StepError):
        world.build(plan, jobs=1)
    assert world.kind.ran == ["bad"]


def test_targets_are_steps_or_layer_names_and_wrong_ones_name_near_ones() -> None:
    plan = Plan.of([step("copy/site"), step("run/tool", "copy/site"), step("image", "run/tool")], ["image"])
    assert set(plan.towards(["site"]).steps) == {"copy/site"}
    assert set(plan.towards(["run/tool"]).steps) == {"copy/site", "run/tool"}
    assert set(plan.towards(["run"]).steps) == {"copy/site", "run/tool"}
    with pytest.raises(UsageError) as error:
        plan.towards(["sitte"])
    assert "did you mean `site`?" in [hint.text for hint in error.value.hints]


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="not a plan"):
        Plan.of([step("a", "b"), step("b", "a")], ["a"])


def test_results_do_not_depend_on_jobs(world: World, tmp_path: Path) -> None:
    plan = Plan.of([step(f"s{n}", *([f"s{n - 1}"] if n % 3 else []), says=str(n)) for n in range(30)], ["s29", "s28"])
    other = World()
    world.build(plan, jobs=1)
    other.build(plan, jobs=8)
    assert world.memory.results == other.memory.results
