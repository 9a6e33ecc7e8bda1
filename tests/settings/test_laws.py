"""The laws of merging (DESIGN, section 5): later wins, any grouping is the same, nothing that was said is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import Rules, flatten, unflatten
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import RESET, Settings, alive, merge

RULES = Rules(names={("things",): lambda item: str(item["name"])}, choices={("one",): ("a", "b")})


@dataclass(frozen=True)
class Said:
    number: int
    shown: str = "x"
    level: Level = Level.PROJECT

    def origin(self, key: tuple[str | int, ...]) -> Origin:
        return Origin("project", str(self.number), 0, key)


scalars = st.integers(0, 5) | st.sampled_from(["x", "y"])
names = st.sampled_from(["n", "m", "!n"])
things = st.lists(
    st.builds(lambda name, value: {"name": name, **({} if name[0] == "!" else {"value": value})}, names, scalars),
    max_size=3,
    unique_by=lambda item: item["name"],
)
reset = st.booleans()
trees = st.fixed_dictionaries(
    {},
    optional={
        "plain": scalars,
        "list": st.lists(scalars, max_size=3),
        "table": st.dictionaries(st.sampled_from(["k", "l"]), scalars).flatmap(
            lambda table: reset.map(lambda on: {"!reset": True, **table} if on else table)
        ),
        "things": things.flatmap(lambda items: reset.map(lambda on: [{"reset": True}, *items] if on else items)),
        "one": st.sampled_from([{"a": 1}, {"b": 2}, {"b": 3}]),
    },
)
levels = st.lists(trees, max_size=5).map(
    lambda found: [flatten(tree, RULES, Said(rank), rank) for rank, tree in enumerate(found)]
)


def seen(merged: Settings) -> dict[Any, list[tuple[Any, Any]]]:
    return {path: [(one.value, one.order) for one in setting.history] for path, setting in merged.items()}


@given(levels, st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_levels_fold_in_any_grouping(found: list[Settings], one: int, two: int) -> None:
    i, j = sorted((one, two))
    low, middle, high = (merge(part) for part in (found[:i], found[i:j], found[j:]))
    whole = merge(found)
    for grouped in ([low, merge([middle, high])], [merge([low, middle]), high], [{}, whole], [whole, {}]):
        assert seen(merge(grouped)) == seen(whole)


@given(levels)
@settings(max_examples=150, deadline=None)
def test_the_later_one_wins_and_no_origin_is_lost(found: list[Settings]) -> None:
    merged = merge(found)
    for path, setting in merged.items():
        said = [(one.value, one.origin) for level in found if path in level for one in level[path].history]
        assert [(one.value, one.origin) for one in setting.history] == said
        assert [one.order for one in setting.history] == sorted(one.order for one in setting.history)
        assert setting.last.source == next(level for level in reversed(found) if path in level)[path].last.source
    living = alive(merged)
    for path, setting in living.items():
        assert setting.last is merged[path].last and setting.value is not RESET


@given(levels)
@settings(max_examples=150, deadline=None)
def test_what_is_settled_says_the_same_when_it_is_read_again(found: list[Settings]) -> None:
    tree = unflatten(alive(merge(found)), RULES)
    again = unflatten(alive(flatten(tree, RULES, Said(0), 0)), RULES)
    assert again == tree


@given(st.lists(trees, min_size=2, max_size=2))
@settings(max_examples=100, deadline=None)
def test_levels_that_say_nothing_of_the_same_may_swap(pair: list[dict[str, Any]]) -> None:
    one, two = (
        {key: value for key, value in tree.items() if key in keys}
        for tree, keys in zip(pair, (("plain", "list", "one"), ("table", "things")), strict=True)
    )
    low, high = (unflatten(alive(merge(order)), RULES) for order in _both(one, two))
    assert low == high


def _both(one: dict[str, Any], two: dict[str, Any]) -> list[list[Settings]]:
    return [
        [flatten(tree, RULES, Said(rank), rank) for rank, tree in enumerate(pair)] for pair in ((one, two), (two, one))
    ]
