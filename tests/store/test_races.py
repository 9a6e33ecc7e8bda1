"""What one process of a store takes away while another looks at it: nobody fails, and nobody loses what he uses."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stackbuild.build.cache_folders import CacheFolders
from stackbuild.build.executors.local import LocalExecutor
from stackbuild.build.images import LayerFolders
from stackbuild.core.action import Action, Blob, Places
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import HostError
from stackbuild.store import inventory as looking
from stackbuild.store.inventory import inventory
from stackbuild.store.objects import ObjectStore, drop_same, signature_of
from stackbuild.store.prune import Wish, choose, delete
from stackbuild.store.scratch import scratch_folder, sweep
from stackbuild.store.verify import Verified, verify
from tests.store.test_prune import Shop


def tree(shop: Shop, content: bytes, text: str = "x") -> Path:
    """An unpacked layer of an hour ago."""
    folder = shop.trees.ensure(digest_of(b"tree" + content), "overlay", lambda f: (f / "file").write_text(text))
    age(shop)
    return folder


def age(shop: Shop) -> None:
    """Whatever was used was used an hour ago."""
    for mark in shop.paths.uses.rglob("*"):
        os.utime(mark, (time.time() - 3600,) * 2)


def checked(shop: Shop, remake: Callable[[list[Blob], str, Path], None], since: float | None = None) -> Verified:
    return verify(shop.paths, inventory(shop.paths, {}), remake, lambda path: "", since)


def good(layers: list[Blob], form: str, into: Path) -> None:
    (into / "file").write_text("x")


def test_what_goes_while_it_is_counted_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    shop.old(b"one")
    first, second = sorted([tree(shop, b"one"), tree(shop, b"two")])
    cache = shop.paths.caches / "0123"
    cache.mkdir(parents=True)
    measure = looking.disk_size

    def prune(folder: Path) -> int:
        size = measure(folder)
        for gone in (shop.paths.images, shop.paths.rootfs, shop.paths.caches):
            shutil.rmtree(gone, ignore_errors=True)
        return size

    monkeypatch.setattr(looking, "disk_size", prune)
    assert [item.area for item in inventory(shop.paths, {})] == ["images"]  # it was seen before
    assert not list(shop.paths.uses.glob("size-*/*/*"))  # half of a tree is no measure of it
    assert not first.exists() and not second.exists()


def test_a_caches_folder_that_a_running_build_was_given_stays(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    folders = CacheFolders(shop.paths.caches, shop.blobs, lambda event: None, None, shop.uses, shop.paths.locks)
    with shop.uses.working():
        folder = folders("/c")
        (folder / "kept").touch()
        os.utime(folder, (1, 1))
        assert shop.prune(Wish(all=True)) == set() and (folder / "kept").exists()
        age(shop)
        chosen = choose(inventory(shop.paths, {}), Wish(all=True), time.time(), None)
        assert [item.path for item in chosen] == [folder]
        assert folders("/c") == folder
        assert delete(shop.paths, chosen, still_kept=lambda: {}).spared == 1 and (folder / "kept").exists()
    shop.prune(Wish(all=True))
    assert not folder.exists()
    assert folders("/c").is_dir()  # what was pruned since is made anew


def test_who_is_second_with_a_tree_uses_that_of_the_first(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    digest = digest_of(b"tree")
    for _ in range(2):
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        (fresh / "file").touch()
        shop.trees.add(fresh, digest, "overlay")
        shutil.rmtree(fresh, ignore_errors=True)
    assert shop.uses.last(digest, "overlay") > time.time() - 60
    with pytest.raises(HostError):
        shop.trees.add(tmp_path / "nothing", digest_of(b"other"), "overlay")


def test_a_sound_file_in_the_place_of_a_damaged_one_is_not_dropped(tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_text("jello")
    before = signature_of(os.lstat(file))
    (tmp_path / "again").write_text("hello")
    os.rename(tmp_path / "again", file)  # another build found the damage, too
    drop_same(file, before)
    assert file.read_text() == "hello"
    drop_same(file, signature_of(os.lstat(file)))
    drop_same(file, before)
    assert os.listdir(tmp_path) == []


def test_what_another_build_dropped_as_damaged_is_made_again_by_this_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path)
    layer = shop.old(b"layer")
    folders = LayerFolders(ObjectStore(shop.blobs.root), shop.trees, "overlay")
    stores = ObjectStore(shop.blobs.root), ObjectStore(shop.paths.packages)
    local = LocalExecutor(*stores, folders, shop.paths.scratch)
    (result,) = (result for _, result, _ in shop.results.all())
    action = Action("copy", {}, {"layer": layer}, (), ("layer",), "linux/amd64")
    shop.blobs.path(layer.digest).unlink()
    monkeypatch.setattr(ObjectStore, "has", lambda store, blob: True)  # it was there when we asked
    for use in (lambda: folders.of([result]), lambda: local.run(action, Places(), in_process=True, output=print)):
        with pytest.raises(HostError, match="lost") as caught:
            use()
        assert caught.value.damaged


def test_verify_beside_a_prune_finds_no_damage(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.old(b"one")
    shop.old(b"two")
    one, two = tree(shop, b"one"), tree(shop, b"two")

    def without_layer(layers: list[Blob], form: str, into: Path) -> None:
        shop.blobs.open(Blob(Digest("sha256:" + "0" * 64), 1))

    def without_tree(layers: list[Blob], form: str, into: Path) -> None:
        shutil.rmtree(one, ignore_errors=True)
        shutil.rmtree(two, ignore_errors=True)

    assert checked(shop, good).bad == ()
    done = checked(shop, without_layer)
    assert done.bad == () and done.orphans == 2
    tree(shop, b"one"), tree(shop, b"two")
    assert checked(shop, without_tree).bad == ()


def test_verify_takes_no_tree_from_a_running_build(tmp_path: Path) -> None:
    """A step's tree is there before its layer is: for `verify` it is one of which nobody knows anything."""
    shop = Shop(tmp_path)
    shop.old(b"known")
    began = time.time() - 1
    ahead, damaged = shop.trees.ensure(digest_of(b"ahead"), "overlay", lambda f: None), tree(shop, b"known", "bad")
    shop.trees.use(damaged)
    done = checked(shop, good, began)
    assert ahead.is_dir() and damaged.is_dir() and done.orphans == 0
    assert [(bad.path, bad.dropped) for bad in done.bad] == [(damaged, False)] and "running build" in done.bad[0].why
    done = checked(shop, good)
    assert not ahead.exists() and not damaged.exists() and done.orphans == 1
    assert [(bad.path, bad.dropped) for bad in done.bad] == [(damaged, True)]


def test_verify_takes_no_tree_from_a_build_that_begins_meanwhile(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.old(b"known")
    damaged = tree(shop, b"known", "bad")

    def used(layers: list[Blob], form: str, into: Path) -> None:
        good(layers, form, into)
        assert shop.trees.use(damaged)

    done = checked(shop, used)
    assert damaged.is_dir() and [bad.dropped for bad in done.bad] == [False]


def test_who_stood_still_before_it_had_its_lock_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended machine: the note of a build, and the folder of an action, look like those of a dead process."""
    shop = Shop(tmp_path)
    real, late = fcntl.flock, list[str]()

    def flock(fd: int, how: int) -> None:
        if not late and how == fcntl.LOCK_EX:
            late.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.utime(late[0], (1, 1))
            sweep(shop.paths.scratch)
            assert shop.uses.oldest_build() is None and not os.path.exists(late[0])
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with shop.uses.working():
        assert shop.uses.oldest_build() is not None and len(late) == 1
    late.clear()
    with scratch_folder(shop.paths.scratch) as folder:
        assert folder.is_dir() and len(late) == 1
        sweep(shop.paths.scratch)
        assert folder.is_dir()
