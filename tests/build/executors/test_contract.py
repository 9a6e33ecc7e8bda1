"""In this process, in a worker started anew, in a worker forked from a warm one, in-line: one contract."""

from __future__ import annotations

from pathlib import Path

from stackbuild.build.executors.inline import InlineExecutor
from stackbuild.build.executors.local import LocalExecutor
from stackbuild.build.executors.workers import Workers
from stackbuild.build.images import LayerFolders
from stackbuild.store.memory import MemoryBlobs
from stackbuild.store.objects import ObjectStore
from stackbuild.store.trees import TreeStore
from tests.build.executors.contract import ExecutorContract, Made


def local(folder: Path, workers: Workers) -> Made:
    blobs, downloads = ObjectStore(folder / "blobs"), ObjectStore(folder / "packages")
    folders = LayerFolders(blobs, TreeStore(folder / "rootfs", folder / "locks"), "overlay")
    scratch = folder / "scratch"
    scratch.mkdir()
    return Made(LocalExecutor(blobs, downloads, folders, scratch, workers), blobs, scratch)


class TestInProcess(ExecutorContract):
    in_process = True

    def make(self, folder: Path) -> Made:
        return local(folder, Workers(warm=False))


class TestWorkers(ExecutorContract):
    in_process = False

    def make(self, folder: Path) -> Made:
        return local(folder, Workers(warm=False))


class TestWarmWorkers(ExecutorContract):
    in_process = False

    def make(self, folder: Path) -> Made:
        workers = Workers()
        workers.warm()
        return local(folder, workers)


class TestInline(ExecutorContract):
    in_process = False

    def make(self, folder: Path) -> Made:
        blobs, scratch = MemoryBlobs(), folder / "scratch"
        scratch.mkdir()
        return Made(InlineExecutor(blobs, scratch), blobs, scratch)
