"""Step kind `facet`: what of the tree below an own layer depends on; its result is what cuts rebuilds off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from stackbuild.build.project_files import ProjectFiles
from stackbuild.build.steps.copy import selected, staged, staged_blobs
from stackbuild.core.action import Action, ActionResult, Blob
from stackbuild.core.digest import Digest
from stackbuild.oci.accounts import split_owner
from stackbuild.plan.step import Inputs, Step, basic_reads, tree_digests


class Facet:
    """params: "users", "groups", "paths": names and paths of the image (all may be missing), and what the layer
    that the facet is for does: its "copy", "files", "remove" or "fetched" items, from which the rest follows.
    needs: the roles of "fetched" that are unpacked,
    and of what is copied out of stages. tree: what is below the layer.

    Of a copy the names of its folders count, not its files: to edit or add a file needs no tree."""

    name: ClassVar[str] = "facet"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = True

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"facet/{self.version}", self._wanted(step), basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        blobs: dict[str, Blob] = staged_blobs(step, results, "folders")
        for item in step.params.get("fetched", ()):
            if item.get("unpack"):
                blobs[item["input"]] = results[step.needs[item["input"]]].outputs["file"]
        return Action(
            kind="facet",
            params=inputs.params,
            inputs=blobs,
            tree=tree_digests(step, results),
            outputs=("facet",),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}

    def _wanted(self, step: Step) -> dict[str, Any]:
        """The params of the action: sorted, each name once."""
        params = step.params
        owners = [
            split_owner(item.get("owner")) for key in ("copy", "files", "fetched") for item in params.get(key, ())
        ]
        users = {*params.get("users", ()), *(user for user, _ in owners)}
        groups = {*params.get("groups", ()), *(group for _, group in owners)}
        paths = {*params.get("paths", ()), *(item["path"] for item in params.get("files", ()))}
        paths |= set(self._targets(step))
        archives = []
        for item in params.get("fetched", ()):
            paths |= {item["to"]} if item.get("unpack") else {item["to"], f"{item['to']}/{item['name']}"}
            if item.get("unpack"):
                archives.append({"input": item["input"], "to": item["to"], "name": item["name"]})
        wanted: dict[str, Any] = {
            "users": sorted(name for name in users if name and not name.isdigit()),
            "groups": sorted(name for name in groups if name and not name.isdigit()),
            "paths": sorted(paths),
        }
        if params.get("remove"):
            wanted["remove"] = sorted(params["remove"])
        if items := staged(step):
            wanted["staged"] = [{"input": name, "to": item["to"]} for name, item in items]
        if archives:
            wanted["archives"] = archives
        return wanted

    def _targets(self, step: Step) -> Iterator[str]:
        """Where the sources of a copy land: single files, and folders with all folders in them."""
        yield from (item["to"] for _, item in staged(step))
        for item, sources in selected(self._files, step):
            yield item["to"]
            for source in sources:
                if source.items[0].kind != "dir":
                    yield f"{item['to']}/{source.name}"
                for entry in source.items:
                    if entry.kind == "dir" and entry.path:
                        yield f"{item['to']}/{entry.path}"
