"""What is chosen for deletion, and that nobody who uses an object loses it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.paths import StorePaths
from stackbuild.store.inventory import Item, inventory
from stackbuild.store.objects import ObjectStore
from stackbuild.store.prune import Wish, choose, delete
from stackbuild.store.records import StoredResults
from stackbuild.store.trees import TreeStore
from stackbuild.store.uses import Uses
from tests.machine import wait_until

NOW = 1_000_000.0
things = st.lists(
    st.builds(
        Item,
        area=st.sampled_from(["images", "rootfs.v1", "packages.v1"]),
        path=st.integers(0, 10**6).map(lambda n: Path(f"/store/{n}")),
        size=st.integers(0, 1000),
        used=st.floats(0, NOW),
        kept_by=st.sampled_from(["", "", "tag x"]),
    ),
    max_size=20,
)


@given(things, st.integers(0, 5000), st.one_of(st.none(), st.floats(0, NOW)))
def test_a_size_is_kept_to_by_what_was_used_least_recently(
    items: list[Item], limit: int, running: float | None
) -> None:
    gone = choose(items, Wish(max_size=limit), NOW, running)
    assert not [item for item in gone if item.kept_by or (running is not None and item.used >= running)]
    stay = [item for item in items if item not in gone]
    free = [item for item in stay if not item.kept_by and (running is None or item.used < running - 1)]
    assert sum(item.size for item in stay) <= limit or not free
    assert all(item.used <= other.used for item in gone for other in free)
    if gone:  # and no more than it takes
        assert sum(item.size for item in items) - sum(item.size for item in gone[:-1]) > limit


@given(things, st.floats(0, NOW))
def test_age_counts_from_the_last_use(items: list[Item], age: float) -> None:
    gone = choose(items, Wish(older_than=age), NOW, None)
    assert set(gone) == {item for item in items if not item.kept_by and item.used < NOW - age}
    assert set(choose(items, Wish(all=True), NOW, None)) == {item for item in items if not item.kept_by}


class Shop:
    """A store in a folder, with what commands have of it."""

    def __init__(self, root: Path) -> None:
        self.paths = StorePaths(root)
        self.uses = Uses(self.paths.uses)
        self.blobs = ObjectStore(self.paths.images / "blobs", self.uses)
        self.trees = TreeStore(self.paths.rootfs, self.paths.locks, self.uses)
        self.results = StoredResults(self.paths.steps / "results")

    def old(self, content: bytes) -> Blob:
        """A blob of an hour ago, with the step result that made it."""
        blob = self.blobs.put_bytes(content)
        key = digest_of(b"key" + content)
        self.results.put(key, ActionResult({"layer": blob}, {"diff_id": digest_of(b"tree" + content)}))
        hour = time.time() - 3600
        for path in (self.blobs.path(blob.digest), *self.paths.steps.rglob("*")):
            os.utime(path, (hour, hour))
        return blob

    def prune(self, wish: Wish, kept: dict[str, str] | None = None) -> set[Digest]:
        items = inventory(self.paths, kept or {})
        chosen = choose(items, wish, time.time(), self.uses.oldest_build())
        return {item.digest for item in delete(self.paths, chosen, still_kept=lambda: kept or {}).items}


def test_what_is_old_goes_with_the_records_that_name_it(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    old, kept = shop.old(b"old"), shop.old(b"kept")
    new = shop.blobs.put_bytes(b"new")
    assert shop.prune(Wish(older_than=60), {kept.digest: "tag x"}) == {old.digest}
    assert not shop.blobs.has(old) and shop.blobs.has(kept) and shop.blobs.has(new)
    assert [result.outputs["layer"] for _, result, _ in shop.results.all()] == [kept]
    assert not list(tmp_path.rglob("gone-*")) and not os.listdir(shop.paths.scratch)


def test_a_look_up_is_a_use(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    old, used = shop.old(b"old"), shop.old(b"used")
    assert shop.results.get(digest_of(b"keyused")) is not None
    assert shop.prune(Wish(older_than=60)) == {old.digest}
    assert shop.blobs.has(used)


def test_what_is_used_after_the_choice_stays(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    blobs = [shop.old(bytes([n])) for n in range(20)]
    items = inventory(shop.paths, {})
    chosen = choose(items, Wish(all=True), time.time(), None)
    assert shop.blobs.use(blobs[3])  # a build that began after the choice
    shop.blobs.put_bytes(b"\x05")  # written again
    done = delete(shop.paths, chosen, still_kept=lambda: {blobs[7].digest})
    assert done.spared == 3
    assert [n for n, blob in enumerate(blobs) if shop.blobs.has(blob)] == [3, 5, 7]


BUILD = """
import sys
from pathlib import Path
from stackbuild.store.uses import Uses
with Uses(Path(sys.argv[1])).working():
    print("running", flush=True)
    sys.stdin.read()
"""


def test_what_a_running_build_has_used_stays_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    used, old = shop.old(b"used"), shop.old(b"old")
    child = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(shop.paths.uses)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None and child.stdout.readline()
        assert shop.uses.oldest_build() is not None
        assert shop.blobs.use(used)
        assert shop.prune(Wish(all=True)) == {old.digest}
    finally:
        child.kill()
        child.communicate(timeout=10)
    wait_until(lambda: shop.uses.oldest_build() is None, 10, "the end of the build that was killed")
    assert shop.prune(Wish(all=True)) == {used.digest}


def fill(folder: Path) -> None:
    (folder / "file").write_bytes(b"x" * 9000)


def test_trees_go_and_half_made_things_too(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    digest = digest_of(b"tree")
    shop.trees.ensure(digest, "overlay", fill)
    half = shop.paths.rootfs / "overlay" / ".new-abc"
    half.mkdir()
    os.utime(half, (1, 1))
    (tmp_path / "steps.v0").mkdir()
    assert shop.prune(Wish(older_than=3600)) == set()
    assert not half.exists() and (tmp_path / "steps.v0").exists()
    assert shop.prune(Wish(all=True), {str(shop.trees.path(digest, "overlay")): "container x"}) == set()
    assert shop.prune(Wish(all=True)) == {digest}
    assert not shop.trees.has(digest, "overlay")


def test_a_tree_is_measured_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    digest = digest_of(b"tree")
    folder = shop.trees.ensure(digest, "overlay", fill)
    (item,) = inventory(shop.paths, {})
    assert item.size >= 9000
    (folder / "file").unlink()  # nobody does that; it shows that nobody looks again
    assert inventory(shop.paths, {})[0].size == item.size
    assert shop.prune(Wish(all=True)) == {digest}
    assert not list(shop.paths.uses.glob("size-*/*/*"))
