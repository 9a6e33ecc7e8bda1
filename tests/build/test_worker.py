"""A worker does what an in-line call does: same outputs, same facts, the same error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stackbuild.build.executors.local import LocalExecutor
from stackbuild.build.images import LayerFolders
from stackbuild.build.worker import decode, decode_error, encode, encode_error
from stackbuild.core.action import Action, Blob, Needs, Places, Room
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import Hint, Interrupted, NetworkError, StackError, StepError
from stackbuild.store.objects import ObjectStore
from stackbuild.store.trees import TreeStore

IMAGE = {"config": {"Env": ["A=b"]}, "annotations": {}, "epoch": 315532801}


def assemble(**changes: object) -> Action:
    params = {"image": IMAGE, "layers": [], "base_history": [], "base_layers": 0} | changes
    return Action("assemble", params, {}, (), ("manifest", "config"), "linux/amd64")


def executor(tmp_path: Path) -> LocalExecutor:
    blobs, downloads = ObjectStore(tmp_path / "images/blobs"), ObjectStore(tmp_path / "packages")
    folders = LayerFolders(blobs, TreeStore(tmp_path / "rootfs", tmp_path / "locks"), "overlay")
    return LocalExecutor(blobs, downloads, folders, tmp_path / "scratch")


def nowhere(data: bytes) -> None:
    assert not data


def test_in_line_and_in_a_process_give_the_same(tmp_path: Path) -> None:
    runner = executor(tmp_path)
    inline = runner.run(assemble(), Places(), in_process=True, output=nowhere)
    worker = runner.run(assemble(), Places(), in_process=False, output=nowhere)
    assert (inline.outputs, inline.facts, inline.digest) == (worker.outputs, worker.facts, worker.digest)
    config = json.loads((tmp_path / "images/blobs/sha256" / inline.outputs["config"].digest[7:]).read_bytes())
    assert config["config"] == {"Env": ["A=b"]} and config["created"] == "1980-01-01T00:00:01Z"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_action_and_room_survive_the_way_to_the_worker() -> None:
    digest = digest_of(b"x")
    action = Action(
        "run", {"a": [1]}, {"in": Blob(digest, 1)}, (digest,), ("layer",), "linux/amd64", Needs(True, False)
    )
    room = Room(
        {"in": Path("/i")}, (Path("/l"),), Path("/o"), Path("/s"), "chroot", {"s": Path("/x")}, {"/c": Path("/c")}
    )
    decoded, place = decode(encode(action, room), room.output)
    assert decoded.digest == action.digest and decoded == action
    assert place == room


@pytest.mark.parametrize("kind", [StepError, NetworkError])
def test_an_error_survives_the_way_back(kind: type[StackError]) -> None:
    error = kind("what", why="why", hints=[Hint("do", "this")], output="tail")
    back = decode_error(encode_error(error))
    assert type(back) is kind
    assert (back.what, back.why, back.hints, back.output) == (error.what, error.why, error.hints, error.output)


def test_an_input_that_the_store_lost_is_one_error(tmp_path: Path) -> None:
    action = Action("files", {}, {"facet": Blob(Digest("sha256:" + "0" * 64), 1)}, (), ("layer",), "linux/amd64")
    with pytest.raises(StackError, match="the store lost"):
        executor(tmp_path).run(action, Places(), in_process=True, output=nowhere)


def test_a_cancelled_executor_does_nothing_more(tmp_path: Path) -> None:
    runner = executor(tmp_path)
    runner.cancel()
    with pytest.raises(Interrupted):
        runner.run(assemble(), Places(), in_process=False, output=nowhere)
