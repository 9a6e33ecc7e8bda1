"""The store and its twin in memory keep the same promises."""

from __future__ import annotations

from pathlib import Path

from stackbuild.core.action import ActionCache, Blobs
from stackbuild.store.memory import MemoryBlobs, MemoryResults
from stackbuild.store.objects import ObjectStore
from stackbuild.store.records import StoredResults
from tests.store.contract import ActionCacheContract, BlobsContract


class TestStore(BlobsContract):
    def make(self, folder: Path) -> Blobs:
        return ObjectStore(folder)


class TestMemory(BlobsContract):
    def make(self, folder: Path) -> Blobs:
        return MemoryBlobs()


class TestStoredResults(ActionCacheContract):
    def make(self, folder: Path) -> ActionCache:
        return StoredResults(folder)


class TestMemoryResults(ActionCacheContract):
    def make(self, folder: Path) -> ActionCache:
        return MemoryResults()

    def again(self, cache: ActionCache, folder: Path) -> ActionCache:
        return cache  # nobody else sees it
