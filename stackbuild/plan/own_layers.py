"""The steps of a stack's own layers: each action with the facet it reads and the downloads it needs."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stackbuild.core.origin import Origin
from stackbuild.plan.step import Step
from stackbuild.stack.settled import as_tree
from stackbuild.stack.stack import Stack

if TYPE_CHECKING:
    from stackbuild.stack.image_tables import Layer


def layer_steps(
    stack: Stack,
    below: tuple[str, ...],
    platform: str,
    prefix: str,
    stages: Mapping[str, tuple[str, ...]],
) -> list[Step]:
    """Steps in the order of the layers. below: ids of all layers beneath the first of them, lowest first.

    stages: for each stage that layers may copy from, the ids of all its layers."""
    steps: list[Step] = []
    for layer in stack.layers:
        made = _Steps(stack, layer, below, platform, prefix, stages).steps()
        steps += made
        below = (*below, *(step.id for step in made if step.layer))
    return steps


class _Steps:
    """The steps of one layer; the last is the one that makes it."""

    def __init__(
        self,
        stack: Stack,
        layer: Layer,
        below: tuple[str, ...],
        platform: str,
        prefix: str,
        stages: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._layer, self._below, self._platform, self._prefix = layer, below, platform, prefix
        self._stages = stages
        self._origin: Origin = stack.origin("layer", layer.name, layer.action)
        self._places: dict[str, Path] = {}
        self._common = {"epoch": stack.image.source_date_epoch, "compression": stack.image.compression}

    def steps(self) -> list[Step]:
        layer = self._layer
        if layer.action == "run":
            return [self._step(f"run/{layer.name}", "run", self._run(), tree=self._below, layer=True)]
        if layer.action == "fetch":
            return self._fetch()
        values = as_tree(layer)[layer.action]
        copies = values if layer.action == "copy" else []
        self._places = _recipe_files(copies)
        picks = self._picks(copies)
        made = self._with_facet(layer.action, {layer.action: values}, {role: step.id for role, step in picks.items()})
        return [*picks.values(), *made]

    def _picks(self, values: list[dict[str, Any]]) -> dict[str, Step]:
        """For each item of a copy out of a stage the step that reads it there; the item learns the step's role."""
        picks: dict[str, Step] = {}
        for number, item in enumerate(values):
            if "stage" in item:
                role = f"{item['from']} of stage {item['stage']}"
                item["input"] = role = f"{role} ({number})" if role in picks else role
                params = {"from": item["from"], "exclude": item.get("exclude", [])}
                name = f"pick/{self._layer.name}/{number}"
                picks[role] = self._step(name, "pick", params, tree=self._stages[item["stage"]])
        return picks

    def _step(
        self,
        name: str,
        kind: str,
        params: Mapping[str, Any],
        needs: Mapping[str, str] | None = None,
        tree: tuple[str, ...] = (),
        layer: bool = False,
    ) -> Step:
        return Step(
            self._prefix + name, kind, params, needs or {}, tree, layer, self._platform, self._origin, self._places
        )

    def _with_facet(self, kind: str, values: Mapping[str, Any], downloads: Mapping[str, str]) -> list[Step]:
        """A facet of what is below, and the step that needs nothing else of it."""
        unpacked = {item["input"] for item in values.get("fetched", ()) if item["unpack"]}
        unpacked |= {item["input"] for item in values.get("copy", ()) if "input" in item}
        facet = self._step(
            f"facet/{self._layer.name}",
            "facet",
            values,
            {role: id for role, id in downloads.items() if role in unpacked},
            self._below,
        )
        made = self._step(
            f"{self._layer.action}/{self._layer.name}",
            kind,
            {**values, **self._common},
            {"facet": facet.id, **downloads},
            layer=True,
        )
        return [facet, made]

    def _fetch(self) -> list[Step]:
        """A download for each item, then a copy step whose sources they are (DESIGN, section 7)."""
        steps, items, roles = [], [], {}
        for number, item in enumerate(self._layer.fetch):
            role = f"fetch/{number}"
            download = self._step(
                f"fetch/{self._layer.name}/{number}", "fetch", {"sha256": f"sha256:{item.sha256}", "url": item.url}
            )
            steps.append(download)
            roles[role] = download.id
            items.append(
                {
                    "input": role,
                    "to": item.to,
                    "name": unquote(posixpath.basename(urlsplit(item.url).path)) or "download",
                    "unpack": item.unpack,
                    "owner": item.owner,
                    "mode": item.mode,
                }
            )
        return [*steps, *self._with_facet("copy", {"fetched": items}, roles)]

    def _run(self) -> dict[str, Any]:
        layer = self._layer
        return {
            "script": list(layer.run),
            "workdir": layer.workdir,
            "env": dict(layer.env),
            "network": layer.network,
            "inputs": list(layer.inputs),
            "caches": as_tree(layer.caches),
            "secrets": list(layer.secrets),
            **self._common,
        }


def _recipe_files(copies: list[dict[str, Any]]) -> dict[str, Path]:
    """Where each recipe file is; its item learns, instead of that, a `from` that is the same on all machines."""
    places: dict[str, Path] = {}
    for number, item in enumerate(copies):
        if "recipe-file" in item:
            place = Path(item.pop("recipe-file"))
            name = f"recipe-file:{place.name}"
            item["from"] = name = f"{name} ({number})" if name in places else name
            places[name] = place
    return places
