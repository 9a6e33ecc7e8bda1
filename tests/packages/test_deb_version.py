"""Versions sort as dpkg sorts them, in Python and inside libsolv."""

from __future__ import annotations

import itertools
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbuild.packages.deb.version import evr, order, satisfies
from tests.machine import once, run
from tests.packages.agreement import Apt

CHARS = "0129aZ.+~"
upstreams = st.builds(lambda a, b: a + b, st.sampled_from("0129"), st.text(CHARS + "-", max_size=6))
versions = st.builds(
    lambda e, u, r: e + u + r,
    st.sampled_from(["", "0:", "1:", "10:"]),
    upstreams.filter(lambda u: not u.endswith("-")),
    st.one_of(st.just(""), st.text(CHARS, min_size=1, max_size=4).map(lambda r: "-" + r)),
)
HARD = ["1", "1-0", "1-", "1.0", "1.", "1~", "1~~", "1~~a", "1a", "1a0", "1+b", "01", "0:1", "1:0", "1-1~bpo", "1-1",
        "1.10", "1.9", "1.a", "1.0a", "1.0+", "2.36-9+deb12u1", "2.36-9", "0", "0-0", "1-a", "1-~"]  # fmt: skip


def relation_of(a: str, b: str) -> str:
    """What we say, in dpkg's words."""
    return {-1: "lt", 0: "eq", 1: "gt"}[(order(a) > order(b)) - (order(a) < order(b))]


def dpkg_says(a: str, relation: str, b: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", a, relation, b], stderr=subprocess.DEVNULL).returncode == 0


@settings(max_examples=150, deadline=None)
@given(versions, versions)
def test_versions_sort_as_dpkg_sorts_them(a: str, b: str) -> None:
    relation = {-1: "lt", 0: "eq", 1: "gt"}[(order(a) > order(b)) - (order(a) < order(b))]
    assert dpkg_says(a, relation, b)


def test_the_hard_cases_sort_as_dpkg_sorts_them() -> None:
    good = [v for v in HARD if dpkg_says(v, "eq", v)]
    assert len(good) > 20
    for a, b in itertools.islice(itertools.combinations(good, 2), None, None, 2):
        assert dpkg_says(a, relation_of(a, b), b), (a, b)


@settings(max_examples=500, deadline=None)
@given(versions, versions)
def test_libsolv_sorts_the_mapped_versions_the_same(a: str, b: str) -> None:
    import solv

    pool = solv.Pool()
    one, two = (pool.add_repo("r").add_solvable() for _ in range(2))
    one.evr, two.evr = evr(a), evr(b)
    assert one.evrcmp(two) == (order(a) > order(b)) - (order(a) < order(b))


@settings(max_examples=150, deadline=None)
@given(versions, st.sampled_from(["<<", "<=", "=", ">=", ">>", "<", ">"]), versions, st.booleans())
def test_relations_hold_as_dpkg_says(a: str, op: str, b: str, near: bool) -> None:
    b = a.partition("-")[0] + "-0" if near and ":" not in a else b  # an absent revision means "0"
    assert satisfies(a, op, b) == dpkg_says(a, op, b)


def test_relations_hold_as_policy_says() -> None:
    assert satisfies("1.2-1", ">=", "1.2") and not satisfies("1.2~rc1", ">=", "1.2")
    assert satisfies("1.2", "=", "1.2-0") and satisfies("1:0", ">>", "99") and satisfies("1", "<<", "1.0")
    assert not satisfies("1", "!", "1")


@pytest.mark.parametrize("share", [pytest.param(60, id="some"), pytest.param(1, id="every", marks=pytest.mark.whole)])
def test_the_archives_versions_sort_as_dpkg_sorts_them(shared: Path, share: int) -> None:
    """Each beside its neighbour in our order, and as many pairs from anywhere. share: one in so many."""
    apt = Apt(once(shared / "apt", lambda folder: Apt(folder).make()))
    every = sorted(
        {p.version for index, archive in apt.pairs() for p in index.all(archive)}, key=lambda v: (order(v), v)
    )
    assert len(every) > 10_000
    dice = random.Random(9)
    pairs = [pair for n, pair in enumerate(itertools.pairwise(every)) if n % share == 0]
    pairs += [(dice.choice(every), dice.choice(every)) for _ in range(len(pairs))]
    said = [word for a, b in pairs for word in (a, relation_of(a, b), b)]
    ran = run(["xargs", "-t", "-n", "3", "dpkg", "--compare-versions"], input="\n".join(said), code=None, timeout=600)
    assert ran.code == 0, ran.err[-200:]  # -t: the last line is about where dpkg says no
