"""Step kind `copy`: files of the project, or fetched ones, become a layer; reads a facet, never the tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stackbuild.build.project_files import ProjectFiles, Source, states
from stackbuild.core.action import Action, ActionResult, Blob
from stackbuild.core.digest import Digest, digest_of_file
from stackbuild.core.errors import Hint, UsageError
from stackbuild.plan.step import Inputs, Step, basic_reads


class Copy:
    """params: "epoch", "compression", and "copy": the items of a copy layer as in stack.toml, or "fetched":
    [{"input": a role of needs whose result has a "file", "to", "name", "unpack", "owner", "mode"}].
    An item of "copy" with an "input" copies what the pick step of this role took out of a stage.
    needs: "facet" (of the same items) and the roles of "fetched" and of stages."""

    name: ClassVar[str] = "copy"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = False

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"copy/{self.version}", step.params, basic_reads(step, done) | project_reads(self._files, step))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        of_project = iter(selected(self._files, step))
        of_stages = iter(staged(step))
        copies = [
            _staged(*next(of_stages), step, results) if "input" in item else _described(*next(of_project))
            for item in step.params.get("copy", ())
        ]
        blobs = {"facet": results[step.needs["facet"]].outputs["facet"]} | staged_blobs(step, results, "files")
        for item in step.params.get("fetched", ()):
            blobs[item["input"]] = results[step.needs[item["input"]]].outputs["file"]
        return Action(
            kind="copy",
            params={
                "epoch": step.params["epoch"],
                "compression": step.params["compression"],
                "copies": copies,
                "fetched": list(step.params.get("fetched", ())),
                "created_by": created_by(step),
            },
            inputs=blobs | project_blobs(self._files, step),
            tree=(),
            outputs=("layer",),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return project_places(self._files, step)


def selected(files: ProjectFiles, step: Step) -> list[tuple[Mapping[str, Any], tuple[Source, ...]]]:
    """The items of a copy step that copy from the project, each with its sources. Raises UsageError."""
    found = []
    for item in step.params.get("copy", ()):
        if "input" in item:
            continue
        pattern = str(item.get("from", item.get("from_")))
        exclude, ignore = item.get("exclude") or (), item.get("ignore")
        sources = (
            files.outside(pattern, step.places[pattern], exclude, step.origin)
            if pattern in step.places
            else files.select(pattern, exclude=exclude, ignore=ignore, where=step.origin)
        )
        if len(sources) > 1 and not item["to"].endswith("/"):
            raise UsageError(
                f"`{pattern}` is {len(sources)} sources, and `{item['to']}` is not written as a folder",
                where=step.origin,
                hints=[Hint(f'write to = "{item["to"]}/"')],
            )
        found.append((item, sources))
    return found


def staged(step: Step) -> list[tuple[str, Mapping[str, Any]]]:
    """The items of a copy step that copy out of stages, each with the name of the action's input for it."""
    return [(f"stage/{n}", item) for n, item in enumerate(step.params.get("copy", ())) if "input" in item]


def staged_blobs(step: Step, results: Mapping[str, ActionResult], output: str) -> dict[str, Blob]:
    """The action's inputs "stage/N": an output of each pick step."""
    return {name: results[step.needs[item["input"]]].outputs[output] for name, item in staged(step)}


def _staged(name: str, item: Mapping[str, Any], step: Step, results: Mapping[str, ActionResult]) -> dict[str, Any]:
    """An item of a stage as build/do/copy.py reads it."""
    sources = results[step.needs[item["input"]]].facts["sources"]
    if len(sources) > 1 and not item["to"].endswith("/"):
        raise UsageError(
            f"`{item['from']}` is {len(sources)} sources, and `{item['to']}` is not written as a folder",
            where=step.origin,
            hints=[Hint(f'write to = "{item["to"]}/"')],
        )
    return {
        "to": item["to"], "owner": item.get("owner"), "mode": item.get("mode"), "staged": name, "sources": sources,
    }  # fmt: skip


def project_reads(files: ProjectFiles, step: Step) -> dict[str, str]:
    """For each entry that is copied the name that the user knows, and what it is."""
    reads: dict[str, str] = {}
    items = selected(files, step)
    for item, sources in items:
        reads |= states(sources)
        if len(items) > 1 and item.get("ignore"):  # else nothing would tell which of the items left a file out
            reads[item["ignore"]] = digest_of_file(files.root / item["ignore"])[0]
    return reads


def project_blobs(files: ProjectFiles, step: Step) -> dict[str, Blob]:
    """The action's inputs "files/PROJECT PATH"."""
    return {
        f"files/{item.name}": Blob(item.digest, item.size)
        for _, sources in selected(files, step)
        for source in sources
        for item in source.items
        if item.digest is not None
    }


def project_places(files: ProjectFiles, step: Step) -> dict[str, Path]:
    """Where they are on this machine."""
    return {
        f"files/{item.name}": item.place
        for _, sources in selected(files, step)
        for source in sources
        for item in source.items
        if item.digest is not None
    }


def _described(item: Mapping[str, Any], sources: tuple[Source, ...]) -> dict[str, Any]:
    """An item as build/do/copy.py reads it."""
    return {
        "to": item["to"],
        "owner": item.get("owner"),
        "mode": item.get("mode"),
        "sources": [
            {
                "name": source.name,
                "entries": [
                    [entry.path, entry.kind, entry.target if entry.kind == "link" else entry.name]
                    for entry in source.items
                ],
            }
            for source in sources
        ],
    }


def created_by(step: Step) -> str:
    """The line of the image's history."""
    copies = [
        f"{item.get('input') or item.get('from', item.get('from_'))} to {item['to']}"
        for item in step.params.get("copy", ())
    ]
    fetched = [f"{item.get('url') or item['name']} to {item['to']}" for item in step.params.get("fetched", ())]
    return f"copy {', '.join(copies)}" if copies else f"fetch {', '.join(fetched)}"
