"""Step kind `base`: a locked base image, copied blob by blob into the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from stackbuild.core.action import ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step

Pull = Callable[[Step], ActionResult]
"""Brings manifest, config and layers of params["image"] at params["digest"] into the image blobs.

The result's outputs are all its blobs; its facts "layers" (digest, size, media_type, diff_id, history
each), "chain_id" of the whole and "config" (the parsed image config). Raises NetworkError."""


class Base:
    """params: "image" (where it was found, in no key), "digest" of its manifest."""

    name: ClassVar[str] = "base"
    version: ClassVar[int] = 1

    def __init__(self, pull: Pull) -> None:
        self._pull = pull

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs("base/1", {"digest": step.params["digest"], "platform": step.platform}, {})

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        return self._pull(step)

    def known(self, step: Step) -> ActionResult | None:
        return None  # the record of an earlier pull tells
