"""Who needs the tree of a step alone starts before its layer is written, and nothing else changes by that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackbuild.build.executors.local import LocalExecutor
from stackbuild.build.executors.workers import Workers
from stackbuild.build.images import LayerFolders
from stackbuild.build.scheduler import Scheduler
from stackbuild.build.slots import Count, Resources
from stackbuild.core.action import Action, ActionResult, Ahead, Blob, Places
from stackbuild.core.digest import Digest, digest_of, digest_of_file
from stackbuild.core.errors import StepError
from stackbuild.plan.forecast import forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import Inputs, Step, basic_reads
from stackbuild.store.objects import ObjectStore
from stackbuild.store.trees import TreeStore
from tests.build.test_unpack_once import deb
from tests.plan.fakes import Memory, tools


class Kind:
    """A kind whose action says which step it is."""

    in_process = False

    def __init__(self, name: str) -> None:
        self.name, self.version = name, 1

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"{self.name}/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        return Action(self.name, {"id": step.id, **step.params}, {}, (), (), step.platform)

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}


class TreesFirst:
    """An executor that writes down what it does; `unpack` actions have their tree first and their layer later."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.now = self.most = 0
        self._lock = threading.Lock()

    def _note(self, what: str, change: int) -> None:
        with self._lock:
            self.did.append(what)
            self.now += change
            self.most = max(self.most, self.now)

    def run(
        self, action: Action, places: Places, *, in_process: bool, output: Callable[[bytes], None],
        failed: object = None, ahead: Ahead | None = None,
    ) -> ActionResult:  # fmt: skip
        id = action.params["id"]
        self._note(f"{id} begins", 1)
        if action.params.get("fails"):
            self._note(f"{id} fails", -1)
            raise StepError(f"{id} failed")
        facts = {"diff_id": digest_of(id.encode())}
        if action.kind == "unpack":
            self._note(f"{id} tree", -1)
            assert ahead is not None
            ahead(facts)
            self._note(f"{id} layer", 1)
        self._note(f"{id} done", -1)
        return ActionResult({"layer": Blob(digest_of(f"layer of {id}".encode()), 1)}, facts, 9.0)

    def cancel(self) -> None: ...


class Trees:
    def of(self, results: object) -> list[object]:
        return []


class World:
    def __init__(self) -> None:
        self.memory = Memory()
        self.kinds = {name: Kind(name) for name in ("unpack", "configure", "assemble")}

    def build(self, *, jobs: int = 1, again: bool = False, **params: Mapping[str, Any]) -> TreesFirst:
        """Two groups and what configures them, then the image."""
        steps = [
            Step("a", "unpack", params.get("a", {})),
            Step("b", "unpack", params.get("b", {})),
            Step("c", "configure", params.get("c", {}), {}, ("a", "b")),
            Step("image", "assemble", {}, {"1": "a", "2": "b", "3": "c"}),
        ]
        plan, executor = Plan.of(steps, ["image"]), TreesFirst()
        kinds: Any = self.kinds
        look = forecast(plan, kinds, self.memory.lookup, self.memory.last, again=again)
        fake: Any = executor
        folders: Any = Trees()
        made = replace(tools(self.kinds["unpack"], self.memory), kinds=kinds, executor=fake, folders=folders)
        slots = Count(jobs)
        Scheduler(plan, made, resources=Resources(slots, jobs, jobs), again=again).build(look)
        assert executor.most <= jobs and all(slots.take() for _ in range(jobs)) and not slots.take()
        return executor


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_step_that_reads_trees_alone_starts_before_the_layers_are_there(jobs: int) -> None:
    world = World()
    did = world.build(jobs=jobs).did
    if jobs == 1:
        assert did.index("c begins") < min(did.index("a layer"), did.index("b layer"))
    assert max(did.index("a tree"), did.index("b tree")) < did.index("c begins")
    assert max(did.index(f"{id} done") for id in "abc") < did.index("image begins")
    assert world.build(jobs=jobs).did == [], "every result has its plan key"
    assert world.build(jobs=jobs, again=True).did.count("c begins") == 1


def test_its_result_is_found_by_content_afterwards() -> None:
    world = World()
    world.build()
    world.kinds["unpack"].version = 2  # other keys, the same bytes
    did = world.build().did
    assert "a begins" in did and "c begins" not in did and "image begins" not in did


def test_what_was_done_before_waits_until_an_earlier_result_could_be_found() -> None:
    world = World()
    world.build()
    did = world.build(a={"other": 1}).did
    assert did.index("a layer") < (did.index("c begins") if "c begins" in did else len(did))


def test_a_failure_ends_those_who_rest() -> None:
    with pytest.raises(StepError, match="b failed"):
        World().build(b={"fails": True})


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_unpacked_is_packed_and_kept_though_who_configures_it_fails(jobs: int) -> None:
    world = World()
    with pytest.raises(StepError, match="c failed"):
        world.build(jobs=jobs, c={"fails": True})
    did = world.build(jobs=jobs).did
    assert did[0] == "c begins" and "a begins" not in did and "b begins" not in did


def test_a_worker_tells_of_its_tree_before_there_is_a_layer(tmp_path: Path) -> None:
    file = deb(tmp_path, "one", {"usr/share/one/a": "1" * 100})
    blobs, downloads = ObjectStore(tmp_path / "blobs"), ObjectStore(tmp_path / "packages")
    with open(file, "rb") as stream:
        blob = downloads.put(stream)
    trees = TreeStore(tmp_path / "rootfs", tmp_path / "locks")
    folders = LayerFolders(blobs, trees, "overlay")
    params = {
        "packages": [{"name": "one", "version": "1", "architecture": "all", "file": file.name}],
        "epoch": 315532801,
    }
    action = Action("unpack", params, {f"packages/{file.name}": blob}, (), ("layer",), "linux/amd64")
    told: list[tuple[Mapping[str, Any], str, bool]] = []

    def ahead(facts: Mapping[str, Any]) -> None:
        (_, tree), = folders.of([ActionResult({}, facts)])  # fmt: skip
        told.append((facts, (tree / "usr/share/one/a").read_text(), (tmp_path / "blobs").exists()))

    results = []
    for number, warm in enumerate((True, False)):
        workers = Workers(warm=warm)
        workers.warm()
        scratch = tmp_path / f"scratch{number}"
        executor = LocalExecutor(blobs, downloads, folders, scratch, workers)
        results.append(executor.run(action, Places(), in_process=False, output=lambda data: None, ahead=ahead))
        assert not list(scratch.iterdir())
        workers.close()
    assert results[0].digest == results[1].digest and len(told) == 1
    facts, content, was_stored = told[0]
    assert (facts, content, was_stored) == (results[0].facts, "1" * 100, False)
    layer = results[0].outputs["layer"]
    assert digest_of_file(blobs.path(layer.digest)) == (layer.digest, layer.size)
