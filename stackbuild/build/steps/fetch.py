"""Step kind `fetch`: a package file or a URL with a locked digest, into the store's downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step
from stackbuild.store.objects import ObjectStore

Get = Callable[[Step], None]
"""Brings the file of a step into the downloads, its digest checked. Raises NetworkError."""


class Fetch:
    """params: "sha256" and, if the lock knows it, "size"; the rest (names, places) is in no key."""

    name: ClassVar[str] = "fetch"
    version: ClassVar[int] = 1

    def __init__(self, downloads: ObjectStore, get: Get) -> None:
        self._downloads, self._get = downloads, get

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs("fetch/1", {"sha256": step.params["sha256"]}, {})

    def known(self, step: Step) -> ActionResult | None:
        """The result, if the file is here already: its digest was known before anything ran."""
        digest = Digest(step.params["sha256"])
        path = self._downloads.path(digest)
        try:
            size = path.stat().st_size
        except OSError:
            return None
        if step.params.get("size") not in (None, size):
            return None
        blob = Blob(digest, size)
        return ActionResult({"file": blob}, {}) if self._downloads.use(blob) else None

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        self._get(step)
        result = self.known(step)
        assert result is not None, f"{step.id} was not brought"
        return result
