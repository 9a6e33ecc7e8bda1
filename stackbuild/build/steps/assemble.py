"""Step kind `assemble`: the layers and the settled image table become a config and a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stackbuild.build.images import layer_blobs
from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads

BASE_DIGEST = "org.opencontainers.image.base.digest"


class Assemble:
    """params: "image" (config values, annotations, epoch). tree: all layers.
    needs: "base", the image of a base stack, if there is one."""

    name: ClassVar[str] = "assemble"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = True

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"assemble/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        layers: list[dict[str, Any]] = []
        for id in step.tree:
            for blob, diff_id, facts in layer_blobs(results[id]):
                layers.append(
                    {
                        "digest": blob.digest,
                        "size": blob.size,
                        "diff_id": diff_id,
                        "compression": facts.get("compression", "gzip"),
                        "media_type": facts.get("media_type", ""),
                        "created_by": facts.get("created_by", ""),
                    }
                )
        params = dict(step.params)
        if "base" in step.needs:
            below = results[step.needs["base"]].outputs["manifest"].digest
            image = params["image"]
            params["image"] = {**image, "annotations": {BASE_DIGEST: below, **image["annotations"]}}
        base = next((results[id].facts for id in step.tree if "chain_id" in results[id].facts), None)
        return Action(
            kind="assemble",
            params={
                **params,
                "layers": layers,
                "base_history": base["history"] if base else [],
                "base_layers": len(base["layers"]) if base else 0,
            },
            inputs={},
            tree=(),
            outputs=("manifest", "config"),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}
