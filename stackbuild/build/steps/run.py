"""Step kind `run`: a script runs in the tree below, in the sandbox; what it changes is a layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.build.project_files import Item, ProjectFiles, states
from stackbuild.core.action import Action, ActionResult, Blob, Needs
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads, tree_digests


class Run:
    """params: "epoch", "compression", "script", "workdir", "env", "network", "inputs" (project paths and
    patterns), "caches": [{"path", "sharing"}], "secrets": names. tree: what is below the layer."""

    name: ClassVar[str] = "run"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = False

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        reads = basic_reads(step, done)
        for pattern in step.params.get("inputs", ()):
            reads |= states(self._files.select(pattern, where=step.origin))
        return Inputs(f"run/{self.version}", step.params, reads)

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        items = self._items(step)
        params = {key: value for key, value in step.params.items() if key != "inputs"}
        return Action(
            kind="run",
            params={
                **params,
                "entries": [[item.name, item.kind, item.target] for item in items.values()],
                "created_by": created_by(step),
            },
            inputs={
                f"files/{name}": Blob(item.digest, item.size) for name, item in items.items() if item.digest is not None
            },
            tree=tree_digests(step, results),
            outputs=("layer",),
            platform=step.platform,
            needs=Needs(
                sandbox=True,
                network=bool(step.params.get("network")),
                secrets=tuple(step.params.get("secrets", ())),
                caches=tuple(cache["path"] for cache in step.params.get("caches", ())),
            ),
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {f"files/{n}": item.place for n, item in self._items(step).items() if item.digest is not None}

    def _items(self, step: Step) -> dict[str, Item]:
        """What the inputs name, each once, by project path."""
        return {
            item.name: item
            for pattern in step.params.get("inputs", ())
            for source in self._files.select(pattern, where=step.origin)
            for item in source.items
        }


def created_by(step: Step) -> str:
    """The line of the image's history."""
    text = "; ".join(" ".join(line.split()) for line in step.params["script"])
    return f"run {text}" if len(text) <= 1000 else f"run {text[:1000]}…"
