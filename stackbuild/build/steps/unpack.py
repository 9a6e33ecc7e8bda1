"""Step kind `unpack`: a group of packages becomes a layer; it reads the packages alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stackbuild.core.action import Action, ActionResult, Blob
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step
from stackbuild.store.objects import ObjectStore


class Unpack:
    """params: as build/do/unpack.py reads them, and per package its digest. needs: "package NAME" -> fetch step,
    and "facet" where renames through links of a base image are to be found out."""

    name: ClassVar[str] = "unpack"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = False

    def __init__(self, blobs: ObjectStore) -> None:
        self._blobs = blobs

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        facet = {"links of the base": str(done[step.needs["facet"]])} if "facet" in step.needs else {}
        return Inputs(f"unpack/{self.version}", step.params, facet)

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        params = dict(step.params)
        if "facet" in step.needs:
            params["renames"] = self._renames(results[step.needs["facet"]])
        return Action(
            kind="unpack",
            params=params,
            inputs=package_inputs(step, results),
            tree=(),
            outputs=("layer",),
            platform=step.platform,
        )

    def _renames(self, facet: ActionResult) -> dict[str, str]:
        """Top-level folders that are links in the base, as merged-/usr makes them: {"bin": "usr/bin"}."""
        seen: dict[str, Any] = json.loads(self._blobs.read(facet.outputs["facet"].digest))["paths"]
        return {
            path.strip("/"): entry["target"].strip("/")
            for path, entry in seen.items()
            if entry is not None and entry["kind"] == "symlink"
        }

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}


def package_inputs(step: Step, results: Mapping[str, ActionResult]) -> dict[str, Blob]:
    """The inputs "packages/FILE" of an action, by the files that its params name."""
    return {
        f"packages/{package['file']}": results[
            step.needs[f"package {package['name']}:{package['architecture']}"]
        ].outputs["file"]
        for package in step.params["packages"]
    }
