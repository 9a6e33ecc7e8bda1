"""The store's promises: whole or not at all, verified on the way in, shared by any number of processes."""

from __future__ import annotations

import fcntl
import io
import multiprocessing
import os
from pathlib import Path

import pytest

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import HostError, NetworkError
from stackbuild.store.locks import lock
from stackbuild.store.objects import ObjectStore
from stackbuild.store.records import Records, StoredResults
from stackbuild.store.scratch import scratch_folder, sweep
from stackbuild.store.trees import TreeStore


def test_what_is_put_can_be_read(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    blob = store.put(io.BytesIO(b"hello"))
    assert blob == Blob(digest_of(b"hello"), 5)
    assert store.open(blob).read() == b"hello"
    assert store.has(blob) and store.verify(blob.digest)


def test_a_wrong_stream_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    with pytest.raises(NetworkError, match="is not what came"):
        store.put(io.BytesIO(b"other"), Blob(digest_of(b"hello"), 5))
    assert list((tmp_path / "sha256").iterdir()) == []


def test_a_blob_cut_by_a_power_failure_does_not_count(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    blob = store.put(io.BytesIO(b"hello"))
    os.truncate(store.path(blob.digest), 0)
    assert not store.has(blob) and store.missing([blob]) == [blob]


def _put(folder: str) -> None:
    for number in range(50):
        ObjectStore(Path(folder)).put(io.BytesIO(b"same" * number))


def test_many_processes_put_the_same_blobs(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_put, [str(tmp_path)] * 4)
    names = {path.name for path in (tmp_path / "sha256").iterdir()}
    assert names == {digest_of(b"same" * number)[7:] for number in range(50)}


def test_results_are_found_by_key_and_torn_ones_are_as_good_as_none(tmp_path: Path) -> None:
    results = StoredResults(tmp_path)
    key = digest_of(b"key")
    result = ActionResult({"layer": Blob(digest_of(b"x"), 1)}, {"diff_id": "sha256:0"}, 1.5)
    assert results.get(key) is None
    results.put(key, result)
    assert results.get(key) == result
    next(path for path in tmp_path.rglob("*") if path.is_file()).write_bytes(b'{"outp')
    assert results.get(key) is None


def test_records_have_any_name(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.put("a/../b\0c", b"1")
    assert records.get("a/../b\0c") == b"1" and records.get("other") is None


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with lock(tmp_path, "x"), open(tmp_path / "x") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with lock(tmp_path, "x", shared=True), open(tmp_path / "x") as other:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_tree_is_made_once_and_never_seen_half_made(tmp_path: Path) -> None:
    trees = TreeStore(tmp_path / "rootfs", tmp_path / "locks")
    digest = Digest("sha256:" + "0" * 64)
    made = []

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk")

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").touch()

    with pytest.raises(OSError):
        trees.ensure(digest, "overlay", fail)
    assert not trees.has(digest, "overlay")
    for _ in range(2):
        assert (trees.ensure(digest, "overlay", make) / "whole").exists()
    assert len(made) == 1


def test_scratch_of_the_dead_is_swept_and_of_the_living_is_not(tmp_path: Path) -> None:
    dead = tmp_path / "work-dead"
    dead.mkdir()
    (dead / "file").touch()
    os.utime(dead, (1, 1))
    with scratch_folder(tmp_path) as alive:
        os.utime(alive, (1, 1))
        sweep(tmp_path)
        assert alive.is_dir() and not dead.exists()
    assert not alive.exists()


def test_a_damaged_object_is_found_on_use_and_dropped(tmp_path: Path) -> None:
    blob = ObjectStore(tmp_path).put(io.BytesIO(b"hello"))
    ObjectStore(tmp_path).path(blob.digest).write_bytes(b"jello")
    with pytest.raises(HostError, match="damaged") as caught:
        ObjectStore(tmp_path).checked(blob)
    assert caught.value.damaged and not ObjectStore(tmp_path).has(blob)


def test_a_damaged_record_is_as_good_as_none(tmp_path: Path) -> None:
    results = StoredResults(tmp_path)
    key = digest_of(b"key")
    results.put(key, ActionResult({}, {"diff_id": "x"}, 1.5))
    (file,) = tmp_path.glob("??/*")
    for place in range(len(file.read_bytes())):
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)
        assert results.get(key) is None
        results.put(key, ActionResult({}, {"diff_id": "x"}, 1.5))
