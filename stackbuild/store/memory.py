"""Blobs and results that live as long as the process: the store's twins for tests and trials, with no disk."""

from __future__ import annotations

import io
from typing import BinaryIO

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest
from stackbuild.store.objects import receive


class MemoryBlobs:
    """`Blobs` of core/action.py in a dictionary. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Digest, bytes] = {}

    def missing(self, blobs: list[Blob]) -> list[Blob]:
        return [blob for blob in blobs if blob.digest not in self._kept or len(self._kept[blob.digest]) != blob.size]

    def put(self, source: BinaryIO, expected: Blob | None = None) -> Blob:
        """As `Blobs.put`."""
        data = io.BytesIO()
        blob = receive(source, data, expected)
        self._kept[blob.digest] = data.getvalue()
        return blob

    def open(self, blob: Blob) -> BinaryIO:
        if blob.digest not in self._kept:
            raise FileNotFoundError(blob.digest)
        return io.BytesIO(self._kept[blob.digest])


class MemoryResults:
    """`ActionCache` of core/action.py in a dictionary, in the form that the store writes. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Digest, bytes] = {}

    def get(self, key: Digest) -> ActionResult | None:
        data = self._kept.get(key)
        return None if data is None else ActionResult.from_json(data)

    def put(self, key: Digest, result: ActionResult) -> None:
        self._kept[key] = result.to_json()
