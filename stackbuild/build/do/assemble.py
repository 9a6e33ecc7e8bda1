"""Doing half of `assemble`: config and manifest of an image (image-spec, config.md and manifest.md)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stackbuild.core.action import Action, Room, canonical
from stackbuild.core.digest import digest_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def do(action: Action, room: Room) -> Mapping[str, Any]:
    """params: "image" {"config": {...}, "annotations": {...}, "epoch": seconds}, "layers" (lowest first: digest,
    size, diff_id, compression or media_type, created_by), "base_layers" (how many of them are the base's) and
    "base_history" (kept before our own entries). The facts tell a later command the layers without their steps."""
    params = action.params
    layers = params["layers"]
    image = params["image"]
    config = canonical(_config(action.platform, image, layers, params))
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": layer["media_type"] or f"{LAYER}+{layer['compression']}",
                    "digest": layer["digest"],
                    "size": layer["size"],
                }
                for layer in layers
            ],
            **({"annotations": image["annotations"]} if image["annotations"] else {}),
        }
    )
    (room.out / "config").write_bytes(config)
    (room.out / "manifest").write_bytes(manifest)
    return {
        "media_type": MANIFEST,
        "layers_size": sum(layer["size"] for layer in layers),
        "layers": [{key: layer[key] for key in ("digest", "size", "diff_id")} for layer in layers],
        "base_layers": params["base_layers"],
    }


def _config(
    platform: str, image: Mapping[str, Any], layers: list[Mapping[str, Any]], params: Mapping[str, Any]
) -> dict[str, Any]:
    os, architecture, *variant = platform.split("/")
    created = datetime.fromtimestamp(image["epoch"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ours = layers[params["base_layers"] :]
    history = [
        *params["base_history"],
        *({"created": created, "created_by": layer["created_by"], "comment": "stackbuild"} for layer in ours),
    ]
    return {
        "created": created,
        "architecture": architecture,
        "os": os,
        **({"variant": variant[0]} if variant else {}),
        "config": image["config"],
        "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
        "history": history,
    }
