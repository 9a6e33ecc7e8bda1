"""Laws of layered settings (DESIGN, section 5), against a naive model that applies one level after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.core.origin import Origin
from stackbuild.settings.flatten import flatten, unflatten, without_markers
from stackbuild.settings.levels import Level
from stackbuild.settings.setting import RESET, Setting, alive, merge
from stackbuild.stack.merge_rules import RULES

NAMES = st.sampled_from(["a1", "b2", "c3", "d4"])
VALUES = st.sampled_from(["x", "y", "z"])


@dataclass(frozen=True)
class Place:
    shown: str
    level: Level = Level.PROJECT

    def origin(self, key: tuple[str | int, ...]) -> Origin:
        return Origin(self.shown, key=key)


def with_reset(table: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda made, reset: {"!reset": True, **made} if reset else made, table, st.booleans())


def named_list(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.builds(
        lambda made, reset: [{"reset": True}, *made] if reset else made, st.lists(items, max_size=4), st.booleans()
    )


REQUESTS = st.one_of(NAMES, NAMES.map(lambda n: f"!{n}"), st.tuples(NAMES, VALUES).map(lambda t: f"{t[0]}/{t[1]}"))
LAYERS = st.one_of(
    NAMES.map(lambda n: {"name": f"!{n}"}),
    st.builds(lambda n, k, v: {"name": n, k: [v]}, NAMES, st.sampled_from(["copy", "files", "run"]), VALUES),
    st.builds(lambda n, w: {"name": n, "workdir": w}, NAMES, VALUES),
)
LEVELS = st.fixed_dictionaries(
    {},
    optional={
        "packages": st.fixed_dictionaries({}, optional={"install": named_list(REQUESTS), "generated": VALUES}),
        "base": st.one_of(st.builds(lambda k, v: {k: v}, st.sampled_from(["distro", "image", "scratch"]), VALUES)),
        "layer": named_list(LAYERS),
        "image": st.fixed_dictionaries(
            {},
            optional={
                "env": with_reset(st.dictionaries(NAMES, VALUES, max_size=3)),
                "cmd": st.lists(VALUES, max_size=2),
                "labels": with_reset(st.dictionaries(NAMES, VALUES, max_size=2)),
            },
        ),
    },
)
STACKS = st.lists(LEVELS, min_size=1, max_size=5)


def flat(levels: list[dict[str, Any]]) -> list[dict[tuple[str, ...], Setting]]:
    return [flatten(tree, RULES, Place(f"level {rank}"), rank) for rank, tree in enumerate(levels)]


def naive(levels: list[dict[str, Any]]) -> dict[str, Any]:
    """What the words of DESIGN section 5 say, on plain lists and dictionaries."""
    requests: dict[str, str] = {}
    layers: dict[str, dict[str, Any]] = {}
    tables: dict[str, dict[str, Any]] = {"env": {}, "labels": {}}
    scalars: dict[tuple[str, ...], Any] = {}
    for level in levels:
        for item in level.get("packages", {}).get("install", ()):
            if item == {"reset": True}:
                requests.clear()
            elif item.startswith("!"):
                requests.pop(item[1:], None)
            else:
                requests[item.partition("/")[0]] = item
        for item in level.get("layer", ()):
            if item == {"reset": True}:
                layers.clear()
            elif item["name"].startswith("!"):
                layers.pop(item["name"][1:], None)
            else:
                old = layers.setdefault(item["name"], {})
                if {"copy", "files", "run"} & set(item):
                    for action in ("copy", "files", "run"):
                        old.pop(action, None)
                old.update(item)
        for name, table in tables.items():
            new = dict(level.get("image", {}).get(name, {}))
            if new.pop("!reset", False):
                table.clear()
            table.update(new)
        if "cmd" in level.get("image", {}):
            scalars["image", "cmd"] = level["image"]["cmd"]
        if "generated" in level.get("packages", {}):
            scalars["packages", "generated"] = level["packages"]["generated"]
        if level.get("base"):
            scalars[("base",)] = level["base"]
    tree: dict[str, Any] = {"packages": {}, "image": {}}
    tree["packages"]["install"] = list(requests.values())
    tree["layer"] = list(layers.values())
    tree["image"].update(tables)
    for path, value in scalars.items():
        reduce(lambda node, part: node[part], path[:-1], tree)[path[-1]] = value
    return bare(tree)


def bare(tree: dict[str, Any]) -> dict[str, Any]:
    """Without empty tables and lists of things: nothing was said in them. (An empty `cmd` is a value.)"""
    made = {key: bare(item) if isinstance(item, dict) else item for key, item in tree.items()}
    return {key: item for key, item in made.items() if item not in ({}, []) or key == "cmd"}


@given(STACKS)
def test_settling_is_what_the_words_say(levels: list[dict[str, Any]]) -> None:
    assert bare(unflatten(alive(merge(flat(levels))), RULES)) == naive(levels)


@given(STACKS)
def test_what_comes_out_can_be_fed_back(levels: list[dict[str, Any]]) -> None:
    tree = unflatten(alive(merge(flat(levels))), RULES)
    again = unflatten(alive(flat([tree])[0]), RULES)
    assert bare(again) == bare(tree)
    assert not [one for setting in flat([tree])[0].values() for one in setting.history if one.value is RESET]


@given(LEVELS)
@settings(max_examples=50)
def test_markers_are_taken_out_and_indexes_can_be_found_back(level: Any) -> None:
    tree, moved = without_markers(level, RULES)
    for key in (("packages", "install"), ("layer",)):
        before, after = level, tree
        for part in key:
            before, after = before.get(part, {}), after.get(part, {})
        indexes = moved.get(key, range(len(before)))
        assert [before[index] for index in indexes] == list(after)
