"""Packages are sorted into waves as DESIGN section 8 says, and within one so that needs come first."""

from __future__ import annotations

import random

from stackbuild.packages.deb.waves import LIMIT, Edges, waves
from tests.packages.debian import answer, stanza


def edges(**needs: str) -> dict[str, Edges]:
    """`app="lib !core"`: app depends on lib and pre-depends on core."""
    return {
        name: Edges(
            tuple(w[1:] for w in text.split() if w.startswith("!")),
            tuple(w for w in text.split() if not w.startswith("!")),
        )
        for name, text in needs.items()
    }


def test_wave_0_is_the_variant_and_each_request_adds_one() -> None:
    graph = edges(base="libc", libc="", a="libc libx", libx="", b="libx a", c="libc")
    assert waves(graph, ["base"], [["a"], ["b"], ["c"]]) == [["libc", "base"], ["libx", "a"], ["b"], ["c"]]


def test_a_request_that_adds_nothing_makes_no_wave() -> None:
    graph = edges(base="libc", libc="", a="libc")
    assert waves(graph, ["base"], [["libc"], ["a"], ["a"]]) == [["libc", "base"], ["a"]]


def test_a_request_added_at_the_end_moves_nothing_before_it() -> None:
    graph = edges(base="", a="x", x="", b="y", y="", c="x y")
    before = waves({n: graph[n] for n in ("base", "a", "x", "b", "y")}, ["base"], [["a"], ["b"]])
    assert waves(graph, ["base"], [["a"], ["b"], ["c"]]) == [*before, ["c"]]


def test_at_most_eight_waves_of_requests() -> None:
    graph = edges(**{f"p{n}": "" for n in range(20)})
    found = waves(graph, [], [[f"p{n}"] for n in range(20)])
    assert found[0] == [] and len(found) == 1 + LIMIT
    assert found[-1] == sorted(f"p{n}" for n in range(LIMIT - 1, 20))


def test_pre_depends_split_a_wave() -> None:
    graph = edges(base="", app="python", python="!minimal", minimal="!tiny", tiny="libc", libc="", other="")
    found = waves(graph, ["base"], [["app", "other"]])
    assert found == [["base"], ["libc", "other", "tiny"], ["minimal"], ["python", "app"]]


def test_pre_depends_on_what_is_configured_already_split_nothing() -> None:
    graph = edges(base="!libc", libc="", app="!libc")
    assert waves(graph, ["base"], [["app"]]) == [["libc", "base"], ["app"]]


def test_circles_end_and_are_in_one_wave() -> None:
    graph = edges(a="b", b="c", c="a", p="!q", q="!p")
    assert waves(graph, [], [["a"]])[1] == ["c", "b", "a"] and len(waves(graph, [], [["a"]])[1]) == 3
    assert sorted(n for wave in waves(graph, [], [["p"]]) for n in wave) == ["a", "b", "c", "p", "q"]


def test_the_order_does_not_depend_on_the_order_of_dictionaries() -> None:
    names = [f"n{n}" for n in range(30)]
    chance = random.Random(7)
    graph = {n: Edges((), tuple(chance.sample(names, 3))) for n in names}
    expected = waves(graph, ["n0"], [["n5"], ["n9"]])
    for _ in range(5):
        items = list(graph.items())
        chance.shuffle(items)
        assert waves(dict(items), ["n0"], [["n5"], ["n9"]]) == expected


def test_every_package_is_in_one_wave_and_needs_are_never_in_a_later_one() -> None:
    chance = random.Random(1)
    for _ in range(30):
        names = [f"n{n}" for n in range(25)]
        graph = {
            n: Edges(
                tuple(chance.sample(names[: number // 2], min(1, number // 2))),
                tuple(chance.sample(names[:number], min(2, number))),
            )
            for number, n in enumerate(names)
        }
        found = waves(graph, ["n3"], [["n20"], ["n24"], ["n10"]])
        number = {n: i for i, wave in enumerate(found) for n in wave}
        assert sorted(number) == sorted(names) and sum(map(len, found)) == len(names)
        for n in names:
            assert all(number[d] <= number[n] for d in graph[n].depends)
            assert all(number[d] < number[n] or number[n] == 0 for d in graph[n].pre_depends if d != n)


def test_what_is_asked_for_is_manual_and_the_rest_is_not() -> None:
    found = answer(
        [
            stanza("base", essential="yes", depends="lib"),
            stanza("lib"),
            stanza("app", depends="lib, more"),
            stanza("more"),
        ],
        "app",
        variant="essential",
    )
    said = {p.package.name: (p.wave, p.manual) for p in found.packages}
    assert said == {"base": (0, True), "lib": (0, False), "app": (1, True), "more": (1, False)}
