"""A plan, carried out to an image in the store: manifest (or index) written, tagged, told about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackbuild.build.images import layer_results
from stackbuild.build.scheduler import Scheduler, Tools
from stackbuild.build.slots import Resources
from stackbuild.core.action import ActionResult, Blob, canonical
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import StackError
from stackbuild.core.events import ImageBuilt
from stackbuild.plan.forecast import Forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import Step
from stackbuild.store.objects import ObjectStore

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class BuiltImage:
    """An image that is in the store. document: raw bytes of the manifest or index that `digest` names.

    config, layers: of the platform that this machine runs, of the first if it runs none; layers for `folders_of`.
    """

    name: str
    digest: Digest
    media_type: str
    document: bytes
    size: int
    config: Mapping[str, Any]
    layers: tuple[ActionResult, ...]
    manifests: tuple[Blob, ...]


def carry_out(
    plan: Plan,
    forecast: Forecast,
    tools: Tools,
    *,
    resources: Resources,
    keep_going: bool = False,
    again: bool = False,
    failed: dict[str, StackError] | None = None,
) -> tuple[Mapping[str, ActionResult], Mapping[str, float]]:
    """Run what must run. Returns results by step id, and the seconds of each step that ran. Raises StackError.

    failed: with keep_going, what fails is put there by step id instead, and the results are of what did not."""
    scheduler = Scheduler(plan, tools, resources=resources, keep_going=keep_going, again=again)
    return scheduler.build(forecast, failed), scheduler.ran


def image_of(plan: Plan, results: Mapping[str, ActionResult], blobs: ObjectStore, name: str) -> BuiltImage:
    """The image that the plan's goals made: one manifest, or an index of several (image-index.md)."""
    made = [(plan.steps[goal], results[goal]) for goal in plan.goals]
    manifests = tuple(result.outputs["manifest"] for _, result in made)
    size = sum(int(result.facts["layers_size"]) for _, result in made)
    _, result = _of_this_machine(made) if len(made) > 1 else made[0]
    config = json.loads(blobs.read(result.outputs["config"].digest))
    layers = layer_results(result.facts["layers"], result.facts["base_layers"])
    if len(made) == 1:
        document = blobs.read(manifests[0].digest)
        return BuiltImage(
            name, manifests[0].digest, result.facts["media_type"], document, size, config, layers, manifests
        )
    document = canonical(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {
                    "mediaType": result.facts["media_type"],
                    "digest": result.outputs["manifest"].digest,
                    "size": result.outputs["manifest"].size,
                    "platform": _platform(step.platform),
                }
                for step, result in made
            ],
        }
    )
    blobs.put_bytes(document)
    return BuiltImage(name, digest_of(document), INDEX, document, size, config, layers, manifests)


def _of_this_machine(made: Sequence[tuple[Step, ActionResult]]) -> tuple[Step, ActionResult]:
    from stackbuild.host.processor import native

    order = {architecture: number for number, architecture in enumerate(native())}
    return min(made, key=lambda one: order.get(one[0].platform.split("/")[1], len(order)))


def _platform(text: str) -> dict[str, str]:
    os, architecture, *variant = text.split("/")
    return {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}


def announce(image: BuiltImage, tools: Tools) -> None:
    """Tell the listener what was built."""
    tools.listener(ImageBuilt(image.name, image.digest, image.size))


def folders_of(image: BuiltImage, tools: Tools) -> list[Path]:
    """The unpacked layers that are the image's on this machine, lowest first; unpacks what is not yet."""
    return [folder for _, folder in tools.folders.of(image.layers)]
