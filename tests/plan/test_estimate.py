"""Estimates: the longest way, the time with some processors, the critical path, and what is said of a build."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackbuild.plan.estimate import Ran, advice, critical_path, guess, longest_ways, span
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import Step
from tests.plan.fakes import step

DIAMOND = Plan.of([step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")], ["d"])


def test_the_longest_way_and_the_time_with_processors() -> None:
    seconds = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}
    assert longest_ways(DIAMOND, lambda one: seconds[one.id]) == {"a": 7.0, "b": 6.0, "c": 3.0, "d": 1.0}
    assert span(DIAMOND, seconds, 1) == 9.0 and span(DIAMOND, seconds, 2) == 7.0
    assert critical_path(DIAMOND, seconds) == (("a", 1.0), ("b", 5.0), ("d", 1.0))


def test_what_did_not_run_took_no_time() -> None:
    assert critical_path(DIAMOND, {"c": 2.0, "d": 1.0}) == (("c", 2.0), ("d", 1.0))
    assert critical_path(DIAMOND, {}) == () and span(DIAMOND, {}, 4) == 0


@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=4), st.integers(1, 8))
def test_no_number_of_processors_beats_the_critical_path(times: list[float], jobs: int) -> None:
    seconds = dict(zip("abcd", times, strict=True))
    length = sum(took for _, took in critical_path(DIAMOND, seconds))
    assert abs(length - max(longest_ways(DIAMOND, lambda one: seconds[one.id]).values())) < 1e-9
    assert length - 1e-9 <= span(DIAMOND, seconds, jobs) <= sum(times) + 1e-9


def test_a_guess_goes_by_the_last_time_then_by_size() -> None:
    fetch = Step("fetch/x", "fetch", {"size": 20 << 20})
    unpack = Step("unpack/0/0", "unpack", {}, {"package x": "fetch/x"})
    plan = Plan.of([fetch, unpack], ["unpack/0/0"])
    assert guess(plan, unpack, 0.7) == 0.7 and 2 < guess(plan, unpack, None) < 2.2
    assert guess(plan, Step("run/x", "run", {}), None) == 2.0


def test_advice_names_what_it_is() -> None:
    wide = Plan.of([step("a"), step("b"), step("c"), step("d")], "abcd")
    busy = dict.fromkeys("abcd", 1.0)
    assert advice(wide, Ran(busy, 2.0, 2)).startswith("more processors: all 2 were busy")
    assert advice(DIAMOND, Ran({"a": 0.3, "b": 3.0, "d": 0.1}, 3.5, 2)).startswith("b alone: it is 86%")
    chain = Plan.of([step("a"), step("b", "a"), step("c", "b"), step("d", "c")], ["d"])
    assert advice(chain, Ran(busy, 4.1, 2)).startswith("a shorter chain: 4 steps")
    assert advice(wide, Ran(busy, 0.5, 8)) == ""
